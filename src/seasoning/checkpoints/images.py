"""Which images made a checkpoint: eight bytes of the hash of each image's pixels, in the metadata of its file.

Names do not do: the same photographs lie elsewhere under other names. What the hashes are of is
`seasoning.data.pixels`.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seasoning.checkpoints.hub import PREFIXES
from seasoning.checkpoints.load import read_metadata
from seasoning.errors import BadInput


__all__ = [
    "KINDS",
    "Hashes",
    "ImageSet",
    "UsedImages",
    "images_metadata",
    "joined",
    "read_used_images",
    "soup_images",
    "used_images",
]

# What images were used for, the strongest use first: an image of several is listed under the first of them.
KINDS = ("training", "validation", "selection")
_KEY = "seasoning.images"
_HASH = "8 bytes of BLAKE3 of height, width and levels of 8 bits"
# Eight bytes are 10.7 of base64: with as many sets as this a file has less than 1 MiB of it.
_MOST_MADE_BY, _MOST_CHOSEN_BY = 50_000, 25_000
_MOST_SETS, _LONGEST_NAME = 300, 100

Hashes = NDArray[np.uint64]


class ImageSet(NamedTuple):
    """A set of images that was used: its name, and its fingerprint as `seasoning.data.Samples` takes it."""

    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True, eq=False)
class UsedImages:
    """The images that made a checkpoint.

    Args:
        hashes: Of the pixels of each image, sorted, by the kinds in `KINDS`; no image is in two of them.
        sets: Where the images came from.
        one_in: 1 where all images are listed; else only those are whose hash is a multiple of this power of two.
        complete: Whether what the checkpoint was made of, its start or its ingredients, said its images, too.
    """

    hashes: Mapping[str, Hashes]
    sets: tuple[ImageSet, ...] = ()
    one_in: int = 1
    complete: bool = True

    def sampled(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Which images would be listed if they had been used."""
        return np.asarray(hashes % np.uint64(self.one_in) == 0)

    def found(self, hashes: Hashes) -> dict[str, NDArray[np.bool_]]:
        """By kind, which of these images are listed."""
        return {kind: np.isin(hashes, own) for kind, own in self.hashes.items()}


def used_images(hashes: Mapping[str, Hashes], sets: Sequence[ImageSet]) -> UsedImages:
    """A list of images: all of them, or where they are many a fixed sample.

    Up to 50,000 images of training and validation together, and 25,000 of selection, are listed as they are; beyond,
    the multiples of the smallest power of two that leaves no more.

    Args:
        hashes: Of their pixels, by the kinds in `KINDS`.
        sets: Where they came from.
    """
    return _thinned(hashes, sets, 1, True)


def joined(lists: Sequence[UsedImages | None]) -> UsedImages | None:
    """The images of several lists, sampled as the coarsest of them; `None` where no list is there.

    Args:
        lists: `None` stands for what says nothing of its images.
    """
    known = [each for each in lists if each is not None]
    if not known:
        return None
    hashes = {kind: np.concatenate([each.hashes[kind] for each in known]) for kind in KINDS}
    sets = [each for used in known for each in used.sets]
    complete = len(known) == len(lists) and all(each.complete for each in known)
    return _thinned(hashes, sets, max(each.one_in for each in known), complete)


def soup_images(
    sources: Sequence[str | Path], weights: Sequence[float], more: UsedImages | None = None
) -> UsedImages | None:
    """The images of a soup: those of its ingredients whose weight is not 0, and more that measured or chose it.

    Raises:
        As `read_used_images`.
    """
    lists = [read_used_images(source) for source, weight in zip(sources, weights, strict=True) if weight != 0]
    return joined([*lists, *([] if more is None else [more])])


def images_metadata(used: UsedImages | None) -> dict[str, str]:
    """What a file says of its images, as text of at most 1 MiB under `"seasoning.images"`; empty for `None`.

    Returns:
        JSON with `hash`, `one_in`, `complete`, the name and fingerprint of the first 300 `sets`, and for each kind the
        hashes as base64 of 8 bytes each, the least significant byte first.
    """
    if used is None:
        return {}
    content = {
        "hash": _HASH,
        "one_in": used.one_in,
        "complete": used.complete,
        "sets": [each._asdict() for each in used.sets[:_MOST_SETS]],
        **{kind: base64.b64encode(own.astype("<u8").tobytes()).decode() for kind, own in used.hashes.items()},
    }
    return {_KEY: json.dumps(content, ensure_ascii=False)}


def read_used_images(source: str | Path) -> UsedImages | None:
    """The images that a checkpoint's file lists; `None` where it says nothing, as published models do.

    Raises:
        BadInput: what it says cannot be read; and as `read_metadata`.
    """
    text = None if str(source).startswith(PREFIXES) else read_metadata(source).get(_KEY)
    if text is None:
        return None
    try:
        content = json.loads(text)
        if content["hash"] != _HASH:
            raise ValueError(f"they are {content['hash']!r}, not {_HASH!r}")
        hashes = {
            kind: np.frombuffer(base64.b64decode(content[kind], validate=True), dtype="<u8").astype(np.uint64)
            for kind in KINDS
        }
        sets = tuple(ImageSet(str(each["name"]), str(each["fingerprint"])) for each in content["sets"])
        one_in = int(content["one_in"])
        if one_in < 1:
            raise ValueError(f"one in {one_in}")
        return UsedImages(hashes, sets, one_in, bool(content["complete"]))
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as error:
        raise BadInput(
            f"{source} has hashes of its training images that cannot be read ({error}): copy the file again, or use "
            "the version of seasoning that wrote it"
        ) from error


def _thinned(hashes: Mapping[str, Hashes], sets: Sequence[ImageSet], one_in: int, complete: bool) -> UsedImages:
    kept: dict[str, Hashes] = {}
    for kind in KINDS:
        own = _distinct(hashes.get(kind, np.empty(0, dtype=np.uint64)))
        for stronger in kept.values() if len(own) else ():
            own = own[~np.isin(own, stronger)]
        kept[kind] = own
    named = dict.fromkeys(ImageSet(each.name[:_LONGEST_NAME], each.fingerprint) for each in sets)
    while True:
        used = UsedImages(
            {kind: own[own % np.uint64(one_in) == 0] for kind, own in kept.items()}, tuple(named), one_in, complete
        )
        made_by = len(used.hashes["training"]) + len(used.hashes["validation"])
        if made_by <= _MOST_MADE_BY and len(used.hashes["selection"]) <= _MOST_CHOSEN_BY:
            return used
        one_in *= 2


def _distinct(hashes: Hashes) -> Hashes:
    """Each hash once, sorted; of a million in a tenth of the time that `numpy.unique` takes."""
    ordered = np.sort(hashes)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered
