import math

import pytest
import torch

from seasoning import losses
from seasoning.errors import BadInput


LOGITS = torch.tensor([[4.0, 1.0, 3.0, 0.0], [0.0, 2.0, 1.0, 5.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 1])


def test_values_worked_out_by_hand() -> None:
    torch.testing.assert_close(losses.margin(LOGITS, LABELS), torch.tensor([1.0, -3.0], dtype=torch.float64))
    # -(4 - 3) / (4 - 1) and -(2 - 5) / (5 - 1)
    torch.testing.assert_close(losses.dlr(LOGITS, LABELS), torch.tensor([-1 / 3, 3 / 4], dtype=torch.float64))
    # -(4 - 1) / (4 - (1 + 0) / 2) and -(2 - 0) / (5 - (1 + 0) / 2)
    targeted = losses.targeted_dlr(LOGITS, LABELS, torch.tensor([1, 0]))
    torch.testing.assert_close(targeted, torch.tensor([-3 / 3.5, -2 / 4.5], dtype=torch.float64))
    expected = math.log(math.e**4 + math.e + math.e**3 + 1) - 4
    assert float(losses.cross_entropy(LOGITS, LABELS)[0]) == pytest.approx(expected)
    assert float(losses.targeted_cross_entropy(LOGITS, LABELS, LABELS)[0]) == pytest.approx(-expected)


def test_a_row_that_is_not_finite_is_not_misclassified() -> None:
    nan, inf = torch.nan, torch.inf
    logits = torch.tensor([[1.0, 2], [2, 1], [nan, 1], [1, nan], [-inf, 1], [1, inf]])
    assert losses.misclassified(logits, torch.zeros(6).long()).tolist() == [True] + [False] * 5


def test_soft_labels_of_one_class_are_that_class() -> None:
    soft = torch.nn.functional.one_hot(LABELS, 4).double()
    torch.testing.assert_close(losses.cross_entropy(LOGITS, soft), losses.cross_entropy(LOGITS, LABELS))


def test_dlr_ignores_shift_and_scale() -> None:
    torch.testing.assert_close(losses.dlr(3 * LOGITS + 7, LABELS), losses.dlr(LOGITS, LABELS))


def test_kl_is_zero_with_zero_gradient_at_its_reference() -> None:
    at = LOGITS.clone().requires_grad_()
    loss = losses.kl_divergence(at, LOGITS)
    (gradient,) = torch.autograd.grad(loss.sum(), at)
    torch.testing.assert_close(loss.detach(), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, torch.zeros_like(LOGITS), rtol=0, atol=1e-12)
    assert bool((losses.kl_divergence(LOGITS.flip(1), LOGITS) > 0).all())


def test_too_few_classes_name_the_loss_to_use() -> None:
    with pytest.raises(BadInput, match="use loss='ce'"):
        losses.dlr(LOGITS[:, :2], LABELS)
    with pytest.raises(BadInput, match="use loss='targeted-ce'"):
        losses.targeted_dlr(LOGITS[:, :3], LABELS, LABELS)
