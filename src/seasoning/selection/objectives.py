"""Objectives: what a soup should be best at, as data, and every number that follows from it and from outcomes.

An objective is a sum of terms. A term is the fraction of the samples on which a soup is right on all of the term's
tasks: one task gives its accuracy, several threats on one data set their union. Limits rule soups out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seasoning import metrics, statistics
from seasoning.errors import BadInput
from seasoning.outcomes import Measured
from seasoning.statistics import Column, Estimate


__all__ = ["Limit", "SearchObjective", "Term", "accuracy_on", "mean_over", "union_over"]


class Term(NamedTuple):
    """The fraction of samples right on all of these tasks, and what it counts for in the score."""

    tasks: tuple[str, ...]
    weight: float = 1.0


class Limit(NamedTuple):
    """At least so large a fraction of the samples must be right on all of these tasks.

    Args:
        tasks: Such as the threats of a union, or one task.
        least: The fraction.
        more: Of a data set of many parts, tasks of the other parts: the plain mean over all parts must be as large.
        name: What such a data set is called.
    """

    tasks: tuple[str, ...]
    least: float
    more: tuple[tuple[str, ...], ...] = ()
    name: str = ""

    @property
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """The tasks of each part."""
        return (self.tasks, *self.more)

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks by name; a data set of many parts has one name."""
        return (self.name,) if self.name else self.tasks

    def objective(self) -> "SearchObjective":
        """The score that it limits."""
        terms = tuple(Term(tasks, 1 / len(self.parts)) for tasks in self.parts)
        return SearchObjective(" and ".join(self.names), terms)

    def value(self, outcomes: Measured) -> float:
        """The fraction that it limits."""
        return sum(_fraction(tasks, outcomes) for tasks in self.parts) / len(self.parts)


@dataclass(frozen=True, slots=True)
class SearchObjective:
    """What to be best at.

    Args:
        name: What it is called.
        terms: Their weighted sum is the score.
        limits: What a soup must keep to.
        ingredients: Names of the ingredients of which soups may be made; without any, of all.

    Raises:
        BadInput: no terms, a term or limit without tasks, a weight that is not above 0, or a limit outside [0, 1].
    """

    name: str
    terms: tuple[Term, ...]
    limits: tuple[Limit, ...] = ()
    ingredients: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.terms or not all(self._looked_at()):
            raise BadInput(f"objective {self.name!r} looks at nothing: give it at least one task")
        if not all(term.weight > 0 for term in self.terms):
            raise BadInput(f"objective {self.name!r} has a weight that is not above 0: leave that part out")
        if not all(0 <= limit.least <= 1 for limit in self.limits):
            raise BadInput(f"objective {self.name!r} has a limit outside [0, 1]: give a fraction, such as 0.8")

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks it looks at, each once."""
        return tuple(dict.fromkeys(task for tasks in self._looked_at() for task in tasks))

    def _looked_at(self) -> list[tuple[str, ...]]:
        return [*(term.tasks for term in self.terms), *(part for limit in self.limits for part in limit.parts)]

    def allows(self, weights: Sequence[float], names: Sequence[str]) -> bool:
        """Whether a soup is made of the objective's ingredients alone; `names` has one for each weight."""
        members = self.ingredients or tuple(names)
        return all(weight == 0 or name in members for weight, name in zip(weights, names, strict=True))

    def score(self, outcomes: Measured) -> float:
        """The weighted sum of the terms; where a limit is missed, minus what is lacking, so below every other soup."""
        lacking = sum(max(0.0, limit.least - limit.value(outcomes)) for limit in self.limits)
        if lacking > 0:
            return -lacking
        return sum(term.weight * _fraction(term.tasks, outcomes) for term in self.terms)

    def feasible(self, outcomes: Measured) -> bool:
        """Whether a soup keeps to the limits on these samples."""
        return all(limit.value(outcomes) >= limit.least for limit in self.limits)

    def shortfall(self, outcomes: Measured) -> float:
        """By how many standard errors the limits are missed, 0 where none is."""
        worst = 0.0
        for limit in self.limits:
            values = limit.objective().values(outcomes)[1]
            # One more sample on either side: a few that agree are no proof.
            padded = np.append(values, (0.0, 1.0))
            worst = max(worst, (limit.least - values.mean()) / np.sqrt(padded.var() / len(values)))
        return float(worst)

    def values(self, outcomes: Measured) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Base images, ascending, and a number for each, whose mean is the score of soups that miss no limit."""
        return statistics.per_base_image(self.columns(outcomes), self._weights)

    def columns(self, outcomes: Measured) -> list[Column]:
        """For each term the ids of its samples, and which are right on all of its tasks."""
        return [_column(term.tasks, outcomes) for term in self.terms]

    def estimate(self, outcomes: Measured) -> Estimate:
        """The weighted sum of the terms with its interval, limits or not."""
        return statistics.mean_accuracy(self.columns(outcomes), self._weights)

    def difference(self, first: Measured, second: Measured) -> Estimate:
        """The score of one soup minus that of another on the same samples, paired, limits or not."""
        return statistics.mean_difference(self.columns(first), self.columns(second), self._weights)

    def paired_p(self, first: Measured, second: Measured) -> float:
        """The p value of equal scores on the same samples, limits or not."""
        return statistics.paired_p(self.columns(first), self.columns(second), self._weights)

    @property
    def _weights(self) -> list[float]:
        return [term.weight for term in self.terms]


def accuracy_on(task: str) -> SearchObjective:
    """Accuracy on one data set, clean or under one threat: its specific soup."""
    return SearchObjective(task, (Term((task,)),))


def mean_over(tasks: Sequence[str], name: str = "mean") -> SearchObjective:
    """Unweighted mean accuracy over tasks: over data sets the single soup of the paper."""
    return SearchObjective(name, tuple(Term((task,), 1 / len(tasks)) for task in tasks))


def union_over(tasks: Sequence[str], name: str = "union") -> SearchObjective:
    """Accuracy under the worst of several threats, each measured as a task of its own."""
    return SearchObjective(name, (Term(tuple(tasks)),))


def _column(tasks: tuple[str, ...], outcomes: Measured) -> statistics.Column:
    return metrics.union_column(*[outcomes[task] for task in tasks])


def _fraction(tasks: tuple[str, ...], outcomes: Measured) -> float:
    return float(_column(tasks, outcomes)[1].mean())
