"""What a chosen soup is worth: honest numbers.

A soup that was the best of many looks better on the samples that chose it than it is. So every chosen soup is scored on
those samples, on all others (the complement) and on the whole set, as the paper reports it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seasoning.outcomes import Measured
from seasoning.selection.objectives import SearchObjective
from seasoning.statistics import Estimate


__all__ = ["Judged", "among", "judge"]


class Judged(NamedTuple):
    """The score of a soup on the samples that chose it, on all others, and on all; `None` where there are no others."""

    selection: Estimate
    complement: Estimate | None
    whole: Estimate


def judge(objective: SearchObjective, outcomes: Measured, chosen_on: Mapping[str, NDArray[np.int64]]) -> Judged:
    """Scores of a soup by what its samples were used for.

    Args:
        objective: What it was chosen for.
        outcomes: On each task, over the whole set.
        chosen_on: Base images of the selection points of every task there is. A task is scored on its own, and what was
            made of those of any is in no complement.
    """
    everywhere = np.unique(np.concatenate(list(chosen_on.values())))
    inside = {task: among({task: outcome}, chosen_on[task], True)[task] for task, outcome in outcomes.items()}
    outside = among(outcomes, everywhere, False)
    others = all(len(outside[task]) for task in objective.tasks)
    return Judged(
        objective.estimate(inside), objective.estimate(outside) if others else None, objective.estimate(outcomes)
    )


def among(outcomes: Measured, ids: NDArray[np.int64], inside: bool) -> Measured:
    """Outcomes of the samples made from some base images, or of all the others."""
    return {task: rows.take(np.isin(rows.ids, ids) == inside) for task, rows in outcomes.items()}
