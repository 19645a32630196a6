"""Which soup? The one whose outcomes on a few labelled samples are best.

Selection sees the outcomes on selection samples only; what the chosen soups are worth is measured on others.

Source: Croce et al. 2023, *Seasoning model soups*, section 5 (grid search with 1000 points for each data set).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from seasoning import metrics
from seasoning.errors import BadInput
from seasoning.outcomes import Outcomes


__all__ = ["Candidate", "Choice", "Objective", "accuracy_on", "choose", "mean_over", "union_over"]


class Candidate(NamedTuple):
    """Weights of a soup, and its outcomes on each task (a data set, or a threat on one)."""

    weights: tuple[float, ...]
    outcomes: Mapping[str, Outcomes]


class Choice(NamedTuple):
    """A chosen soup, and its score on the samples that chose it: too high, since it was the best of many."""

    weights: tuple[float, ...]
    score: metrics.Estimate


class Objective(NamedTuple):
    """What to be best at: the tasks it looks at, a score, and the same score with its interval."""

    tasks: tuple[str, ...]
    score: Callable[[Mapping[str, Outcomes]], float]
    estimate: Callable[[Mapping[str, Outcomes]], metrics.Estimate]


def accuracy_on(task: str) -> Objective:
    """Accuracy on one data set: its shift-specific soup."""
    return mean_over((task,))


def mean_over(tasks: Sequence[str]) -> Objective:
    """Unweighted mean accuracy over data sets: the single soup of the paper."""
    chosen = tuple(tasks)

    def estimate(outcomes: Mapping[str, Outcomes]) -> metrics.Estimate:
        columns = [metrics.clean_column(outcomes[task]) for task in chosen]
        return metrics.mean_accuracy(*columns) if len(columns) > 1 else metrics.proportion(columns[0][1])

    def score(outcomes: Mapping[str, Outcomes]) -> float:
        return float(np.mean([metrics.clean_column(outcomes[task])[1].mean() for task in chosen]))

    return Objective(chosen, score, estimate)


def union_over(tasks: Sequence[str]) -> Objective:
    """Accuracy under the worst of several threats, each measured as a task of its own."""
    chosen = tuple(tasks)

    def estimate(outcomes: Mapping[str, Outcomes]) -> metrics.Estimate:
        return metrics.union_accuracy(*[outcomes[task] for task in chosen])

    def score(outcomes: Mapping[str, Outcomes]) -> float:
        return float(metrics.union_column(*[outcomes[task] for task in chosen])[1].mean())

    return Objective(chosen, score, estimate)


def choose(candidates: Sequence[Candidate], objective: Objective, top: int = 1) -> list[Choice]:
    """The soups of the highest scores, best first.

    Equal scores are common on few samples; the mix closest to uniform goes first then, since extremes are likelier to
    have been lucky.

    Args:
        candidates: Soups measured on identical samples.
        objective: What to be best at.
        top: How many to return.

    Raises:
        BadInput: no candidates, a task that a candidate was not measured on, or other samples for some of them.
    """
    if not candidates:
        raise BadInput("no soups to choose from: measure some first")
    _require_comparable(candidates, objective.tasks)
    ranked = sorted(candidates, key=lambda each: (-objective.score(each.outcomes), _extremeness(each.weights)))
    return [Choice(each.weights, objective.estimate(each.outcomes)) for each in ranked[:top]]


def _extremeness(weights: Sequence[float]) -> float:
    return float(np.square(weights).sum())


def _require_comparable(candidates: Sequence[Candidate], tasks: Sequence[str]) -> None:
    for task in tasks:
        for candidate in candidates:
            if task not in candidate.outcomes:
                have = ", ".join(candidate.outcomes) or "nothing"
                raise BadInput(f"soup {candidate.weights} was not measured on {task!r}, only on {have}: measure it")
            if not np.array_equal(candidate.outcomes[task].ids, candidates[0].outcomes[task].ids):
                raise BadInput(f"soups were measured on different samples of {task!r}: compare them on the same")
