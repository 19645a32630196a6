"""Numbers from outcomes, each with its interval; all are pure functions of the per-sample columns.

Accuracies have the interval of Wilson (1927). Means over data sets that share their base images resample those images.
Differences are paired: both models are asked about the same samples.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from seasoning.errors import BadInput
from seasoning.outcomes import Outcomes


__all__ = [
    "CONFIDENCE",
    "Column",
    "Estimate",
    "accuracy",
    "clean_column",
    "corruption_error",
    "mean_accuracy",
    "mean_difference",
    "mean_of_groups",
    "paired_difference",
    "proportion",
    "resampled_means",
    "robust_accuracy",
    "robust_column",
    "shape_bias",
    "union_accuracy",
    "union_column",
    "unmasked_accuracy",
    "weighted_accuracy",
    "weighted_difference",
]

CONFIDENCE = 0.95
_RESAMPLES = 2000
# Counts of a bootstrap that are in memory at a time.
_MOST_COUNTS = 2 * 10**7

Column = tuple[NDArray[np.int64], NDArray[np.bool_]]  # sample ids, and what is true of each


class Estimate(NamedTuple):
    """A share in [0, 1] (a difference: in [-1, 1]), the ends of its 95 % interval, and the samples it rests on."""

    value: float
    low: float
    high: float
    n: int


def accuracy(outcomes: Outcomes) -> Estimate:
    """Share of the measured clean images that are classified correctly."""
    return proportion(clean_column(outcomes)[1])


def robust_accuracy(outcomes: Outcomes) -> Estimate:
    """Share of the measured samples that are classified correctly, clean and under the attack."""
    return proportion(robust_column(outcomes)[1])


def unmasked_accuracy(outcomes: Outcomes) -> Estimate:
    """Share of the measured clean images that are classified correctly when all classes of the model compete.

    Raises:
        BadInput: the data set has no mask.
    """
    if outcomes.unmasked is None:
        raise BadInput("these samples have no mask: their accuracy is that over all classes")
    return proportion((outcomes.unmasked == outcomes.labels)[outcomes.measured])


def shape_bias(outcomes: Outcomes) -> Estimate:
    """Of the conflict stimuli that are taken for their shape or their texture, the share taken for their shape.

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
    """Share of the samples that are robust to every threat measured.

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
    ids, columns = _join([robust_column(each) for each in outcomes])
    return ids, np.logical_and.reduce(columns, axis=0)


def proportion(successes: NDArray[np.bool_]) -> Estimate:
    """Share of `True` with Wilson's interval.

    Raises:
        BadInput: there is nothing to count.
    """
    n = len(successes)
    if n == 0:
        raise BadInput("no sample was measured: an accuracy needs at least one")
    test = stats.binomtest(int(successes.sum()), n)
    interval = test.proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(float(test.statistic), float(interval.low), float(interval.high), n)


def mean_accuracy(*columns: Column) -> Estimate:
    """Plain mean over data sets of the share of `True`, with an interval that resamples base images.

    Args:
        columns: One for each data set; samples with the same id were made from the same base image, and a set may
            lack some.

    Returns:
        `n` counts base images.
    """
    return _sum_over_base_images([(ids, column.astype(float)) for ids, column in columns], _plain(columns))


def weighted_accuracy(columns: Sequence[Column], weights: Sequence[float]) -> Estimate:
    """Weighted sum over data sets of the share of `True`; one of weight 1 has Wilson's interval, else as for means.

    Raises:
        BadInput: there is nothing to count.
    """
    if len(columns) == 1 and weights[0] == 1:
        return proportion(columns[0][1])
    return _sum_over_base_images([(ids, column.astype(float)) for ids, column in columns], weights)


def mean_of_groups(groups: Sequence[Sequence[Column]]) -> Estimate:
    """Plain mean over groups of the plain mean over each group's data sets, resampling base images as `mean_accuracy`.

    Args:
        groups: Columns of a table; one, such as ImageNet-C, may hold many data sets.

    Raises:
        BadInput: a group is empty, or no sample of a data set was measured.
    """
    if not groups or not all(groups):
        raise BadInput("a mean over no data sets: give at least one column")
    weights = [1 / len(group) / len(groups) for group in groups for _ in group]
    return _sum_over_base_images([(ids, each.astype(float)) for group in groups for ids, each in group], weights)


def mean_difference(first: Sequence[Column], second: Sequence[Column]) -> Estimate:
    """Mean accuracy over data sets of one model minus that of another, paired by sample, resampling base images.

    Args:
        first: One column for each data set.
        second: The other model's, over the same samples in the same order of data sets.

    Raises:
        BadInput: the two do not hold the same samples.
    """
    return weighted_difference(first, second, _plain(first))


def weighted_difference(first: Sequence[Column], second: Sequence[Column], weights: Sequence[float]) -> Estimate:
    """Weighted sum over data sets of one model minus that of another, as `mean_difference`."""
    differences = []
    for one, other in zip(first, second, strict=True):
        ids, (mine, theirs) = _join([one, other])
        differences.append((ids, mine.astype(float) - theirs))
    return _sum_over_base_images(differences, weights)


def resampled_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of a number for each base image when the images are drawn anew, one for each draw."""
    return np.concatenate([draws @ values for draws in _resampled(len(values))]) / len(values)


def _plain(columns: Sequence[Column]) -> list[float]:
    return [1 / len(columns) for _ in columns]


def _sum_over_base_images(
    columns: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]], weights: Sequence[float]
) -> Estimate:
    if not columns:
        raise BadInput("a mean over no data sets: give at least one column")
    if any(len(ids) == 0 for ids, _ in columns):
        raise BadInput("no sample was measured on one of the data sets: a mean needs at least one of each")
    ids = reduce(np.union1d, [ids for ids, _ in columns])
    values = np.full((len(columns), len(ids)), np.nan)
    for row, (known, column) in zip(values, columns, strict=True):
        row[np.searchsorted(ids, known)] = column
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)
    # Bootstrap of base images: counts of how often each is drawn.
    sums = [
        (draws @ filled.T) / np.maximum(draws @ present.T, 1) @ np.asarray(weights) for draws in _resampled(len(ids))
    ]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(sums), [tail, 100 - tail])
    return Estimate(float(filled.sum(1) / present.sum(1) @ np.asarray(weights)), float(low), float(high), len(ids))


def _resampled(count: int) -> Iterator[NDArray[np.float64]]:
    """How often each of `count` base images is drawn, draw by draw; a part of the draws at a time."""
    random, done = np.random.default_rng(0), 0
    while done < _RESAMPLES:
        size = min(_RESAMPLES - done, max(1, _MOST_COUNTS // count))
        yield random.multinomial(count, np.full(count, 1 / count), size=size).astype(float)
        done += size


def paired_difference(first: Column, second: Column) -> Estimate:
    """Share of `True` in the first minus that in the second, over the same samples.

    The interval is the adjusted Wald interval for matched pairs, which counts half a sample more in each cell of the
    2 x 2 table and so stays honest where the two hardly differ.

    Raises:
        BadInput: the two do not hold the same samples.

    Source: Agresti & Min 2005, *Simple improved confidence intervals for comparing matched proportions*.
    """
    _, columns = _join([first, second])
    one, other = columns
    n = len(one)
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    total, b, c = n + 2, gained + 0.5, lost + 0.5
    center = (b - c) / total
    error = np.sqrt(b + c - (b - c) ** 2 / total) / total
    half = stats.norm.ppf(0.5 + CONFIDENCE / 2) * error
    return Estimate((gained - lost) / n, float(max(center - half, -1)), float(min(center + half, 1)), n)


def _measured(outcomes: Outcomes, column: NDArray[np.bool_]) -> Column:
    rows = outcomes.measured
    return outcomes.ids[rows], column[rows]


def _join(columns: Sequence[Column]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Columns over the same samples, stacked in the order of the ids."""
    orders = [np.argsort(ids) for ids, _ in columns]
    sorted_ids = [ids[order] for (ids, _), order in zip(columns, orders, strict=True)]
    for other in sorted_ids[1:]:
        if not np.array_equal(sorted_ids[0], other):
            only = np.setxor1d(sorted_ids[0], other)
            raise BadInput(
                f"the measurements do not hold the same samples: {len(only)} are in only one of them, "
                f"such as id {only[0]}; measure both on identical samples"
            )
    if len(sorted_ids[0]) == 0:
        raise BadInput("no sample was measured: an accuracy needs at least one")
    return sorted_ids[0], np.stack([column[order] for (_, column), order in zip(columns, orders, strict=True)])
