import numpy as np
import pytest
from numpy.typing import NDArray

from seasoning import metrics
from seasoning.errors import BadInput
from seasoning.outcomes import Outcomes, Status
from tests.make import outcomes


def test_accuracies_worked_out_by_hand() -> None:
    # Sample 0 is wrong clean, 1 is fooled, 2 and 3 stand; sample 4 was not measured.
    one = outcomes(labels=[0, 1, 2, 3, 0], clean=[1, 1, 2, 3, 0], adversarial=[1, 0, 2, 3, 0], missing=[4])
    assert metrics.accuracy(one)[0] == 3 / 4
    assert metrics.robust_accuracy(one)[0] == 2 / 4
    assert metrics.accuracy(one).n == 4
    other = outcomes(labels=[0, 1, 2, 3, 0], clean=[0, 1, 2, 3, 0], adversarial=[0, 1, 0, 3, 0], missing=[4])
    assert metrics.union_accuracy(one, other).value == 1 / 4
    assert metrics.union_accuracy(one).value == metrics.robust_accuracy(one).value


def test_unions_join_on_the_sample_id() -> None:
    one = outcomes(labels=[0, 1], clean=[0, 1], adversarial=[0, 0], ids=[10, 20])
    other = outcomes(labels=[1, 0], clean=[1, 0], adversarial=[1, 0], ids=[20, 10])
    ids, standing = metrics.union_column(one, other)
    assert (ids.tolist(), standing.tolist()) == ([10, 20], [True, False])
    with pytest.raises(BadInput, match="same samples"):
        metrics.union_column(one, outcomes(labels=[0, 1], clean=[0, 1], adversarial=[0, 1], ids=[10, 30]))


def test_wilson_intervals_are_those_of_the_formula() -> None:
    successes = np.array([True] * 8 + [False] * 2)
    z, n, p = 1.959964, 10, 0.8
    center, half = (
        (p + z**2 / (2 * n)) / (1 + z**2 / n),
        z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n),
    )
    assert metrics.proportion(successes)[:3] == pytest.approx((0.8, center - half, center + half), abs=1e-6)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.97])
def test_intervals_of_accuracies_cover(share: float) -> None:
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        estimate = metrics.proportion(random.random(100) < share)
        hits += estimate.low <= share <= estimate.high
    assert 0.92 <= hits / 1000 <= 0.985


@pytest.mark.parametrize(("gained", "lost"), [(0.02, 0.02), (0.15, 0.05), (0.3, 0.3)])
def test_intervals_of_paired_differences_cover(gained: float, lost: float) -> None:
    random = np.random.default_rng(2)
    ids, hits = np.arange(200), 0
    for _ in range(1000):
        draw = random.random(200)
        one, other = draw < gained, (draw >= gained) & (draw < gained + lost)
        estimate = metrics.paired_difference((ids, one), (ids, other))
        hits += estimate.low <= gained - lost <= estimate.high
    assert 0.93 <= hits / 1000 <= 0.99


def test_paired_differences_are_antisymmetric_and_never_certain() -> None:
    ids = np.arange(4)
    one, other = np.array([True, True, False, True]), np.array([True, False, False, False])
    forth, back = (metrics.paired_difference((ids, a), (ids, b)) for a, b in ((one, other), (other, one)))
    assert forth.value == 0.5 == -back.value
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    same = metrics.paired_difference((ids, one), (ids, one))
    assert same.value == 0
    assert same.low < 0 < same.high


def test_pairs_are_joined_whatever_their_order() -> None:
    one = (np.array([1, 2, 3]), np.array([True, False, False]))
    other = (np.array([3, 1, 2]), np.array([True, False, False]))
    assert metrics.paired_difference(one, other).value == 0


def column(base: NDArray[np.float64], share: float) -> metrics.Column:
    return np.arange(len(base)), base < share


def test_means_resample_base_images() -> None:
    # Five copies of one data set hold no more information than one.
    random = np.random.default_rng(3)
    base = random.random(300)
    single, copies = metrics.proportion(base < 0.7), metrics.mean_accuracy(*[column(base, 0.7)] * 5)
    assert copies.value == single.value
    assert copies.n == 300
    assert copies.high - copies.low == pytest.approx(single.high - single.low, rel=0.1)


def test_means_are_plain_means_of_the_columns() -> None:
    small = (np.array([1, 2]), np.array([True, True]))
    large = (np.arange(10), np.arange(10) < 2)
    assert metrics.mean_accuracy(small, large).value == pytest.approx((1.0 + 0.2) / 2)


def test_intervals_of_means_cover() -> None:
    random, hits = np.random.default_rng(4), 0
    for _ in range(200):
        base = random.random(150)
        estimate = metrics.mean_accuracy(column(base, 0.6), column(base, 0.9))
        hits += estimate.low <= 0.75 <= estimate.high
    assert 0.9 <= hits / 200 <= 0.99


def test_differences_of_means_are_paired() -> None:
    random = np.random.default_rng(5)
    base = random.random(300)
    better, worse = [column(base, 0.72)] * 3, [column(base, 0.7)] * 3
    paired = metrics.mean_difference(better, worse)
    assert paired.value == pytest.approx(metrics.mean_accuracy(*better).value - metrics.mean_accuracy(*worse).value)
    # The few images that differ all speak for the first: unpaired intervals of this width would hide it.
    assert 0 < paired.low < paired.high < 0.05
    assert metrics.mean_difference(worse, better).value == -paired.value
    assert metrics.mean_difference(better, better)[:3] == (0, 0, 0)
    with pytest.raises(BadInput, match="same samples"):
        metrics.mean_difference(better, [(ids + 1, each) for ids, each in worse])


def test_nothing_measured_is_an_error_not_a_zero() -> None:
    nothing = outcomes(labels=[0], clean=[0], adversarial=[0], missing=[0])
    for count in (metrics.accuracy, metrics.robust_accuracy, metrics.union_accuracy):
        with pytest.raises(BadInput, match="no sample was measured"):
            count(nothing)
    with pytest.raises(BadInput, match="at least one"):
        metrics.union_accuracy()
    with pytest.raises(BadInput, match="at least one"):
        metrics.mean_accuracy()
    empty = (np.array([], dtype=np.int64), np.array([], dtype=np.bool_))
    with pytest.raises(BadInput, match="at least one"):
        metrics.mean_accuracy(empty, (np.arange(3), np.ones(3, dtype=np.bool_)))


def test_columns_must_agree() -> None:
    good = outcomes(labels=[0, 1], clean=[0, 1], adversarial=[0, 1])
    with pytest.raises(BadInput, match="twice"):
        good.take(np.array([0, 0]))
    with pytest.raises(BadInput, match="lengths"):
        Outcomes(**(good.columns() | {"status": np.array([Status.MEASURED], dtype=np.int8)}))
