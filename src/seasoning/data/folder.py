"""Images in one folder for each class."""

import hashlib
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import functional

from seasoning.data.samples import Samples
from seasoning.errors import BadInput


__all__ = ["load_folder"]


def load_folder(root: Path) -> Samples:
    """All images under a folder that has a folder for each class, decoded into memory.

    Classes are the folders' names in the order of their characters. The id of an image derives from its path inside
    the root, so it stays the same when the root moves or other images come and go.

    Args:
        root: Such as `cifar10/test`, with `cifar10/test/airplane/0000.jpg` in it.

    Returns:
        Images as RGB, `(N, 3, H, W)` float32 in [0, 1].

    Raises:
        BadInput: no classes, a class without images, a file that is no image, or images of different sizes.
    """
    classes = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = [(path, label) for label, name in enumerate(classes) for path in _images(root / name)]
    empty = sorted(set(range(len(classes))) - {label for _, label in files})
    if not classes or empty:
        lacking = f"its folder {classes[empty[0]]!r} has no images" if empty else "no folders in it"
        raise BadInput(f"{root}: {lacking}; expected a folder for each class with images in it, as in {root}/cat/1.png")
    images: list[torch.Tensor] = []
    for path, _ in files:
        image = _decoded(path)
        if images and image.shape != images[0].shape:
            sizes = [f"{each.shape[2]} x {each.shape[1]}" for each in (image, images[0])]
            raise BadInput(
                f"{path} has {sizes[0]} pixels, the images before it {sizes[1]}: bring all to one size first"
            )
        images.append(image)
    return Samples(
        name=root.resolve().name,
        ids=torch.tensor([_stable_id(path.relative_to(root).as_posix()) for path, _ in files]),
        x=torch.stack(images).float() / 255,
        y=torch.tensor([label for _, label in files]),
        classes=len(classes),
    )


def _images(folder: Path) -> list[Path]:
    """Image files anywhere under a folder, by their suffix, in the order of their paths."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMG_EXTENSIONS and path.is_file())


def _decoded(path: Path) -> torch.Tensor:
    """One image as RGB, `(3, H, W)` uint8."""
    try:
        with Image.open(path) as image:
            # Sixteen bits a pixel would be cut off at 255, not scaled.
            if image.mode.startswith(("I", "F")):
                raise BadInput(f"{path} has more than 8 bits a channel (mode {image.mode}): convert it to 8 bits first")
            pixels: torch.Tensor = functional.pil_to_tensor(image.convert("RGB"))
            return pixels
    except (UnidentifiedImageError, OSError) as error:
        raise BadInput(f"{path} is no image, or damaged ({error}): remove it, or copy it again") from error


def _stable_id(name: str) -> int:
    """63 bits of the hash of a path."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
