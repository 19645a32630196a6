"""The loop: repeatable, resumable to the bit, and careful with what it keeps."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seasoning.attacks import apgd
from seasoning.attacks.base import AttackResult
from seasoning.checkpoints.load import State
from seasoning.data import Samples
from seasoning.errors import BadInput, SeasoningError, Stopped
from seasoning.evaluation.evaluator import evaluate
from seasoning.metrics import accuracy, robust_accuracy
from seasoning.models import PixelClassifier, build_model
from seasoning.threat import Threat
from seasoning.training import (
    BatchLoss,
    Scores,
    Settings,
    Trained,
    TrainingAttack,
    TrainingObjective,
    TrainingProgress,
    adversarial,
    eat,
    nominal,
    sat,
    train,
)
from seasoning.training.attack import attack_batch
from tests.make import training_settings


SETTINGS = training_settings(0.1)
LINF, L1 = Threat("linf", 0.1), Threat("l1", 1.0)
ATTACK = TrainingAttack(steps=2)


def fresh(**options: Any) -> PixelClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model("resnet_small", num_classes=10, **options)


def small(digits: dict[str, Samples]) -> Samples:
    return digits["train"].take(torch.arange(96), "digits/small")


def run(
    digits: dict[str, Samples],
    objectives: list[TrainingObjective],
    validate: Callable[[nn.Module], Scores] = lambda model: Scores(0.0),
    settings: Settings = SETTINGS,
    model: PixelClassifier | None = None,
    name: str = "linf",
    **options: Any,
) -> Trained:
    return train(
        fresh() if model is None else model,
        small(digits),
        objectives,
        validate,
        settings,
        identity={"ingredient": name},
        device="cpu",
        **options,
    )


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_adversarial_training_makes_robust(
    nominal_state: State, robust_state: State, digits: dict[str, Samples]
) -> None:
    def robust(state: State) -> float:
        model = build_model("resnet_small", num_classes=10, state=state)
        return robust_accuracy(evaluate(model, digits["test"], attack=apgd, threat=LINF)).value

    assert robust(robust_state) > robust(nominal_state) + 0.15


def test_training_is_repeatable_and_follows_its_seed(digits: dict[str, Samples]) -> None:
    objectives = [nominal(), adversarial(L1, ATTACK)]
    first, again, other = (run(digits, objectives, seed=seed) for seed in (3, 3, 4))
    assert equal(first.state, again.state)
    assert not equal(first.state, other.state)


def test_every_epoch_draws_anew(digits: dict[str, Samples]) -> None:
    orders: list[list[int]] = [[]]
    seeds: list[int] = []

    def watched(model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        orders[-1] += y.tolist()
        seeds.append(seed)
        return nominal()(model, x, y, seed=seed, state=state)

    run(digits, [watched] * 2, on_epoch=lambda epoch, scores: orders.append([]))
    first, second, _ = orders
    assert sorted(first) == sorted(second) == sorted(small(digits).y.tolist())
    assert first != second
    assert len(set(seeds)) == len(seeds)


# Everything that a state has to hold, each in a setting that would notice its absence.
CASES: dict[str, tuple[list[TrainingObjective], Settings, dict[str, Any]]] = {
    "mixed epochs": ([nominal(), adversarial(LINF, ATTACK), nominal()], SETTINGS, {}),
    "running errors": ([eat([LINF, L1], ATTACK)] * 3, replace(SETTINGS, batch_size=16), {}),
    "average": ([nominal()] * 3, replace(SETTINGS, ema=0.9, ingredient="ema"), {}),
    "crops, flips, parts": ([adversarial(LINF, ATTACK)] * 3, replace(SETTINGS, crop=1, flips=True, accumulate=4), {}),
    "bfloat16": ([adversarial(LINF, ATTACK)] * 3, replace(SETTINGS, precision="bf16"), {}),
    "adamw": (
        [adversarial(LINF, ATTACK)] * 3,
        replace(SETTINGS, optimizer="adamw", momentum=0.0, nesterov=False, rate=1e-3, spare_norms=True),
        {},
    ),
    "single images left": ([nominal()] * 3, replace(SETTINGS, batch_size=75, accumulate=5), {"dropout": True}),
    "dropout and batch norm": ([adversarial(LINF, ATTACK)] * 3, SETTINGS, {"dropout": True}),
}


class Noisy(nn.Module):
    """A network with layers that draw from torch's generator, and with running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10))
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


def network(options: Mapping[str, Any]) -> PixelClassifier:
    if "dropout" not in options:
        return fresh()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PixelClassifier(Noisy(), (0.5,), (0.5,))


@pytest.mark.parametrize("cut", [1, 3, 4])
@pytest.mark.parametrize("case", CASES)
def test_a_training_cut_off_anywhere_ends_with_the_same_bits(
    digits: dict[str, Samples], tmp_path: Path, case: str, cut: int
) -> None:
    objectives, settings, options = CASES[case]

    def validate(model: nn.Module) -> Scores:
        return Scores(accuracy(evaluate(model, digits["validation"])).value)

    # Epochs of 2 steps (or 6): the first is cut inside, and the second at its end and inside.
    whole = run(digits, objectives, validate, settings, network(options))
    state, steps = tmp_path / "state", iter(range(100))
    with pytest.raises(Stopped, match=f"{state} holds the last saved state, epoch "):
        run(digits, objectives, validate, settings, network(options), resume=state, stop=lambda: next(steps) >= cut - 1)
    seen: list[int] = []
    torch.manual_seed(1234)
    resumed = run(
        digits,
        objectives,
        validate,
        settings,
        network(options),
        resume=state,
        on_epoch=lambda epoch, scores: seen.append(epoch),
    )
    assert seen == list(range(3))
    assert equal(resumed.state, whole.state)
    assert equal(resumed.last, whole.last)
    assert (resumed.scores, resumed.epoch) == (whole.scores, whole.epoch)


def test_a_last_batch_of_one_image_joins_the_one_before(digits: dict[str, Samples]) -> None:
    batches: list[Tensor] = []
    reports: list[TrainingProgress] = []

    def watched(model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        batches.append(x)
        return nominal()(model, x, y, seed=seed, state=state)

    settings, model = replace(SETTINGS, batch_size=19), network({"dropout": True})
    run(digits, [watched] * 2, settings=settings, model=model, on_step=reports.append)
    assert [len(batch) for batch in batches] == [19, 19, 19, 19, 20] * 2
    seen, every = (sorted(images.flatten(1).sum(1).tolist()) for images in (torch.cat(batches[:5]), small(digits).x))
    assert seen == pytest.approx(every)
    assert [report.fraction for report in reports] == pytest.approx([step / 10 for step in range(1, 11)])


def test_parts_of_one_image_are_refused_where_batch_norm_fails(digits: dict[str, Samples]) -> None:
    settings = replace(SETTINGS, batch_size=16, accumulate=16)
    with pytest.raises(BadInput, match="set accumulate lower or batch_size higher"):
        run(digits, [nominal()], settings=settings, model=network({"dropout": True}))
    # A network without batch norm takes them.
    run(digits, [nominal()], settings=settings)


def test_what_an_objective_carries_reaches_the_next_batch_and_the_state(
    digits: dict[str, Samples], tmp_path: Path
) -> None:
    run(digits, [eat([LINF, L1], ATTACK)] * 3, settings=replace(SETTINGS, batch_size=16), resume=tmp_path / "state")
    carried = torch.load(tmp_path / "state", weights_only=True)["progress"]["objective"]
    assert set(carried) == {"linf:0.1 seen", "linf:0.1 fooled", "l1:1 seen", "l1:1 fooled"}
    assert carried["linf:0.1 seen"] + carried["l1:1 seen"] == 3 * 96


@pytest.mark.parametrize("make", [sat, eat])
def test_all_parts_of_a_batch_are_trained_on_under_one_threat(
    digits: dict[str, Samples], monkeypatch: pytest.MonkeyPatch, make: Callable[..., TrainingObjective]
) -> None:
    seen: list[Threat] = []

    def watched(model: nn.Module, x: Tensor, y: Tensor, threat: Threat, *rest: Any) -> AttackResult:
        seen.append(threat)
        return attack_batch(model, x, y, threat, *rest)

    monkeypatch.setattr("seasoning.training.objectives.attack_batch", watched)
    run(digits, [make([LINF, L1], ATTACK)], settings=replace(SETTINGS, batch_size=12, accumulate=4))
    batches = [set(seen[begin : begin + 4]) for begin in range(0, len(seen), 4)]
    assert len(batches) == 8
    assert all(len(each) == 1 for each in batches)
    assert len(set(seen)) == 2


def test_a_finished_training_is_not_repeated(digits: dict[str, Samples], tmp_path: Path) -> None:
    whole = run(digits, [nominal()] * 2, resume=tmp_path / "state")

    def never(model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        raise AssertionError("trained again")

    assert equal(run(digits, [never] * 2, resume=tmp_path / "state").state, whole.state)


def test_the_state_is_written_within_an_epoch(digits: dict[str, Samples], tmp_path: Path) -> None:
    written: list[int] = []

    def look(report: TrainingProgress) -> None:
        written.append((tmp_path / "state").exists())

    run(digits, [nominal()] * 2, resume=tmp_path / "state", save_seconds=0.0, on_step=look)
    assert written == [False, True, True, True]


def test_the_checkpoint_of_the_best_score_is_returned(digits: dict[str, Samples]) -> None:
    kept: list[Tensor] = []
    # Robustness chooses where there is any; later epochs win ties.
    scores = [Scores(0.9, 0.2), Scores(0.1, 0.7), Scores(0.1, 0.7), Scores(0.9, 0.5)]
    given = iter(scores)

    def validate(model: nn.Module) -> Scores:
        kept.append(model.state_dict()["network.fc.bias"].clone())
        return next(given)

    trained = run(digits, [nominal()] * 4, validate)
    assert (trained.epoch, trained.scores) == (2, scores)
    assert torch.equal(trained.state["fc.bias"], kept[2])
    assert torch.equal(trained.last["fc.bias"], kept[3])


def test_a_state_of_another_training_is_refused_unless_told(digits: dict[str, Samples], tmp_path: Path) -> None:
    run(digits, [nominal()], resume=tmp_path / "state", name="l2")
    with pytest.raises(BadInput, match=r"ingredient is l2 there and l1 here.*--accept-changes"):
        run(digits, [nominal()], resume=tmp_path / "state", name="l1")
    assert len(run(digits, [nominal()] * 2, resume=tmp_path / "state", name="l1", accept_changes=True).scores) == 2


def test_fewer_epochs_than_have_begun_are_refused(digits: dict[str, Samples], tmp_path: Path) -> None:
    steps = iter(range(100))
    with pytest.raises(Stopped):
        run(digits, [nominal()] * 3, resume=tmp_path / "state", stop=lambda: next(steps) == 3)
    with pytest.raises(BadInput, match="is in epoch 2 and 1 are asked for: ask for at least 2"):
        run(digits, [nominal()], resume=tmp_path / "state", accept_changes=True)


@pytest.mark.parametrize("changes", [{"momentum": 0.5}, {"weight_decay": 0.1}, {"nesterov": False}])
def test_changed_settings_that_are_accepted_are_followed(
    digits: dict[str, Samples], tmp_path: Path, changes: dict[str, Any]
) -> None:
    ends: list[State] = []
    for settings in (SETTINGS, replace(SETTINGS, **changes)):
        state = tmp_path / str(len(ends))
        run(digits, [nominal()], resume=state)
        ends.append(run(digits, [nominal()] * 2, settings=settings, resume=state, accept_changes=True).last)
    assert not equal(*ends)


def test_a_state_of_another_network_is_refused(digits: dict[str, Samples], tmp_path: Path) -> None:
    run(digits, [nominal()], resume=tmp_path / "state")
    with pytest.raises(BadInput, match=r"another network or optimizer \(Error.*\): start in") as caught:
        run(digits, [nominal()] * 2, resume=tmp_path / "state", model=fresh(widths=(8, 8, 8)))
    assert "\n" not in str(caught.value)


def test_a_state_of_another_optimizer_is_refused(digits: dict[str, Samples], tmp_path: Path) -> None:
    run(digits, [nominal()], resume=tmp_path / "state")
    adamw = replace(SETTINGS, optimizer="adamw", momentum=0.0, nesterov=False)
    with pytest.raises(BadInput, match=r"of another network or optimizer \(.*\): start in another folder"):
        run(digits, [nominal()] * 2, settings=adamw, resume=tmp_path / "state", accept_changes=True)
    with pytest.raises(BadInput, match="another network or optimizer"):
        run(
            *(digits, [nominal()] * 2),
            settings=replace(SETTINGS, spare_norms=True),
            resume=tmp_path / "state",
            accept_changes=True,
        )


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_broken_step_is_not_taken_and_the_last_good_state_kept(
    digits: dict[str, Samples], tmp_path: Path, what: str
) -> None:
    def broken(model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        found = nominal()(model, x, y, seed=seed, state=state)
        if what == "loss":
            return found._replace(loss=found.loss * math.nan)
        # The root's slope at zero is infinite, its value is not.
        return found._replace(loss=found.loss + (found.loss - found.loss.detach()).sqrt())

    model = fresh()
    kept = rf"{tmp_path / 'state'} holds the last saved state, epoch 2, step 0"
    with pytest.raises(SeasoningError, match=rf"the {what} became (nan|inf) in epoch 2, step 1: .*{kept}"):
        run(digits, [nominal(), broken], resume=tmp_path / "state", save_seconds=0.0, model=model)
    with pytest.raises(SeasoningError, match=f"there is no state in {tmp_path / 'other'} yet"):
        run(digits, [broken], resume=tmp_path / "other")
    content = torch.load(tmp_path / "state", weights_only=True)
    assert content["progress"]["epoch"] == 1
    assert equal(content["network"], model.network.state_dict())
    assert all(bool(torch.isfinite(tensor).all()) for tensor in content["network"].values())


def test_the_parts_of_a_batch_make_its_gradient(digits: dict[str, Samples]) -> None:
    whole, parts = (run(digits, [nominal()], settings=replace(SETTINGS, accumulate=each)) for each in (1, 4))
    for name, tensor in whole.state.items():
        assert torch.allclose(tensor, parts.state[name], atol=1e-5), name


def test_parts_and_whole_batches_end_alike_in_float64(digits: dict[str, Samples]) -> None:
    samples = small(digits)
    exact = replace(samples, x=samples.x.double())
    ends = []
    for parts in (1, 2, 8):
        model = fresh().double()
        settings = replace(SETTINGS, batch_size=32, accumulate=parts)
        trained = train(model, exact, [nominal()] * 2, lambda model: Scores(0.0), settings, device="cpu")
        ends.append(trained.last)
    for other in ends[1:]:
        assert all(torch.allclose(ends[0][name], other[name], rtol=1e-10, atol=1e-13) for name in ends[0])
    # The scores of groups of 8 channels and 8 x 8 pixels are those of each image alone: it learned, too.
    start = fresh().double().network.state_dict()
    assert not torch.allclose(start["fc.weight"], ends[0]["fc.weight"], atol=1e-3)


def test_the_average_follows_the_parameters(digits: dict[str, Samples]) -> None:
    raw, average = (
        run(digits, [nominal()], settings=replace(SETTINGS, ema=0.9, ingredient=each)) for each in ("raw", "ema")
    )
    plain = run(digits, [nominal()])
    assert equal(raw.state, plain.state)
    expected = fresh().network.state_dict()["fc.bias"]
    seen: list[Tensor] = []
    run(
        digits,
        [nominal()],
        model=(model := fresh()),
        on_step=lambda _: seen.append(model.network.state_dict()["fc.bias"].clone()),
    )
    for bias in seen:
        expected = 0.9 * expected + 0.1 * bias
    assert torch.allclose(average.state["fc.bias"], expected, atol=1e-6)
    assert not torch.allclose(average.state["fc.bias"], raw.state["fc.bias"], atol=1e-3)


def test_raw_parameters_and_their_average_are_both_kept(digits: dict[str, Samples]) -> None:
    settings = replace(SETTINGS, ema=0.9)
    raw, average = (
        run(digits, [nominal()] * 2, settings=replace(settings, ingredient=each)) for each in ("raw", "ema")
    )
    assert raw.other is not None
    assert average.other is not None
    assert equal(raw.other, average.last)
    assert equal(average.other, raw.last)
    assert not equal(raw.last, average.last)
    assert run(digits, [nominal()]).other is None


def test_bfloat16_keeps_parameters_in_full_precision_and_learns(digits: dict[str, Samples]) -> None:
    full, rounded = (
        run(digits, [nominal()] * 2, settings=replace(SETTINGS, precision=each)) for each in ("full", "bf16")
    )
    assert all(tensor.dtype == torch.float32 for tensor in rounded.state.values())
    start = fresh().network.state_dict()
    moved = {name: full.state[name] - start[name] for name in start}
    for name, tensor in moved.items():
        # A stale copy of the parameters would lead elsewhere.
        cosine = torch.cosine_similarity(tensor.flatten(), (rounded.state[name] - start[name]).flatten(), 0)
        assert cosine > 0.9, name


def test_the_model_is_left_as_it_was_called(digits: dict[str, Samples]) -> None:
    model = fresh()
    run(digits, [nominal()], settings=replace(SETTINGS, precision="bf16"), model=model)
    assert "forward" not in vars(model)
    assert model(digits["test"].x[:2]).dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 97}, "batch_size=97 with 96 training images: set batch_size to 96 or less"),
        ({"accumulate": 65}, "accumulate=65"),
        (
            {"accumulate": 7},
            "batch_size=64 in 1 processes x accumulate=7: 7 parts .* set batch_size to 63 or 70, or accumulate to 4",
        ),
        ({"schedule": "step"}, "schedule='step'"),
        ({"milestones": (1,)}, "schedule='cosine'"),
        ({"ingredient": "ema"}, "ingredient='ema'"),
        ({"momentum": 0.0}, "momentum=0.0"),
        ({"optimizer": "adam"}, "optimizer='adam'"),
        ({"betas": (0.9, 1.0)}, r"betas=\(0.9, 1.0\)"),
    ],
)
def test_impossible_settings_are_named(digits: dict[str, Samples], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        run(digits, [nominal()], settings=replace(SETTINGS, **changes))


def test_a_batch_that_does_not_fit_says_what_to_set(digits: dict[str, Samples]) -> None:
    def greedy(model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        return BatchLoss(torch.empty(1 << 60), y == y)

    with pytest.raises(BadInput, match=r"a batch of 64 images in 1 parts .* set accumulate=2"):
        run(digits, [greedy])


def test_a_validation_that_does_not_fit_says_what_to_set_and_loses_no_step(
    digits: dict[str, Samples], tmp_path: Path
) -> None:
    def greedy(model: nn.Module) -> Scores:
        raise RuntimeError(str(torch.empty(1 << 60)))

    with pytest.raises(BadInput, match="set accumulate=2"):
        run(digits, [nominal()], greedy, resume=tmp_path / "state")
    steps: list[TrainingProgress] = []
    resumed = run(digits, [nominal()], resume=tmp_path / "state", on_step=steps.append)
    assert steps == []
    assert equal(resumed.last, run(digits, [nominal()]).last)


def test_no_epochs_is_refused(digits: dict[str, Samples]) -> None:
    with pytest.raises(BadInput, match="one for each epoch"):
        run(digits, [])


def test_reports_say_where_the_training_is(digits: dict[str, Samples]) -> None:
    seen: list[TrainingProgress] = []
    run(digits, [nominal()] * 2, lambda model: Scores(0.5, 0.25), on_step=seen.append)
    assert [report.fraction for report in seen] == [0.25, 0.5, 0.75, 1.0]
    assert [report.epoch for report in seen] == [0, 0, 1, 1]
    assert seen[0].scores is None
    assert seen[-1].scores == Scores(0.5, 0.25)
    assert all(0 <= report.right <= 1 and report.speed > 0 and report.loss > 0 for report in seen)
    assert seen[-1].left < seen[0].left
