import torch

from seasoning.checkpoints.load import State
from seasoning.data import Samples
from seasoning.models import build_model
from seasoning.soup import Ensemble


def test_probabilities_are_the_mean_of_the_members(nominal_state: State, robust_state: State, few: Samples) -> None:
    members = [build_model("resnet_small", num_classes=10, state=state) for state in (nominal_state, robust_state)]
    ensemble = Ensemble(members)
    expected = torch.stack([member(few.x).softmax(1) for member in members]).mean(0)
    torch.testing.assert_close(ensemble(few.x).softmax(1), expected)
    torch.testing.assert_close(ensemble(few.x).exp().sum(1), torch.ones(len(few)))


def test_gradients_reach_every_member(robust_state: State, few: Samples) -> None:
    ensemble = Ensemble(build_model("resnet_small", num_classes=10, state=robust_state) for _ in range(2))
    ensemble(few.x).sum().backward()
    assert all(parameter.grad is not None for parameter in ensemble.parameters())
