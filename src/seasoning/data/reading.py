"""From a listing to samples: 8 bits a value, in memory or in a mapped file, which may be larger than memory."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seasoning.atomic import replacing
from seasoning.data.decoding import Decoded, View, decode_all
from seasoning.data.files import ImageFile
from seasoning.data.listing import Listing
from seasoning.data.samples import Samples, pixels_known
from seasoning.errors import BadInput


__all__ = ["Known", "read_samples"]

_FORMAT = 1  # of the mapped files; another one is made anew
_MOST_NAMED = 10
_SHARE_OF_MEMORY = 0.8
_PIECE = 256  # known images passed on at a time

Known = Callable[[ImageFile], Tensor | None]


class _Read(NamedTuple):
    """Pixels of the images that could be read, their rows in the listing, and what is wrong with the others."""

    pixels: Tensor
    rows: list[int]
    problems: list[str]


def usable_processors() -> int:
    """Processors that this process may use; those of the machine where the system does not say."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # neither macOS nor Windows knows it
        return os.cpu_count() or 1


def read_samples(
    listing: Listing,
    *,
    view: View | None = None,
    workers: int = 0,
    cache: Path | None = None,
    skip_damaged: bool = False,
    on_images: Callable[[int], None] = lambda count: None,
    known: Known | None = None,
) -> Samples:
    """Decode a data set.

    Args:
        listing: What it holds.
        view: What is done to each photograph; by default nothing, and all must have one size.
        workers: Processes that decode; 0 for this one.
        cache: Folder that keeps decoded images, one file for each set and view, mapped instead of held in memory. A set
            whose files changed is decoded again.
        skip_damaged: Whether to leave out images that cannot be read; they are counted in `Samples.skipped`.
        on_images: Told how many images are decoded, now and then.
        known: Gives the pixels of images that were decoded before in this view, and `None` of others.

    Returns:
        Images as RGB, `(N, 3, H, W)` uint8.

    Raises:
        BadInput: images that cannot be read, all of them named at once, or images of different sizes.
    """
    if listing.pixels is not None:
        read = _Read(listing.pixels, list(range(len(listing))), [])
    elif cache is None:
        read = _in_memory(listing, partial(_decoded, listing, view, workers, known), on_images)
    else:
        decode = partial(_decoded, listing, view, workers, known)
        read = _mapped(listing, view, decode, cache, on_images, skip_damaged)
    _require_whole(listing, read, skip_damaged)
    if len(read.rows) < len(listing):
        listing = listing.take(read.rows)
    return Samples(
        name=listing.name,
        ids=listing.ids,
        x=read.pixels,
        y=listing.y,
        classes=len(listing.class_names),
        valid=listing.valid,
        texture=listing.texture,
        label_map=listing.label_map,
        skipped=tuple(read.problems),
        class_names=listing.class_names,
    )


def _require_whole(listing: Listing, read: _Read, skip_damaged: bool) -> None:
    if not read.problems:
        return
    if not read.rows:
        raise BadInput(f"{listing.name}: none of its {len(listing)} images can be read; the first: {read.problems[0]}")
    if not skip_damaged:
        listed = "".join(f"\n  {each}" for each in read.problems[:_MOST_NAMED])
        more = len(read.problems) - _MOST_NAMED
        raise BadInput(
            f"{listing.name}: {len(read.problems)} of its {len(listing)} images cannot be read:{listed}"
            + (f"\n  and {more} more" if more > 0 else "")
            + "\ncopy them again, or leave them out by --skip-damaged, which the result then says"
        )


def _decoded(listing: Listing, view: View | None, workers: int, known: Known | None) -> Iterator[Decoded]:
    """The images in their order, those that are known copied and the others decoded."""
    found = [None if known is None else known(file) for file in listing.files]
    fresh = [row for row, image in enumerate(found) if image is None]
    if len(fresh) == len(listing):
        yield from decode_all(listing.files, view, workers=workers)
        return
    problems: list[tuple[int, str]] = []
    for part in decode_all([listing.files[row] for row in fresh], view, workers=workers) if fresh else ():
        for row, image in zip(part.rows, part.pixels, strict=True):
            found[fresh[row]] = image
        problems += [(fresh[row], said) for row, said in part.problems]
    there = [row for row, image in enumerate(found) if image is not None]
    for begin in range(0, len(there), _PIECE):
        rows = there[begin : begin + _PIECE]
        images = [image for row in rows if (image := found[row]) is not None]
        yield Decoded(rows, torch.stack(images), problems if begin == 0 else [])


def _in_memory(listing: Listing, decode: Callable[[], Iterator[Decoded]], on_images: Callable[[int], None]) -> _Read:
    pixels = torch.empty(0, dtype=torch.uint8)
    rows: list[int] = []
    problems: list[str] = []
    for part in decode():
        if part.rows and not rows:
            _require_memory(listing, part.pixels)
            pixels = torch.empty((len(listing), *part.pixels.shape[1:]), dtype=torch.uint8)
        pixels[len(rows) : len(rows) + len(part.rows)] = part.pixels
        _note(part, rows, problems)
        on_images(len(rows) + len(problems))
    return _Read(pixels[: len(rows)], rows, problems)


def _require_memory(listing: Listing, like: Tensor) -> None:
    needed = len(listing) * like[0].numel()
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows does not know it
        return
    if needed > _SHARE_OF_MEMORY * there:
        raise BadInput(
            f"{listing.name}: its {len(listing)} images take {needed / 2**30:.1f} GiB, the machine has "
            f"{there / 2**30:.1f}: keep them in a folder of a disk by --cache, or measure on a larger machine"
        )


def _mapped(
    listing: Listing,
    view: View | None,
    decode: Callable[[], Iterator[Decoded]],
    cache: Path,
    on_images: Callable[[int], None],
    skip_damaged: bool,
) -> _Read:
    """Pixels in a mapped file, decoded now or at an earlier time; one without its note beside it was not finished."""
    key = _key(listing, view)
    file, note = cache / f"{key}.pixels", cache / f"{key}.json"
    content = _noted(note)
    if content is None or not file.exists() or file.stat().st_size != int(np.prod(content["shape"])):
        rows, problems, shape, digest = _written(decode, file, on_images)
        content = {"rows": rows, "problems": problems, "shape": shape, "digest": digest}
        if problems and not skip_damaged:
            # It is about to be refused, and the images may be mended.
            with suppress(FileNotFoundError):
                file.unlink()
            return _Read(torch.empty(0), rows, problems)
        with replacing(note) as temporary:
            temporary.write_text(json.dumps(content))
    if not content["rows"]:
        return _Read(torch.empty(0), [], content["problems"])
    mapped = np.memmap(file, dtype=np.uint8, mode="c", shape=tuple(content["shape"]))
    pixels = torch.from_numpy(mapped)
    pixels_known(pixels, content["digest"])
    return _Read(pixels, content["rows"], content["problems"])


def _written(
    decode: Callable[[], Iterator[Decoded]], file: Path, on_images: Callable[[int], None]
) -> tuple[list[int], list[str], list[int], str]:
    """Decode into a file; what of it is kept, what is wrong with the rest, its shape, and the digest of the pixels."""
    rows: list[int] = []
    problems: list[str] = []
    shape: list[int] = []
    with replacing(file) as temporary, temporary.open("wb") as out:
        for part in decode():
            if part.rows:
                out.write(part.pixels.contiguous().numpy().data)
                shape = list(part.pixels.shape[1:])
            _note(part, rows, problems)
            on_images(len(rows) + len(problems))
        out.flush()
        shape = [len(rows), *shape]
        digest = _digest(temporary, shape)
    return rows, problems, shape, digest


def _digest(file: Path, shape: list[int]) -> str:
    """As `Samples.fingerprint` takes it of the pixels."""
    digest = hashlib.sha256(f"{torch.uint8} {tuple(shape)}\n".encode())
    with file.open("rb") as content:
        while piece := content.read(1 << 26):
            digest.update(piece)
    return digest.hexdigest()


def _note(part: Decoded, rows: list[int], problems: list[str]) -> None:
    rows += part.rows
    problems += [said for _, said in part.problems]


def _noted(note: Path) -> Any:
    try:
        return json.loads(note.read_text())
    except (OSError, ValueError):
        return None


def _key(listing: Listing, view: View | None) -> str:
    """What the decoded images depend on: paths, sizes and times of the files, and the view."""
    digest = hashlib.sha256(f"{_FORMAT} {view!r}\n".encode())
    known: dict[str, tuple[int, int]] = {}
    for file in listing.files:
        if file.path not in known:
            # A link that leads nowhere is for the decoder to name.
            found = os.stat(file.path) if os.path.exists(file.path) else None
            known[file.path] = (found.st_size, found.st_mtime_ns) if found else (0, 0)
        size, changed = known[file.path]
        digest.update(f"{os.path.abspath(file.path)}\0{file.offset}\0{size}\0{changed}\n".encode())
    return digest.hexdigest()[:32]
