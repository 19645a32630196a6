"""Images of a data set that already made a checkpoint: counted, named, and left out where that is asked."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seasoning.checkpoints.images import (
    KINDS,
    Hashes,
    ImageSet,
    UsedImages,
    joined,
    read_used_images,
    used_images,
)
from seasoning.data.decoding import Photo
from seasoning.data.open import Opened
from seasoning.errors import BadInput
from seasoning.evaluation.progress import Watch
from seasoning.statistics import proportion


__all__ = ["known_images", "left_out_ids", "overlaps", "require_some", "trained_on", "used_among", "used_ids"]


def known_images(
    checkpoints: Mapping[str, str | Path], *, leave_out: bool, say: Callable[[str], None]
) -> dict[str, UsedImages]:
    """The images that made each checkpoint, by its name, where its file lists them.

    Args:
        checkpoints: Their files by name.
        leave_out: Whether these images are to be left out; whose cannot be, since they are not known, is said.
        say: Told so.

    Raises:
        BadInput: images are to be left out, and a file lists only a sample of them.
    """
    found = {name: read_used_images(source) for name, source in checkpoints.items()}
    for name, used in found.items() if leave_out else ():
        if used is not None and used.one_in > 1:
            raise BadInput(
                f"{name} was made with so many images that its file lists 1 in {used.one_in} of them: how many overlap "
                "can be estimated, but not which to leave out; measure without that option, or on other images"
            )
        if used is None or not used.complete:
            lacking = "which images" if used is None else "all images that"
            say(f"warning: {name} does not say {lacking} it was made with: what it does not list is not left out")
    return {name: used for name, used in found.items() if used is not None}


def trained_on(
    hashes: Callable[[], Mapping[str, Hashes]],
    name: str,
    marks: Mapping[str, str],
    start: Path | None,
    earlier: Path | None = None,
) -> UsedImages:
    """The images of a training, and those of the checkpoint that it starts from.

    Args:
        hashes: Takes the hashes of the images by kind, `"training"` and `"validation"`; of many that takes long.
        name: What they are called.
        marks: The fingerprint of each part, `"train"` and `"validation"`.
        start: The file of the checkpoint, if there is one.
        earlier: A checkpoint of the same training, from before it was stopped.
    """
    for file in (earlier, start):
        known = None if file is None else read_used_images(file)
        # A fine-tune on the images of its start has the same list.
        listed = () if known is None else [(given.name.rpartition("/")[2], given.fingerprint) for given in known.sets]
        if known is not None and {*marks.items()} <= {*listed}:
            return known
    own = used_images(hashes(), [ImageSet(f"{name}/{part}", mark) for part, mark in marks.items()])
    return own if start is None else joined([own, read_used_images(start)]) or own


def overlaps(data: str, hashes: Hashes, known: Mapping[str, UsedImages]) -> list[str]:
    """How many images made which checkpoints, in sentences without a full stop; none where no image did.

    Args:
        data: What the images are called.
        hashes: Of their pixels.
        known: The images that made each checkpoint, by its name.
    """
    said: dict[str, list[str]] = {}
    for name, used in known.items():
        counts = [words for kind in KINDS if (words := _count(hashes, kind, used))]
        if counts:
            said.setdefault(", ".join(counts), []).append(name)
    return [f"{data}: of {len(hashes):,} images {words} of {', '.join(names)}" for words, names in said.items()]


def used_among(hashes: Hashes, known: Mapping[str, UsedImages]) -> NDArray[np.bool_]:
    """Which images are listed as having made any of the checkpoints."""
    found = [mask for used in known.values() for mask in used.found(hashes).values()]
    return np.logical_or.reduce(found) if found else np.zeros(len(hashes), dtype=np.bool_)


def used_ids(opened: Opened, photo: Photo, known: Mapping[str, UsedImages]) -> NDArray[np.int64]:
    """Ids of the images of a data set that made any of the checkpoints; every image is decoded, and none is kept."""
    if not known:
        return np.empty(0, dtype=np.int64)
    ids, hashes = opened.pixel_hashes(photo)
    return ids[used_among(hashes, known)]


def left_out_ids(
    sets: Mapping[str, Opened],
    photo: Photo,
    known: Mapping[str, UsedImages],
    watch: Watch,
    say: Callable[[str], None],
) -> NDArray[np.int64]:
    """Ids of the images of several data sets that made any of the checkpoints, for all sets made of the same ones.

    Args:
        sets: By what they are called.
        photo: The view of photographs that the model asks for.
        known: The images that made each checkpoint, by its name.
        watch: Told what is being decoded.
        say: Told how many images of each set these are.
    """
    ids, found = {}, [np.empty(0, dtype=np.int64)]
    for number, (name, opened) in enumerate(sets.items()):
        watch(f"looking for training images in {name}", number, len(sets))
        ids[name] = opened.ids.numpy()
        found.append(used_ids(opened, photo, known))
        if opened.name != opened.column:
            opened.forget()
    wanted = np.unique(np.concatenate(found))
    for name, own in ids.items():
        lost = int(np.isin(own, wanted).sum())
        say(f"{name}: {lost:,} of {len(own):,} images that an ingredient was made with are left out")
    return wanted


def require_some(left: int, data: str, count: int) -> None:
    """Refuse a data set of which nothing is left.

    Raises:
        BadInput: with its name.
    """
    if left == 0:
        raise BadInput(
            f"{data}: all of its {count:,} images made the checkpoints, and are to be left out: nothing is left; give "
            "other images"
        )


def _count(hashes: Hashes, kind: str, used: UsedImages) -> str:
    """How many of the images are of a kind, in words; empty where none is."""
    found = used.found(hashes)[kind]
    if not found.any():
        return ""
    if used.one_in == 1:
        return f"{int(found.sum()):,} are {kind} images"
    share, low, high, _ = proportion(found[used.sampled(hashes)])
    value, least, most = (round(each * len(hashes)) for each in (share, low, high))
    return f"about {value:,} are {kind} images (95 %: {least:,} to {most:,}, estimated from 1 in {used.one_in})"
