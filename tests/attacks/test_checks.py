"""Each check against a planted fault."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seasoning import geometry
from seasoning.attacks import AttackResult, Classifier, MaskedGradients, apgd
from seasoning.attacks.checks import check_threat, evaluation_mode
from seasoning.data import Batch, Samples
from seasoning.errors import BadInput
from seasoning.evaluation.evaluator import evaluate
from seasoning.threat import Norm, Threat


def test_evaluation_mode_is_forced_and_every_mode_restored() -> None:
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(1))
    model.train()
    model[1].eval()
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in (model, model[0], model[1])] == [True, True, False]


def test_modes_are_restored_after_an_error() -> None:
    model = nn.Dropout(0.5).train()
    with pytest.raises(RuntimeError), evaluation_mode(model):
        raise RuntimeError
    assert model.training


def test_dropout_and_statistics_do_not_touch_a_measurement(robust_model: nn.Module, few: Samples) -> None:
    model = nn.Sequential(nn.BatchNorm2d(1, affine=False), nn.Dropout(0.5), robust_model)
    model.train()
    first, second = evaluate(model, few), evaluate(model, few)
    assert np.array_equal(first.clean, second.clean)
    assert model.state_dict()["0.running_mean"].item() == 0
    assert model.training


def test_images_outside_the_box_are_refused(robust_model: nn.Module, few: Samples) -> None:
    with pytest.raises(BadInput, match=r"range over \[0, 16\]: expected pixels in \[0, 1\]"):
        evaluate(robust_model, [Batch(few.ids, few.x * 16, few.y)])


@pytest.mark.parametrize(("shift", "words"), [(0.2, "left the ball of linf:0.1"), (2.0, "outside")])
def test_attacks_that_leave_the_threat_are_caught(
    robust_model: nn.Module, few: Samples, shift: float, words: str
) -> None:
    def cheat(model: Classifier, x: Tensor, y: Tensor, threat: Threat, **circumstances: object) -> AttackResult:
        moved = (x + shift) if shift > 1 else (x + shift).clamp(0, 1)
        return AttackResult(moved, torch.ones_like(y, dtype=torch.bool), *[torch.zeros_like(y)] * 4)

    with pytest.raises(BadInput, match=words):
        evaluate(robust_model, few, attack=cheat, threat=Threat("linf", 0.1))


def test_claims_are_tried_again(robust_model: nn.Module, few: Samples) -> None:
    def boast(model: Classifier, x: Tensor, y: Tensor, threat: Threat, **circumstances: object) -> AttackResult:
        return AttackResult(x, torch.ones_like(y, dtype=torch.bool), *[torch.zeros_like(y)] * 4)

    outcomes = evaluate(robust_model, few, attack=boast, threat=Threat("linf", 0.1))
    assert np.array_equal(outcomes.robust, outcomes.correct)


def test_a_claim_of_nan_does_not_count(robust_model: nn.Module, few: Samples) -> None:
    def breaks(x: Tensor) -> Tensor:
        logits: Tensor = robust_model(x)
        return torch.where((x.flatten(1).amax(1) < 1)[:, None], logits, torch.nan)

    def darken(model: Classifier, x: Tensor, y: Tensor, threat: Threat, **circumstances: object) -> AttackResult:
        moved = x.clone()
        moved[::2, 0, 0, 0] = 1
        return AttackResult(moved, torch.ones_like(y, dtype=torch.bool), *[torch.zeros_like(y)] * 4)

    samples = [Batch(few.ids, few.x * 0.99, few.y)]
    with pytest.warns(MaskedGradients, match="NaN or infinite logits"):
        outcomes = evaluate(breaks, samples, attack=darken, threat=Threat("l2", 1.0))
    assert np.isfinite(outcomes.margin).all()
    assert np.array_equal(outcomes.robust, outcomes.correct)
    assert outcomes.forwards[outcomes.correct].tolist() == [2] * int(outcomes.correct.sum())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_logits_of_any_type_are_measured(robust_model: nn.Module, few: Samples, dtype: torch.dtype) -> None:
    def cast(x: Tensor) -> Tensor:
        return robust_model(x.float()).to(dtype)  # type: ignore[no-any-return]

    measure = partial(evaluate, attack=partial(apgd, steps=5), threat=Threat("linf", 0.1))
    expected = measure(robust_model, few)
    for samples in (few, [Batch(few.ids, few.x.double(), few.y)]):
        found = measure(cast, samples)
        assert np.mean(found.robust != expected.robust) <= 0.05
        assert {column.dtype for column in (found.margin, found.clean_margin, found.distance)} == {np.dtype("f4")}


class Rounded(nn.Module):
    """Masks its gradient by rounding the pixels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model((x * 16).round() / 16)
        return logits


def test_masked_gradients_are_told(robust_model: nn.Module, few: Samples) -> None:
    with pytest.warns(MaskedGradients, match="zero"):
        apgd(Rounded(robust_model), few.x, few.y, Threat("linf", 0.01), steps=2)


def test_non_finite_gradients_are_told(few: Samples) -> None:
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            flat = x.flatten(1)
            return torch.stack([(flat - flat).sum(1).abs().sqrt() + 1, flat.mean(1)], dim=1)

    with pytest.warns(MaskedGradients, match="non-finite"):
        apgd(Root(), few.x, torch.zeros_like(few.y), Threat("linf", 0.01), steps=2)


def test_healthy_gradients_are_not_worth_a_word(
    robust_model: nn.Module, few: Samples, recwarn: pytest.WarningsRecorder
) -> None:
    apgd(robust_model, few.x, few.y, Threat("linf", 0.1), steps=2)
    assert len(recwarn) == 0


def test_masked_gradients_are_told_once_however_many_places_are_refilled(robust_model: nn.Module, few: Samples) -> None:
    with pytest.warns(MaskedGradients, match=r"of \d+ samples \d+ have a zero") as told:
        apgd(Rounded(robust_model), few.x, few.y, Threat("linf", 0.01), steps=2, batch_size=4, restarts=2)
    assert len(told) == 1
    looked, zero = [int(word) for word in str(told[0].message).split() if word.isdigit()][:2]
    right = int((Rounded(robust_model)(few.x).argmax(1) == few.y).sum())
    assert 0 < zero <= looked <= right


def test_an_empty_set_is_refused(robust_model: nn.Module, few: Samples) -> None:
    with pytest.raises(BadInput, match="no samples to measure"):
        evaluate(robust_model, [])
    with pytest.raises(BadInput, match="B at least 1"):
        apgd(robust_model, few.x[:0], few.y[:0], Threat("linf", 0.1))
    with pytest.raises(BadInput, match="B at least 1"):
        evaluate(robust_model, [Batch(few.ids[:0], few.x[:0], few.y[:0])])


def test_a_fault_in_the_arithmetic_of_the_attack_is_caught(
    robust_model: nn.Module, few: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    ball = geometry.BALLS["linf"]
    monkeypatch.setitem(geometry.BALLS, "linf", ball._replace(land=lambda x, center, eps: x.clamp(0, 1)))
    for options in ({}, {"best_loss": True}):
        with pytest.raises(BadInput, match=r"left the ball of linf:0\.1"):
            apgd(robust_model, few.x, few.y, Threat("linf", 0.1), steps=5, **options)  # type: ignore[arg-type]


def test_attack_and_threat_go_together(robust_model: nn.Module, few: Samples) -> None:
    with pytest.raises(BadInput, match="go together"):
        evaluate(robust_model, few, attack=partial(apgd, steps=2))
    with pytest.raises(BadInput, match="go together"):
        evaluate(robust_model, few, threat=Threat("linf", 0.1))


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("l1", 1)])
def test_a_ball_that_covers_the_whole_box_is_refused(norm: Norm, order: int) -> None:
    x = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    corners = [torch.where(image < 0.5, 1.0, 0.0) for image in x]
    # The corner opposite to an image is the farthest point of the box.
    farthest = sorted(float((corner - image).flatten().norm(order)) for corner, image in zip(corners, x, strict=True))[
        2
    ]
    check_threat(Threat(norm, 0.999 * farthest), x)
    with pytest.raises(BadInput, match=r"shape \(3, 8, 8\) is at most about .* did you mean l.:.*/255\?"):
        check_threat(Threat(norm, 1.001 * farthest), x)
    # 12 in levels of 255, on images of CIFAR's size.
    with pytest.raises(BadInput, match="did you mean l1:3060/255"):
        check_threat(Threat("l1", 12 * 255), torch.rand(4, 3, 32, 32))
