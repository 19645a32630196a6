"""Numbers from outcomes, each with its interval; all are pure functions of the per-sample columns."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seasoning.errors import BadInput
from seasoning.outcomes import Outcomes
from seasoning.statistics import Column, Estimate, join, proportion


__all__ = [
    "accuracy",
    "clean_column",
    "corruption_error",
    "robust_accuracy",
    "robust_column",
    "shape_bias",
    "union_accuracy",
    "union_column",
    "unmasked_accuracy",
]


def accuracy(outcomes: Outcomes) -> Estimate:
    """Fraction of the measured clean images that are classified correctly."""
    return proportion(clean_column(outcomes)[1])


def robust_accuracy(outcomes: Outcomes) -> Estimate:
    """Fraction of the measured samples that are classified correctly, clean and under the attack."""
    return proportion(robust_column(outcomes)[1])


def unmasked_accuracy(outcomes: Outcomes) -> Estimate:
    """Fraction of the measured clean images that are classified correctly when all classes of the model compete.

    Raises:
        BadInput: the data set has no mask.
    """
    if outcomes.unmasked is None:
        raise BadInput("these samples have no mask: their accuracy is that over all classes")
    return proportion((outcomes.unmasked == outcomes.labels)[outcomes.measured])


def shape_bias(outcomes: Outcomes) -> Estimate:
    """Of the conflict stimuli that are taken for their shape or their texture, the fraction taken for their shape.

    Only images whose shape and texture disagree are counted.

    Raises:
        BadInput: the samples are no conflict stimuli, or none was taken for either.

    Reference: Geirhos et al. 2019, *ImageNet-trained CNNs are biased towards texture*.
    """
    if outcomes.texture is None:
        raise BadInput("these samples have no texture labels: the shape bias is one of conflict stimuli")
    shape, texture = outcomes.clean == outcomes.labels, outcomes.clean == outcomes.texture
    rows = outcomes.measured & (outcomes.texture != outcomes.labels) & (shape | texture)
    return proportion(shape[rows])


def corruption_error(errors: Sequence[float], baseline: float) -> float:
    """Error over the severities of a corruption in units of a baseline's; their plain mean over corruptions is mCE.

    Args:
        errors: One for each severity, in [0, 1].
        baseline: The baseline's mean error over them, in [0, 1].

    Reference: Hendrycks & Dietterich 2019, section 3 (whose baseline is AlexNet).
    """
    return float(np.mean(errors)) / baseline


def union_accuracy(*outcomes: Outcomes) -> Estimate:
    """Fraction of the samples that are robust to every threat measured.

    Raises:
        BadInput: the measurements do not hold the same samples.
    """
    return proportion(union_column(*outcomes)[1])


def clean_column(outcomes: Outcomes) -> Column:
    """Ids of the measured samples, and whether the clean image is right."""
    return _measured(outcomes, outcomes.correct)


def robust_column(outcomes: Outcomes) -> Column:
    """Ids of the measured samples, and whether each is right clean and under the attack."""
    return _measured(outcomes, outcomes.robust)


def union_column(*outcomes: Outcomes) -> Column:
    """Ids of the measured samples, and whether each is robust to every threat: a join on the sample id."""
    if not outcomes:
        raise BadInput("a union of no measurements: give the outcomes of at least one threat")
    ids, columns = join([robust_column(outcome) for outcome in outcomes])
    return ids, np.logical_and.reduce(columns, axis=0)


def _measured(outcomes: Outcomes, column: NDArray[np.bool_]) -> Column:
    rows = outcomes.measured
    return outcomes.ids[rows], column[rows]
