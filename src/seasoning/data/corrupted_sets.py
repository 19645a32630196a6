"""Sets under the 15 common corruptions at 5 severities: ImageNet-C, CIFAR-10-C, and what `seasoning corrupt` makes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seasoning.data.cifar import CIFAR10, array_listing
from seasoning.data.files import Tree, read_tree
from seasoning.data.listing import Listing
from seasoning.errors import BadInput
from seasoning.noise import CORRUPTIONS


__all__ = [
    "ALEXNET_ERRORS",
    "MADE_OF",
    "Origin",
    "Subset",
    "cifar_c_listing",
    "corruption_folders",
    "folder_c_listing",
    "missing_subsets",
    "origin_of",
]

MADE_OF = "made-of.json"  # beside a C version made here: what it was made of

_SEVERITIES = tuple("12345")
_GROUPS = ("noise", "blur", "weather", "digital")

# Mean top-1 error of AlexNet over the severities of ImageNet-C, the unit of its mCE (Hendrycks & Dietterich 2019).
ALEXNET_ERRORS = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}


class Subset(NamedTuple):
    """One corruption at one severity, and the folder (or file) that holds it."""

    corruption: str
    severity: int
    path: Path


class Origin(NamedTuple):
    """What a C version was made of.

    Args:
        kind: A key of `FACTS`.
        images: How many each subset has; `None` where nobody noted it.
        classes: Their names, in the order of the labels; `None` where nobody noted them.
        split: Of CIFAR, where it was parted: `"train"` or `"test"`; else empty.
    """

    kind: str
    images: int | None
    classes: tuple[str, ...] | None
    split: str


def origin_of(root: Path) -> Origin:
    """What `seasoning corrupt` noted beside what it made; without a note, images of one's own."""
    try:
        about = json.loads((root / MADE_OF).read_text())
        classes = about.get("classes")
        split = about.get("split", "")
        return Origin(about["kind"], about.get("images"), None if classes is None else tuple(classes), split)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Origin("folder", None, None, "")


def corruption_folders(root: Path) -> list[Subset]:
    """The subsets below a folder, in the order of the corruptions; also where the four archives' folders are kept.

    Further corruptions than the 15 are passed over, as in the published mean.
    """
    found = []
    for corruption in CORRUPTIONS:
        for parent in (root, *(root / group for group in _GROUPS)):
            if (parent / f"{corruption}.npy").is_file():
                found += [Subset(corruption, int(severity), parent / f"{corruption}.npy") for severity in _SEVERITIES]
            levels = [severity for severity in _SEVERITIES if (parent / corruption / severity).is_dir()]
            found += [Subset(corruption, int(level), parent / corruption / level) for level in levels]
    return found


def missing_subsets(found: list[Subset]) -> Iterator[str]:
    """Those of the 75 that are not there, such as `"fog/3"`."""
    there = {(subset.corruption, subset.severity) for subset in found}
    for corruption in CORRUPTIONS:
        for severity in map(int, _SEVERITIES):
            if (corruption, severity) not in there:
                yield f"{corruption}/{severity}"


def folder_c_listing(subset: Subset, name: str, list_one: Callable[[Tree, str], Listing]) -> Listing:
    """One subset of a C version in folders: `fog/3/<class>/<image>`.

    The ids are those of the images that they were made from.

    Args:
        subset: The corruption, its severity and the folder.
        name: Of the whole set.
        list_one: Reads a set of the kind that was corrupted.
    """
    full = f"{name}/{subset.corruption}/{subset.severity}"
    return list_one(read_tree(subset.path), full)


def cifar_c_listing(subset: Subset, name: str, split: str) -> Listing:
    """One subset of CIFAR-10-C or CIFAR-100-C: `fog.npy` holds the images of a split five times, the mildest first.

    The published ones are made of the split `"test"`.

    Raises:
        BadInput: the arrays are damaged, of other shapes, or no five times as many as labels.
    """
    try:
        labels = np.load(subset.path.parent / "labels.npy", allow_pickle=False)
        images = np.load(subset.path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(f"{subset.path}: it or labels.npy is missing or damaged ({error})") from error
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or len(images) % len(_SEVERITIES):
        raise BadInput(
            f"{subset.path} has shape {images.shape} and type {images.dtype}: expected (50000, 32, 32, 3) uint8"
        )
    count = len(images) // len(_SEVERITIES)
    if len(labels) not in (count, len(images)):
        raise BadInput(f"{subset.path}: {len(images)} images and {len(labels)} labels: expected as many, or a fifth")
    rows = slice((subset.severity - 1) * count, subset.severity * count)
    labels = labels[rows] if len(labels) == len(images) else labels
    classes = list(CIFAR10) if labels.max() < len(CIFAR10) else [str(number) for number in range(100)]
    data_set = "cifar10" if len(classes) == len(CIFAR10) else "cifar100"
    full = f"{name}/{subset.corruption}/{subset.severity}"
    return array_listing(full, data_set, split, images[rows].transpose(0, 3, 1, 2), labels, classes)
