"""Batch norm in soups: safe variances, statistics measured anew, and branches."""

import math
from typing import Any

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import convert_splitbn_model
from torch import Tensor, nn

from seasoning.errors import BadInput, UnknownName
from seasoning.soup.batch_norm import geometric_mean, recalibrate, require_policy
from seasoning.soup.split_batch_norm import mix_branches


def test_the_geometric_mean_by_hand() -> None:
    one, other = torch.tensor([4.0, 1.0]), torch.tensor([1.0, 100.0])
    torch.testing.assert_close(geometric_mean([one, other], (0.5, 0.5)), torch.tensor([2.0, 10.0]).double())
    torch.testing.assert_close(geometric_mean([one, other], (1.5, -0.5)), torch.tensor([8.0, 0.1]).double())


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=2), st.floats(-2, 3))
def test_it_is_positive_for_every_weight(variances: list[float], weight: float) -> None:
    tensors = [torch.tensor([each]) for each in variances]
    mean = float(geometric_mean(tensors, (weight, 1 - weight)))
    assert mean > 0
    assert math.log(mean) == pytest.approx(
        weight * math.log(tensors[0]) + (1 - weight) * math.log(tensors[1]), abs=1e-6
    )


def test_a_channel_that_never_varied_stays_finite() -> None:
    zero, one = torch.tensor([0.0]), torch.tensor([1.0])
    assert float(geometric_mean([zero, one], (0.0, 1.0))) == 1
    assert math.isfinite(float(geometric_mean([zero, one], (-0.2, 1.2))))
    with pytest.raises(BadInput, match="negative running variance"):
        geometric_mean([-one, one], (0.5, 0.5))


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(18, 3), nn.BatchNorm1d(3))


def test_statistics_are_those_of_one_pass() -> None:
    model = network().train()
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    images = torch.rand(10, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    recalibrate(model, images.split(4))
    parts = images.split(4)
    # Mean of the batches' unbiased variances, each weighted by its images.
    means = sum(len(part) * part.mean((0, 2, 3)) for part in parts) / 10
    variances = sum(len(part) * part.transpose(0, 1).flatten(1).var(1) for part in parts) / 10
    torch.testing.assert_close(model[0].running_mean, means)
    torch.testing.assert_close(model[0].running_var, variances)
    torch.testing.assert_close(model[0].running_mean, images.mean((0, 2, 3)))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.named_parameters())
    assert [module.training for module in model] == [True, False, True, True, True]
    assert model[0].momentum == 0.1
    # The pass is that of evaluation but for the statistics, so dropout left no trace in the last layer.
    with torch.no_grad():
        hidden = torch.cat(
            [
                model[3](model[2](nn.functional.batch_norm(p, None, None, model[0].weight, model[0].bias, True)))
                for p in parts
            ]
        )
    torch.testing.assert_close(model[4].running_mean, hidden.mean(0))


def test_what_was_there_is_forgotten_and_a_single_image_is_skipped() -> None:
    first, second = network(), network()
    nn.init.constant_(second[0].running_mean, 7.0)
    images = torch.rand(9, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    recalibrate(first, images[:8].split(4))
    recalibrate(second, images.split(4))
    for name, tensor in first.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(second.state_dict()[name], tensor)


def test_nothing_to_measure_is_refused_and_the_mode_restored() -> None:
    with pytest.raises(BadInput, match="nothing to recalibrate"):
        recalibrate(nn.Linear(2, 2), [torch.rand(4, 2)])
    model = network().eval()
    with pytest.raises(BadInput, match="give more"):
        recalibrate(model, [torch.rand(1, 2, 3, 3)])
    with pytest.raises(RuntimeError):
        recalibrate(model, [torch.rand(4, 5, 3, 3)])
    assert not any(module.training for module in model.modules())


def test_an_unknown_policy_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'geometric'"):
        require_policy("geometrical")


@pytest.fixture
def branched() -> nn.Module:
    """A network of timm with a main and an auxiliary branch that differ."""
    torch.manual_seed(0)
    model = convert_splitbn_model(timm.create_model("resnet10t", num_classes=5), 2)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and "bn" in name:
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return model.eval()  # type: ignore[no-any-return]


def plain_logits(state: dict[str, Tensor], x: Tensor) -> Tensor:
    model = timm.create_model("resnet10t", num_classes=5)
    model.load_state_dict(state)
    logits: Tensor = model.eval()(x)
    return logits


def test_one_branch_alone_gives_its_mode_exactly(branched: nn.Module) -> None:
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    state = branched.state_dict()
    assert torch.equal(plain_logits(mix_branches(state, (1.0, 0.0)), x), branched(x))
    auxiliary = {name.replace(".aux_bn.0", ""): tensor for name, tensor in state.items() if ".aux_bn.0." in name}
    expected = {**{name: tensor for name, tensor in state.items() if ".aux_bn." not in name}, **auxiliary}
    soup = mix_branches(state, (0.0, 1.0))
    assert torch.equal(plain_logits(soup, x), plain_logits(expected, x))
    assert not torch.equal(plain_logits(soup, x), branched(x))


def test_branches_mix_by_weight(branched: nn.Module) -> None:
    state = branched.state_dict()
    soup = mix_branches(state, (0.25, 0.75))
    torch.testing.assert_close(soup["bn1.weight"], 0.25 * state["bn1.weight"] + 0.75 * state["bn1.aux_bn.0.weight"])
    assert torch.equal(soup["conv1.0.weight"], state["conv1.0.weight"])


def test_branches_that_do_not_fit_are_refused(branched: nn.Module) -> None:
    with pytest.raises(BadInput, match="no layer has branches"):
        mix_branches({"bn1.weight": torch.ones(2)}, (1.0, 0.0))
    with pytest.raises(BadInput, match="has 2 branches for 3 weights"):
        mix_branches(branched.state_dict(), (0.5, 0.3, 0.2))
