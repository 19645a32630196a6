"""What the chosen soups are worth: honest numbers, tests between them, and how sure the choice is.

A soup that was the best of many looks better on the samples that chose it than it is. So every chosen soup is scored on
those samples, on all others (the complement) and on the whole set, as the paper reports it; tests between chosen soups
use the complement alone.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from seasoning import metrics
from seasoning.errors import BadInput
from seasoning.metrics import Estimate
from seasoning.outcomes import Measured, Outcomes
from seasoning.selection.choose import Candidate, choose, require_comparable
from seasoning.selection.objectives import SearchObjective


__all__ = ["Comparison", "Judged", "Regret", "best_probabilities", "compare", "holm", "judge", "regret_curve"]

_RESAMPLES = 1000
# Subsets that a point of the regret curve is the mean of.
_DRAWS = 100
# Scores so near differ by rounding only.
_EQUAL = 1e-9


class Judged(NamedTuple):
    """The score of a soup on the samples that chose it, on all others, and on all; `None` where there are no others."""

    selection: Estimate
    complement: Estimate | None
    whole: Estimate


class Comparison(NamedTuple):
    """Two chosen soups by their places, the difference of their scores, its p-value, and that corrected by Holm."""

    first: int
    second: int
    difference: Estimate
    p: float
    corrected: float


class Regret(NamedTuple):
    """What choosing on `n` base images of each set loses: the mean over subsets, and what nine in ten lose at most."""

    n: int
    mean: float
    most: float


def judge(objective: SearchObjective, outcomes: Measured, chosen_on: Mapping[str, NDArray[np.int64]]) -> Judged:
    """Scores of a soup by what its samples were used for.

    Args:
        objective: What it was chosen for.
        outcomes: On each task, over the whole set.
        chosen_on: Base images of the selection points of every task there is. A task is scored on its own, and what was
            made of those of any is in no complement.
    """
    everywhere = np.unique(np.concatenate(list(chosen_on.values())))
    inside = {task: _among(each, chosen_on[task], True) for task, each in outcomes.items()}
    outside = {task: _among(each, everywhere, False) for task, each in outcomes.items()}
    others = all(len(outside[task]) for task in objective.tasks)
    return Judged(
        objective.estimate(inside), objective.estimate(outside) if others else None, objective.estimate(outcomes)
    )


def compare(objective: SearchObjective, soups: Sequence[Measured], chosen_on: NDArray[np.int64]) -> list[Comparison]:
    """Paired tests between all chosen soups on the complement, corrected for their number.

    One term is a share: McNemar's exact test. Several are tested by a bootstrap of base images.

    Raises:
        BadInput: the soups were not measured on the same samples, or there is no complement.
    """
    outside = [{task: _among(each, chosen_on, False) for task, each in soup.items()} for soup in soups]
    pairs = list(combinations(range(len(soups)), 2))
    tested = [_p_value(objective, outside[one], outside[other]) for one, other in pairs]
    differences = [objective.difference(outside[one], outside[other]) for one, other in pairs]
    return [
        Comparison(one, other, difference, p, corrected)
        for (one, other), difference, p, corrected in zip(pairs, differences, tested, holm(tested), strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, in their own order.

    Source: Holm 1979, *A simple sequentially rejective multiple test procedure*.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda each: p_values[each])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def best_probabilities(candidates: Sequence[Candidate], objective: SearchObjective) -> dict[tuple[float, ...], float]:
    """How often each soup is the best when the base images of the selection points are drawn anew.

    Raises:
        BadInput: as `choose`.
    """
    require_comparable(candidates, objective.tasks)
    kept = [each for each in candidates if objective.feasible(each.outcomes)]
    if not kept:
        raise BadInput(f"objective {objective.name!r}: no soup keeps to its limits")
    # Equal soups share their wins, whatever their order.
    values = np.stack([objective.values(each.outcomes)[1] for each in kept])
    count, wins = values.shape[1], np.zeros(len(kept))
    random = np.random.default_rng(0)
    for _ in range(_RESAMPLES):
        scores = values @ random.multinomial(count, np.full(count, 1 / count))
        first = scores >= scores.max() - _EQUAL
        wins[first] += 1 / first.sum()
    return {each.weights: float(share / _RESAMPLES) for each, share in zip(kept, wins, strict=True)}


def regret_curve(candidates: Sequence[Candidate], objective: SearchObjective, sizes: Sequence[int]) -> list[Regret]:
    """What choosing on fewer samples loses on all that were measured, against the choice on all of them.

    The soups are those that were measured, and the curve ends at 0 by its making: it says whether the choice has
    settled, not how good it is.

    Args:
        candidates: Soups measured on identical samples.
        objective: What to be best at.
        sizes: Base images of each data set to choose on, at most as many as there are; the same ones of sets that share
            them.
    """
    best = choose(candidates, objective)[0].weights
    kept = [each for each in candidates if objective.feasible(each.outcomes)]
    sets = _by_photographs(kept, objective)
    scores = np.sum([values.mean(1) for _, values in sets], axis=0)
    losses = scores[[each.weights for each in kept].index(best)] - scores
    losses[np.abs(losses) < _EQUAL] = 0
    everything = reduce(np.union1d, [ids for ids, _ in sets])
    random, curve = np.random.default_rng(0), []
    for size in sizes:
        lost = []
        for _ in range(_DRAWS):
            order, few = random.permutation(everything), np.zeros(len(kept))
            for ids, values in sets:
                few += values[:, np.searchsorted(ids, order[np.isin(order, ids)][:size])].mean(1)
            # Ties are no knowledge: any of them might be taken.
            lost.append(losses[few >= few.max() - _EQUAL].mean())
        most = max(len(ids) for ids, _ in sets)
        curve.append(Regret(min(size, most), float(np.mean(lost)), float(np.percentile(lost, 90))))
    return curve


def _by_photographs(
    soups: Sequence[Candidate], objective: SearchObjective
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """The terms joined where they are of the same base images: ids, ascending, and values, `(soups, ids)`.

    The means over the ids sum up to the scores.
    """
    columns = [objective.columns(each.outcomes) for each in soups]
    joined: dict[bytes, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
    for place, term in enumerate(objective.terms):
        ids, values = columns[0][place][0], term.weight * np.stack([own[place][1] for own in columns]).astype(float)
        if ids.tobytes() in joined:
            values += joined[ids.tobytes()][1]
        joined[ids.tobytes()] = ids, values
    return list(joined.values())


def _p_value(objective: SearchObjective, first: Measured, second: Measured) -> float:
    if len(objective.terms) == 1:
        (_, one), (_, other) = objective.columns(first)[0], objective.columns(second)[0]
        gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
        return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    differences = objective.values(first)[1] - objective.values(second)[1]
    means = metrics.resampled_means(differences)
    below, above = int((means <= 0).sum()), int((means >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(means) + 1))


def _among(outcomes: Outcomes, ids: NDArray[np.int64], inside: bool) -> Outcomes:
    return outcomes.take(np.isin(outcomes.ids, ids) == inside)
