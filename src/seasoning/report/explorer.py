"""What the explorer of the page knows: for every soup how many images of every column it gets right."""

import base64
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seasoning.outcomes import Measured
from seasoning.report.results import CLEAN, UNION, Results
from seasoning.selection import SearchObjective
from seasoning.statistics import Estimate


__all__ = ["Board", "Column", "board", "mix_command", "payload", "starting_point"]

_MISSING = 0xFFFF
_LARGEST = 10  # the right end of a slider


class Column(NamedTuple):
    """A number that every soup has.

    Args:
        name: The label of a column, or the union of the threats.
        kind: `clean`, `shift`, `threat` or `union`.
        images: Selection images behind it, those of all parts together.
        parts: How many data sets of as many images it is the plain mean of.
    """

    name: str
    kind: str
    images: int
    parts: int = 1


class Board(NamedTuple):
    """Every measured soup.

    Args:
        columns: The numbers of a soup.
        ingredients: Names of the weights.
        files: Their checkpoints, from the folder of the run.
        weights: `(soups, ingredients)`.
        right: How many selection images each soup has right, `(soups, columns)`; -1 where it is not measured.
        intervals: Of columns of several parts, whose images are not independent, by their index: the ends of the 95 %
            interval, `(soups, 2)`; NaN where a soup is not measured.
        held_out: For the soups that were measured on images that chose nothing, a number for each column.
        policy: What was done with normalization statistics, as in `ModelKey`.
        start: Where the sliders stand at first; by default as in `starting_point`.
    """

    columns: list[Column]
    ingredients: list[str]
    files: list[str]
    weights: NDArray[np.float64]
    right: NDArray[np.int64]
    intervals: dict[int, NDArray[np.float64]]
    held_out: dict[int, list[Estimate | None]]
    policy: str = "mix"
    start: tuple[int, ...] = ()


def board(results: Results) -> Board:
    """The board of a run: every soup that is measured on all selection images of at least one column."""
    objectives = {label: results.objective((label,), label) for label in results.columns}
    objectives |= {UNION: results.union} if results.union is not None else {}
    known = {
        weights: [results.measured(model, "selection", objective.tasks) for objective in objectives.values()]
        for weights, model in results.soups
    }
    soups = {
        weights: outcomes for weights, outcomes in known.items() if any(outcome is not None for outcome in outcomes)
    }
    counts = [
        [_count(objective, rows) for objective, rows in zip(objectives.values(), own, strict=True)]
        for own in soups.values()
    ]
    columns = [
        Column(label, _kind(results, label), max((row[index][1] for row in counts), default=0), len(objective.terms))
        for index, (label, objective) in enumerate(objectives.items())
    ]
    held = {row: _held_out(results, weights, objectives.values()) for row, weights in enumerate(soups)}
    return Board(
        columns,
        results.names,
        [note.path for note in results.ingredients],
        np.array(list(soups)).reshape(len(soups), len(results.ingredients)),
        np.array([[right for right, _ in row] for row in counts], dtype=np.int64).reshape(len(soups), len(columns)),
        {
            index: np.array([_ends(objective, own[index]) for own in soups.values()]).reshape(len(soups), 2)
            for index, objective in enumerate(objectives.values())
            if len(objective.terms) > 1
        },
        {row: numbers for row, numbers in held.items() if any(number is not None for number in numbers)},
        policy=results.plan.batch_norm,
        start=_first_question(results, objectives),
    )


def starting_point(columns: Sequence[Column]) -> list[int]:
    """Where the sliders stand at first: on the union of the threats, or on the clean set and its shifts alike."""
    if any(column.kind == UNION for column in columns):
        return [_LARGEST if column.kind == UNION else 0 for column in columns]
    return [_LARGEST] * len(columns)


def mix_command(ingredients: Sequence[str], weights: Sequence[float], policy: str = "mix") -> str:
    """The command that writes a soup, in the folder of the run, for a shell."""
    used = [(path, weight) for path, weight in zip(ingredients, weights, strict=True) if weight != 0]
    given = ",".join(f"{weight:.12g}" for _, weight in used)
    # A first weight below zero would read as an option.
    equals = "=" if given.startswith("-") else " "
    statistics = "" if policy == "mix" else f" --batch-norm {policy}"
    files = shlex.join(path for path, _ in used)
    return f"seasoning mix {files} --weights{equals}{given}{statistics} --out my-soup.safetensors"


def payload(known: Board) -> dict[str, Any]:
    """The board as JSON can hold it; counts as little-endian 16- or 32-bit numbers in base 64, row by row."""
    wide = max((column.images for column in known.columns), default=0) >= _MISSING
    counts = np.where(known.right < 0, 0xFFFFFFFF if wide else _MISSING, known.right)
    return {
        "columns": [{"name": column.name, "kind": column.kind, "images": column.images} for column in known.columns],
        "ingredients": known.ingredients,
        "files": known.files,
        "policy": known.policy,
        "weights": [[float(f"{weight:.12g}") for weight in row] for row in known.weights],
        "bits": 32 if wide else 16,
        "right": base64.b64encode(counts.astype("<u4" if wide else "<u2").tobytes()).decode(),
        "intervals": {str(index): [_short(ends) for ends in rows] for index, rows in known.intervals.items()},
        "heldOut": {
            str(row): [None if number is None else _short(number[:3]) for number in numbers]
            for row, numbers in known.held_out.items()
        },
        "start": list(known.start) or starting_point(known.columns),
        "largest": _LARGEST,
    }


def _first_question(results: Results, objectives: Mapping[str, SearchObjective]) -> tuple[int, ...]:
    """The sliders for the first objective of the search; none where they cannot say it."""
    asked = set(results.record.objectives[0].terms)
    for label, objective in objectives.items():
        if set(objective.terms) == asked:
            return tuple(_LARGEST if objective == label else 0 for objective in objectives)
    tasks = {term.tasks for term in asked}
    labels = [label for label, own in results.columns.items() if all((task,) in tasks for task in own)]
    if labels and set(results.objective(labels, "").terms) == asked:
        return tuple(_LARGEST if objective in labels else 0 for objective in objectives)
    return ()


def _short(numbers: Sequence[float]) -> list[float] | None:
    """Fractions with as many digits as a page needs; nothing where they are not known."""
    return None if np.isnan(numbers).any() else [float(f"{number:.8g}") for number in numbers]


def _count(objective: SearchObjective, outcomes: Measured | None) -> tuple[int, int]:
    """Right and all images of an objective over as many images of each part; -1 and 0 where it is not measured."""
    if outcomes is None:
        return -1, 0
    columns = objective.columns(outcomes)
    return sum(int(right.sum()) for _, right in columns), sum(len(right) for _, right in columns)


def _ends(objective: SearchObjective, outcomes: Measured | None) -> tuple[float, float]:
    if outcomes is None:
        return float("nan"), float("nan")
    estimate = objective.estimate(outcomes)
    return estimate.low, estimate.high


def _held_out(
    results: Results, weights: tuple[float, ...], objectives: Iterable[SearchObjective]
) -> list[Estimate | None]:
    """A soup's numbers on images that chose nothing."""
    known = [(objective, results.measured(results.soup(weights), "test", objective.tasks)) for objective in objectives]
    return [None if outcomes is None else objective.estimate(outcomes) for objective, outcomes in known]


def _kind(results: Results, name: str) -> str:
    if name in (CLEAN, UNION):
        return name
    return "shift" if name in results.shifts else "threat"
