"""What a run was asked to do, as far as a report needs to know it, read from the notes in its store."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seasoning.errors import BadInput
from seasoning.store import Store


__all__ = ["CLEAN", "Epoch", "Ingredient", "Place", "Setting", "ingredient", "read_setting"]

CLEAN = "clean"


class Epoch(NamedTuple):
    """Where a training stood after an epoch: shares in [0, 1], `None` where it was not measured."""

    epoch: int
    loss: float | None
    clean: float | None
    robust: float | None


class Ingredient(NamedTuple):
    """One network that soups are made of, or a baseline beside them.

    Args:
        name: What it is called.
        threat: What it was trained to withstand; `None`: nothing.
        fingerprint: Identity of its parameters.
        path: Its file, from the folder of the run.
        epoch: The epoch that was kept, of how many; `None` where it was not trained by the run.
        epochs: Epochs of its training.
        gradients: Passes with a gradient that its training took; `None` where nobody counted.
        curve: Its training, epoch by epoch; empty where nobody kept it.
    """

    name: str
    threat: str | None
    fingerprint: str
    path: str
    epoch: int | None
    epochs: int | None
    gradients: int | None
    curve: tuple[Epoch, ...]


class Place(NamedTuple):
    """Where the store has a task of a part of the data.

    Args:
        data: Name of the samples.
        threat: Text of the threat, or `None`.
        attack: Name and options of the attack, or `None`.
        ids: The samples that belong to the part; `None`: all of them.
    """

    data: str
    threat: str | None
    attack: str | None
    ids: NDArray[np.int64] | None


class Setting(NamedTuple):
    """A run before any measurement.

    Args:
        source: The data that it is about.
        seed: Seed of all random starts.
        smoke: Whether it only tried the machinery.
        ingredients: In the order of the weights.
        baselines: Networks that are compared with the soups, and are part of none.
        threats: Tasks under attack.
        shifts: Tasks without attack beside the clean one.
        sizes: Images of each part.
        places: Where the store has them, by `(part, task)`.
        attacks: How each threat was attacked.
        confirming: How it was attacked a second time, harder.
        classes: Classes of the network; `None` where it is not known.
        normalization: Mean and standard deviation of its input, a number for each channel.
        architecture: Its name; `None` where it is not known.
        grid_parts: Weights are multiples of one over it; `None` where the soups are no such grid.
        command: The command that goes on with the run.
    """

    source: str
    seed: int
    smoke: bool
    ingredients: tuple[Ingredient, ...]
    baselines: tuple[Ingredient, ...]
    threats: tuple[str, ...]
    shifts: tuple[str, ...]
    sizes: dict[str, int]
    places: Mapping[tuple[str, str], Place]
    attacks: dict[str, str]
    confirming: dict[str, str]
    classes: int | None
    normalization: tuple[list[float], list[float]] | None
    architecture: str | None
    grid_parts: int | None
    command: str


def read_setting(store: Store) -> Setting:
    """The setting of a run that has at least its ingredients.

    Raises:
        BadInput: the store holds no run, or one without ingredients yet.
    """
    spec = store.note("spec")
    if spec is None:
        raise BadInput("the store holds no run: give the folder of one, such as runs/demo")
    return _demo(store, spec)


def _demo(store: Store, spec: dict[str, Any]) -> Setting:
    """The setting of `seasoning demo`."""
    command = "seasoning demo --resume --out {folder}"
    ingredients = store.note("ingredients")
    if ingredients is None:
        raise BadInput(f"the run has no trained ingredients yet, so nothing to report: {command} goes on with it")
    source, shifts, threats = spec["data"]["source"], tuple(spec["data"]["shifts"]), tuple(spec["threats"])
    parts = ("train", "validation", "selection", "test")
    network, attacks = store.note("network"), store.note("attacks")
    return Setting(
        source=source,
        seed=spec["seed"],
        smoke=spec["smoke"],
        ingredients=tuple(ingredient(name, each) for name, each in ingredients.items()),
        baselines=tuple(ingredient(name, each) for name, each in (store.note("baselines") or {}).items()),
        threats=threats,
        shifts=shifts,
        sizes={part: spec["data"][part] for part in parts},
        places={
            (part, task): Place(
                f"{source}/{part}/{task}" if task in shifts else f"{source}/{part}",
                task if task in threats else None,
                attacks.get(task),
                None,
            )
            for part in parts
            for task in (CLEAN, *shifts, *threats)
        },
        attacks=attacks,
        confirming=store.note("confirming"),
        classes=network["classes"],
        normalization=(network["mean"], network["std"]),
        architecture=spec["training"]["architecture"],
        grid_parts=spec["grid_parts"],
        command=command,
    )


def ingredient(name: str, note: Mapping[str, Any]) -> Ingredient:
    """An ingredient from its note; what a note lacks is not known."""
    epoch, epochs = note.get("training") or (None, None)
    curve = [
        Epoch(place, each.get("loss"), each.get("clean"), each.get("robust"))
        for place, each in enumerate(note.get("curve") or (), 1)
    ]
    return Ingredient(
        name,
        note.get("threat"),
        note["fingerprint"],
        note.get("path") or f"ingredients/{name}.safetensors",
        epoch,
        epochs,
        (note.get("passes") or {}).get("gradients"),
        tuple(curve),
    )
