"""Strategies: generators that propose soups and receive their outcomes.

A strategy yields a list of proposals and is sent, in the same order, the outcomes of each; it ends when it has seen
enough. It knows nothing of models or stores, so a search is resumed by running it again: what is known is answered at
once. Every strategy is called with the points of its space, the goals, and the number of samples that a soup is
measured on in the end.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from seasoning.errors import BadInput
from seasoning.outcomes import Outcomes
from seasoning.search.spaces import Weights


__all__ = [
    "Answer",
    "Goal",
    "Proposal",
    "Strategy",
    "all_tasks",
    "greedy",
    "grid",
    "random_points",
    "together",
    "uniform",
]

Answer = Mapping[str, Outcomes]


class Proposal(NamedTuple):
    """A soup to measure.

    Args:
        weights: One number for each ingredient, of sum 1.
        tasks: What to measure it on.
        samples: On the first so many samples of each task, in an order that is the same for all soups; `None` for all
            that a soup is chosen by.
        rough: Whether fewer steps of an attack, or lower precision, are enough.
    """

    weights: Weights
    tasks: tuple[str, ...]
    samples: int | None = None
    rough: bool = False


Strategy = Generator[list[Proposal], list[Answer], None]


class Goal(Protocol):
    """What a strategy is told of an objective: what it looks at, and how good a soup is."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def tasks(self) -> tuple[str, ...]:
        """What a soup is to be measured on."""
        ...

    def score(self, outcomes: Answer) -> float:
        """How good a soup is, more being better; below 0 where it misses a limit."""
        ...

    def values(self, outcomes: Answer) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Base images, ascending, and a number for each, whose mean is the score of soups that miss no limit."""
        ...

    def shortfall(self, outcomes: Answer) -> float:
        """By how many standard errors the soup misses its limits, 0 where it misses none."""
        ...


def grid(points: Sequence[Weights], goals: Sequence[Goal], shots: int) -> Strategy:
    """Every point of the space, on every task.

    Source: Croce et al. 2023, *Seasoning model soups*, section 5.
    """
    yield [Proposal(weights, all_tasks(goals)) for weights in points]


def uniform(points: Sequence[Weights], goals: Sequence[Goal], shots: int) -> Strategy:
    """Equal parts of every ingredient, whether that is a point of the space or not.

    Source: Wortsman et al. 2022, *Model soups*, section 2.
    """
    count = len(points[0])
    yield [Proposal((1 / count,) * count, all_tasks(goals))]


def random_points(
    points: Sequence[Weights], goals: Sequence[Goal], shots: int, *, draws: int = 12, seed: int = 0
) -> Strategy:
    """Some points of the space, drawn evenly and without repeats."""
    order = np.random.default_rng(seed).permutation(len(points))
    yield [Proposal(points[place], all_tasks(goals)) for place in sorted(order[:draws])]


def greedy(points: Sequence[Weights], goals: Sequence[Goal], shots: int) -> Strategy:
    """Ingredients from the best to the worst: each stays in the uniform soup of those kept if the score does not fall.

    Source: Wortsman et al. 2022, *Model soups*, recipe 1 (greedy soup).
    """
    count = len(points[0])
    return together([_greedy(count, goal) for goal in goals])


def _greedy(count: int, goal: Goal) -> Strategy:
    alone = [tuple(float(place == each) for place in range(count)) for each in range(count)]
    answers = yield [Proposal(weights, goal.tasks) for weights in alone]
    scores = [goal.score(answer) for answer in answers]
    first, *others = sorted(range(count), key=lambda place: -scores[place])
    kept, best = [first], scores[first]
    for place in others:
        members = [*kept, place]
        weights = tuple(float(each in members) / len(members) for each in range(count))
        (answer,) = yield [Proposal(weights, goal.tasks)]
        if goal.score(answer) >= best:
            kept, best = members, goal.score(answer)


def together(strategies: Sequence[Strategy]) -> Strategy:
    """Several strategies side by side: each round asks what all of them ask, every proposal once."""
    living = {number: next(strategy, None) for number, strategy in enumerate(strategies)}
    asked = {number: proposals for number, proposals in living.items() if proposals is not None}
    while asked:
        proposals = list(dict.fromkeys(each for proposals in asked.values() for each in proposals))
        answers = dict(zip(proposals, (yield proposals), strict=True))
        following: dict[int, list[Proposal]] = {}
        for number, mine in asked.items():
            try:
                following[number] = strategies[number].send([answers[each] for each in mine])
            except StopIteration:
                continue
        asked = following


def all_tasks(goals: Sequence[Goal]) -> tuple[str, ...]:
    """The tasks of several goals, each once.

    Raises:
        BadInput: there are no goals.
    """
    if not goals:
        raise BadInput("a search without an objective: give at least one")
    return tuple(dict.fromkeys(task for goal in goals for task in goal.tasks))
