"""Coordinate climb with successive halving among the neighbours: the fast strategy, and the default.

It starts from every ingredient alone and the uniform mix, and then shifts weight between two ingredients, first much of
it and then less. Neighbours meet on a few samples; the better part of them goes on to more, and only the best are
measured on all. Accuracy changes slowly over the weights, so that few steps lead to a soup as good as the grid's pick.

Source: Jamieson & Talwalkar 2016, *Non-stochastic best arm identification* (successive halving).
"""

import math
from collections.abc import Generator, Sequence

from seasoning.outcomes import Measured
from seasoning.strategies.driver import Proposal, Scoring, Strategy, together
from seasoning.strategies.spaces import Weights, neighbours, starts


__all__ = ["climb"]

Moves = Generator[list[Proposal], list[Measured], list[float]]

# Weight shifted at a time, where the space has points that far apart.
_MOVES = (0.3, 0.2, 0.1, 0.05, 0.02, 0.01)


def climb(
    points: Sequence[Weights],
    objectives: Sequence[Scoring],
    shots: int,
    *,
    stages: Sequence[float] = (0.15, 0.3),
    keep: float = 0.34,
    finalists: int = 3,
) -> Strategy:
    """Climb for every objective; what one measures the others need not measure again.

    Args:
        points: The space.
        objectives: What to be best at.
        shots: Samples that the best are measured on.
        stages: Fractions of them that neighbours meet on before.
        keep: Fraction of the neighbours that goes on from one stage to the next, unless the best soup so far is better
            on the same samples.
        finalists: Soups to measure on all samples at least, however soon the climb ends.
    """
    sizes = [max(1, round(stage * shots)) for stage in stages]
    return together([_climb(points, objective, sizes, keep, finalists) for objective in objectives])


def _climb(
    points: Sequence[Weights], objective: Scoring, sizes: Sequence[int], keep: float, finalists: int
) -> Strategy:
    # How far each soup came, in samples, and its score there; what was measured on all comes first.
    met: dict[Weights, tuple[float, float]] = {}
    yield from _measure(starts(points), objective, sizes[-1], met)
    first = yield from _measure(_best(met, 2), objective, None, met)
    if max(first) < 0:
        # Where these miss a limit, another start may keep to it.
        yield from _measure(_best(met, len(met))[2:], objective, None, met)
    (best,) = _best(met, 1)
    for move in _MOVES:
        while fresh := [point for point in neighbours(points, best, move) if point not in met]:
            yield from _round(fresh, best, objective, sizes, keep, met)
            (leader,) = _best(met, 1)
            if leader == best:
                break
            best = leader
    yield from _measure([point for point in _best(met, finalists) if met[point][0] < math.inf], objective, None, met)


def _round(
    fresh: Sequence[Weights],
    best: Weights,
    objective: Scoring,
    sizes: Sequence[int],
    keep: float,
    met: dict[Weights, tuple[float, float]],
) -> Moves:
    """Neighbours meet the best soup on more and more samples; at most one is left, and measured on all: its score."""
    left = list(fresh)
    for number, size in enumerate(sizes, start=1):
        at_best, *scores = yield from _measure([best, *left], objective, size, met, lenient=met[best][1] >= 0)
        ranked = sorted(zip(scores, left, strict=True), key=lambda each: -each[0])
        count = 1 if number == len(sizes) else math.ceil(keep * len(left))
        left = [point for score, point in ranked[:count] if score >= at_best]
    return (yield from _measure(left, objective, None, met))


def _measure(
    points: Sequence[Weights],
    objective: Scoring,
    size: int | None,
    met: dict[Weights, tuple[float, float]],
    lenient: bool = False,
) -> Moves:
    """Scores of points on some samples, or on all of them."""
    if not points:
        return []
    answers = yield [Proposal(point, objective.tasks, size, screening=size is not None) for point in points]
    scores = [_likely_score(objective, answer) if lenient else objective.score(answer) for answer in answers]
    reached = math.inf if size is None else size
    for point, score in zip(points, scores, strict=True):
        met[point] = max(met.get(point, (reached, score)), (reached, score), key=lambda each: each[0])
    return scores


def _likely_score(objective: Scoring, answer: Measured) -> float:
    """The score on a few samples, where a limit that is missed by less than a standard error may still be kept."""
    if objective.score(answer) < 0 and objective.shortfall(answer) <= 1:
        return float(objective.values(answer)[1].mean())
    return objective.score(answer)


def _best(met: dict[Weights, tuple[float, float]], count: int) -> list[Weights]:
    """The points that came farthest, the best of them first."""
    return sorted(met, key=met.__getitem__, reverse=True)[:count]
