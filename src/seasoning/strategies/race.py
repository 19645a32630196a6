"""Paired racing with an indifference zone: the cautious strategy.

All soups start on a few samples; a soup leaves as soon as it is clear that it is not better than the leader by more
than the zone. What is left at the end is measured on all samples, and differs from the grid's pick by chance only.

Source: Maron & Moore 1994, *Hoeffding races*, here with paired differences and their standard error.
"""

from collections.abc import Sequence

import numpy as np

from seasoning.outcomes import Measured
from seasoning.strategies.driver import Proposal, Scoring, Strategy, together
from seasoning.strategies.spaces import Weights


__all__ = ["race"]


def race(
    points: Sequence[Weights],
    objectives: Sequence[Scoring],
    shots: int,
    *,
    stages: Sequence[float] = (0.125, 0.25, 0.5),
    zone: float = 0.01,
    certainty: float = 1.5,
) -> Strategy:
    """Race for every objective; what one measures the others need not measure again.

    Args:
        points: The space.
        objectives: What to be best at.
        shots: Samples that the last ones are measured on.
        stages: Fractions of them after which soups leave.
        zone: What a soup may be better than the leader and still leave, as a fraction of the samples.
        certainty: Standard errors of the paired difference that make it clear.
    """
    sizes = [max(2, round(stage * shots)) for stage in stages]
    return together([_race(points, objective, sizes, zone, certainty) for objective in objectives])


def _race(
    points: Sequence[Weights], objective: Scoring, sizes: Sequence[int], zone: float, certainty: float
) -> Strategy:
    left = list(points)
    for size in sizes:
        answers = yield [Proposal(point, objective.tasks, size) for point in left]
        left = [left[index] for index in _survivors(objective, answers, zone, certainty)]
    yield [Proposal(point, objective.tasks) for point in left]


def _survivors(objective: Scoring, answers: Sequence[Measured], zone: float, certainty: float) -> list[int]:
    """Indices of the soups that may be better than the leader by more than the zone, and of the leader."""
    scores = np.array([objective.score(answer) for answer in answers])
    leader = int(scores.argmax())
    alive = np.array([objective.shortfall(answer) <= certainty for answer in answers])
    if scores[leader] >= 0:
        values = np.stack([objective.values(answer)[1] for answer in answers])
        differences = values - values[leader]
        means = differences.mean(1)
        # One more sample that differs: agreement on a few is no proof.
        spread = ((differences - means[:, None]) ** 2).sum(1) + 1
        alive &= means + certainty * np.sqrt(spread) / values.shape[1] >= zone
    alive[leader] = True
    return [int(index) for index in np.flatnonzero(alive)]
