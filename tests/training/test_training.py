from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from seasoning.attacks import apgd
from seasoning.checkpoint import State
from seasoning.data import Samples
from seasoning.errors import BadInput, SeasoningError
from seasoning.evaluation import evaluate
from seasoning.metrics import accuracy, robust_accuracy
from seasoning.models import Classifier, build_model
from seasoning.threat import Threat
from seasoning.training import Objective, Trained, adversarial, nominal, train
from seasoning.training.loop import cosine_rate


def fresh() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model("resnet_small", num_classes=10)


def small(digits: dict[str, Samples]) -> Samples:
    return digits["train"].take(torch.arange(96), "digits/small")


def run(
    digits: dict[str, Samples],
    objectives: list[Objective],
    validate: Callable[[nn.Module], float] = lambda model: 0.0,
    resume: Path | None = None,
    seed: int = 0,
    on_epoch: Callable[[int, float], None] = lambda epoch, score: None,
    name: str = "linf",
) -> Trained:
    model = fresh()
    return train(
        model.network,
        model,
        small(digits),
        objectives,
        validate,
        rate=0.1,
        seed=seed,
        resume=resume,
        identity={"ingredient": name},
        on_epoch=on_epoch,
    )


def equal(one: State, other: State) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_adversarial_training_makes_robust(
    nominal_state: State, robust_state: State, digits: dict[str, Samples]
) -> None:
    def robust(state: State) -> float:
        model = build_model("resnet_small", num_classes=10, state=state)
        return robust_accuracy(evaluate(model, digits["test"], attack=apgd, threat=Threat("linf", 0.1))).value

    assert robust(robust_state) > robust(nominal_state) + 0.15


def test_training_is_repeatable_and_follows_its_seed(digits: dict[str, Samples]) -> None:
    objectives = [nominal(), adversarial(Threat("l1", 1.0), 2)]
    first, again, other = (run(digits, objectives, seed=seed) for seed in (3, 3, 4))
    assert equal(first.state, again.state)
    assert not equal(first.state, other.state)


def test_every_epoch_draws_anew(digits: dict[str, Samples]) -> None:
    orders: list[list[int]] = [[]]
    seeds: list[int] = []

    def watched(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        orders[-1] += y.tolist()
        seeds.append(seed)
        return nominal()(model, x, y, seed)

    run(digits, [watched] * 2, on_epoch=lambda epoch, score: orders.append([]))
    first, second, _ = orders
    assert sorted(first) == sorted(second) == sorted(small(digits).y.tolist())
    assert first != second
    assert len(set(seeds)) == len(seeds)


class Stop(Exception):
    """Ends a training from outside, as a kill would."""


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_resumed_training_ends_with_the_same_bits(digits: dict[str, Samples], tmp_path: Path, cut: int) -> None:
    objectives = [nominal(), adversarial(Threat("linf", 0.1), 2), adversarial(Threat("linf", 0.1), 2), nominal()]

    validated: list[float] = []

    def validate(model: nn.Module) -> float:
        validated.append(accuracy(evaluate(model, digits["validation"])).value)
        return validated[-1]

    def stop(epoch: int, score: float) -> None:
        if epoch >= cut:
            raise Stop

    whole = run(digits, objectives, validate)
    state = tmp_path / "state"
    with pytest.raises(Stop):
        run(digits, objectives, validate, state, on_epoch=stop)
    seen: list[int] = []
    resumed = run(digits, objectives, validate, state, on_epoch=lambda epoch, score: seen.append(epoch))
    assert seen == list(range(4))
    assert len(validated) == 4 + (cut + 1) + (3 - cut)
    assert equal(resumed.state, whole.state)
    assert (resumed.scores, resumed.epoch) == (whole.scores, whole.epoch)


def test_the_checkpoint_of_the_best_score_is_returned(digits: dict[str, Samples]) -> None:
    kept: list[Tensor] = []
    scores = iter([0.2, 0.7, 0.7, 0.5])

    def validate(model: nn.Module) -> float:
        kept.append(model.state_dict()["network.fc.bias"].clone())
        return next(scores)

    trained = run(digits, [nominal()] * 4, validate)
    assert (trained.epoch, trained.scores) == (2, [0.2, 0.7, 0.7, 0.5])
    assert torch.equal(trained.state["fc.bias"], kept[2])


def test_a_state_of_another_training_is_refused(digits: dict[str, Samples], tmp_path: Path) -> None:
    run(digits, [nominal()], resume=tmp_path / "state", name="l2")
    with pytest.raises(BadInput, match=r"belongs to a training with {'ingredient': 'l2'}, not {'ingredient': 'l1'}"):
        run(digits, [nominal()], resume=tmp_path / "state", name="l1")


def test_a_broken_loss_stops_and_keeps_the_last_good_state(digits: dict[str, Samples], tmp_path: Path) -> None:
    def broken(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        return nominal()(model, x, y, seed) * torch.nan

    with pytest.raises(SeasoningError, match="nan in epoch 2, step 1"):
        run(digits, [nominal(), broken], resume=tmp_path / "state")
    assert torch.load(tmp_path / "state", weights_only=True)["epoch"] == 1


def test_no_epochs_is_refused(digits: dict[str, Samples]) -> None:
    with pytest.raises(BadInput, match="one for each epoch"):
        run(digits, [])


def test_the_rate_rises_then_falls_to_zero() -> None:
    rates = [cosine_rate(step, 100, 0.1) for step in range(100)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert max(rates) == rates[10] == 1.0
    assert rates[0] == pytest.approx(1 / 11)
    assert 0 < rates[-1] < 0.001
    assert cosine_rate(0, 10, 0.0) == 1.0
