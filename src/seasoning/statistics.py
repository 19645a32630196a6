"""Statistics of right and wrong over samples that models and data sets share; no torch.

A *column* says of each sample, by its id, whether something is true. Samples of one id were made from one photograph,
the *base image*. Accuracies, their means over data sets, and differences all rest on base images, so that sets made of
the same photographs do not count them twice; differences are paired: both models are asked about the same samples.

Sources: Agresti & Coull 1998, *Approximate is better than "exact"*; Agresti & Min 2005, *Simple improved confidence
intervals for comparing matched proportions*; McNemar 1947; Holm 1979, *A simple sequentially rejective multiple test
procedure*.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from seasoning.errors import BadInput


__all__ = [
    "ALPHA",
    "CONFIDENCE",
    "EQUAL",
    "Column",
    "Estimate",
    "holm",
    "join",
    "mean_accuracy",
    "mean_difference",
    "mean_of_groups",
    "paired_difference",
    "paired_p",
    "pareto_front",
    "per_base_image",
    "proportion",
    "ranked",
    "regret_curve",
    "resampled_means",
]

CONFIDENCE, ALPHA = 0.95, 0.05
# Scores that differ by less are equal: they are sums of fractions, rounded in different orders.
EQUAL = 1e-9
# Base images that would agree on every data set, added to those that show how much the sets agree.
_AGREEING = 2
_Z = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
_RESAMPLES = 2000
# Counts of a bootstrap that are in memory at a time.
_MOST_COUNTS = 2 * 10**7
# Subsets that a point of the regret curve is the mean of.
_DRAWS = 100

Column = tuple[NDArray[np.int64], NDArray[np.bool_]]


class Estimate(NamedTuple):
    """A fraction in [0, 1] (a difference: in [-1, 1]), the ends of its interval, and the base images it rests on.

    The interval has a confidence of 95 % unless the function that made it says otherwise.
    """

    value: float
    low: float
    high: float
    n: int


def proportion(successes: NDArray[np.bool_]) -> Estimate:
    """The fraction of `True`, with the interval of Agresti & Coull.

    Raises:
        BadInput: there is nothing to count.
    """
    if len(successes) == 0:
        raise BadInput("no sample was measured: an accuracy needs at least one")
    return _with_interval(float(successes.mean()), len(successes), len(successes))


def mean_accuracy(columns: Sequence[Column], weights: Sequence[float] | None = None) -> Estimate:
    """The weighted sum over data sets of the fraction of `True`; without weights the plain mean.

    Its interval is that of one fraction over as many independent samples as have the variance which the base images
    show; pseudo-counts keep its coverage near 0 and 1.

    Args:
        columns: One for each data set; a set may lack some base images.
        weights: One number for each, above 0.

    Raises:
        BadInput: there are no columns, or one without samples.
    """
    weights = _weights(columns, weights)
    values = [(ids, right.astype(float)) for ids, right in columns]
    score, residuals = _residuals(values, weights)
    total = sum(weights)
    fraction, n = score / total, len(residuals)
    # How much less the sum varies than if all data sets were one and the same.
    spread, variance = fraction * (1 - fraction), float(np.square(residuals).sum()) / max(n - 1, 1) / total**2
    agreement = min(variance / spread, 1.0) if spread > 0 else 1.0
    agreement = _shrunk(agreement, [ids[right != (fraction > 0.5)] for ids, right in columns])
    value, low, high, _ = _with_interval(fraction, n / agreement, n)
    return Estimate(total * value, total * low, total * high, n)


def mean_of_groups(groups: Sequence[Sequence[Column]]) -> Estimate:
    """The plain mean over groups of the plain mean over each group's data sets, as `mean_accuracy`.

    Args:
        groups: Columns of a table; one, such as ImageNet-C, may hold many data sets.

    Raises:
        BadInput: a group is empty, or no sample of a data set was measured.
    """
    if not groups or not all(groups):
        raise BadInput("a mean over no data sets: give at least one column")
    weights = [1 / len(group) / len(groups) for group in groups for _ in group]
    return mean_accuracy([column for group in groups for column in group], weights)


def paired_difference(first: Column, second: Column) -> Estimate:
    """The fraction of `True` in the first column minus that in the second, over the same samples.

    The interval is the adjusted Wald interval for matched pairs, which counts half a sample more in each cell of the
    2 x 2 table and so stays honest where the two hardly differ (Agresti & Min).

    Raises:
        BadInput: the two do not hold the same samples.
    """
    return mean_difference([first], [second])


def mean_difference(
    first: Sequence[Column], second: Sequence[Column], weights: Sequence[float] | None = None
) -> Estimate:
    """The weighted sum over data sets of one model's accuracy minus another's; without weights the plain mean.

    Args:
        first: One column for each data set.
        second: The other model's, over the same samples in the same order of data sets.
        weights: One number for each data set, above 0.

    Raises:
        BadInput: the two do not hold the same samples.
    """
    value, center, error, n = _compared(first, second, weights)
    return Estimate(value, max(center - _Z * error, -1.0), min(center + _Z * error, 1.0), n)


def paired_p(first: Sequence[Column], second: Sequence[Column], weights: Sequence[float] | None = None) -> float:
    """The two-sided p value of equal accuracy over the same samples.

    For one data set it is McNemar's exact test; for a mean over several the z test that belongs to the interval of
    `mean_difference`.

    Raises:
        BadInput: the two do not hold the same samples.
    """
    if len(first) == 1:
        _, (one, other) = join([first[0], second[0]])
        gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
        return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    _, center, error, _ = _compared(first, second, weights)
    return float(2 * stats.norm.sf(abs(center) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number, in their own order.

    Source: Holm 1979.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda each: p_values[each])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def per_base_image(
    columns: Sequence[Column], weights: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Base images, ascending, and a number for each, whose mean is the weighted sum of the columns' fractions.

    Raises:
        BadInput: there are no columns, or one without samples.
    """
    _require_samples(columns)
    ids = reduce(np.union1d, [ids for ids, _ in columns])
    values = np.zeros(len(ids))
    for weight, (own, right) in zip(weights, columns, strict=True):
        values[np.searchsorted(ids, own)] += weight * len(ids) / len(own) * right
    return ids, values


def resampled_means(values: NDArray[np.float64], draws: int = _RESAMPLES) -> NDArray[np.float64]:
    """Means of numbers for each base image when the images are drawn anew: a bootstrap.

    Args:
        values: `(images,)`, or `(images, models)`.
        draws: How often the images are drawn.

    Returns:
        `(draws,)`, or `(draws, models)`.
    """
    count, random, means, done = len(values), np.random.default_rng(0), [], 0
    while done < draws:
        size = min(draws - done, max(1, _MOST_COUNTS // count))
        counts = random.multinomial(count, np.full(count, 1 / count), size=size).astype(float)
        means.append(counts @ values)
        done += size
    return np.concatenate(means) / count


def ranked(scores: Sequence[float], ties: Sequence[float]) -> list[int]:
    """Indices from the highest score to the lowest; of equal scores the lowest `ties` first, then the first index.

    Scores are equal where they differ by rounding only.
    """
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    groups: list[list[int]] = []
    for index in order:
        if groups and scores[groups[-1][0]] - scores[index] <= EQUAL:
            groups[-1].append(index)
        else:
            groups.append([index])
    return [index for group in groups for index in sorted(group, key=lambda each: (ties[each], each))]


def pareto_front(scores: NDArray[np.float64]) -> list[int]:
    """Indices of the points that no other one beats: none is at least as good in every score and better in one.

    Args:
        scores: `(points, scores)`, more being better.

    Returns:
        In descending order of the first score, then of the next.
    """
    order = np.lexsort([*-scores.T[::-1]])
    front: list[int] = []
    for index in order:
        own = scores[index]
        # What beats a point stands before it in this order, and so does something on the front that beats both.
        against = scores[front]
        if not ((against >= own).all(1) & (against > own).any(1)).any():
            front.append(int(index))
    return front


def regret_curve(sets: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]], sizes: Sequence[int]) -> list[Estimate]:
    """What choosing on fewer samples loses on all that were measured, against the best choice on all of them.

    Args:
        sets: For each data set the ids of its samples, ascending, and a number for each soup and sample,
            `(soups, samples)`; the sum over the sets of a soup's means is its score.
        sizes: Base images of each set to choose on; the same ones of sets that share them.

    Returns:
        For each size the mean loss over random choices of images, and what one in ten loses at least and at most
        (an 80 % range, not a confidence interval); `n` is the size, or all images where there are fewer.
    """
    scores = np.sum([values.mean(1) for _, values in sets], axis=0)
    losses = scores.max() - scores
    losses[losses < EQUAL] = 0
    everything = reduce(np.union1d, [ids for ids, _ in sets])
    most = max(len(ids) for ids, _ in sets)
    random, curve = np.random.default_rng(0), []
    for size in sizes:
        lost = []
        for _ in range(_DRAWS):
            order, few = random.permutation(everything), np.zeros(len(scores))
            for ids, values in sets:
                few += values[:, np.searchsorted(ids, order[np.isin(order, ids)][:size])].mean(1)
            # Ties are no knowledge: any of them might be taken.
            lost.append(losses[few >= few.max() - EQUAL].mean())
        low, high = np.percentile(lost, [10, 90])
        curve.append(Estimate(float(np.mean(lost)), float(low), float(high), min(size, most)))
    return curve


def join(columns: Sequence[Column]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Columns over the same samples, stacked in the order of the ids: `(samples,)` and `(columns, samples)`.

    Raises:
        BadInput: they do not hold the same samples, or none.
    """
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


def _with_interval(fraction: float, samples: float, n: int) -> Estimate:
    """Agresti and Coull's interval of a fraction of so many independent samples."""
    total = samples + _Z**2
    center = (fraction * samples + _Z**2 / 2) / total
    half = _Z * np.sqrt(center * (1 - center) / total)
    return Estimate(fraction, float(max(center - half, 0.0)), float(min(center + half, 1.0)), n)


def _compared(
    first: Sequence[Column], second: Sequence[Column], weights: Sequence[float] | None
) -> tuple[float, float, float, int]:
    """The difference of two weighted sums, the center and the standard error of its interval, and the base images.

    Agresti and Min's half samples, for as many independent samples as have the variance that the base images show.
    """
    weights = _weights(first, weights)
    differences = []
    for one, other in zip(first, second, strict=True):
        ids, (mine, theirs) = join([one, other])
        differences.append((ids, mine.astype(float) - theirs))
    value, residuals = _residuals(differences, weights)
    n, total = len(residuals), sum(weights)
    # How often the two differ, and how much less the sum varies than if all data sets were one and the same.
    discordant = sum(
        weight * float(np.abs(difference).mean()) for weight, (_, difference) in zip(weights, differences, strict=True)
    )
    single = total * discordant - value**2
    agreement = min(float(np.square(residuals).mean()) / single, 1.0) if single > 0 else 1.0
    agreement = _shrunk(agreement, [ids[values != 0] for ids, values in differences])
    samples = n / agreement
    center = value * samples / (samples + 2)
    variance = ((total * discordant * samples + total**2) / (samples + 2) - center**2) / (samples + 2)
    return value, center, float(np.sqrt(variance)), n


def _shrunk(agreement: float, rare: Sequence[NDArray[np.int64]]) -> float:
    """How much data sets agree, pulled towards 1 where few base images tell: those that are not like most, by set."""
    images = len(reduce(np.union1d, rare))
    return (images * agreement + _AGREEING) / (images + _AGREEING)


def _residuals(
    columns: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]], weights: Sequence[float]
) -> tuple[float, NDArray[np.float64]]:
    """The weighted sum of the columns' means, and what each base image adds to its deviation: their mean is 0."""
    ids = reduce(np.union1d, [ids for ids, _ in columns])
    residuals, score = np.zeros(len(ids)), 0.0
    for weight, (own, values) in zip(weights, columns, strict=True):
        mean = float(values.mean())
        score += weight * mean
        residuals[np.searchsorted(ids, own)] += weight * len(ids) / len(own) * (values - mean)
    return score, residuals


def _weights(columns: Sequence[Column], weights: Sequence[float] | None) -> list[float]:
    _require_samples(columns)
    return [1 / len(columns) for _ in columns] if weights is None else list(weights)


def _require_samples(columns: Sequence[Column]) -> None:
    if not columns:
        raise BadInput("a mean over no data sets: give at least one column")
    if any(len(ids) == 0 for ids, _ in columns):
        raise BadInput("no sample was measured on one of the data sets: a mean needs at least one of each")
