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


def test_scaled_cross_entropy_is_that_of_clean_logits_of_spread_three() -> None:
    clean = torch.tensor([[3.0, -3.0, 3.0, -3.0], [1.0, 0.0, 2.0, 9.0]], dtype=torch.float64)
    # Of the first row the variance is 4 * 9 / 3; of the second, with mean 3, it is (4 + 9 + 1 + 36) / 3.
    factors = torch.tensor([[3 / 12**0.5], [3 / (50 / 3) ** 0.5]], dtype=torch.float64)
    expected = losses.cross_entropy(LOGITS * factors, LABELS)
    torch.testing.assert_close(losses.scaled_cross_entropy(LOGITS, LABELS, clean), expected)


@pytest.mark.parametrize("scale", [1e-6, 1e3, 1e6])
@pytest.mark.parametrize("classes", [2, 4])
def test_scaled_cross_entropy_ignores_shift_and_scale_of_a_model(scale: float, classes: int) -> None:
    def at(factor: float, shift: float) -> tuple[torch.Tensor, torch.Tensor]:
        x = LOGITS[:, :classes].float().clone().requires_grad_()
        clean = LOGITS[:, :classes].flip(1).float()
        loss = losses.scaled_cross_entropy(factor * x + shift, LABELS, factor * clean + shift)
        return loss.detach(), torch.autograd.grad(loss.sum(), x)[0]

    for one, other in zip(at(scale, scale), at(1.0, 0.0), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert bool((at(scale, 0.0)[1].abs().amax(1) > 1e-3).all())


def test_constant_logits_have_a_finite_scaled_cross_entropy() -> None:
    assert bool(torch.isfinite(losses.scaled_cross_entropy(0 * LOGITS, LABELS, 0 * LOGITS)).all())


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
