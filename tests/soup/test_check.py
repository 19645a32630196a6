import pytest
import torch

from seasoning.checkpoint import State
from seasoning.data import Samples
from seasoning.errors import BadInput
from seasoning.models import build_model
from seasoning.soup import check_mixable
from seasoning.training import nominal
from tests.conftest import fit


@pytest.fixture(scope="module")
def independent_state(digits: dict[str, Samples]) -> State:
    """A training of its own, from another start."""
    return fit(digits, [nominal()] * 10, seed=1)


def loss_of(samples: Samples, state: State) -> float:
    model = build_model("resnet_small", num_classes=10, state=state)
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(model(samples.x), samples.y))


def test_a_fine_tuned_copy_mixes(nominal_state: State, robust_state: State, digits: dict[str, Samples]) -> None:
    report = check_mixable([nominal_state, robust_state], lambda state: loss_of(digits["validation"], state))
    assert report.mixable
    assert report.cosines[0, 1] > 0.7
    assert report.barriers[0, 1] < 0.5


def test_independent_trainings_do_not(nominal_state: State, independent_state: State) -> None:
    report = check_mixable([nominal_state, independent_state])
    assert not report.mixable
    assert "independent trainings" in report.verdict
    assert abs(report.cosines[0, 1]) < 0.3


def test_the_loss_alone_shows_the_ridge(
    nominal_state: State, independent_state: State, digits: dict[str, Samples]
) -> None:
    report = check_mixable([nominal_state, independent_state], lambda state: loss_of(digits["validation"], state))
    assert report.barriers[0, 1] > 0.5


def test_a_planted_ridge_is_reported(nominal_state: State, robust_state: State) -> None:
    ends = {id(nominal_state), id(robust_state)}
    ridge = check_mixable([nominal_state, robust_state], lambda state: 0.1 if id(state) in ends else 2.0)
    assert not ridge.mixable
    assert "rises by 1.90 nats" in ridge.verdict


def test_other_architectures_do_not_mix(nominal_state: State) -> None:
    report = check_mixable([nominal_state, {**nominal_state, "fc.bias": torch.zeros(11)}])
    assert not report.mixable
    assert "'fc.bias' has shape (10,) in ingredient 1 and (11,) in ingredient 2" in report.verdict


def test_one_ingredient_is_refused(nominal_state: State) -> None:
    with pytest.raises(BadInput, match="at least two"):
        check_mixable([nominal_state])
