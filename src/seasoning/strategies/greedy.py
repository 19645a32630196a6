"""The greedy soup: ingredients join, best first, as long as the score does not fall."""

from collections.abc import Sequence

from seasoning.strategies.driver import Proposal, Scoring, Strategy, together
from seasoning.strategies.spaces import Weights, members


__all__ = ["greedy"]


def greedy(points: Sequence[Weights], objectives: Sequence[Scoring], shots: int) -> Strategy:
    """Ingredients from the best to the worst: each stays in the uniform soup of those kept if the score does not fall.

    Ingredients are those that the space uses.

    Source: Wortsman et al. 2022, *Model soups*, recipe 1 (greedy soup).
    """
    count, own = len(points[0]), members(points)
    return together([_greedy(count, own, objective) for objective in objectives])


def _greedy(count: int, own: Sequence[int], objective: Scoring) -> Strategy:
    answers = yield [Proposal(_even([index], count), objective.tasks) for index in own]
    scores = {index: objective.score(answer) for index, answer in zip(own, answers, strict=True)}
    first, *others = sorted(own, key=lambda index: -scores[index])
    kept, best = [first], scores[first]
    for index in others:
        (answer,) = yield [Proposal(_even([*kept, index], count), objective.tasks)]
        if objective.score(answer) >= best:
            kept, best = [*kept, index], objective.score(answer)


def _even(kept: Sequence[int], count: int) -> Weights:
    """Equal parts of some of the ingredients."""
    return tuple((index in kept) / len(kept) for index in range(count))
