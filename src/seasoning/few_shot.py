"""The labelled images of a search: which of them choose, which only measure, and what is asked about them.

The selection points of a data set are its first images in the order of the hash of their ids. Sets that were made of
the same photographs share those ids, so the same photographs choose in all of them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seasoning.config import RunSpec
from seasoning.data import SHIFTS, SOURCES, Samples, apply_shift, load_source, split_samples
from seasoning.errors import BadInput, UnknownName, nearest
from seasoning.plans import SearchPlan
from seasoning.threat import Threat


__all__ = ["Part", "Task", "load_tasks", "selection_order"]


class Part(NamedTuple):
    """Samples with their fingerprint, which takes reading every pixel."""

    samples: Samples
    fingerprint: str


class Task(NamedTuple):
    """What soups are measured on.

    Args:
        name: Its name.
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


def load_tasks(plan: SearchPlan) -> tuple[dict[str, Task], int]:
    """The tasks of a plan by their names, and the number of classes.

    Raises:
        UnknownName: no such data set or shift.
        BadInput: a folder of classes that the model does not have, fewer labelled images than asked for, or images of
            different shapes.
    """
    for shift in plan.shifts:
        if shift not in SHIFTS:
            raise UnknownName("shift", shift, SHIFTS)
    places = {name: _place(place, Path(plan.folder)) for name, place in plan.data.items()}
    classes = plan.classes or _class_names(places[plan.main])
    sets = {name: _load(name, place, classes, plan.batch_size) for name, place in places.items()}
    for name, samples in sets.items():
        if len(samples) < plan.shots:
            raise BadInput(
                f"data {name!r} has {len(samples)} labelled images, {plan.shots} are to choose: "
                f"give more images, or at most --shots {len(samples)}"
            )
        shape, wanted = (tuple(each.x.shape[1:]) for each in (samples, sets[plan.main]))
        if shape != wanted:
            raise BadInput(f"data {name!r} has images of shape {shape}, {plan.main!r} of {wanted}: bring them to one")
    parts = {name: _parts(samples, plan) for name, samples in sets.items()}
    for shift in plan.shifts:
        name, (selection, others, order) = f"{plan.main}/{shift}", parts[plan.main]
        parts[name] = (
            _shifted(selection.samples, shift),
            None if others is None else _shifted(others.samples, shift),
            order,
        )
    tasks = {}
    for name, (data, text) in plan.tasks().items():
        selection, others, order = parts[data]
        tasks[name] = Task(name, None if text is None else Threat.parse(text), selection, order, others)
    return tasks, len(classes)


def selection_order(ids: Sequence[int]) -> NDArray[np.int64]:
    """Ids in the order in which samples are taken to choose: by hash, whatever else there is."""
    return np.array(sorted(ids, key=lambda each: hashlib.sha256(f"selection {each}".encode()).digest()), dtype=np.int64)


def _parts(samples: Samples, plan: SearchPlan) -> tuple[Part, Part | None, NDArray[np.int64]]:
    order = selection_order(samples.ids.tolist())
    chosen, rest = order[: plan.shots], order[plan.shots :][: plan.others]
    return _part(samples, chosen, "selection"), _part(samples, rest, "test") if len(rest) else None, chosen


def _part(samples: Samples, ids: NDArray[np.int64], name: str) -> Part:
    picked = samples.take(torch.isin(samples.ids, torch.from_numpy(ids)), f"{samples.name}/{name}")
    return Part(picked, picked.fingerprint())


def _shifted(samples: Samples, shift: str) -> Part:
    made = apply_shift(samples, shift)
    return Part(made, made.fingerprint())


def _load(name: str, place: str, classes: Sequence[str], batch_size: int) -> Samples:
    """All labelled images of a data set under the names and numbers of the model's classes."""
    own = _class_names(place)
    unknown = [each for each in own if each not in classes]
    if unknown:
        guess = nearest(unknown[0], classes)
        hint = f" (did you mean {guess!r}?)" if guess else ""
        raise BadInput(
            f"data {name!r} has {len(unknown)} classes that the model does not know, such as {unknown[0]!r}{hint}: "
            f"rename the folders, or name the model's {len(classes)} classes in the plan's `classes`"
        )
    samples = load_source(place)
    if place in SOURCES:
        # What the ingredients of `seasoning demo` were trained and chosen on is left out.
        parts = split_samples(samples, RunSpec().data.sizes())
        fresh = torch.isin(samples.ids, torch.cat([parts["selection"].ids, parts["test"].ids]))
        samples = samples.take(fresh, place)
    places = torch.tensor([classes.index(each) for each in own])
    return replace(samples, name=name, y=places[samples.y], classes=len(classes), batch_size=batch_size)


def _place(place: str, folder: Path) -> str:
    """A known data set by its name, or a folder, looked for beside the plan first."""
    beside = folder / place
    return str(beside) if place not in SOURCES and beside.is_dir() else place


def _class_names(place: str) -> tuple[str, ...]:
    """The names of a data set's classes in the order of their numbers."""
    if place in SOURCES:
        return tuple(str(number) for number in range(load_source(place).classes))
    if not Path(place).is_dir():
        raise UnknownName("data set or folder", place, SOURCES)
    return tuple(sorted(each.name for each in Path(place).iterdir() if each.is_dir() and each.name[0] != "."))
