"""How much a strategy will ask for, found by running it on made-up outcomes of a smooth landscape."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from seasoning.outcomes import Measured, Outcomes, Status
from seasoning.strategies.driver import Proposal, Scoring, Strategy, all_tasks, run_strategy
from seasoning.strategies.spaces import Weights


__all__ = ["dry_run"]


def dry_run(
    strategy: Callable[[Sequence[Weights], Sequence[Scoring], int], Strategy],
    points: Sequence[Weights],
    objectives: Sequence[Scoring],
    shots: int,
) -> Counter[tuple[str, bool]]:
    """Samples that a search measures, by task and by whether screening is enough; each once.

    Exact for strategies that do not look at outcomes; for the others what a search usually comes to.
    """
    tasks = all_tasks(objectives)
    asked: dict[tuple[Weights, str, bool], int] = {}

    def answer(proposal: Proposal) -> Measured:
        count = shots if proposal.samples is None else min(proposal.samples, shots)
        for task in proposal.tasks:
            key = proposal.weights, task, proposal.screening
            asked[key] = max(asked.get(key, 0), count)
        return {task: _made_up(proposal.weights, tasks.index(task), count) for task in proposal.tasks}

    run_strategy(strategy(points, objectives, shots), answer)
    total: Counter[tuple[str, bool]] = Counter()
    for (_, task, screening), count in asked.items():
        total[task, screening] += count
    return total


def _made_up(weights: Weights, task: int, count: int) -> Outcomes:
    """Outcomes that are the better the nearer the weights are to a point that depends on the task."""
    random = np.random.default_rng(task)
    best, difficulty = random.dirichlet(np.ones(len(weights))), random.random(count)
    right = difficulty < 0.9 - 0.5 * float(np.square(np.asarray(weights) - best).sum())
    zeros, labels = np.zeros(count, dtype=np.int64), np.ones(count, dtype=np.int64)
    predicted, none = right.astype(np.int64), np.zeros(count, dtype=np.float32)
    status = np.full(count, Status.MEASURED, dtype=np.int8)
    return Outcomes(np.arange(count), labels, predicted, predicted, none, none, none, zeros, zeros, status)
