"""The labelled images of a search: which of them choose, which only measure, and what is asked about them.

The selection points of a data set are its first images in the order of the hash of their ids; those of a known data
set come in the order of its parts. Sets that were made of the same photographs share those ids, so the same photographs
choose in all of them.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seasoning.checkpoints.class_names import agreed_names, carried_names
from seasoning.checkpoints.images import Hashes, UsedImages
from seasoning.checkpoints.provenance import images_used
from seasoning.commands.data import in_grey
from seasoning.commands.overlap import left_out_ids, overlaps
from seasoning.config.search import SearchPlan
from seasoning.data import SOURCES, Samples, apply_shift
from seasoning.data.catalogue import FACTS
from seasoning.data.class_names import require_distinct
from seasoning.data.decoding import Photo
from seasoning.data.files import ImageFile
from seasoning.data.imagenet import wnids
from seasoning.data.open import Opened, ReadOptions, open_data
from seasoning.data.pixels import pixel_hashes
from seasoning.data.reading import Known
from seasoning.data.sources import Used, drawing_order, held_out
from seasoning.errors import BadInput, UnknownName, nearest
from seasoning.evaluation.progress import Watch
from seasoning.task import Task
from seasoning.threat import Threat


__all__ = ["OpenTask", "Part", "Sets", "load_tasks", "open_sets", "selection_order"]

_OWN = ("folder", "folder-c")  # kinds whose classes are the names of folders
_SHARING = ("imagenet", "imagenet-real")  # kinds of the same files
_MOST_NOTES = 4  # on one data set
_IN_RUN = "images"  # where a run keeps decoded images


class Part(NamedTuple):
    """Samples with their fingerprint and the hash of each image, which take reading every pixel.

    The hashes are those of the images as they were read; of a shift, those of the images that it was made of.
    """

    samples: Samples
    fingerprint: str
    hashes: Hashes


class OpenTask(NamedTuple):
    """A task with its samples.

    Args:
        name: Its text.
        threat: What an attack is allowed; `None`: clean images.
        selection: The images that choose.
        order: Their ids, in the order in which they are taken.
        others: The images that only measure what was chosen; `None` where none are left.
    """

    name: str
    threat: Threat | None
    selection: Part
    order: NDArray[np.int64]
    others: Part | None


@dataclass(frozen=True, slots=True)
class Sets:
    """The data sets of a plan before a pixel is decoded.

    Args:
        opened: By the name that the plan gives, all sets below it: one, or the parts of one of many.
        parts: Names of the parts of those that have parts, in that order.
        classes: The model's classes in the order of its logits.
        channels: Of the images.
        notes: What a reader of the numbers has to know.
    """

    opened: dict[str, list[Opened]]
    parts: dict[str, tuple[str, ...]]
    classes: tuple[str, ...]
    channels: int
    notes: tuple[str, ...]

    def all(self) -> dict[str, Opened]:
        """Every set by its name."""
        names = chain.from_iterable(self.parts.get(name, (name,)) for name in self.opened)
        return dict(zip(names, chain.from_iterable(self.opened.values()), strict=True))


def open_sets(plan: SearchPlan) -> Sets:
    """What the data of a plan are, refused where a search over them is impossible.

    Raises:
        UnknownName: no such data set or kind.
        BadInput: a published set that is not complete, a folder of classes that the model does not have, fewer
            labelled images than asked for, sets of different models, or an attack on images of several right classes.
    """
    reading = plan.reading
    require_distinct(reading.classes)
    options = ReadOptions(
        transform=reading.transform,
        workers=reading.workers,
        cache=None if reading.cache is None else Path(plan.folder) / reading.cache,
        skip_damaged=reading.skip_damaged,
        partial=reading.partial,
        class_order=reading.class_order,
        carried=None if reading.classes else _carried(plan),
    )
    files = [*plan.ingredients.values(), *(each.file for each in plan.candidates.values())]
    used = [images_used(path) for path in files]
    opened = {name: _open(name, path, Path(plan.folder), options, used) for name, path in plan.data.items()}
    main = opened[plan.main][0]
    several: list[str] = []
    classes, parts, notes = plan.reading.classes or _names(main), {}, []
    for name, each in opened.items():
        if len(each) > 1 or each[0].name != each[0].column:
            parts[name] = tuple(f"{name}/{part.name.partition('/')[2]}" for part in each)
        said: list[tuple[str, str]] = []
        for part, called in zip(each, parts.get(name, (name,)), strict=True):
            _require_fit(part, called, plan, classes, main.channels)
            several += [called] if part.listing is not None and part.listing.valid is not None else []
            said += [(called, note) for note in part.notes]
            if len(each) > 1:
                part.forget()
        notes += _told(name, said)
        wanted = FACTS[each[0].kind].subsets if each[0].kind in FACTS else 1
        if name in parts and len(each) < wanted:
            notes.append(
                f"{name}: {len(each)} of {wanted} corruptions and severities are there, its mean is over these"
            )
    sets = Sets(opened, parts, classes, main.channels, tuple(dict.fromkeys(notes)))
    tasks = plan.asked(parts).tasks.values()
    under = [str(task.clean) for task in tasks if task.threat is not None and str(task.clean) in several]
    if under:
        raise BadInput(
            f"data {under[0]!r} has several right classes for an image, and an attack knows one: leave it out of "
            "`attacked`, or where that is not given, put a data set of single labels first"
        )
    return sets


def load_tasks(
    plan: SearchPlan,
    sets: Sets,
    photo: Photo,
    folder: Path,
    watch: Watch = lambda doing, done, total: None,
    used: Mapping[str, UsedImages] = MappingProxyType({}),
    say: Callable[[str], None] = lambda note: None,
) -> dict[str, OpenTask]:
    """The tasks of a plan by their names.

    Args:
        plan: The search.
        sets: Its data.
        photo: The view of photographs that the model asks for.
        folder: Of the run, which keeps decoded images of sets beyond the plan's limit.
        watch: Told what is being decoded.
        used: The images that made each ingredient, by its name.
        say: Told how many of these choose or measure, or are left out.

    Raises:
        BadInput: images that cannot be read, of different shapes, too many for the disk, or too few when those that
            made an ingredient are left out.
    """
    keep, every = _kept_on_disk(plan, sets, photo, folder), sets.all()
    parts, shape, known = {}, None, _Decoded()
    asked = plan.reading.leave_out_training_images
    left_out = left_out_ids(every, photo, used, watch, say) if asked else np.empty(0, dtype=np.int64)
    for number, (name, opened) in enumerate(every.items()):
        if opened.kind is not None:
            watch(f"reading {name}", number, len(every))
        cache = folder / _IN_RUN if _owner(name, sets) in keep else None
        parts[name] = _read(name, opened, plan, sets.classes, photo, cache, known, left_out)
        for part, what in zip(parts[name][:2], ("selection", "held-out images"), strict=True):
            for each in overlaps(f"{name}, {what}", part.hashes, used) if part is not None else ():
                say(f"warning: {each}")
        found = tuple(parts[name][0].samples.x.shape[1:])
        # Published sets have the size that was published, or that of the model; one's own may be anything.
        if opened.kind in (None, *_OWN) and found != (shape := shape or found):
            raise BadInput(f"data {name!r} has images of shape {found}, {plan.main!r} of {shape}: bring them to one")
        shape = shape or found
        if len(sets.opened[_owner(name, sets)]) > 1:
            opened.forget()
    for shift in plan.shifts:
        selection, others, order = parts[plan.main]
        moved = None if others is None else _shifted(others, shift)
        parts[f"{plan.main}/{shift}"] = _shifted(selection, shift), moved, order
    tasks = {}
    for name, task in plan.asked(sets.parts).tasks.items():
        selection, others, order = parts[str(task.clean)]
        tasks[name] = OpenTask(name, task.threat, selection, order, others)
    return tasks


def selection_order(ids: Sequence[int]) -> NDArray[np.int64]:
    """Ids in the order in which samples are taken to choose: by hash, whatever else there is."""
    return np.array(sorted(ids, key=lambda each: hashlib.sha256(f"selection {each}".encode()).digest()), dtype=np.int64)


def _open(
    name: str, text: str, folder: Path, options: ReadOptions, used: Sequence[Mapping[str, tuple[int, int]]]
) -> list[Opened]:
    """The sets of one name of the plan: known ones by their names, else paths, looked for beside the plan first."""
    kind, equals, path = text.partition("=")
    if not equals or (kind not in FACTS and Path(text).exists()):
        kind, path = "", text
    if not kind and path in SOURCES:
        counts = [Used(*each[path]) for each in used if path in each]
        return [Opened(name, name, None, None, lambda: replace(held_out(path, counts), name=path), options)]
    if (folder / path).exists():
        path = str(folder / path)
    if not kind and not Path(path).exists():
        raise UnknownName("data set or folder", text, SOURCES)
    # Called by the name of a published set, as `seasoning evaluate` writes it, it is read as that.
    if not kind and name in FACTS:
        kind = name
    return open_data([f"{kind}={path}" if kind else path], options)


def _carried(plan: SearchPlan) -> tuple[str, ...] | None:
    """The classes in the order of the logits, as the ingredients say."""
    return agreed_names((name, carried_names(path)) for name, path in plan.ingredients.items())


def _names(part: Opened) -> tuple[str, ...]:
    """The names of the model's classes by a data set; those of one that masks or groups them are ImageNet's."""
    if part.listing is None:
        return tuple(str(number) for number in range(part.outputs))
    return part.listing.class_names if part.listing.label_map is None else wnids()


def _told(name: str, said: Sequence[tuple[str, str]]) -> list[str]:
    """Notes on a data set: what several of its parts say, once, and of many notes the first ones."""
    parts: dict[str, list[str]] = {}
    for part, note in said:
        parts.setdefault(note, []).append(part)
    told = [
        f"{found[0]}: {note}" if len(found) == 1 else f"{name}: {note} ({len(found)} of its parts)"
        for note, found in parts.items()
    ]
    more = len(told) - _MOST_NOTES
    return [*told[:_MOST_NOTES], *([f"{name}: {more} more notes: seasoning data check has all"] if more > 0 else [])]


def _require_fit(part: Opened, name: str, plan: SearchPlan, classes: Sequence[str], channels: int) -> None:
    """Refuse, before any work, what no single model can be measured on, and what is too little."""
    count, mine = len(part.ids), part.kind in (None, *_OWN)
    strangers = [each for each in _names(part) if each not in classes]
    # Published classes are numbered as published, whatever the plan calls them.
    if strangers and (mine or (part.outputs == len(classes) and not plan.reading.classes)):
        guess = nearest(strangers[0], classes)
        hint = f" (did you mean {guess!r}?)" if guess else ""
        raise BadInput(
            f"data {name!r} has {len(strangers)} classes that the model does not know, such as {strangers[0]!r}{hint}: "
            f"rename the folders, or name the model's {len(classes)} classes in the plan's `reading.classes`"
        )
    if not mine and (part.outputs, part.channels) != (len(classes), channels):
        raise BadInput(
            f"data {name!r} wants a model of {part.outputs} classes and {part.channels} channels, {plan.main!r} "
            f"one of {len(classes)} and {channels}: search over them apart, or name the classes in `reading.classes`"
        )
    if count < plan.shots:
        which = "labelled images" if part.kind else "images that no ingredient or candidate was trained or validated on"
        raise BadInput(
            f"data {name!r} has {count} {which}, {plan.shots} are to choose: give more images, or at most --shots "
            f"{count}"
        )


def _owner(name: str, sets: Sets) -> str:
    """The name in the plan that a set is of."""
    return name if name in sets.opened else next(each for each, parts in sets.parts.items() if name in parts)


def _kept_on_disk(plan: SearchPlan, sets: Sets, photo: Photo, folder: Path) -> set[str]:
    """Data sets beyond the limit of memory.

    Raises:
        BadInput: their images are more than the disk has room for.
    """
    keep, needed = set(), 0
    for name, opened in sets.opened.items():
        wanted = len(opened[0].ids) if plan.others is None else plan.shots + plan.others
        size = sum(min(wanted, len(opened[0].ids)) * opened[0].image_bytes(photo) for _ in opened)
        if plan.reading.cache is None and opened[0].kind is not None and size > plan.reading.memory_limit * 2**30:
            keep.add(name)
            needed += size
    there = sum(each.stat().st_size for each in (folder / _IN_RUN).glob("*.pixels"))
    free = shutil.disk_usage(folder).free
    if needed - there > free:
        raise BadInput(
            f"the images of {', '.join(sorted(keep))} take {needed / 2**30:.1f} GiB on the disk, {folder} has "
            f"{free / 2**30:.1f} left: give a folder with more by --cache, or fewer images by `others`"
        )
    return keep


def _read(
    name: str,
    opened: Opened,
    plan: SearchPlan,
    classes: Sequence[str],
    photo: Photo,
    cache: Path | None,
    known: "_Decoded",
    left_out: NDArray[np.int64],
) -> tuple[Part, Part | None, NDArray[np.int64]]:
    """The images that choose, those that only measure, and the ids of the first in their order; no others are read."""
    ids = opened.ids.numpy()
    order = selection_order(ids.tolist()) if opened.kind else np.array(drawing_order(opened.read(photo)))
    order = order[~np.isin(order, left_out)]
    if len(order) < plan.shots:
        raise BadInput(
            f"data {name!r} has {len(order)} images left without those that made an ingredient, {plan.shots} are to "
            "choose: give more images, or fewer --shots"
        )
    chosen, rest = order[: plan.shots], order[plan.shots :][: plan.others]

    def part(wanted: NDArray[np.int64], what: str) -> Part:
        rows = np.flatnonzero(np.isin(ids, wanted)).tolist()
        read = opened.read(photo, rows=rows, cache=cache, known=known.of(opened, photo))
        known.keep(opened, photo, rows, read)
        hashes = pixel_hashes(read.x)
        if opened.channels > 1 and plan.network.options.get("in_chans") == 1:
            read = in_grey(read)
        samples = _numbered(opened, read, classes)
        samples = replace(samples, name=str(Task.parse(name).on(what)), batch_size=plan.batch_size)
        return Part(samples, samples.fingerprint(), hashes)

    selection = part(chosen, "selection")
    if len(selection.samples) < len(chosen):
        raise BadInput(
            f"data {name!r}: {len(chosen) - len(selection.samples)} of the images that are to choose cannot be read, "
            f"such as {selection.samples.skipped[0]}: copy them again, or move them away"
        )
    return selection, part(rest, "test") if len(rest) else None, chosen


def _numbered(opened: Opened, samples: Samples, classes: Sequence[str]) -> Samples:
    """Folders under the numbers of the model's classes; published sets have them."""
    names = _names(opened)
    if samples.label_map is not None or not set(names) <= set(classes):
        return samples
    indices = torch.tensor([classes.index(each) for each in names])
    valid = None if samples.valid is None else torch.where(samples.valid < 0, -1, indices[samples.valid])
    return replace(samples, y=indices[samples.y], valid=valid, classes=len(classes), class_names=tuple(classes))


class _Decoded:
    """Pixels of the photographs that two data sets share, so that the second need not decode them."""

    def __init__(self) -> None:
        self._there: dict[tuple[str, str, int], tuple[torch.Tensor, int]] = {}

    def of(self, opened: Opened, photo: Photo) -> Known | None:
        """What is known of a set's photographs."""
        if opened.kind not in _SHARING:
            return None
        view = repr(opened.view(photo))

        def known(file: ImageFile) -> torch.Tensor | None:
            found = self._there.get((view, file.path, file.offset))
            return None if found is None else found[0][found[1]]

        return known

    def keep(self, opened: Opened, photo: Photo, rows: Sequence[int], read: Samples) -> None:
        """Remember a set's photographs, unless some could not be read."""
        listing = opened.listing
        if opened.kind in _SHARING and listing is not None and len(rows) == len(read):
            view = repr(opened.view(photo))
            files = (listing.files[row] for row in rows)
            self._there |= {(view, file.path, file.offset): (read.x, number) for number, file in enumerate(files)}


def _shifted(part: Part, shift: str) -> Part:
    made = apply_shift(part.samples, shift)
    return Part(made, made.fingerprint(), part.hashes)
