from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from seasoning.data import Samples
from seasoning.errors import BadInput
from seasoning.evaluation.recalibrate import attacked_images, calibrate
from seasoning.geometry import distance
from seasoning.models import PixelClassifier
from seasoning.soup.batch_norm import recalibrate
from seasoning.threat import Threat


THREATS = [Threat("linf", 0.1), Threat("l1", 2.0)]


class Normalized(nn.Module):
    """A trained network behind a batch-norm layer whose statistics start at the pixels' own scale."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.norm, self.model = nn.BatchNorm2d(1, affine=False), model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(self.norm(x))
        return logits


def test_threats_take_turns_and_the_images_are_worse(robust_model: PixelClassifier, few: Samples) -> None:
    samples = replace(few, batch_size=10)
    images = list(attacked_images(robust_model, samples, THREATS, steps=5, seed=0))
    assert [len(each) for each in images] == [10] * 4
    for number, (each, batch) in enumerate(zip(images, samples, strict=True)):
        threat = THREATS[number % 2]
        away = distance(each, batch.x, threat.norm)
        assert bool((away <= threat.eps * (1 + 1e-5)).all())
        assert float(away.mean()) > 0.9 * threat.eps
        losses = [nn.functional.cross_entropy(robust_model(x), batch.y) for x in (batch.x, each)]
        assert losses[1] > losses[0]


@pytest.mark.parametrize("threats", [[], THREATS])
def test_statistics_become_those_of_the_images_that_the_frozen_model_met(
    robust_model: PixelClassifier, few: Samples, threats: list[Threat]
) -> None:
    samples = replace(few, batch_size=10)
    model, other = Normalized(robust_model), Normalized(robust_model)
    expected = (
        list(attacked_images(model, samples, threats, steps=5, seed=3)) if threats else [batch.x for batch in samples]
    )
    recalibrate(other, expected)
    calibrate(model, samples, threats, steps=5, seed=3)
    torch.testing.assert_close(model.norm.running_var, other.norm.running_var, rtol=0, atol=0)
    state = model.norm.state_dict()
    assert float(state["running_mean"]) != 0
    assert float(state["running_var"]) < 0.5


def test_no_threats_attack_nothing(robust_model: PixelClassifier, few: Samples) -> None:
    with pytest.raises(BadInput, match="no threats"):
        list(attacked_images(robust_model, few, [], steps=1, seed=0))
