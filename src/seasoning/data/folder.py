"""Images in one folder for each class."""

import hashlib
from pathlib import Path

import torch
from PIL import UnidentifiedImageError
from torchvision import datasets
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
    try:
        listing = datasets.ImageFolder(str(root))
    except FileNotFoundError as error:
        raise BadInput(
            f"{root}: {error}; expected a folder for each class with images in it, as in {root}/cat/1.png"
        ) from error
    images: list[torch.Tensor] = []
    for path, _ in listing.samples:
        try:
            image = functional.pil_to_tensor(listing.loader(path))
        except (UnidentifiedImageError, OSError) as error:
            raise BadInput(f"{path} is no image, or damaged ({error}): remove it, or copy it again") from error
        if images and image.shape != images[0].shape:
            sizes = [f"{each.shape[2]} x {each.shape[1]}" for each in (image, images[0])]
            raise BadInput(
                f"{path} has {sizes[0]} pixels, the images before it {sizes[1]}: bring all to one size first"
            )
        images.append(image)
    names = [Path(path).relative_to(root).as_posix() for path, _ in listing.samples]
    return Samples(
        name=root.name,
        ids=torch.tensor([_stable_id(name) for name in names]),
        x=torch.stack(images).float() / 255,
        y=torch.tensor([label for _, label in listing.samples]),
        classes=len(listing.classes),
    )


def _stable_id(name: str) -> int:
    """63 bits of the hash of a path."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
