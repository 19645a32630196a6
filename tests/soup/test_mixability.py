"""Whether the check tells mixable ingredients from others: in closed form, on planted losses, on trained networks."""

import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from seasoning.checkpoints.load import State
from seasoning.data import Samples, load_source, split_samples
from seasoning.errors import BadInput, Mismatch
from seasoning.models import build_model
from seasoning.soup import check_mixable, mix
from seasoning.soup import mixability as check
from seasoning.threat import Threat
from seasoning.training import Scores, TrainingAttack, TrainingObjective, adversarial, nominal, train
from tests.make import training_settings


FILES = ["a.pt", "b.pt", "c.pt", "d.pt"]


def matrix(*values: float, **more: Tensor) -> State:
    """A network of one matrix, of one row."""
    return {"fc.weight": torch.tensor([values]), **more}


# ---- what the report says, in closed form


def test_cosines_and_distances_are_those_of_all_matrices_as_one_vector() -> None:
    one = {"stem.weight": torch.tensor([[3.0, 0.0]]), "fc.weight": torch.tensor([[4.0]]), "fc.bias": torch.ones(9)}
    other = {"stem.weight": torch.tensor([[0.0, 3.0]]), "fc.weight": torch.tensor([[4.0]]), "fc.bias": torch.zeros(9)}
    report = check_mixable([one, other])
    assert report.whole is not None
    assert report.cosines[0, 1] == report.whole.cosines[0, 1] == pytest.approx(16 / 25)
    assert report.whole.distances[0, 1] == pytest.approx(math.sqrt(18 / 25))
    assert report.groups["stem"].cosines[0, 1] == 0
    assert report.groups["stem"].distances[0, 1] == pytest.approx(math.sqrt(2))
    assert report.groups["fc"].cosines[0, 1] == 1
    assert report.groups["fc"].distances[0, 1] == 0
    assert report.verdict == "mix with care: ingredient 1 and ingredient 2 are far apart (cosine 0.64): " + (
        "measure the soups between them"
    )


def test_differences_are_taken_from_the_base() -> None:
    base, forth, back = matrix(10.0, 0.0), matrix(10.0, 1.0), matrix(10.0, -2.0)
    aside = matrix(11.0, 1.0)
    report = check_mixable([forth, back, aside], names=FILES[:3], base=base)
    assert report.whole is not None
    assert report.whole.differences == pytest.approx({(0, 1): -1, (0, 2): math.sqrt(0.5), (1, 2): -math.sqrt(0.5)})
    assert report.verdict == "mix with care: a.pt and b.pt left the base in opposite directions (cosine -1.00)"
    assert check_mixable([forth, aside], base=base).verdict == "mix"


def test_differences_are_taken_from_the_mean_where_there_is_no_base() -> None:
    states = [matrix(*(10.0 + (row == column) for column in range(3))) for row in range(3)]
    report = check_mixable(states)
    assert report.whole is not None
    assert list(report.whole.differences.values()) == pytest.approx([-0.5] * 3)
    assert report.groups["fc"].differences == report.whole.differences
    two = check_mixable(states[:2])
    assert two.whole is not None
    assert two.whole.differences == {}


def test_small_differences_of_large_parameters_are_seen() -> None:
    large = torch.full((1, 4), 1e4, dtype=torch.float64)
    small = torch.tensor([[1e-6, 0.0, 0.0, 0.0]], dtype=torch.float64)
    report = check_mixable([{"fc.weight": large}, {"fc.weight": large + small}])
    assert report.whole is not None
    assert report.whole.distances[0, 1] == pytest.approx(1e-6 / 2e4, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("layer1.0.conv1.weight", "layer1.0"),
        ("blocks.11.attn.qkv.weight", "blocks.11"),
        ("visual.transformer.resblocks.3.mlp.c_fc.weight", "visual.transformer.resblocks.3"),
        ("stem.weight", "stem"),
        ("head.fc.weight", "head.fc"),
        ("classifier.6.weight", "classifier.6"),
        ("cls_token", "cls_token"),
    ],
)
def test_layer_groups_end_at_the_first_number_or_at_the_last_dot(name: str, group: str) -> None:
    state = {name: torch.ones(1, 2), "norm.weight": torch.ones(2)}
    assert list(check_mixable([state, state]).groups) == [group]


def test_large_tensors_are_compared_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    states = [{"fc.weight": torch.randn(3, 5, generator=generator)} for _ in range(3)]
    at_once = check_mixable(states)
    monkeypatch.setattr(check, "_SLICE", 4)
    assert at_once.whole is not None
    sliced = check_mixable(states).whole
    assert sliced is not None
    for one, other in zip(sliced, at_once.whole, strict=True):
        assert one == pytest.approx(other)
    a, b = (state["fc.weight"].flatten() for state in states[:2])
    assert sliced.cosines[0, 1] == pytest.approx(float(torch.cosine_similarity(a, b, dim=0)), abs=1e-6)


def test_networks_without_matrices_say_nothing_against_mixing() -> None:
    assert check_mixable([{"scale": torch.ones(3)}, {"scale": torch.zeros(3)}]).verdict == "mix"


# ---- what the ingredients must have in common


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (matrix(1.0, 2.0, 3.0), "tensor 'fc.weight' has shape (1, 2) in a.pt and (1, 3) in b.pt"),
        ({"fc.weight": torch.ones(1, 2).half()}, "tensor 'fc.weight' has type torch.float32 in a.pt and torch.float16"),
        (matrix(1.0, 2.0, bias=torch.ones(3)), "tensor 'bias' of shape (3,) is only in b.pt"),
        ({"bias": torch.ones(3)}, "tensor 'fc.weight' of shape (1, 2) is only in a.pt"),
        (matrix(1.0, math.nan), "tensor 'fc.weight' has a NaN or infinite value in b.pt"),
        (matrix(1.0, -math.inf), "tensor 'fc.weight' has a NaN or infinite value in b.pt"),
    ],
)
def test_what_does_not_fit_is_named_with_both_files(other: State, words: str) -> None:
    report = check_mixable([matrix(1.0, 2.0), other], lambda state: pytest.fail("asked"), names=FILES[:2])
    assert not report.mixable
    assert report.verdict.startswith(f"do not mix: {words}")
    assert (report.cosines, report.barriers, report.whole) == ({}, {}, None)


def test_a_later_file_that_does_not_fit_is_named() -> None:
    report = check_mixable([matrix(1.0), matrix(1.0), matrix(1.0, 2.0)], names=FILES[:3])
    assert report.verdict == "do not mix: tensor 'fc.weight' has shape (1, 1) in a.pt and (1, 2) in c.pt"


def test_a_scale_that_is_not_finite_is_named() -> None:
    states = [matrix(1.0, scale=torch.ones(2)), matrix(1.0, scale=torch.tensor([1.0, math.nan]))]
    assert check_mixable(states).verdict == "do not mix: tensor 'scale' has a NaN or infinite value in ingredient 2"


def test_integer_buffers_must_agree_but_for_counters_of_batches() -> None:
    def states(name: str) -> list[State]:
        return [matrix(1.0, **{name: torch.tensor(number)}) for number in (3, 4)]

    assert check_mixable(states("bn.num_batches_tracked")).verdict == "mix"
    assert (
        "integer buffer 'index' differs between a.pt and b.pt"
        in check_mixable(states("index"), names=FILES[:2]).verdict
    )


def test_other_normalization_constants_do_not_mix() -> None:
    states = [matrix(1.0)] * 3
    half, cifar = ((0.5,), (0.5,)), ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616))
    report = check_mixable(states, names=FILES[:3], constants=[None, half, cifar])
    assert report.verdict == (
        "do not mix: b.pt normalizes images with mean (0.5) and c.pt with (0.4914, 0.4822, 0.4465)"
    )
    wrong = (cifar[0], (0.2023, 0.1994, 0.2010))
    assert "with std (0.2471, 0.2435, 0.2616) and b.pt" in (
        check_mixable(states, names=FILES[:3], constants=[cifar, wrong, None]).verdict
    )


def test_constants_are_the_same_up_to_rounding_and_one_number_serves_every_channel() -> None:
    states = [matrix(1.0)] * 2
    rounded = ((0.491, 0.482, 0.447), (0.247, 0.244, 0.262))
    exact = (torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2471, 0.2435, 0.2616]))
    assert check_mixable(states, constants=[rounded, exact]).verdict == "mix"
    assert check_mixable(states, constants=[((0.5,), (1.0,)), ((0.5,) * 3, (1.0,) * 3)]).verdict == "mix"
    assert not check_mixable(states, constants=[((0.5,) * 2, (1.0,)), ((0.5,) * 3, (1.0,))]).mixable


def test_constants_that_only_some_files_hold_are_a_matter_of_care() -> None:
    report = check_mixable([matrix(1.0)] * 2, names=FILES[:2], constants=[((0.5,), (0.5,)), None])
    assert report.verdict == "mix with care: it is not known how b.pt normalizes images"


def test_too_few_ingredients_or_names_are_refused() -> None:
    with pytest.raises(BadInput, match="at least two"):
        check_mixable([matrix(1.0)])
    with pytest.raises(BadInput, match="3 names for 2 ingredients"):
        check_mixable([matrix(1.0)] * 2, names=FILES[:3])
    with pytest.raises(BadInput, match="constants of 1 for 2 ingredients"):
        check_mixable([matrix(1.0)] * 2, constants=[None])


# ---- verdicts on planted parameters


def test_the_one_without_the_common_ancestor_is_named() -> None:
    kin = [matrix(1.0, 0.1, 0.0), matrix(1.0, 0.0, 0.1)]
    report = check_mixable([kin[0], matrix(0.02, 1.0, 0.0), kin[1]], names=FILES[:3])
    assert report.verdict == "do not mix: independent trainings: a.pt and c.pt versus b.pt (cosine at most 0.12)"


def test_between_related_and_independent_the_loss_decides() -> None:
    states = [matrix(1.0, 0.0), matrix(0.4, math.sqrt(1 - 0.4**2))]
    blind = check_mixable(states, names=FILES[:2])
    assert blind.verdict.startswith("do not mix: a.pt and b.pt are too far apart (cosine 0.40)")
    seen = check_mixable(states, lambda state: 0.1, names=FILES[:2])
    assert seen.verdict.startswith("mix with care: a.pt and b.pt are far apart (cosine 0.40)")


def test_independent_trainings_stay_so_whatever_the_loss() -> None:
    assert not check_mixable([matrix(1.0, 0.0), matrix(0.0, 1.0)], lambda state: 0.1).mixable


def test_new_heads_are_named_even_where_they_hold_most_parameters() -> None:
    def state(seed: int) -> State:
        body = {f"blocks.{number}.weight": torch.ones(2, 2) + 0.01 * seed for number in range(3)}
        return {**body, "head.weight": torch.randn(40, 40, generator=torch.Generator().manual_seed(seed))}

    report = check_mixable([state(1), state(2)], names=FILES[:2])
    assert report.verdict.startswith("mix with care: a.pt and b.pt are related, but independent in 'head' (cosine ")
    assert report.cosines[0, 1] > 0.99
    assert report.whole is not None
    assert report.whole.cosines[0, 1] < 0.1


def test_layers_that_stand_out_do_not_count_only_where_the_rest_is_related() -> None:
    def state(*cosines: float) -> State:
        return {f"blocks.{place}.weight": torch.tensor([[c, math.sqrt(1 - c * c)]]) for place, c in enumerate(cosines)}

    report = check_mixable([state(1.0, 1.0, 1.0), state(0.4, 0.4, 0.0)])
    assert report.cosines[0, 1] == pytest.approx(0.8 / 3)
    assert report.verdict.startswith("do not mix: independent trainings: ")
    report = check_mixable([state(1.0, 1.0, 1.0), state(1.0, 0.0, 0.0)])
    assert report.cosines[0, 1] == pytest.approx(1 / 3)


# ---- the loss barrier, on planted losses


def line(*places: float) -> list[State]:
    """Networks on a line; all of them are related."""
    return [matrix(10.0, place) for place in places]


def planted(heights: Mapping[float, float]) -> Callable[[State], float]:
    return lambda state: heights[round(float(state["fc.weight"][0, 1]), 4)]


def test_the_barrier_is_the_highest_rise_above_the_line_between_the_ends() -> None:
    # The line between the ends has 0.2, 0.3 and 0.4 nats at the three points.
    report = check_mixable(line(0.0, 1.0), planted({0: 0.1, 1: 0.5, 0.25: 0.3, 0.5: 0.45, 0.75: 0.42}), FILES[:2])
    assert report.barriers == {(0, 1): pytest.approx(0.15)}
    assert report.center == pytest.approx(0.15)
    assert report.verdict == "mix"


@pytest.mark.parametrize("place", [0.25, 0.5, 0.75])
def test_a_ridge_anywhere_on_the_edge_is_found(place: float) -> None:
    level = {0.0: 1.0, 1.0: 1.0, 0.25: 1.0, 0.5: 1.0, 0.75: 1.0}
    report = check_mixable(line(0.0, 1.0), planted({**level, place: 2.9}), FILES[:2])
    assert report.verdict == "do not mix: between a.pt and b.pt the loss rises by 1.90 nats"
    assert not report.mixable


def test_a_loss_below_the_line_is_below_zero() -> None:
    report = check_mixable(line(0.0, 1.0), planted({0: 1.0, 1: 1.0, 0.25: 0.7, 0.5: 0.5, 0.75: 0.6}))
    assert report.barriers[0, 1] == pytest.approx(-0.3)


def test_a_peak_in_the_middle_of_three_is_found_though_no_edge_sees_it() -> None:
    corners = [matrix(10.0, *(float(row == column) for column in range(3))) for row in range(3)]

    def loss(state: State) -> float:
        return 0.3 + 27 * float(state["fc.weight"][0, 1:].prod())

    report = check_mixable(corners, loss, FILES[:3])
    assert max(report.barriers.values()) == pytest.approx(0)
    assert report.center == pytest.approx(1, abs=1e-5)
    assert report.verdict == "do not mix: in the middle of all 3 the loss rises by 1.00 nats"


@pytest.mark.parametrize("place", [0.0, 0.5])
def test_a_loss_that_is_not_finite_is_a_ridge(place: float) -> None:
    level = {0.0: 1.0, 1.0: 1.0, 0.25: 1.0, 0.5: 1.0, 0.75: 1.0}
    report = check_mixable(line(0.0, 1.0), planted({**level, place: math.nan}), FILES[:2])
    assert report.verdict == "do not mix: the loss of a.pt, of b.pt or of a soup of the two is not finite"


def test_errors_of_the_loss_are_the_callers() -> None:
    def loss(state: State) -> float:
        raise Mismatch("the architecture wants another shape")

    with pytest.raises(Mismatch, match="the architecture wants"):
        check_mixable(line(0.0, 1.0), loss)


# ---- memory


class Watched(Mapping[str, Tensor]):
    """A network that makes its tensors when they are asked for, and notes how many of all such are alive."""

    def __init__(self, made: "list[weakref.ref[Any]]") -> None:
        self.made, self.reads, self.most = made, 0, 0

    def __getitem__(self, name: str) -> Tensor:
        # The memory of the tensor, however often it is viewed, lives as long as this array.
        memory = np.ones((4, 4))
        self.made.append(weakref.ref(memory))
        self.reads, self.most = self.reads + 1, max(self.most, sum(each() is not None for each in self.made))
        return torch.from_numpy(memory)

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __iter__(self) -> Iterator[str]:
        return (f"blocks.{number}.weight" for number in range(20))

    def __len__(self) -> int:
        return 20


def test_every_tensor_is_read_once_and_few_are_alive() -> None:
    made: list[weakref.ref[Any]] = []
    states = [Watched(made) for _ in range(4)]
    assert check_mixable(states[:3], base=states[3]).verdict == "mix"
    assert [state.reads for state in states] == [20] * 4
    assert max(state.most for state in states) == 4


# ---- trained networks

PARTS = split_samples(load_source("digits"), {"train": 300, "loss": 100, "truth": 300})
ARCHITECTURES: dict[str, dict[str, Any]] = {"resnet_small": {}, "preact_resnet18": {"width": 4, "in_chans": 1}}


class Bench(NamedTuple):
    """One architecture and its trained networks."""

    architecture: str
    states: dict[str, State]

    def loss(self, state: State, samples: Samples) -> tuple[float, float]:
        """Mean cross-entropy in nats, and accuracy."""
        model = build_model(self.architecture, num_classes=10, state=state, **ARCHITECTURES[self.architecture])
        with torch.no_grad():
            logits = model(samples.x)
        return float(cross_entropy(logits, samples.y)), float((logits.argmax(1) == samples.y).float().mean())


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def bench(request: pytest.FixtureRequest) -> Bench:
    name: str = request.param

    def fit(seed: int, start: State | None, rate: float, objectives: Sequence[TrainingObjective]) -> State:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = build_model(name, num_classes=10, state=start, **ARCHITECTURES[name])
        # The seed of the order is one for all: independent trainings see the same images in the same order.
        settings = training_settings(rate)
        return train(
            model, PARTS["train"], objectives, lambda model: Scores(0.0), settings, seed=len(objectives), device="cpu"
        ).state

    robust = adversarial(Threat("linf", 0.1), TrainingAttack(steps=2))
    one, other = (fit(seed, None, 0.1, [nominal()] * 12) for seed in (0, 1))
    headed = {**one, **{key: fit(2, None, 0.0, [nominal()])[key] for key in ("fc.weight", "fc.bias")}}
    states = {
        "base": one,
        "gentle": fit(0, one, 0.01, [nominal()] * 2),
        "usual": fit(0, one, 0.05, [nominal()] * 6),
        "hot": fit(0, one, 0.2, [nominal()] * 10),
        "robust": fit(0, one, 0.05, [robust] * 3),
        "hot robust": fit(0, one, 0.2, [robust] * 4),
        "head": fit(0, headed, 0.005, [nominal()] * 5),
        "other": other,
        "other usual": fit(0, other, 0.05, [nominal()] * 6),
        "other robust": fit(0, other, 0.05, [robust] * 3),
    }
    return Bench(name, states)


MIXABLE = [
    ("base", "gentle"),
    ("gentle", "hot"),
    ("base", "robust"),
    ("hot", "hot robust"),
    ("usual", "robust", "hot"),
    ("base", "gentle", "usual", "hot robust"),
    ("base", "head"),
]
INDEPENDENT = [
    ("base", "other"),
    ("hot", "other"),
    ("usual", "other usual"),
    ("robust", "other robust"),
    ("base", "usual", "other"),
    ("gentle", "other robust", "robust"),
    ("base", "hot robust", "other", "other usual"),
]


def lost(bench: Bench, members: Sequence[str]) -> float:
    """Accuracy that the worst of the uniform soups of two or of all lacks against the worst of its ingredients."""
    states = [bench.states[name] for name in members]
    ends = [bench.loss(state, PARTS["truth"])[1] for state in states]
    losses = []
    for some in [*combinations(range(len(states)), 2), tuple(range(len(states)))]:
        soup = mix([states[each] for each in some], (1 / len(some),) * len(some))
        losses.append(min(ends[each] for each in some) - bench.loss(soup, PARTS["truth"])[1])
    return max(losses)


@pytest.mark.parametrize("members", MIXABLE, ids=" + ".join)
def test_copies_of_one_base_mix(bench: Bench, members: tuple[str, ...]) -> None:
    assert lost(bench, members) <= 0.05
    states = [bench.states[name] for name in members]
    blind = check_mixable(states, names=members)
    assert blind.mixable, blind.verdict
    seen = check_mixable(states, lambda state: bench.loss(state, PARTS["loss"])[0], members)
    assert seen.mixable, seen.verdict


@pytest.mark.parametrize("members", INDEPENDENT, ids=" + ".join)
def test_independent_trainings_do_not(bench: Bench, members: tuple[str, ...]) -> None:
    assert lost(bench, members) > 0.05
    states = [bench.states[name] for name in members]
    blind = check_mixable(states, names=members)
    assert blind.verdict.startswith("do not mix: independent trainings: "), blind.verdict
    seen = check_mixable(states, lambda state: bench.loss(state, PARTS["loss"])[0], members)
    assert not seen.mixable
    ridge = max(seen.barriers.items(), key=lambda item: item[1])
    assert ridge[1] > 0.25
    assert sum(members[place].startswith("other") for place in ridge[0]) == 1


def test_the_loss_alone_tells_them_apart(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_INDEPENDENT", -1.0)
    for members in (*MIXABLE, *INDEPENDENT):
        states = [bench.states[name] for name in members]
        report = check_mixable(states, lambda state: bench.loss(state, PARTS["loss"])[0], members)
        assert report.mixable == (members in MIXABLE), report.verdict


def test_a_hardly_trained_new_head_is_named(bench: Bench) -> None:
    verdict = check_mixable([bench.states["base"], bench.states["head"]], names=["base", "head"]).verdict
    assert verdict.startswith("mix with care: base and head are related, but independent in 'fc' (cosine ")
