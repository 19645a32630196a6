"""The greedy soup: ingredients join, best first, as long as the score does not fall."""

from collections.abc import Sequence

from seasoning.strategies.driver import Proposal, Scoring, Strategy, together
from seasoning.strategies.spaces import Weights


__all__ = ["greedy"]


def greedy(points: Sequence[Weights], objectives: Sequence[Scoring], shots: int) -> Strategy:
    """Ingredients from the best to the worst: each stays in the uniform soup of those kept if the score does not fall.

    Source: Wortsman et al. 2022, *Model soups*, recipe 1 (greedy soup).
    """
    count = len(points[0])
    return together([_greedy(count, objective) for objective in objectives])


def _greedy(count: int, objective: Scoring) -> Strategy:
    alone = [tuple(float(place == each) for place in range(count)) for each in range(count)]
    answers = yield [Proposal(weights, objective.tasks) for weights in alone]
    scores = [objective.score(answer) for answer in answers]
    first, *others = sorted(range(count), key=lambda place: -scores[place])
    kept, best = [first], scores[first]
    for place in others:
        members = [*kept, place]
        weights = tuple(float(each in members) / len(members) for each in range(count))
        (answer,) = yield [Proposal(weights, objective.tasks)]
        if objective.score(answer) >= best:
            kept, best = members, objective.score(answer)
