"""What the page's explorer knows: for every soup how many images of every column it gets right."""

import base64
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seasoning import metrics, statistics
from seasoning.outcomes import ModelKey, Outcomes
from seasoning.report.results import CLEAN, Results


__all__ = ["UNION", "Board", "Column", "board", "mix_command", "payload", "starting_point"]

UNION = "union"
_MISSING = 0xFFFF
_LARGEST = 10  # the right end of a slider


class Column(NamedTuple):
    """A number that every soup has.

    Args:
        name: A task, or the union of the threats.
        kind: `clean`, `shift`, `threat` or `union`.
        images: Selection images behind it.
        held_out: Images behind it that chose nothing; 0 where there are none.
    """

    name: str
    kind: str
    images: int
    held_out: int


class Board(NamedTuple):
    """Every measured soup.

    Args:
        columns: The numbers of a soup.
        ingredients: Names of the weights.
        files: Their checkpoints, from the folder of the run.
        weights: `(soups, ingredients)`.
        right: How many selection images each soup has right, `(soups, columns)`; -1 where it is not measured.
        held_out: The same on images that chose nothing, for the soups that were measured there.
        policy: What was done with normalization statistics, as in `ModelKey`.
    """

    columns: list[Column]
    ingredients: list[str]
    files: list[str]
    weights: NDArray[np.float64]
    right: NDArray[np.int64]
    held_out: dict[int, list[int]]
    policy: str = "mix"


def board(results: Results) -> Board:
    """The board of a run: every soup that is measured on all selection images of at least one task."""
    rows = [(weights, model, _counts(results, model, "selection")) for weights, model in results.soups()]
    measured = [each for each in rows if any(known is not None for known in each[2])]
    names = [*results.tasks, *([UNION] if results.threats else [])]
    tested = {place: _counts(results, model, "test") for place, (_, model, _) in enumerate(measured)}
    held = {place: counts for place, counts in tested.items() if any(known is not None for known in counts)}
    columns = [
        Column(
            name,
            _kind(results, name),
            _images([counts[place] for *_, counts in measured]),
            _images([counts[place] for counts in held.values()]),
        )
        for place, name in enumerate(names)
    ]
    return Board(
        columns,
        [each.name for each in results.ingredients],
        [each.path for each in results.ingredients],
        np.array([weights for weights, *_ in measured]).reshape(len(measured), len(results.ingredients)),
        np.array([_rights(counts) for *_, counts in measured], dtype=np.int64).reshape(len(measured), len(names)),
        {place: _rights(counts) for place, counts in held.items()},
        policy=results.setting.policy,
    )


def starting_point(columns: Sequence[Column]) -> list[int]:
    """Where the sliders stand at first: on the union of the threats, or on the clean set and its shifts alike."""
    if any(each.kind == UNION for each in columns):
        return [_LARGEST if each.kind == UNION else 0 for each in columns]
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
    wide = max((each.images for each in known.columns), default=0) >= _MISSING
    counts = np.where(known.right < 0, 0xFFFFFFFF if wide else _MISSING, known.right)
    return {
        "columns": [
            {"name": each.name, "kind": each.kind, "images": each.images, "heldOut": each.held_out}
            for each in known.columns
        ],
        "ingredients": known.ingredients,
        "files": known.files,
        "policy": known.policy,
        "weights": [[float(f"{weight:.12g}") for weight in row] for row in known.weights],
        "bits": 32 if wide else 16,
        "right": base64.b64encode(counts.astype("<u4" if wide else "<u2").tobytes()).decode(),
        "heldOut": {str(place): counts for place, counts in known.held_out.items()},
        "start": starting_point(known.columns),
        "largest": _LARGEST,
    }


def _counts(results: Results, model: ModelKey, split: str) -> list[tuple[int, int] | None]:
    """Right and all images of a model on every task of a split, and on the union of the threats."""
    found: list[tuple[int, int] | None] = []
    attacked: list[Outcomes] = []
    for task in results.tasks:
        outcomes = results.outcomes(model, split, task)
        if outcomes is None:
            found.append(None)
            continue
        if task in results.threats:
            attacked.append(outcomes)
            found.append(_count(metrics.robust_column(outcomes)))
        else:
            found.append(_count(metrics.clean_column(outcomes)))
    if results.threats:
        whole = len(attacked) == len(results.threats)
        found.append(_count(metrics.union_column(*attacked)) if whole else None)
    return found


def _count(column: statistics.Column) -> tuple[int, int]:
    return int(column[1].sum()), len(column[1])


def _rights(counts: Sequence[tuple[int, int] | None]) -> list[int]:
    return [-1 if each is None else each[0] for each in counts]


def _images(counts: Sequence[tuple[int, int] | None]) -> int:
    return max((each[1] for each in counts if each is not None), default=0)


def _kind(results: Results, name: str) -> str:
    if name in (CLEAN, UNION):
        return name
    return "threat" if name in results.threats else "shift"
