"""A look at data before it is measured: which set it is, what is missing, what cannot be read, and a contact sheet."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from seasoning.data.catalogue import FACTS, UNLABELLED, V2_VARIANTS
from seasoning.data.contact_sheet import Tile
from seasoning.data.decoding import Whole, decode, decode_all
from seasoning.data.imagenet import class_words, real_listing
from seasoning.data.listing import Listing
from seasoning.data.recognise import Recognised, find_set, lacking, shortfall
from seasoning.errors import BadInput


__all__ = ["Checked", "check_data"]

_TILES, _MOST_NAMED = 40, 10
_THUMB = Whole((8, 8))  # every image is decoded whole; what is kept of it is small


class Checked(NamedTuple):
    """What a look found.

    Args:
        kind: A key of `FACTS`.
        found: What there is, in sentences.
        problems: What is wrong, in sentences; none if the set is complete and can be read.
        tiles: For a contact sheet.
        columns: Of that sheet.
    """

    kind: str
    found: list[str]
    problems: list[str]
    tiles: list[Tile]
    columns: int


def check_data(
    root: Path,
    kind: str | None = None,
    *,
    split: str = "test",
    decoded: bool = True,
    workers: int = 0,
    on_images: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Checked:
    """Look at the data set in a folder or an archive.

    Args:
        root: Where it lies.
        kind: What it is meant to be, a key of `FACTS`; by default what it looks like.
        split: Of CIFAR: `"train"` or `"test"`.
        decoded: Whether to decode every image, to find those that cannot be read.
        workers: Processes that decode; 0 for this one.
        on_images: Told the part, the images looked at and those in all, now and then.

    Raises:
        BadInput: the folder is not there, or holds no data set.
    """
    found = find_set(root, kind, split=split)
    facts = FACTS[found.kind]
    looks = f"{root} looks like {facts.title} ({found.kind})"
    if kind is not None:
        looks = f"{root} as {facts.title} ({kind})"
    said = [looks + (f", {found.remark}" if found.remark else "")]
    problems = _missing_parts(found)
    tiles: list[Tile] = []
    for part in found.parts:
        try:
            listing = part.open()
        except BadInput as error:
            problems.append(str(error).splitlines()[0])
            continue
        named = len(found.parts) > 1 or part.name != found.kind
        wrong = shortfall(listing, found.kind, split)
        said.append(f"{part.name}: " * named + _counted(listing, facts.images is not None and wrong is None))
        said += listing.notes
        problems += [f"{part.name}: {doubt}" for doubt in (*listing.doubts, *_one_class(found.kind, listing))]
        if wrong is not None:
            problems.append(f"{part.name}: {wrong}")
        if decoded and listing.files:
            unread = _unreadable(listing, workers, partial(on_images, part.name))
            said.append(
                f"{part.name}: " * named + f"{len(listing) - len(unread):,} of {len(listing):,} images can be read"
            )
            problems += _spoken(part.name, unread)
        tiles += _tiles(listing, 1 if len(found.parts) > 3 else _TILES // len(found.parts), part.name)
        said += _about_real(found.kind, listing)
    if problems:
        problems += [f"expected layout: {facts.layout}", f"to be had from: {facts.origin}"]
    return Checked(found.kind, said, problems, tiles, 5 if len(found.parts) > 3 else 8)


def _counted(listing: Listing, as_published: bool) -> str:
    classes = sum(count > 0 for count in listing.counts().values())
    words = f"{len(listing):,} images in {classes:,} classes"
    if listing.label_map is not None:
        words += f", of {listing.label_map.outputs:,} that the model tells apart"
    return words + (", as published" if as_published else "")


def _one_class(kind: str, listing: Listing) -> list[str]:
    classes = [name for name, count in listing.counts().items() if count > 0]
    if kind != "folder" or len(classes) > 1:
        return []
    return [f"one class alone, {classes[0]!r}: is this the folder of a class, or does it lie above those of classes?"]


def _missing_parts(found: Recognised) -> list[str]:
    missing = lacking(found)
    if missing is not None:
        return [missing]
    variants = {part.name.partition("/")[2] for part in found.parts}
    if found.kind == "imagenet-v2" and len(found.parts) > 1 and variants != set(V2_VARIANTS):
        return [f"missing variant: {', '.join(sorted(set(V2_VARIANTS) - variants))}"]
    return []


def _unreadable(listing: Listing, workers: int, on_images: Callable[[int, int], None]) -> list[str]:
    """What is wrong with each image that cannot be decoded."""
    problems: list[str] = []
    done = 0
    for part in decode_all(listing.files, _THUMB, workers=workers):
        problems += [said for _, said in part.problems]
        done += len(part.rows) + len(part.problems)
        on_images(done, len(listing))
    return problems


def _spoken(name: str, unread: Sequence[str]) -> list[str]:
    if not unread:
        return []
    listed = "".join(f"\n    {name}" for name in unread[:_MOST_NAMED])
    more = f"\n    and {len(unread) - _MOST_NAMED} more" if len(unread) > _MOST_NAMED else ""
    return [f"{name}: {len(unread)} images cannot be read:{listed}{more}"]


def _about_real(kind: str, listing: Listing) -> list[str]:
    if kind != "imagenet":
        return []
    try:
        unlabelled = len(listing) - len(real_listing(listing, None))
    except BadInput:
        return []
    known = f", as published ({UNLABELLED:,})" if unlabelled == UNLABELLED else ""
    return [f"as imagenet-real: {unlabelled:,} images have no reassessed label{known}"]


def _tiles(listing: Listing, count: int, name: str) -> list[Tile]:
    """Images evenly spread over the set, with their classes; those that cannot be read are passed over."""
    order = listing.y.argsort(stable=True)
    rows = order[torch.linspace(0, len(order) - 1, min(count, len(order))).round().long()].tolist()
    tiles = []
    for row in rows:
        label = listing.class_names[int(listing.y[row])]
        lines = [class_words().get(label, label)]
        if listing.texture is not None:
            lines.append(f"texture {listing.class_names[int(listing.texture[row])]}")
        elif listing.valid is not None:
            others = [listing.class_names[label] for label in listing.valid[row].tolist() if label >= 0]
            lines = [", ".join(class_words().get(other, other) for other in others)]
        lines.append(
            name.split("/", 1)[-1] if count == 1 else (listing.files[row].name if listing.files else f"row {row}")
        )
        try:
            image = listing.pixels[row] if listing.pixels is not None else decode(listing.files[row], None)
        except BadInput:
            continue
        tiles.append(Tile(image, tuple(lines)))
    return tiles
