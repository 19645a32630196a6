"""Intervals against simulations, tests against formulas, orders against brute force."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from seasoning.errors import BadInput
from seasoning.statistics import (
    Column,
    holm,
    mean_accuracy,
    mean_difference,
    mean_of_groups,
    paired_difference,
    paired_p,
    pareto_front,
    per_base_image,
    proportion,
    ranked,
    regret_curve,
    resampled_means,
)


def column(base: NDArray[np.float64], fraction: float) -> Column:
    return np.arange(len(base)), base < fraction


def sets(random: np.random.Generator, images: int, count: int, alike: float) -> list[NDArray[np.float64]]:
    """Uniform numbers for each image of several data sets; a fraction of them is the same in all sets."""
    base = random.random(images)
    return [np.where(random.random(images) < alike, base, random.random(images)) for _ in range(count)]


def test_intervals_are_those_of_the_formula() -> None:
    z, n, right = 1.959963984540054, 10, 8
    center = (right + z**2 / 2) / (n + z**2)
    half = z * np.sqrt(center * (1 - center) / (n + z**2))
    found = proportion(np.array([True] * 8 + [False] * 2))
    assert found == pytest.approx((0.8, center - half, min(center + half, 1), 10))


# Agresti and Coull's own tables: at least 0.93 from 30 images on.
@pytest.mark.parametrize("images", [30, 50, 100, 300, 1000])
def test_intervals_of_accuracies_cover_exactly_enough(images: int) -> None:
    from scipy import stats

    ends = [proportion(np.arange(images) < right)[1:3] for right in range(images + 1)]
    for fraction in np.linspace(0.01, 0.99, 197):
        chances = stats.binom.pmf(np.arange(images + 1), images, fraction)
        covered = sum(chance for chance, (low, high) in zip(chances, ends, strict=True) if low <= fraction <= high)
        assert covered >= 0.93


@pytest.mark.parametrize(
    ("images", "count", "alike", "fraction"),
    [
        *product((30, 300), (1, 2, 8), (0.0, 0.7, 1.0), (0.5, 0.95, 0.99)),
        *product((50, 1000), (8,), (0.7,), (0.01, 0.99)),
    ],
)
def test_intervals_of_means_cover(images: int, count: int, alike: float, fraction: float) -> None:
    random, hits, rounds = np.random.default_rng(4), 0, 400
    for _ in range(rounds):
        found = mean_accuracy([column(each, fraction) for each in sets(random, images, count, alike)])
        hits += found.low <= fraction <= found.high
    # 0.93 or more, less three standard errors of so many rounds.
    assert hits / rounds >= 0.93 - 3 * np.sqrt(0.07 * 0.93 / rounds)


@pytest.mark.parametrize(("images", "right"), [(50, 50), (50, 0), (1000, 1000)])
def test_intervals_do_not_collapse_at_the_ends(images: int, right: int) -> None:
    ids = np.arange(images)
    for found in (proportion(ids < right), mean_accuracy([(ids, ids < right)] * 3)):
        assert 0.5 / images < found.high - found.low < 8 / images


def test_means_of_independent_sets_are_surer_than_of_copies() -> None:
    random = np.random.default_rng(5)
    apart = mean_accuracy([column(each, 0.7) for each in sets(random, 300, 4, 0.0)])
    copies = mean_accuracy([column(each, 0.7) for each in sets(random, 300, 4, 1.0)])
    assert apart.high - apart.low == pytest.approx((copies.high - copies.low) / 2, rel=0.15)
    assert copies.high - copies.low == pytest.approx(0.103, rel=0.05)  # that of 300 samples


def test_copies_of_one_set_hold_no_more_information_than_one() -> None:
    base = np.random.default_rng(3).random(300)
    single, copies = proportion(base < 0.7), mean_accuracy([column(base, 0.7)] * 5)
    assert copies == pytest.approx(single)


def test_means_are_plain_or_weighted_means_of_the_columns() -> None:
    small = (np.array([1, 2]), np.array([True, True]))
    large = (np.arange(10), np.arange(10) < 2)
    assert mean_accuracy([small, large]).value == pytest.approx((1.0 + 0.2) / 2)
    assert mean_accuracy([small, large], [0.25, 0.75]).value == pytest.approx(0.25 + 0.15)
    assert mean_accuracy([small, large], [0.5, 1.0]).value == pytest.approx(0.5 + 0.2)
    assert mean_accuracy([small, large]).n == 10
    assert mean_of_groups([[small], [large, small]]).value == pytest.approx((1.0 + 0.6) / 2)
    ids, values = per_base_image([small, large], [0.25, 0.75])
    assert ids.tolist() == list(range(10))
    assert values.mean() == pytest.approx(0.25 + 0.15)


def test_nothing_measured_is_an_error_not_a_zero() -> None:
    empty = (np.array([], dtype=np.int64), np.array([], dtype=np.bool_))
    for columns in ([], [empty], [empty, (np.arange(3), np.ones(3, dtype=np.bool_))]):
        with pytest.raises(BadInput, match="at least one"):
            mean_accuracy(columns)
    with pytest.raises(BadInput, match="no sample was measured"):
        proportion(np.array([], dtype=np.bool_))
    with pytest.raises(BadInput, match="at least one column"):
        mean_of_groups([[], [(np.arange(3), np.ones(3, dtype=np.bool_))]])


@pytest.mark.parametrize(
    ("gained", "lost", "images", "count", "alike"),
    [
        *((gained, lost, 200, 1, 1.0) for gained, lost in ((0.02, 0.02), (0.15, 0.05), (0.3, 0.3))),
        *((0.03, 0.01, images, 8, alike) for images in (50, 300) for alike in (0.0, 0.7, 1.0)),
    ],
)
def test_intervals_of_paired_differences_cover(
    gained: float, lost: float, images: int, count: int, alike: float
) -> None:
    random, hits, rounds = np.random.default_rng(2), 0, 500
    for _ in range(rounds):
        draws = sets(random, images, count, alike)
        one = [(np.arange(images), draw < gained) for draw in draws]
        other = [(np.arange(images), (draw >= gained) & (draw < gained + lost)) for draw in draws]
        found = mean_difference(one, other)
        hits += found.low <= gained - lost <= found.high
    assert hits / rounds >= 0.93 - 3 * np.sqrt(0.07 * 0.93 / rounds)


def test_paired_differences_are_antisymmetric_and_never_certain() -> None:
    ids = np.arange(4)
    one, other = np.array([True, True, False, True]), np.array([True, False, False, False])
    forth, back = (paired_difference((ids, a), (ids, b)) for a, b in ((one, other), (other, one)))
    assert forth.value == 0.5 == -back.value
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    for same in (paired_difference((ids, one), (ids, one)), mean_difference([(ids, one)] * 3, [(ids, one)] * 3)):
        assert same.value == 0
        assert same.low < 0 < same.high


def test_one_difference_has_the_interval_of_agresti_and_min() -> None:
    # 12 gained, 5 lost, of 100: (12.5 - 5.5) / 102 and its adjusted Wald error.
    ids = np.arange(100)
    found = paired_difference((ids, ids < 12), (ids, (ids >= 12) & (ids < 17)))
    center, error = 7 / 102, np.sqrt(18 - 49 / 102) / 102
    assert found[:3] == pytest.approx((0.07, center - 1.959964 * error, center + 1.959964 * error), abs=1e-6)


def test_pairs_are_joined_whatever_their_order() -> None:
    one = (np.array([1, 2, 3]), np.array([True, False, False]))
    other = (np.array([3, 1, 2]), np.array([True, False, False]))
    assert paired_difference(one, other).value == 0
    with pytest.raises(BadInput, match="same samples"):
        mean_difference([one], [(other[0] + 1, other[1])])


def test_differences_of_means_are_paired_and_weighted() -> None:
    base = np.random.default_rng(5).random(300)
    better, worse = [column(base, 0.75)] * 3, [column(base, 0.7)] * 3
    paired = mean_difference(better, worse)
    assert paired.value == pytest.approx(mean_accuracy(better).value - mean_accuracy(worse).value)
    # The images that differ all speak for the first: unpaired intervals of this width would hide it.
    assert 0 < paired.low < paired.high < 0.1
    assert mean_difference(worse, better).value == pytest.approx(-paired.value)
    mixed = mean_difference([better[0], worse[0]], [worse[0], worse[0]], [0.8, 0.2])
    assert mixed.value == pytest.approx(0.8 * paired.value)


def test_one_data_set_is_tested_by_mcnemar() -> None:
    ids = np.arange(10)
    assert paired_p([(ids, ids < 6)], [(ids, ids < 0)]) == pytest.approx(2 / 2**6)
    assert paired_p([(ids, ids < 3)], [(ids, ids < 3)]) == 1.0


def test_means_that_do_not_differ_are_seldom_told_apart_and_others_are() -> None:
    random, found, rounds = np.random.default_rng(1), 0, 300
    for _ in range(rounds):
        one, other = ([column(each, 0.7) for each in sets(random, 80, 2, 0.5)] for _ in range(2))
        found += paired_p(one, other) < 0.05
    assert found / rounds <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / rounds)
    one, other = ([column(each, fraction) for each in sets(random, 300, 2, 0.5)] for fraction in (0.8, 0.5))
    assert paired_p(one, other) < 0.001


def test_a_p_value_and_its_interval_agree() -> None:
    random = np.random.default_rng(6)
    for _ in range(40):
        one, other = ([column(each, f) for each in sets(random, 60, 3, 0.5)] for f in (0.62, 0.5))
        difference = mean_difference(one, other)
        assert (paired_p(one, other) < 0.05) == (difference.low > 0 or difference.high < 0)


def test_holm_against_examples_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_bootstrap_has_the_spread_of_a_mean() -> None:
    values = np.random.default_rng(7).random((400, 2))
    means = resampled_means(values, 4000)
    assert means.shape == (4000, 2)
    assert means.mean(0) == pytest.approx(values.mean(0), abs=0.002)
    assert means.std(0) == pytest.approx(values.std(0) / 20, rel=0.08)
    assert resampled_means(values[:, 0], 4000) == pytest.approx(means[:, 0])


def test_ties_are_told_from_rounding() -> None:
    # Three tenths, summed in two orders, are two floating-point numbers and one score.
    scores = [0.1 + 0.2, 0.2, 0.3, 0.3 + 1e-6]
    assert scores[0] != scores[2]
    assert ranked(scores, [0.9, 0.1, 0.4, 0.9]) == [3, 2, 0, 1]
    assert ranked([0.5, 0.5], [0.3, 0.3]) == [0, 1]


def test_the_pareto_front_is_the_one_of_brute_force() -> None:
    random = np.random.default_rng(0)
    for kinds in (1, 2, 3):
        scores = random.integers(0, 6, (60, kinds)) / 6
        front = pareto_front(scores)
        for index, own in enumerate(scores):
            beaten = any((other >= own).all() and (other > own).any() for other in scores)
            assert (index in front) != beaten
        assert [tuple(scores[index]) for index in front] == sorted((tuple(scores[i]) for i in front), reverse=True)


def test_regret_falls_to_nothing_with_all_images() -> None:
    random = np.random.default_rng(0)
    right = random.random((20, 200)) < np.linspace(0.4, 0.6, 20)[:, None]
    few, many, everything = regret_curve([(np.arange(200), right.astype(float))], [5, 100, 200])
    assert few.value > many.value > everything.value == 0
    assert few.low <= few.value <= few.high
    assert [few.n, many.n, everything.n] == [5, 100, 200]
