"""Named ways to mix, against their formulas written out."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seasoning.errors import BadInput, Mismatch, SeasoningError
from seasoning.soup import mix
from seasoning.soup.layerwise import mix_groups, model_stock
from seasoning.soup.weights import (
    average_weights,
    difference_weights,
    line_weights,
    parse_weights,
    uniform_weights,
)


def state(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    names = ("stem.weight", "layer1.0.weight", "layer1.1.weight", "layer10.weight", "fc.weight")
    tensors = {name: torch.randn(3, 4, generator=generator, dtype=torch.float64) for name in names}
    return {**tensors, "norm.num_batches_tracked": torch.tensor(5)}


def test_uniform_is_the_mean() -> None:
    states = [state(seed) for seed in range(3)]
    soup = mix(states, uniform_weights(3))
    torch.testing.assert_close(soup["fc.weight"], torch.stack([each["fc.weight"] for each in states]).mean(0))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, 1.7, -0.4])
def test_the_line_starts_at_the_base(alpha: float) -> None:
    base, tuned = state(0), state(1)
    soup = mix([base, tuned], line_weights(alpha))
    expected = base["fc.weight"] + alpha * (tuned["fc.weight"] - base["fc.weight"])
    torch.testing.assert_close(soup["fc.weight"], expected)


def test_differences_are_added_to_the_base() -> None:
    base, one, other = state(0), state(1), state(2)
    soup = mix([base, one, other], difference_weights((0.7, -0.2)))
    for name in ("stem.weight", "fc.weight"):
        expected = base[name] + 0.7 * (one[name] - base[name]) - 0.2 * (other[name] - base[name])
        torch.testing.assert_close(soup[name], expected)


@given(st.integers(1, 8), st.floats(0, 0.999))
def test_the_moving_average_is_that_of_the_recursion(count: int, decay: float) -> None:
    values = [math.sin(place) for place in range(count)]
    average = values[0]
    for value in values[1:]:
        average = decay * average + (1 - decay) * value
    weights = average_weights(count, decay)
    assert sum(weights) == pytest.approx(1)
    assert sum(w * v for w, v in zip(weights, values, strict=True)) == pytest.approx(average, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("0.5,0.3,0.2", (0.5, 0.3, 0.2)),
        ("-.4, 1,0.4", (-0.4, 1.0, 0.4)),
        ("uniform", (1 / 3, 1 / 3, 1 / 3)),
        ("differences:0.7,-0.2", (0.5, 0.7, -0.2)),
        ("average:0.5", (0.25, 0.25, 0.5)),
    ],
)
def test_weights_are_read_from_words(text: str, weights: tuple[float, ...]) -> None:
    assert parse_weights(text, 3) == pytest.approx(weights)
    assert parse_weights("line:0.3", 2) == pytest.approx((0.7, 0.3))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.5,x", "expected numbers"),
        ("line:0.3", "are for 2 ingredients, and there are 3"),
        ("differences:0.1", "are for 2 ingredients"),
        ("average", "take one number"),
        ("average:0.1,0.2", "take one number"),
        ("unifrom", "did you mean 'uniform'"),
        ("", "expected numbers"),
    ],
)
def test_words_that_are_no_weights_are_refused(text: str, words: str) -> None:
    with pytest.raises(SeasoningError, match=words):
        parse_weights(text, 3)


def test_layers_have_weights_of_their_own_and_the_longest_beginning_counts() -> None:
    states = [state(0), state(1)]
    soup = mix_groups(states, (0.5, 0.5), {"layer1": (1.0, 0.0), "layer1.1": (0.2, 0.8), "fc.weight": (0.0, 1.0)})
    assert list(soup) == list(states[0])
    assert torch.equal(soup["layer1.0.weight"], states[0]["layer1.0.weight"])
    assert torch.equal(soup["fc.weight"], states[1]["fc.weight"])
    for name, weights in (("layer1.1.weight", (0.2, 0.8)), ("layer10.weight", (0.5, 0.5)), ("stem.weight", (0.5, 0.5))):
        torch.testing.assert_close(soup[name], weights[0] * states[0][name] + weights[1] * states[1][name])


def test_a_group_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="group 'layer2' fits no tensor"):
        mix_groups([state(0), state(1)], (0.5, 0.5), {"layer2": (1.0, 0.0)})
    with pytest.raises(BadInput, match=r"sum to 0\.9"):
        mix_groups([state(0), state(1)], (0.5, 0.5), {"fc": (0.5, 0.4)})


def test_a_group_whose_every_tensor_is_in_a_longer_one_is_no_mistake() -> None:
    states = [state(0), state(1)]
    soup = mix_groups(states, (1.0, 0.0), {"fc": (0.5, 0.5), "fc.weight": (0.0, 1.0)})
    assert torch.equal(soup["fc.weight"], states[1]["fc.weight"])


@pytest.mark.parametrize("cosine", [0.25, 0.6, 1.0])
@pytest.mark.parametrize("count", [2, 3])
def test_stock_follows_the_angle(cosine: float, count: int) -> None:
    # Differences with a common part and parts at right angles to it and to each other enclose equal angles.
    base = torch.zeros(8, dtype=torch.float64)
    differences = torch.zeros(count, 8, dtype=torch.float64)
    differences[:, 0] = cosine**0.5
    for place in range(count):
        differences[place, place + 1] = (1 - cosine) ** 0.5
    soup = model_stock({"w": base}, [{"w": each} for each in differences])
    share = {2: 2 * cosine / (1 + cosine), 3: 3 * cosine / (1 + 2 * cosine)}[count]
    torch.testing.assert_close(soup["w"], share * differences.mean(0))


def test_stock_of_copies_that_disagree_is_the_base() -> None:
    base = {"w": torch.tensor([1.0, 1.0])}
    soup = model_stock(base, [{"w": torch.tensor([2.0, 1.0])}, {"w": torch.tensor([0.0, 1.0])}])
    assert torch.equal(soup["w"], base["w"])


def test_stock_keeps_what_never_moved_and_counts_counters() -> None:
    base, one = state(0), state(1)
    frozen = {**one, "stem.weight": base["stem.weight"].clone()}
    soup = model_stock(base, [frozen, {**state(2), "stem.weight": base["stem.weight"].clone()}])
    torch.testing.assert_close(soup["stem.weight"], base["stem.weight"])
    assert soup["norm.num_batches_tracked"] == 5


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BadInput, match="no ingredients"):
        uniform_weights(0)
    with pytest.raises(BadInput, match="no ingredients"):
        average_weights(0, 0.5)
    with pytest.raises(BadInput, match="no ingredients"):
        difference_weights(())
    for decay in (1.0, -0.1, float("nan")):
        with pytest.raises(BadInput, match="decay"):
            average_weights(3, decay)
    with pytest.raises(BadInput, match="at least two"):
        model_stock(state(0), [state(1)])
    with pytest.raises(Mismatch, match="only in"):
        model_stock(state(0), [state(1), {**state(2), "more": torch.zeros(1)}])
