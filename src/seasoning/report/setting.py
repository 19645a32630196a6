"""What a run was asked to do, as far as a report needs to know it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


__all__ = ["CLEAN", "Epoch", "Ingredient", "Setting", "TaskSamples"]

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


class TaskSamples(NamedTuple):
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
        policy: What was done with normalization statistics, as in `ModelKey`.
        command: The command that goes on with the run.
        unfinished: What the run itself says is missing, in words.
        answers: What `seasoning search` came to, an entry for each objective, as it keeps them.
        labels: What this report calls a search's tasks.
        samples: Fingerprints of the samples that count; `None`: for each name those that were asked for last.
    """

    source: str
    seed: int
    smoke: bool
    ingredients: tuple[Ingredient, ...]
    baselines: tuple[Ingredient, ...]
    threats: tuple[str, ...]
    shifts: tuple[str, ...]
    sizes: dict[str, int]
    places: Mapping[tuple[str, str], TaskSamples]
    attacks: dict[str, str]
    confirming: dict[str, str]
    classes: int | None
    normalization: tuple[list[float], list[float]] | None
    architecture: str | None
    grid_parts: int | None
    policy: str
    command: str
    unfinished: tuple[str, ...] = ()
    answers: tuple[dict[str, Any], ...] = ()
    labels: Mapping[str, str] = MappingProxyType({})
    samples: frozenset[str] | None = None
