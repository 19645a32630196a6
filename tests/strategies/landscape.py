"""A made-up space of soups whose best point is known: what strategies are tried on without a model."""

import numpy as np

from seasoning.outcomes import Measured, Outcomes
from seasoning.strategies import Proposal, Weights
from tests.make import outcomes


__all__ = ["Landscape"]


class Landscape:
    """Samples of differing difficulty; the nearer the weights are to a task's best point, the more are right.

    Args:
        best: The best point of each task.
        shots: Samples of each task.
        seed: Seed of the difficulties.
    """

    def __init__(self, best: dict[str, Weights], shots: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self._best, self.shots = best, shots
        self._difficulty = {task: random.random(shots) for task in best}
        self.asked: list[Proposal] = []
        self.samples: dict[tuple[Weights, str], int] = {}

    def outcomes(self, weights: Weights, task: str, count: int | None = None) -> Outcomes:
        """Outcomes of a soup on the first samples of a task."""
        distance = sum((one - other) ** 2 for one, other in zip(weights, self._best[task], strict=True))
        right = (self._difficulty[task] < 0.9 - 0.6 * distance)[:count]
        return outcomes(labels=[1] * len(right), clean=right.astype(int).tolist())

    def answer(self, proposal: Proposal) -> Measured:
        """What the driver is given to measure with."""
        self.asked.append(proposal)
        for task in proposal.tasks:
            count = proposal.samples or self.shots
            self.samples[proposal.weights, task] = max(count, self.samples.get((proposal.weights, task), 0))
        return {task: self.outcomes(proposal.weights, task, proposal.samples) for task in proposal.tasks}

    def measured(self) -> int:
        """Samples measured, each once for each soup and task."""
        return sum(self.samples.values())
