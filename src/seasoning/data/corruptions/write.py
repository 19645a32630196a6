"""The C version of a data set, written to disk: files where it is made of files, arrays where it is an array."""

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision.transforms import functional

from seasoning.atomic import replacing
from seasoning.data.corrupted_sets import MADE_OF
from seasoning.data.corruptions.apply import CORRUPTIONS, LEAST_SIDE, LEVELS, corrupt
from seasoning.data.decoding import View, decode, image_size
from seasoning.data.listing import Listing
from seasoning.data.recognise import LISTERS
from seasoning.errors import BadInput, RunConflict, UnknownName


__all__ = ["write_corrupted"]

_LONG = ("classes", "sources")  # of what was noted, what says nothing to a reader
_MOST_NAMED = 10
_TOGETHER = 64  # images of one size that are corrupted at a time
_SHARED: dict[str, Callable[["_Work"], "_Work"]] = {}  # in a worker process


class _Work(NamedTuple):
    """Some images, by their rows, under one corruption at one severity."""

    corruption: str
    severity: int
    rows: list[int]


def write_corrupted(
    listing: Listing,
    kind: str,
    out: Path,
    *,
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = LEVELS,
    seed: int = 0,
    view: View | None = None,
    workers: int = 0,
    on_images: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> int:
    """Write `corruption/severity/class/file.png` for every image, or `corruption.npy` for sets without files.

    A file is there completely or not at all, and what is there is not made again: a run that was cut off goes on.

    Args:
        listing: The images.
        kind: The key of `FACTS` that they are read by; kept beside the images, so that they are read alike.
        out: Folder of the C version; a new one, or that of the same one.
        corruptions: Names from `CORRUPTIONS`.
        severities: From 1 to 5; an array takes all of them.
        seed: Seed of the random numbers.
        view: What is done to photographs first; by default nothing, and they keep their sizes.
        workers: Processes that work; 0 for this one.
        on_images: Told the subset, the images that are there and those in all, now and then.

    Returns:
        How many images were made by this call.

    Raises:
        UnknownName: there is no such corruption.
        BadInput: a severity out of range, some severities of an array, images that are too small or cannot be read, or
            a kind whose C version could not be read back.
        RunConflict: the folder holds something else.
    """
    for each in corruptions:
        if each not in CORRUPTIONS:
            raise UnknownName("corruption", each, CORRUPTIONS)
    wrong = [severity for severity in severities if severity not in LEVELS]
    if wrong or not corruptions or not severities:
        raise BadInput(f"severities {list(severities)}: expected some of {', '.join(map(str, LEVELS))}")
    if kind not in LISTERS:
        raise BadInput(
            f"{listing.name} as {kind}: its C version could not be read back; expected one of {', '.join(LISTERS)}. "
            "The photographs of ReaL are those of ImageNet: corrupt them by --kind imagenet"
        )
    _require_sizes(listing, view)
    _claim(out, {**_described(listing, kind), "seed": seed, "view": repr(view)})
    if listing.pixels is not None:
        if set(severities) != set(LEVELS):
            raise BadInput(f"{listing.name} is an array, whose C version holds all severities: leave them out")
        return _write_arrays(listing, out, corruptions, seed, on_images)
    targets = _targets(listing, out)
    work = []
    for corruption in corruptions:
        for severity in severities:
            folder = out / corruption / str(severity)
            rows = [row for row, target in enumerate(targets) if not (folder / target).exists()]
            work += [_Work(corruption, severity, rows[at : at + _TOGETHER]) for at in range(0, len(rows), _TOGETHER)]
    total = len(corruptions) * len(severities) * len(listing)
    made, there = 0, total - sum(len(piece.rows) for piece in work)
    act = partial(_write, listing, targets, out, seed, view)
    for done in _worked(act, work, workers):
        made += len(done.rows)
        on_images(f"{done.corruption} {done.severity}", there + made, total)
    return made


def _require_sizes(listing: Listing, view: View | None) -> None:
    """Refuse, before any work, images that are too small to be corrupted, and those without a readable header."""
    if view is not None:
        return
    if listing.pixels is not None:
        sizes: list[tuple[int, int] | None] = [(listing.pixels.shape[2], listing.pixels.shape[3])]
        names = [listing.name]
    else:
        sizes, names = [image_size(file) for file in listing.files], [file.name for file in listing.files]
    unread = [name for name, size in zip(names, sizes, strict=True) if size is None]
    if unread:
        raise BadInput(f"{listing.name}: {_counted(unread, 'cannot be read')}; copy them again, or remove them")
    small = [
        f"{name} ({size[1]} x {size[0]})"
        for name, size in zip(names, sizes, strict=True)
        if size is not None and min(size) < LEAST_SIDE
    ]
    if small:
        raise BadInput(
            f"{listing.name}: {_counted(small, f'have a side of less than {LEAST_SIDE} pixels')}; remove them, or "
            "bring all to one size by --size"
        )


def _counted(names: Sequence[str], what: str) -> str:
    more = ", …" if len(names) > _MOST_NAMED else ""
    return f"{len(names)} images {what}: {', '.join(names[:_MOST_NAMED])}{more}"


def _worked(act: Callable[[_Work], _Work], work: Sequence[_Work], workers: int) -> Iterable[_Work]:
    if workers == 0:
        yield from map(act, work)
        return
    # Fresh processes: a fork of one with threads can hang.
    with get_context("spawn").Pool(workers, _start, (act,)) as pool:
        yield from pool.imap_unordered(_act, work)


def _start(act: Callable[[_Work], _Work]) -> None:
    """What all pieces of work share goes to a worker once."""
    torch.set_num_threads(1)
    _SHARED["act"] = act


def _act(work: _Work) -> _Work:
    return _SHARED["act"](work)


def _described(listing: Listing, kind: str) -> dict[str, Any]:
    """What tells a set from others, and what its C version is read by: see `c_versions.Origin`."""
    split = listing.name.partition("/")[2] if kind in ("cifar10", "cifar100") else ""
    sources = hashlib.sha256(listing.ids.numpy().tobytes())
    if listing.pixels is not None:
        sources.update(listing.pixels.contiguous().numpy().data)
    times = {path: os.stat(path).st_mtime_ns for path in {file.path for file in listing.files}}
    for file in listing.files:
        size = os.path.getsize(file.path) if file.size < 0 else file.size
        sources.update(f"{file.name}\0{size}\0{times[file.path]}\n".encode())
    return {
        "kind": kind,
        "split": split,
        "images": len(listing),
        "classes": list(listing.class_names),
        "sources": sources.hexdigest()[:32],
    }


def _claim(out: Path, about: dict[str, Any]) -> None:
    """Make the folder, or make sure that it holds this very C version."""
    note = out / MADE_OF
    if out.is_dir() and any(out.iterdir()) and not note.is_file():
        raise RunConflict(f"{out} holds something else: choose an empty or a new folder with --out")
    if note.is_file():
        there = json.loads(note.read_text())
        differing = [
            f"its {name} are others" if name in _LONG else f"{name} is {there.get(name)} there and {about[name]} here"
            for name in about
            if there.get(name) != about[name]
        ]
        if differing:
            raise RunConflict(
                f"{out} holds another C version ({', '.join(differing)}): choose another folder with --out"
            )
        return
    with replacing(note) as temporary:
        temporary.write_text(json.dumps(about))


def _targets(listing: Listing, out: Path) -> list[str]:
    """Path of each image below its subset: class and file as in the original, without loss."""
    names = []
    for file, label in zip(listing.files, listing.y.tolist(), strict=True):
        path = PurePosixPath(file.name)
        names.append(
            str(
                path.with_suffix(".png")
                if len(path.parts) > 1
                else PurePosixPath(listing.class_names[label]) / f"{path.stem}.png"
            )
        )
    # To most file systems of macOS and Windows `A.png` and `a.png` are one file.
    written = [name.casefold() for name in names] if (out / MADE_OF.upper()).is_file() else names
    twice = next((name for name, count in Counter(written).items() if count > 1), None)
    if twice is not None:
        raise BadInput(f"{listing.name}: two images would both become {twice}: rename one of them")
    return names


def _write(listing: Listing, targets: Sequence[str], out: Path, seed: int, view: View | None, work: _Work) -> _Work:
    images = [decode(listing.files[row], view) for row in work.rows]
    # Images of one size are corrupted together, which changes nothing but the time.
    by_size: dict[torch.Size, list[int]] = {}
    for index, image in enumerate(images):
        by_size.setdefault(image.shape, []).append(index)
    for indices in by_size.values():
        rows = [work.rows[index] for index in indices]
        stacked = torch.stack([images[index] for index in indices])
        changed = corrupt(stacked, listing.ids[torch.tensor(rows)], work.corruption, work.severity, seed=seed)
        for row, image in zip(rows, changed, strict=True):
            target = out / work.corruption / str(work.severity) / targets[row]
            written = io.BytesIO()
            functional.to_pil_image(image).save(written, "PNG")
            with replacing(target) as temporary:
                temporary.write_bytes(written.getvalue())
    return work


def _write_arrays(
    listing: Listing, out: Path, corruptions: Sequence[str], seed: int, on_images: Callable[[str, int, int], None]
) -> int:
    pixels = listing.pixels
    if pixels is None:
        return 0
    made, total = 0, len(corruptions) * len(LEVELS) * len(listing)
    labels = np.tile(listing.y.numpy().astype(np.uint8), len(LEVELS))
    _save(out / "labels.npy", labels)
    for number, corruption in enumerate(corruptions):
        target = out / f"{corruption}.npy"
        if not target.exists():
            parts = [corrupt(pixels, listing.ids, corruption, severity, seed=seed) for severity in LEVELS]
            _save(target, torch.cat(parts).permute(0, 2, 3, 1).contiguous().numpy())
            made += len(LEVELS) * len(listing)
        on_images(corruption, (number + 1) * len(LEVELS) * len(listing), total)
    return made


def _save(path: Path, array: Any) -> None:
    with replacing(path) as temporary, temporary.open("wb") as out:
        np.save(out, array)
