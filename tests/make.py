"""Made records for tests that need no model."""

from collections.abc import Sequence

import numpy as np

from seasoning.outcomes import Outcomes, Status


__all__ = ["outcomes"]


def outcomes(
    *,
    labels: Sequence[int],
    clean: Sequence[int],
    adversarial: Sequence[int] | None = None,
    ids: Sequence[int] | None = None,
    missing: Sequence[int] = (),
) -> Outcomes:
    """Outcomes with the given predictions; `missing` are rows that were not measured."""
    count = len(labels)
    status = np.full(count, Status.MEASURED, dtype=np.int8)
    status[list(missing)] = Status.MISSING
    return Outcomes(
        ids=np.array(range(count) if ids is None else ids, dtype=np.int64),
        labels=np.array(labels, dtype=np.int64),
        clean=np.array(clean, dtype=np.int64),
        adversarial=np.array(clean if adversarial is None else adversarial, dtype=np.int64),
        clean_margin=np.ones(count, dtype=np.float32),
        margin=np.ones(count, dtype=np.float32),
        distance=np.zeros(count, dtype=np.float32),
        gradients=np.full(count, 7, dtype=np.int64),
        forwards=np.full(count, 9, dtype=np.int64),
        status=status,
    )
