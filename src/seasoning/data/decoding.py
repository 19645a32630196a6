"""From files to images in memory: decoded in worker processes, as 8 bits, at the size that the model asks for."""

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional

from seasoning.data.files import ImageFile
from seasoning.errors import BadInput


__all__ = ["Decoded", "Photo", "View", "Whole", "as_rgb", "decode", "decode_all", "image_size"]

_TOGETHER = 32  # images that a worker hands over at a time


@dataclass(frozen=True, slots=True)
class Photo:
    """The view of a photograph that a model was made for: resized, and its middle cut out.

    Args:
        size: Height and width of the result.
        crop_pct: Share of the resized image's side that is kept.
        interpolation: Of the resizing, in timm's words.
        crop_mode: As timm's: center, squash or border.
        mean: Colour of the border, in [0, 1].
        fixed: Whether the model takes images of this size only.
    """

    size: tuple[int, int]
    crop_pct: float
    interpolation: str
    crop_mode: str = "center"
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    # Says nothing of the pixels, so images that were kept before it was known are still found.
    fixed: bool = field(default=False, repr=False)

    def __call__(self, image: Image.Image) -> Tensor:
        """An RGB image as `(3, H, W)` uint8 of that size."""
        viewed: Tensor = _timm_view(self)(image)
        return viewed


@dataclass(frozen=True, slots=True)
class Whole:
    """All of an image that was made at one size, for a model that takes only another."""

    size: tuple[int, int]

    def __call__(self, image: Image.Image) -> Tensor:
        """An RGB image as `(3, H, W)` uint8 of that size, nothing cut off."""
        resized: Tensor = functional.pil_to_tensor(image.resize((self.size[1], self.size[0]), Image.Resampling.BICUBIC))
        return resized


View = Photo | Whole


class Decoded(NamedTuple):
    """Some images in the order of the files: their rows, pixels `(N, 3, H, W)` uint8, and rows with what is wrong."""

    rows: list[int]
    pixels: Tensor
    problems: list[tuple[int, str]]


def decode(file: ImageFile, view: Callable[[Image.Image], Tensor] | None) -> Tensor:
    """One image, `(3, H, W)` uint8, in a view or at its size.

    Raises:
        BadInput: it is no image, cut off, or of a kind that has no 8-bit counterpart.
    """
    try:
        with Image.open(io.BytesIO(file.read())) as image:
            rgb = as_rgb(image)
            pixels: Tensor = functional.pil_to_tensor(rgb) if view is None else view(rgb)
            return pixels
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow's readers raise any of these on damaged bytes; its text names a buffer, not the file.
        said = str(error) if "BytesIO" not in str(error) else "it is none of the kinds that Pillow knows"
        raise BadInput(f"{file.name} is no image, or damaged ({said})") from error


def image_size(file: ImageFile) -> tuple[int, int] | None:
    """Height and width by the file's header; `None` where it cannot be read."""
    try:
        # Of a file of its own no more is read than the header.
        source = file.path if file.content is None and file.size < 0 else io.BytesIO(file.read())
        with Image.open(source) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def as_rgb(image: Image.Image) -> Image.Image:
    """Any image as 8-bit RGB; 16 bits a pixel are scaled, not cut off, and transparency is dropped.

    Raises:
        BadInput: its pixels are floating-point numbers or 32-bit integers beyond 16 bits, whose white is unknown.
    """
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise BadInput(f"pixels range over [{values.min()}, {values.max()}], beyond 16 bits: convert it to 8 bits")
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise BadInput("its pixels are floating-point numbers, whose white is unknown: convert it to 8 bits")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return image.convert("RGB")


def decode_all(files: Sequence[ImageFile], view: View | None, *, workers: int) -> Iterator[Decoded]:
    """All images in their order, some at a time.

    Args:
        files: Where they lie.
        view: What is done to each; `None` leaves its size.
        workers: Processes that decode; 0 for this one.

    Raises:
        BadInput: images of different sizes.
    """
    if isinstance(view, Photo):
        _timm_view(view)  # loaded here, so that forked workers have it
    loader = DataLoader(
        _Images(tuple(files), view), batch_size=_TOGETHER, num_workers=workers, collate_fn=_together, pin_memory=False
    )
    first: tuple[torch.Size, ImageFile] | None = None
    for (rows, images), problems in loader:
        # Images of one size come stacked: one look is enough.
        looked_at = (
            []
            if not rows
            else [(rows[0], images.shape[1:])]
            if isinstance(images, Tensor)
            else [(row, image.shape) for row, image in zip(rows, images, strict=True)]
        )
        for row, shape in looked_at:
            first = first or (shape, files[row])
            if shape != first[0]:
                sizes = [f"{width} x {height}" for _, height, width in (shape, first[0])]
                raise BadInput(
                    f"{files[row].name} has {sizes[0]} pixels, {first[1].name} {sizes[1]}: bring all to one size, "
                    "or have them resized as the model asks"
                )
        yield Decoded(rows, images if isinstance(images, Tensor) else torch.empty(0), problems)


class _Images(Dataset[Any]):
    def __init__(self, files: tuple[ImageFile, ...], view: View | None) -> None:
        self._files, self._view = files, view

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, row: int) -> tuple[int, Tensor | str]:
        try:
            with warnings.catch_warnings():
                # Of tags and profiles; the pixels are there.
                warnings.simplefilter("ignore")
                return row, decode(self._files[row], self._view)
        except BadInput as error:
            return row, str(error)


def _together(images: list[tuple[int, Tensor | str]]) -> Any:
    """Rows and pixels of the good ones, stacked where they are of one size, and rows with words of the others."""
    good = [(row, image) for row, image in images if isinstance(image, Tensor)]
    rows, pixels = [row for row, _ in good], [image for _, image in good]
    same = len({image.shape for image in pixels}) == 1
    return (rows, torch.stack(pixels) if same else pixels), [
        (row, said) for row, said in images if isinstance(said, str)
    ]


@cache
def _timm_view(view: Photo) -> Any:
    # Loading timm takes seconds: only where photographs are viewed.
    from timm.data.transforms_factory import transforms_imagenet_eval

    return transforms_imagenet_eval(
        img_size=view.size,
        crop_pct=view.crop_pct,
        interpolation=view.interpolation,
        crop_mode=view.crop_mode,
        mean=view.mean,
        normalize=False,
    )
