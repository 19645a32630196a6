import numpy as np
import pytest

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


def test_nothing_measured_is_an_error_not_a_zero() -> None:
    nothing = outcomes(labels=[0], clean=[0], adversarial=[0], missing=[0])
    for count in (metrics.accuracy, metrics.robust_accuracy, metrics.union_accuracy):
        with pytest.raises(BadInput, match="no sample was measured"):
            count(nothing)
    with pytest.raises(BadInput, match="at least one"):
        metrics.union_accuracy()


def test_columns_must_agree() -> None:
    good = outcomes(labels=[0, 1], clean=[0, 1], adversarial=[0, 1])
    with pytest.raises(BadInput, match="twice"):
        good.take(np.array([0, 0]))
    with pytest.raises(BadInput, match="lengths"):
        Outcomes(**(good.columns() | {"status": np.array([Status.MEASURED], dtype=np.int8)}))
