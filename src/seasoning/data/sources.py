"""Where samples come from, and how they are split.

A split is drawn from the hash of the sample id alone: it does not depend on the order of the files, on a seed of the
run, or on the other samples.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor

from seasoning.data.reading import read_samples
from seasoning.data.recognise import find_set
from seasoning.data.samples import Samples
from seasoning.errors import BadInput, UnknownName
from seasoning.task import SPLITS


__all__ = [
    "SOURCES",
    "SPLITS",
    "Used",
    "drawing_order",
    "held_out",
    "load_source",
    "source_parts",
    "split_samples",
    "usual_parts",
]

_log = logging.getLogger(__name__)


def load_digits() -> Samples:
    """The 1,797 handwritten digits that scikit-learn embeds: 8 x 8 pixels of 17 grey levels, ten classes.

    Source: E. Alpaydin & C. Kaynak 1998, *Optical recognition of handwritten digits*, UCI; its test part.
    """
    # Loading scikit-learn takes a second: only when it is asked for.
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    return Samples("digits", torch.arange(len(x)), x, torch.tensor(labels, dtype=torch.int64), classes=10)


SOURCES: dict[str, Callable[[], Samples]] = {"digits": load_digits}


# Images of each part of a known data set, in the order in which they are drawn: the first two make ingredients, the
# third chooses soups, and nothing is chosen on the last.
_SIZES = {"digits": {"train": 900, "validation": 200, "selection": 300, "test": 397}}


class Used(NamedTuple):
    """How many images of a known data set ingredients were trained on and validated on."""

    train: int
    validation: int


def usual_parts(name: str) -> Used:
    """How many images of a known data set ingredients are trained and validated on where nobody says otherwise."""
    return Used(_SIZES[name]["train"], _SIZES[name]["validation"])


def source_parts(name: str, used: Used | None = None) -> dict[str, Samples]:
    """The parts of a known data set, by the names in `SPLITS`; none of them shares an image with another.

    Args:
        name: Of the data set, a key of `SOURCES`.
        used: Where ingredients used other numbers of images than the usual ones: what they leave is divided into
            selection images, as many as usual, and test images.

    Raises:
        BadInput: more images are asked for than there are.
    """
    samples, usual = load_source(name), _SIZES[name]
    train, validation = used or usual_parts(name)
    left = max(len(samples) - train - validation, 0)
    selection = min(usual["selection"], left)
    sizes = {"train": train, "validation": validation, "selection": selection, "test": left - selection}
    return split_samples(samples, sizes)


def held_out(name: str, used: Sequence[Used]) -> Samples:
    """A known data set without the images that any of several ingredients was trained or validated on.

    Args:
        name: Of the data set, a key of `SOURCES`.
        used: What each of them says; those that say nothing used the usual parts.
    """
    samples = load_source(name)
    # Parts are filled in one order, so the images that were used are the first of it.
    most = max(sum(parts) for parts in (usual_parts(name), *used))
    return split_samples(samples, {"used": most, "held out": len(samples) - most})["held out"]


def drawing_order(samples: "Drawable") -> list[int]:
    """Ids of a data set in the order in which its parts are filled."""
    return sorted(samples.ids.tolist(), key=lambda each: hashlib.sha256(f"{samples.name}/{each}".encode()).digest())


def load_source(name: str, *, split: str = "test", carried: Sequence[str] | None = None) -> Samples:
    """All samples of a named data set, or of a folder or an archive that `find_set` knows, at the size they have.

    Args:
        name: Of the data set, or its path.
        split: Of CIFAR, which has both in one place: `"train"` or `"test"`.
        carried: The classes in the order of a model's logits, as its checkpoint says, to number folders by.

    Raises:
        UnknownName: there is no such data set or folder.
        BadInput: the folder is not laid out so, holds several sets, or an image in it is damaged.
    """
    if name in SOURCES:
        return SOURCES[name]()
    if not Path(name).exists():
        raise UnknownName("data set", name, SOURCES)
    found = find_set(Path(name), split=split, carried=carried)
    if len(found.parts) > 1:
        raise BadInput(f"{name} holds {len(found.parts)} sets, such as {found.parts[0].name}: give the folder of one")
    listing = found.parts[0].open()
    for note in (*listing.doubts, *listing.notes):
        _log.warning("%s: %s", name, note)
    return read_samples(listing)


class Drawable(Protocol):
    """Labelled images that parts can be drawn of, in memory or on a disk."""

    @property
    def name(self) -> str: ...
    @property
    def ids(self) -> Tensor: ...
    def __len__(self) -> int: ...
    def take(self, rows: Tensor, name: str) -> Self: ...


S = TypeVar("S", bound=Drawable)


def split_samples(samples: S, sizes: Mapping[str, int]) -> dict[str, S]:
    """Disjoint parts of a data set, the same on every machine.

    Args:
        samples: The data set.
        sizes: Number of samples of each part, in the order in which they are filled.

    Returns:
        Parts named `"<data set>/<part>"`.

    Raises:
        BadInput: more samples are asked for than there are.
    """
    if sum(sizes.values()) > len(samples):
        raise BadInput(f"{samples.name}: parts of {dict(sizes)} ask for more than its {len(samples)} samples")
    rows = {sample: row for row, sample in enumerate(samples.ids.tolist())}
    order = torch.tensor([rows[sample] for sample in drawing_order(samples)])
    parts = dict(zip(sizes, order[: sum(sizes.values())].split(list(sizes.values())), strict=True))
    return {part: samples.take(rows.sort().values, f"{samples.name}/{part}") for part, rows in parts.items()}
