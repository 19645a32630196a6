"""The fixed grid of the paper, and the two strategies that look at nothing: the uniform soup and points at random."""

from collections.abc import Sequence

import numpy as np

from seasoning.strategies.driver import Proposal, Scoring, Strategy, all_tasks
from seasoning.strategies.spaces import Weights, members


__all__ = ["grid", "random_points", "uniform"]


def grid(points: Sequence[Weights], objectives: Sequence[Scoring], shots: int) -> Strategy:
    """Every point of the space, on every task.

    Source: Croce et al. 2023, *Seasoning model soups*, section 5.
    """
    yield [Proposal(weights, all_tasks(objectives)) for weights in points]


def uniform(points: Sequence[Weights], objectives: Sequence[Scoring], shots: int) -> Strategy:
    """Equal parts of every ingredient that the space uses, whether that is a point of the space or not.

    Source: Wortsman et al. 2022, *Model soups*, section 2.
    """
    own = members(points)
    weights = tuple((index in own) / len(own) for index in range(len(points[0])))
    yield [Proposal(weights, all_tasks(objectives))]


def random_points(
    points: Sequence[Weights], objectives: Sequence[Scoring], shots: int, *, draws: int = 12, seed: int = 0
) -> Strategy:
    """Some points of the space, drawn evenly and without repeats."""
    order = np.random.default_rng(seed).permutation(len(points))
    yield [Proposal(points[index], all_tasks(objectives)) for index in sorted(order[:draws])]
