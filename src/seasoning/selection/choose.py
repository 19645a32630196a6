"""Which soup? The one whose outcomes on a few labelled samples are best; and which soups no other beats in everything.

Selection sees the outcomes on selection samples only; what the chosen soups are worth is measured on others.

Source: Croce et al. 2023, *Seasoning model soups*, section 5 (grid search with 1000 points for each data set).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from seasoning import statistics
from seasoning.errors import BadInput
from seasoning.outcomes import Outcomes
from seasoning.selection.objectives import SearchObjective
from seasoning.statistics import Estimate, ranked


__all__ = ["Candidate", "Choice", "choose", "pareto_front", "require_comparable", "scope"]

# Sums of squares that differ by less are equal: they are rounded in different orders.
_DIGITS = 9


class Candidate(NamedTuple):
    """Weights of a soup, and its outcomes on each task (a data set, or a threat on one)."""

    weights: tuple[float, ...]
    outcomes: Mapping[str, Outcomes]


class Choice(NamedTuple):
    """A chosen soup, and its score on the samples that chose it: too high, since it was the best of many."""

    weights: tuple[float, ...]
    score: Estimate


def choose(candidates: Sequence[Candidate], objective: SearchObjective, top: int = 1) -> list[Choice]:
    """The soups of the highest scores, best first.

    Equal scores are common on few samples; the mix closest to uniform goes first then, since extremes are likelier to
    have been lucky.

    Args:
        candidates: Soups measured on identical samples.
        objective: What to be best at.
        top: How many to return.

    Raises:
        BadInput: no candidates, a task that a candidate was not measured on, other samples for some of them, or none
            that keeps to the objective's limits.
    """
    require_comparable(candidates, objective.tasks)
    scores = {soup.weights: objective.score(soup.outcomes) for soup in candidates}
    kept = [soup for soup in candidates if objective.feasible(soup.outcomes)]
    if not kept:
        nearest = max(scores, key=scores.__getitem__)
        wanted = " and ".join(f"{' and '.join(limit.names)} at least {limit.least:g}" for limit in objective.limits)
        raise BadInput(
            f"objective {objective.name!r}: none of {len(candidates)} soups has {wanted} on the selection points; the "
            f"nearest, {nearest}, lacks {-scores[nearest]:.3f}: lower the limit, or search with a finer step"
        )
    order = ranked([scores[soup.weights] for soup in kept], [_extremeness(soup.weights) for soup in kept])
    return [Choice(kept[index].weights, objective.estimate(kept[index].outcomes)) for index in order[:top]]


def pareto_front(candidates: Sequence[Candidate], objectives: Sequence[SearchObjective]) -> list[Candidate]:
    """Soups that no other beats: none is at least as good at every objective and better at one.

    Soups that miss a limit of an objective are left out. In descending order of the first objective.

    Raises:
        BadInput: fewer than two objectives, and as `choose`.
    """
    if len(objectives) < 2:
        raise BadInput(f"a Pareto front over {len(objectives)} objectives: give at least two")
    require_comparable(candidates, tuple(dict.fromkeys(task for objective in objectives for task in objective.tasks)))
    kept = [soup for soup in candidates if all(objective.feasible(soup.outcomes) for objective in objectives)]
    if not kept:
        raise BadInput(f"none of {len(candidates)} soups keeps to the limits of all objectives: lower them")
    scores = np.array([[objective.score(soup.outcomes) for objective in objectives] for soup in kept])
    return [kept[index] for index in statistics.pareto_front(scores)]


def scope(candidates: Sequence[Candidate], space: int) -> str:
    """Among what a soup was chosen, in words: a strategy that is quick has not measured the whole space.

    Args:
        candidates: Soups measured on identical samples.
        space: How many points the space has.
    """
    if len(candidates) >= space:
        return f"among all {space} soups of the space"
    return f"among the {len(candidates)} soups measured on identical images, of {space} in the space"


def require_comparable(candidates: Sequence[Candidate], tasks: Sequence[str]) -> None:
    """Refuse soups that were not measured on these tasks, or not on the same samples.

    Raises:
        BadInput: naming the first such soup and task, or that there are no candidates.
    """
    if not candidates:
        raise BadInput("no soups to choose from: measure some first")
    for task in tasks:
        for candidate in candidates:
            if task not in candidate.outcomes:
                have = ", ".join(candidate.outcomes) or "nothing"
                raise BadInput(f"soup {candidate.weights} was not measured on {task!r}, only on {have}: measure it")
            if not np.array_equal(candidate.outcomes[task].ids, candidates[0].outcomes[task].ids):
                raise BadInput(f"soups were measured on different samples of {task!r}: compare them on the same")


def _extremeness(weights: Sequence[float]) -> float:
    """The smaller, the more even the mix; the same whatever the order of the weights."""
    return round(float(np.square(weights).sum()), _DIGITS)
