"""Strategies: generators that propose soups and receive their outcomes.

A strategy yields a list of proposals and is sent, in the same order, the outcomes of each; it ends when it has seen
enough. It knows nothing of models or stores, so a search is resumed by running it again: what is known is answered at
once.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple

from seasoning.outcomes import Outcomes


__all__ = ["Answer", "Proposal", "Strategy", "grid"]


class Proposal(NamedTuple):
    """Weights to mix, and the tasks to measure the soup on."""

    weights: tuple[float, ...]
    tasks: tuple[str, ...]


Answer = Mapping[str, Outcomes]
Strategy = Generator[list[Proposal], list[Answer], None]


def grid(points: Sequence[tuple[float, ...]], tasks: Sequence[str]) -> Strategy:
    """Every point of a fixed grid, on every task.

    Source: Croce et al. 2023, *Seasoning model soups*, section 5.
    """
    yield [Proposal(weights, tuple(tasks)) for weights in points]
