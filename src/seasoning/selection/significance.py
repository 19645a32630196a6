"""How sure is a choice? Paired tests on images that chose nothing, and what other selection images would have chosen.

Tests between soups, and which model of a table is best, use the complement alone; on the selection points there are
only ranks and a bootstrap. Every test is `statistics.paired_p`, corrected for their number by Holm.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seasoning import statistics
from seasoning.errors import BadInput
from seasoning.outcomes import Measured, ModelKey
from seasoning.selection.choose import Candidate, require_comparable
from seasoning.selection.judge import among
from seasoning.selection.objectives import SearchObjective
from seasoning.statistics import ALPHA, EQUAL, Column, Estimate, holm


__all__ = ["Comparison", "Entry", "best_probabilities", "compare", "regret_curve", "shown_best"]

_RESAMPLES = 1000


class Comparison(NamedTuple):
    """Two models by their index, the difference of their scores, its p value, and that corrected by Holm."""

    first: int
    second: int
    difference: Estimate
    p: float
    corrected: float


class Entry(NamedTuple):
    """A model in a column of a table.

    Args:
        model: Which.
        columns: Right and wrong on each data set that the number is a mean of.
        weights: One for each of them, of sum 1.
    """

    model: ModelKey
    columns: tuple[Column, ...]
    weights: tuple[float, ...]

    @property
    def estimate(self) -> Estimate:
        """The number in the table, with its interval."""
        return statistics.mean_accuracy(self.columns, self.weights)

    @property
    def value(self) -> float:
        """The number alone."""
        return float(np.dot(self.weights, [right.mean() for _, right in self.columns]))


def compare(
    objective: SearchObjective,
    soups: Sequence[Measured],
    chosen_on: NDArray[np.int64],
    beside: Sequence[Measured] = (),
) -> list[Comparison]:
    """Paired tests on the complement between all chosen soups, and of the first against other models.

    All of them are corrected for their number together.

    Args:
        objective: What they were chosen for.
        soups: Outcomes of each on the tasks of the objective, over the whole sets.
        chosen_on: The base images of all selection points.
        beside: Outcomes of the other models; their indices follow those of the soups.

    Raises:
        BadInput: the soups were not measured on the same samples, or there is no complement.
    """
    outside = [among(model, chosen_on, False) for model in (*soups, *beside)]
    pairs = [*combinations(range(len(soups)), 2), *((0, other) for other in range(len(soups), len(outside)))]
    tested = [objective.paired_p(outside[one], outside[other]) for one, other in pairs]
    differences = [objective.difference(outside[one], outside[other]) for one, other in pairs]
    return [
        Comparison(one, other, difference, p, corrected)
        for (one, other), difference, p, corrected in zip(pairs, differences, tested, holm(tested), strict=True)
    ]


def shown_best(entries: Sequence[Entry | None]) -> list[int]:
    """Indices of the model that is better than every other one in the column, all tests together at 5 %.

    A model may stand in several rows. The list is empty where the held-out images do not show one best, where only
    one model is measured, or where the models were not measured on the same images.
    """
    known = [entry for entry in entries if entry is not None]
    if len({entry.model for entry in known}) < 2 or not _same_images(known):
        return []
    best = max(known, key=lambda entry: entry.value)
    others = {entry.model: entry for entry in known if entry.model != best.model}
    if (
        max(holm([statistics.paired_p(best.columns, entry.columns, best.weights) for entry in others.values()]))
        >= ALPHA
    ):
        return []
    return [index for index, entry in enumerate(entries) if entry is not None and entry.model == best.model]


def best_probabilities(candidates: Sequence[Candidate], objective: SearchObjective) -> dict[tuple[float, ...], float]:
    """How often each soup is the best when the base images of the selection points are drawn anew.

    Raises:
        BadInput: as `choose`.
    """
    kept = _allowed(candidates, objective)
    values = np.stack([objective.values(candidate.outcomes)[1] for candidate in kept], axis=1)
    scores = statistics.resampled_means(values, _RESAMPLES)
    first = scores >= scores.max(axis=1, keepdims=True) - EQUAL
    # Equal soups split their wins, whatever their order.
    wins = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    return {candidate.weights: float(fraction) for candidate, fraction in zip(kept, wins, strict=True)}


def regret_curve(candidates: Sequence[Candidate], objective: SearchObjective, sizes: Sequence[int]) -> list[Estimate]:
    """What choosing on fewer samples loses on all that were measured, against the choice on all of them.

    The soups are those that were measured, and the curve ends at 0 by its making: it says whether the choice has
    settled, not how good it is.

    Args:
        candidates: Soups measured on identical samples.
        objective: What to be best at.
        sizes: Base images of each data set to choose on; the same ones of sets made from them.

    Returns:
        As `statistics.regret_curve`.

    Raises:
        BadInput: as `choose`.
    """
    return statistics.regret_curve(_by_photographs(_allowed(candidates, objective), objective), sizes)


def _allowed(candidates: Sequence[Candidate], objective: SearchObjective) -> list[Candidate]:
    require_comparable(candidates, objective.tasks)
    kept = [candidate for candidate in candidates if objective.feasible(candidate.outcomes)]
    if not kept:
        raise BadInput(f"objective {objective.name!r}: no soup keeps to its limits")
    return kept


def _by_photographs(
    soups: Sequence[Candidate], objective: SearchObjective
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """The terms joined where they are of the same base images: ids, ascending, and values, `(soups, ids)`.

    The means over the ids sum up to the scores.
    """
    columns = [objective.columns(soup.outcomes) for soup in soups]
    joined: dict[bytes, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
    for number, term in enumerate(objective.terms):
        ids = columns[0][number][0]
        values = term.weight * np.stack([own[number][1] for own in columns]).astype(float)
        if ids.tobytes() in joined:
            values += joined[ids.tobytes()][1]
        joined[ids.tobytes()] = ids, values
    return list(joined.values())


def _same_images(entries: Sequence[Entry]) -> bool:
    first = [np.sort(ids) for ids, _ in entries[0].columns]
    return all(
        len(entry.columns) == len(first)
        and all(np.array_equal(np.sort(own), ids) for (own, _), ids in zip(entry.columns, first, strict=True))
        for entry in entries[1:]
    )
