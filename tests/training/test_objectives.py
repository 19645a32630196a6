"""What training lowers, against the definitions, and what every objective promises."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from seasoning.data import Samples
from seasoning.errors import BadInput, UnknownName
from seasoning.geometry import distance
from seasoning.models import PixelClassifier, auxiliary_branch, build_model, split_norms
from seasoning.noise import USES, derived_seed, use_seed
from seasoning.soup import mix_branches
from seasoning.threat import Threat
from seasoning.training import (
    OBJECTIVES,
    Outer,
    TrainingAttack,
    TrainingObjective,
    adversarial,
    advprop,
    average,
    eat,
    make_objective,
    maximum,
    msd,
    multi_steepest,
    nominal,
    sat,
)
from seasoning.training.attack import attack_batch, attack_mode, attack_to_random_classes, random_wrong_classes
from seasoning.training.objectives import OneOf


THREATS = [Threat("linf", 0.1), Threat("l2", 0.5), Threat("l1", 2.0)]
STEPS = 3
ATTACK = TrainingAttack(steps=STEPS)
EVERY: dict[str, TrainingObjective] = {
    "nominal": nominal(),
    "adversarial": adversarial(THREATS[2], ATTACK),
    "trades": adversarial(THREATS[0], TrainingAttack(steps=STEPS, loss="kl"), Outer("trades")),
    "advprop": advprop(THREATS[0], ATTACK),
    **{name: make_objective(name, THREATS, ATTACK) for name in OBJECTIVES},
}


@pytest.fixture
def batch(digits: dict[str, Samples]) -> tuple[Tensor, Tensor]:
    return digits["train"].x[:24], digits["train"].y[:24]


@pytest.fixture
def normed(request: pytest.FixtureRequest) -> PixelClassifier:
    """A small network with batch norm, in training mode; with the branches that an objective wants."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("preact_resnet18", num_classes=10, in_chans=1, width=4)
    if "name" in request.fixturenames and request.getfixturevalue("name") == "advprop":
        split_norms(model.network)
    return model.train()


@contextmanager
def counted(model: PixelClassifier) -> Iterator[Counter[str]]:
    """Forward passes of batches, those that keep a graph apart, by the mode they are in."""
    seen: Counter[str] = Counter()

    def see(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        mode = "training" if module.training else "evaluation"
        seen[f"{mode} {'graph' if torch.is_grad_enabled() else 'look'}"] += 1

    handle = model.network.register_forward_pre_hook(see)
    yield seen
    handle.remove()


@pytest.mark.parametrize("name", EVERY)
def test_every_objective_keeps_its_promises(name: str, normed: PixelClassifier, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    before = {key: tensor.clone() for key, tensor in normed.network.state_dict().items()}
    first = EVERY[name](normed, x, y, seed=3, state={})
    assert first.loss.dim() == 0
    assert bool(torch.isfinite(first.loss))
    assert first.right.shape == y.shape
    assert first.right.dtype == torch.bool
    # Attacks leave neither gradients nor modes behind; only the loss itself leads to the parameters.
    assert all(parameter.grad is None for parameter in normed.parameters())
    assert all(module.training for module in normed.modules())
    normed.network.load_state_dict(before)
    again = EVERY[name](normed, x, y, seed=3, state={})
    assert torch.equal(first.loss, again.loss)
    again.loss.backward()
    assert all(parameter.grad is not None for parameter in normed.parameters())


@pytest.mark.parametrize("name", [name for name in EVERY if name != "nominal"])
def test_objectives_under_attack_follow_their_seed(
    name: str, normed: PixelClassifier, batch: tuple[Tensor, Tensor]
) -> None:
    found = {float(EVERY[name](normed.eval(), *batch, seed=seed, state={}).loss.detach()) for seed in range(4)}
    assert len(found) > 1


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_attacks_climb_in_the_mode_that_is_said_and_touch_no_statistics(
    normed: PixelClassifier, batch: tuple[Tensor, Tensor], mode: str
) -> None:
    before = {key: tensor.clone() for key, tensor in normed.network.state_dict().items()}
    with counted(normed) as seen:
        attack_batch(normed, *batch, THREATS[0], TrainingAttack(STEPS, "ce", mode), 0)  # type: ignore[arg-type]
    # Each step is a pass forwards and backwards; the last point is only looked at.
    assert seen == {f"{mode} graph": STEPS, f"{mode} look": 1}
    assert all(torch.equal(before[key], tensor) for key, tensor in normed.network.state_dict().items())
    assert all(module.training for module in normed.modules())


def test_batch_statistics_are_those_of_the_batch(normed: PixelClassifier, batch: tuple[Tensor, Tensor]) -> None:
    x, _ = batch
    with torch.no_grad():
        with attack_mode(normed, "training"):
            inside = normed(x)
        # The second batch has the same statistics, so the answers are the same although the running ones moved.
        assert torch.equal(inside, normed(x))
        with attack_mode(normed, "evaluation"):
            assert not torch.allclose(inside, normed(x), atol=1e-2)
    with pytest.raises(UnknownName, match="did you mean 'training'"), attack_mode(normed, "trainig"):
        pass


@pytest.mark.parametrize("name", EVERY)
def test_a_batch_in_parts_has_the_loss_of_the_whole(name: str, batch: tuple[Tensor, Tensor]) -> None:
    model, (x, y) = Flat().double(), (batch[0].double(), batch[1])
    if name == "advprop":
        split_norms(model)
    objective = EVERY[name]
    if isinstance(objective, OneOf):
        objective = objective.draw(3, {})
    whole = objective(model, x, y, seed=3, state={})
    # Each part attacks its images from where the whole batch does, whoever takes it.
    parts = [
        objective(model, x[first:last], y[first:last], seed=derived_seed(3, first), state={})
        for first, last in ((0, 7), (7, 8), (8, 24))
    ]
    lost = sum(float(part.loss.detach()) * len(part.right) for part in parts) / 24
    assert lost == pytest.approx(float(whole.loss.detach()), rel=1e-12)
    assert torch.equal(torch.cat([part.right for part in parts]), whole.right)


class Flat(nn.Module):
    """A network in which no image meets another."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 10))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


# Passes for each batch, as the papers count them: S steps, T threats.
PASSES = {
    "nominal": {"training graph": 1},
    "adversarial": {"evaluation graph": STEPS, "evaluation look": 1, "training graph": 1},
    "trades": {"evaluation graph": STEPS, "evaluation look": 2, "training graph": 2},
    "advprop": {"evaluation graph": STEPS, "evaluation look": 1, "training graph": 2},
    "max": {"evaluation graph": 3 * STEPS, "evaluation look": 3, "training graph": 1},
    "avg": {"evaluation graph": 3 * STEPS, "evaluation look": 3, "training graph": 3},
    "sat": {"evaluation graph": STEPS, "evaluation look": 1, "training graph": 1},
    "eat": {"evaluation graph": STEPS, "evaluation look": 1, "training graph": 1},
    "msd": {"evaluation graph": STEPS, "evaluation look": 3 * STEPS, "training graph": 1},
}


@pytest.mark.parametrize("name", EVERY)
def test_no_objective_takes_a_pass_more_than_it_must(
    name: str, normed: PixelClassifier, batch: tuple[Tensor, Tensor]
) -> None:
    with counted(normed) as seen:
        EVERY[name](normed, *batch, seed=0, state={})
    assert seen == PASSES[name]


def test_every_threat_has_its_own_steps(normed: PixelClassifier, batch: tuple[Tensor, Tensor]) -> None:
    attack = TrainingAttack(2, "kl", steps_by_norm={"l1": 5})
    for threat, steps in zip(THREATS, (2, 2, 5), strict=True):
        with counted(normed) as seen:
            adversarial(threat, attack)(normed, *batch, seed=0, state={})
        # Two looks: the clean prediction that the divergence is from, and the last point.
        assert seen == {"evaluation graph": steps, "evaluation look": 2, "training graph": 1}
    with counted(normed) as seen:
        maximum(THREATS, attack)(normed, *batch, seed=0, state={})
    assert seen["evaluation graph"] == 2 + 2 + 5


def single_losses(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Attacked images and their losses under each threat alone, with the seeds that objectives over several use."""
    seeds = [use_seed(seed, place) for place in range(len(THREATS))]
    found = [attack_batch(model, x, y, threat, ATTACK, each) for threat, each in zip(THREATS, seeds, strict=True)]
    images = [each.x_adv for each in found]
    return images, [functional.cross_entropy(model(each), y, reduction="none") for each in images]


def test_nominal_is_the_cross_entropy(robust_model: PixelClassifier, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    found = nominal()(robust_model, x, y, seed=0, state={})
    assert torch.equal(found.loss, functional.cross_entropy(robust_model(x), y))
    assert torch.equal(found.right, robust_model(x).argmax(1) == y)


def test_one_threat_is_the_cross_entropy_at_its_attack(
    robust_model: PixelClassifier, batch: tuple[Tensor, Tensor]
) -> None:
    _, each = single_losses(robust_model, *batch, seed=5)
    found = adversarial(THREATS[0], ATTACK)(robust_model, *batch, seed=5, state={})
    assert torch.allclose(found.loss, each[0].mean())
    assert bool(found.loss > nominal()(robust_model, *batch, seed=5, state={}).loss)


def test_max_takes_the_highest_loss_of_each_sample(robust_model: PixelClassifier, batch: tuple[Tensor, Tensor]) -> None:
    _, each = single_losses(robust_model, *batch, seed=5)
    highest = torch.stack(each).amax(0)
    assert len(torch.stack(each).argmax(0).unique()) > 1
    found = maximum(THREATS, ATTACK)(robust_model, *batch, seed=5, state={})
    assert torch.allclose(found.loss, highest.mean())


def test_max_compares_the_loss_that_is_trained_on(robust_model: PixelClassifier, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    objective = maximum(THREATS, TrainingAttack(STEPS, "kl"))
    seeds = [use_seed(5, place) for place in range(len(THREATS))]
    attacked = [
        attack_batch(robust_model, x, y, threat, TrainingAttack(STEPS, "kl"), seed).x_adv
        for threat, seed in zip(THREATS, seeds, strict=True)
    ]
    losses = torch.stack([functional.cross_entropy(robust_model(each), y, reduction="none") for each in attacked])
    assert torch.allclose(objective(robust_model, x, y, seed=5, state={}).loss, losses.amax(0).mean())


def test_avg_is_the_mean_over_threats(robust_model: PixelClassifier, batch: tuple[Tensor, Tensor]) -> None:
    images, each = single_losses(robust_model, *batch, seed=5)
    found = average(THREATS, ATTACK)(robust_model, *batch, seed=5, state={})
    assert torch.allclose(found.loss, torch.stack(each).mean())
    rights = [robust_model(x).argmax(1) == batch[1] for x in images]
    assert torch.equal(found.right, torch.stack(rights).all(0))


def drawn(objective: TrainingObjective, model: nn.Module, batch: tuple[Tensor, Tensor], **state: float) -> Counter[str]:
    """How often each threat was trained on, over 200 seeds."""
    count: Counter[str] = Counter()

    def note(model: nn.Module, x: Tensor, y: Tensor, threat: Threat, *rest: object) -> object:
        count[str(threat)] += 1
        return attack_batch(model, x, y, threat, TrainingAttack(1), 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seasoning.training.objectives.attack_batch", note)
        for seed in range(200):
            objective(model, batch[0][:1], batch[1][:1], seed=seed, state=state)
    return count


def test_sat_draws_evenly(robust_model: PixelClassifier, batch: tuple[Tensor, Tensor]) -> None:
    count = drawn(sat(THREATS, ATTACK), robust_model, batch)
    assert set(count) == set(map(str, THREATS))
    assert all(45 <= each <= 90 for each in count.values())


def test_eat_draws_by_the_errors_so_far(robust_model: PixelClassifier, batch: tuple[Tensor, Tensor]) -> None:
    linf, _, l1 = map(str, THREATS)
    objective = eat([THREATS[0], THREATS[2]], ATTACK)
    known = {f"{linf} fooled": 45.0, f"{linf} seen": 50.0, f"{l1} fooled": 10.0, f"{l1} seen": 100.0}
    count = drawn(objective, robust_model, batch, **known)
    # 0.9 against 0.1; three standard deviations are 13.
    assert 165 <= count[linf] <= 195
    even = drawn(objective, robust_model, batch, **{f"{linf} fooled": 45.0, f"{linf} seen": 50.0})
    assert 70 <= even[linf] <= 130
    spotless = drawn(objective, robust_model, batch, **{**known, f"{linf} fooled": 0.0, f"{l1} fooled": 0.0})
    assert 70 <= spotless[linf] <= 130


def test_eat_counts_what_its_attacks_fool(robust_model: PixelClassifier, batch: tuple[Tensor, Tensor]) -> None:
    objective, state = eat([THREATS[0], THREATS[2]], ATTACK), dict[str, float]()
    for seed in range(8):
        found = objective(robust_model, *batch, seed=seed, state=state)
        (threat,) = {name.split()[0] for name in found.state if found.state[name] != state.get(name)}
        fooled = int((~found.right).sum())
        assert found.state[f"{threat} seen"] == state.get(f"{threat} seen", 0) + 24
        assert found.state[f"{threat} fooled"] == state.get(f"{threat} fooled", 0) + fooled
        state = dict(found.state)
    assert {name.split()[0] for name in state} == {"linf:0.1", "l1:2"}


def test_trades_adds_the_divergence_from_the_clean_prediction(
    robust_model: PixelClassifier, batch: tuple[Tensor, Tensor]
) -> None:
    x, y = batch
    attack = TrainingAttack(STEPS, "kl")
    attacked = attack_batch(robust_model, x, y, THREATS[0], attack, 5).x_adv
    clean, there = (robust_model(each).log_softmax(1) for each in (x, attacked))
    divergence = functional.kl_div(there, clean, log_target=True, reduction="batchmean")
    found = adversarial(THREATS[0], attack, Outer("trades", 3.0))(robust_model, x, y, seed=5, state={})
    assert float(divergence.detach()) > 0
    assert torch.allclose(found.loss, functional.cross_entropy(clean, y) + 3 * divergence)


@pytest.mark.parametrize("only", [0, 1, 2])
def test_steepest_descent_raises_the_loss_inside_its_balls(
    robust_model: PixelClassifier, batch: tuple[Tensor, Tensor], only: int
) -> None:
    x, y = batch
    for threats in (THREATS, [THREATS[only], Threat("l2", 1e-4)]):
        found = multi_steepest(robust_model, x, y, threats, steps=6, seed=0)
        assert bool(((found >= 0) & (found <= 1)).all())
        inside = [distance(found, x, threat.norm) <= threat.eps + 1e-5 for threat in threats]
        assert bool(torch.stack(inside).any(0).all())
        before, after = (functional.cross_entropy(robust_model(each), y, reduction="none") for each in (x, found))
        assert bool((after >= before - 1e-3).all())
        assert float((after - before).mean().detach()) > 0.02


def test_steepest_descent_on_a_linear_network_finds_the_highest_loss() -> None:
    # The difference of two logits is sum(w * x): the optimum under each threat is known, and the largest wins.
    weight = torch.tensor([3.0, 1.0, -2.0, 0.5])

    def model(x: Tensor) -> Tensor:
        value = (x.flatten(1) * weight).sum(1)
        return torch.stack([-value, value], dim=1)

    x, y = torch.full((1, 1, 2, 2), 0.5), torch.tensor([0])
    gains = {"linf": 0.1 * 6.5, "l2": 0.3 * float(weight.norm()), "l1": 0.2 * 3.0}
    threats = [Threat("linf", 0.1), Threat("l2", 0.3), Threat("l1", 0.2)]
    found = multi_steepest(model, x, y, threats, steps=10, seed=0)  # type: ignore[arg-type]
    gain = float(((found - x).flatten(1) * weight).sum())
    assert gain == pytest.approx(max(gains.values()), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "threats", "attack", "words"),
    [
        ("nominal", THREATS[:1], None, r"objective 'nominal' with linf:0\.1: it attacks nothing"),
        ("nominal", [], ATTACK, "objective 'nominal' with an attack"),
        ("adversarial", THREATS[:1], None, r"under linf:0\.1 without an attack: give its steps"),
        ("adversarial", [], ATTACK, "with 0 threats: give one"),
        ("adversarial", THREATS, ATTACK, "with 3 threats: give one, or choose one of max"),
        ("max", THREATS[:1], ATTACK, "objective 'max' with 1 threats: give at least two"),
        ("msd", THREATS, TrainingAttack(3, "kl"), "starts at the clean image"),
        ("sat", THREATS, TrainingAttack(0), "an attack of 0 steps: give at least 1"),
        ("sat", THREATS, TrainingAttack(2, steps_by_norm={"l1": 0}), "an attack of 0 steps: give at least 1"),
        ("msd", THREATS, TrainingAttack(2, steps_by_norm={"l1": 3}), "'msd' with steps_by_norm"),
    ],
)
def test_training_is_never_silently_nominal(
    name: str, threats: list[Threat], attack: TrainingAttack | None, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        make_objective(name, threats, attack)


def test_an_unknown_objective_is_told_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'adversarial'"):
        make_objective("adversarail", THREATS, ATTACK)


def test_msd_trains_on_the_images_of_the_steepest_descent(
    robust_model: PixelClassifier, batch: tuple[Tensor, Tensor]
) -> None:
    x, y = batch
    attacked = multi_steepest(robust_model, x, y, THREATS, steps=STEPS, seed=5)
    found = msd(THREATS, ATTACK)(robust_model, x, y, seed=5, state={})
    assert torch.equal(found.loss, functional.cross_entropy(robust_model(attacked), y))


def test_states_pass_through_objectives_that_carry_none(
    robust_model: PixelClassifier, batch: tuple[Tensor, Tensor]
) -> None:
    empty: Mapping[str, float] = {}
    assert nominal()(robust_model, *batch, seed=0, state=empty).state == {}


@pytest.fixture
def branched(normed: PixelClassifier, batch: tuple[Tensor, Tensor]) -> PixelClassifier:
    """A network whose branches have seen different images and differ in every parameter."""
    generator = torch.Generator().manual_seed(1)
    split_norms(normed.network)
    with torch.no_grad():
        for name, parameter in normed.network.named_parameters():
            if ".aux_bn." in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
        for _ in range(20):
            normed(batch[0])
            with auxiliary_branch(normed):
                normed(1 - batch[0])
    return normed


def alone(branched: PixelClassifier, branch: int) -> PixelClassifier:
    """One branch as a plain network."""
    state = mix_branches(branched.network.state_dict(), (1.0 - branch, float(branch)))
    return build_model("preact_resnet18", num_classes=10, in_chans=1, width=4, state=state).train()


def test_advprop_sums_the_losses_of_two_plain_networks(branched: PixelClassifier, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    main, auxiliary = alone(branched, 0), alone(branched, 1)
    found = advprop(THREATS[0], ATTACK)(branched, x, y, seed=5, state={})
    labels = functional.one_hot(y, 10).float()
    attacked = attack_to_random_classes(auxiliary, x, labels, THREATS[0], ATTACK, 5)
    clean, logits = main(x), auxiliary(attacked)
    expected = functional.cross_entropy(clean, y) + functional.cross_entropy(logits, y)
    assert torch.allclose(found.loss, expected)
    assert torch.equal(found.right, (clean.argmax(1) == y) & (logits.argmax(1) == y))
    # Each branch has the statistics of its own images: the other's might as well not have been there.
    for branch, plain in enumerate((main, auxiliary)):
        for name, tensor in alone(branched, branch).network.state_dict().items():
            torch.testing.assert_close(tensor, plain.network.state_dict()[name])
    found.loss.backward()
    expected.backward()
    for (name, mine), theirs in zip(main.network.named_parameters(), auxiliary.network.parameters(), strict=True):
        both = branched.network.get_parameter(name).grad
        shared = ".bn" not in name and ".norm" not in name and mine.dim() > 1
        assert mine.grad is not None
        assert theirs.grad is not None
        if shared:
            torch.testing.assert_close(both, mine.grad + theirs.grad, rtol=1e-3, atol=1e-5)


def test_an_attack_comes_closer_to_its_classes(branched: PixelClassifier, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    labels = functional.one_hot(y, 10).float()
    model = branched.eval()
    targets = random_wrong_classes(labels, use_seed(5, USES["targets"]))
    attacked = attack_to_random_classes(model, x, labels, THREATS[0], ATTACK, 5)
    assert float(distance(attacked, x, "linf").max()) <= THREATS[0].eps + 1e-6
    with torch.no_grad():
        before, after = (functional.cross_entropy(model(each), targets, reduction="none") for each in (x, attacked))
    assert bool((after < before).all())


def test_targets_are_uniform_over_the_wrong_classes() -> None:
    hard = functional.one_hot(torch.arange(20_000) % 4, 4).float()
    mixed = torch.tensor([0.6, 0.0, 0.4, 0.0, 0.0]).expand(20_000, 5)
    for labels, smoothed in ((hard, 0.9 * hard + 0.1 / 4), (mixed, 0.9 * mixed + 0.1 / 5)):
        found = random_wrong_classes(labels, 3)
        wrong = labels == 0
        assert bool(wrong.gather(1, found[:, None]).all())
        assert torch.equal(random_wrong_classes(smoothed, 3), found)
        assert not torch.equal(random_wrong_classes(labels, 4), found)
        # Five standard deviations of a count, class by class among the images that it is wrong for.
        for each in wrong.any(0).nonzero().flatten().tolist():
            among = found[wrong[:, each]]
            chance = 1 / int(wrong[0].sum())
            deviation = (len(among) * chance * (1 - chance)) ** 0.5
            assert abs(int((among == each).sum()) - chance * len(among)) < 5 * deviation
    with pytest.raises(BadInput, match="where there is one class"):
        random_wrong_classes(torch.ones(3, 1), 0)


def test_advprop_takes_one_threat_and_its_own_losses() -> None:
    with pytest.raises(BadInput, match="objective 'advprop' with 2 threats"):
        make_objective("advprop", THREATS[:2], ATTACK)
    with pytest.raises(BadInput, match="goes towards random classes, use 'ce'"):
        make_objective("advprop", THREATS[:1], TrainingAttack(2, "kl"))
    with pytest.raises(BadInput, match="lowers two cross-entropies, use 'ce'"):
        make_objective("advprop", THREATS[:1], ATTACK, Outer("trades"))
    with pytest.raises(BadInput, match=r"under linf:0\.1 without an attack"):
        make_objective("advprop", THREATS[:1])
