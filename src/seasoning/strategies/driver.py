"""The contract of strategies, generators that propose soups and receive their outcomes, and the driver that runs one.

A strategy yields a list of proposals and is sent, in the same order, the outcomes of each; it ends when it has seen
enough. It knows nothing of models or stores, so a search is resumed by running it again: what is known is answered at
once. Every strategy is called with the points of its space, the objectives, and the number of samples that a soup is
measured on in the end.
"""

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from seasoning.errors import BadInput
from seasoning.outcomes import Measured
from seasoning.strategies.spaces import Weights


__all__ = ["Proposal", "Scoring", "Strategy", "all_tasks", "run_strategy", "together"]


class Proposal(NamedTuple):
    """A soup to measure.

    Args:
        weights: One number for each ingredient, of sum 1.
        tasks: What to measure it on.
        samples: On the first so many samples of each task, in an order that is the same for all soups; `None` for all
            that a soup is chosen by.
        screening: Whether fewer steps of an attack, or lower precision, are enough.
    """

    weights: Weights
    tasks: tuple[str, ...]
    samples: int | None = None
    screening: bool = False


Strategy = Generator[list[Proposal], list[Measured], None]


class Scoring(Protocol):
    """What a strategy knows of an objective: what it looks at, and how good a soup is."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def tasks(self) -> tuple[str, ...]:
        """What a soup is to be measured on."""
        ...

    def score(self, outcomes: Measured) -> float:
        """How good a soup is, more being better; below 0 where it misses a limit."""
        ...

    def values(self, outcomes: Measured) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Base images, ascending, and a number for each, whose mean is the score of soups that miss no limit."""
        ...

    def shortfall(self, outcomes: Measured) -> float:
        """By how many standard errors the soup misses its limits, 0 where it misses none."""
        ...


def run_strategy(strategy: Strategy, measure: Callable[[Proposal], Measured]) -> list[tuple[Proposal, Measured]]:
    """Run a strategy to its end.

    Args:
        strategy: A fresh generator.
        measure: Outcomes of one proposal on each of its tasks; answers from memory what it knows.

    Returns:
        Every proposal with its outcomes, in the order of asking.
    """
    found: list[tuple[Proposal, Measured]] = []
    answers: list[Measured] | None = None
    while True:
        try:
            proposals = next(strategy) if answers is None else strategy.send(answers)
        except StopIteration:
            return found
        answers = [measure(proposal) for proposal in proposals]
        found += zip(proposals, answers, strict=True)


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


def all_tasks(objectives: Sequence[Scoring]) -> tuple[str, ...]:
    """The tasks of several objectives, each once.

    Raises:
        BadInput: there are no objectives.
    """
    if not objectives:
        raise BadInput("a search without an objective: give at least one")
    return tuple(dict.fromkeys(task for objective in objectives for task in objective.tasks))
