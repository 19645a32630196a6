import importlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from seasoning.errors import BadInput, Mismatch, UnknownName
from seasoning.soup.batch_norm import geometric_mean
from seasoning.soup.mix import mix, mix_into, require_weights


# The function hides the module of its name.
module = importlib.import_module("seasoning.soup.mix")


def state(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A network's worth of tensors, an integer buffer among them."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=generator).to(dtype),
        "norm.running_var": torch.rand(4, generator=generator).to(dtype) + 0.5,
        "norm.num_batches_tracked": torch.tensor(17),
    }


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)


def test_values_worked_out_by_hand() -> None:
    a, b = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, -2.0])}
    assert mix([a, b], (0.25, 0.75))["w"].tolist() == [2.5, -1.0]
    assert mix([a, b], (1.5, -0.5))["w"].tolist() == [0.0, 4.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("place", range(3))
def test_one_hot_weights_return_the_ingredient(place: int, dtype: torch.dtype) -> None:
    states = [state(seed, dtype) for seed in range(3)]
    assert_equal(mix(states, [float(place == other) for other in range(3)]), states[place])


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda weights: sum(weights) > 0.1))
def test_the_order_of_ingredients_does_not_matter(raw: list[float]) -> None:
    weights = [each / sum(raw) for each in raw]
    states = [state(seed) for seed in range(3)]
    forth, back = mix(states, weights), mix(states[::-1], weights[::-1])
    torch.testing.assert_close(forth, back, rtol=1e-6, atol=1e-7)


def test_sums_are_taken_in_double_precision() -> None:
    # In single precision 1e8 + 1 - 1e8 is 0.
    states = [{"w": torch.tensor([value])} for value in (3e8, 3.0, -3e8)]
    assert mix(states, (1 / 3, 1 / 3, 1 / 3))["w"].item() == pytest.approx(1.0, abs=1e-6)


def test_a_mix_of_equal_ingredients_is_the_ingredient() -> None:
    torch.testing.assert_close(mix([state(1)] * 4, [0.1, 0.2, 0.3, 0.4]), state(1), rtol=1e-7, atol=0)


def test_ingredients_are_not_touched_and_not_shared() -> None:
    ingredient = state(0)
    soup = mix([ingredient, state(1)], (1.0, 0.0))
    soup["conv.weight"].zero_()
    soup["norm.num_batches_tracked"].zero_()
    assert_equal(ingredient, state(0))


def changed(**tensors: Tensor) -> dict[str, Tensor]:
    return state(1) | {name.replace("__", "."): tensor for name, tensor in tensors.items()}


def test_misfits_name_the_first_differing_tensor_with_both_shapes() -> None:
    wide = changed(conv__weight=torch.zeros(8, 3, 3, 3), norm__running_var=torch.zeros(9))
    with pytest.raises(Mismatch, match=r"'conv.weight' has shape \(4, 3, 3, 3\) in ingredient 1 and \(8, 3, 3, 3\)"):
        mix([state(0), wide], (0.5, 0.5))
    lacking = {name: tensor for name, tensor in state(1).items() if name != "norm.running_var"}
    with pytest.raises(Mismatch, match=r"'norm.running_var' of shape \(4,\) is only in ingredient 1"):
        mix([state(0), lacking], (0.5, 0.5))
    with pytest.raises(Mismatch, match=r"'head' of shape .* is only in ingredient 2"):
        mix([state(0), changed(head=torch.zeros(2))], (0.5, 0.5))
    with pytest.raises(Mismatch, match=r"type torch.float32 in ingredient 1 and torch.float64"):
        mix([state(0), state(1, torch.float64)], (0.5, 0.5))
    table = {"table": torch.tensor([1, 2])}
    with pytest.raises(Mismatch, match=r"integer buffer 'table' differs between ingredient 1 and ingredient 2"):
        mix([state(0) | table, state(1) | {"table": torch.tensor([1, 3])}], (0.5, 0.5))


def test_of_batch_norms_counters_the_largest_is_taken() -> None:
    soup = mix([state(0), changed(norm__num_batches_tracked=torch.tensor(18))], (0.5, 0.5))
    assert soup["norm.num_batches_tracked"] == 18
    assert soup["norm.num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ((0.5, 0.4), "sum to 0.9"),
        ((0.5, 0.3, 0.2), "3 weights for 2 ingredients"),
        ((float("nan"), 1.0), "finite"),
        ((float("inf"), -float("inf")), "finite"),
    ],
)
def test_impossible_weights_are_refused(weights: tuple[float, ...], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        mix([state(0), state(1)], weights)


def test_no_ingredients_is_refused() -> None:
    with pytest.raises(BadInput, match="no ingredients"):
        mix([], [])


def test_negative_variances_are_caught() -> None:
    a, b = {"norm.running_var": torch.tensor([0.1])}, {"norm.running_var": torch.tensor([1.0])}
    with pytest.raises(BadInput, match=r"'norm.running_var' negative \(-0.26\)"):
        mix([a, b], (1.4, -0.4))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_broken_tensors_are_named_with_their_ingredient(value: float) -> None:
    broken = changed(conv__weight=torch.full((4, 3, 3, 3), value))
    with pytest.raises(BadInput, match=r"'conv.weight' is not finite in ingredient 2: it holds NaN or infinite"):
        mix([state(0), broken], (0.5, 0.5))
    with pytest.raises(BadInput, match=r"'conv.weight' is not finite in bad\.pt"):
        mix([state(0), broken], (0.0, 1.0), names=["good.pt", "bad.pt"])
    assert mix([state(0), broken], (1.0, 0.0))["conv.weight"].isfinite().all()


def test_weights_that_leave_the_type_are_caught() -> None:
    states = [{"w": torch.tensor([value], dtype=torch.float16)} for value in (60000.0, -60000.0)]
    with pytest.raises(BadInput, match=r"'w' is not finite in the soup: the weights carry it beyond torch.float16"):
        mix(states, (3.0, -2.0))
    # Their sum leaves the type, no single value does.
    assert mix([{"w": torch.full((9,), 60000.0).half()}] * 2, (0.5, 0.5))["w"].isfinite().all()


def test_names_are_given_for_each() -> None:
    with pytest.raises(BadInput, match="1 names for 2 ingredients"):
        mix([state(0), state(1)], (0.5, 0.5), names=["a.pt"])


def big(seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors of which none has a round number of elements."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"first": (37, 29), "second": (3, 5, 7, 11), "norm.running_var": (131,), "scalar": ()}
    made = {name: torch.randn(shape, generator=generator).abs().to(dtype) for name, shape in shapes.items()}
    made |= {"empty": torch.zeros(0, 3, dtype=dtype), "turned": made["first"].t()}
    return made | {"norm.num_batches_tracked": torch.tensor(seed), "table": torch.arange(17)}


FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn]
WEIGHTS = [(0.1, 0.2, 0.7), (1.3, -0.4, 0.1), (0.0, 1.0, 0.0), (0.5, 0.0, 0.5)]


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert sorted(one) == sorted(other)
    for name in one:
        assert (one[name].dtype, one[name].shape) == (other[name].dtype, other[name].shape)
        assert torch.equal(bits(one[name]), bits(other[name])), name


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("policy", ["mix", "geometric"])
def test_the_bits_do_not_depend_on_the_pieces(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, weights: tuple[float, ...], policy: str
) -> None:
    states = [big(seed, dtype) for seed in range(3)]
    if policy == "mix" and min(weights) < 0:
        states = [{name: each for name, each in one.items() if name != "norm.running_var"} for one in states]
    whole = mix(states, weights, policy=policy)
    for size in (1, 7, 64, 1000):
        monkeypatch.setattr(module, "PIECE", size)
        assert_same_bits(mix(states, weights, policy=policy), whole)


@pytest.mark.parametrize("dtype", FLOATS[:4])
def test_sums_are_rounded_once(dtype: torch.dtype) -> None:
    states = [big(seed, dtype) for seed in range(3)]
    total = torch.zeros(37, 29, dtype=torch.float64)
    for each, weight in zip(states, WEIGHTS[0], strict=True):
        total = total.add(each["first"].double(), alpha=weight)
    assert torch.equal(mix(states, WEIGHTS[0])["first"], total.to(dtype))


def test_one_hot_weights_keep_signed_zeros() -> None:
    zeros = {"w": torch.tensor([0.0, -0.0])}
    assert torch.equal(bits(mix([zeros, {"w": torch.ones(2)}], (1.0, 0.0))["w"]), bits(zeros["w"]))


def test_variances_can_be_averaged_on_a_logarithmic_scale() -> None:
    states, weights = [state(0), state(1)], (1.4, -0.4)
    soup, plain = mix(states, weights, policy="geometric"), mix([state(0), state(0)], weights)
    expected = geometric_mean([each["norm.running_var"] for each in states], weights).float()
    assert torch.equal(soup["norm.running_var"], expected)
    assert not torch.equal(soup["conv.weight"], plain["conv.weight"])
    with pytest.raises(UnknownName, match="did you mean 'geometric'"):
        mix(states, weights, policy="geometrical")
    with pytest.raises(BadInput, match="'clean' measures running statistics on images"):
        mix(states, weights, policy="clean")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)


def net_states(count: int) -> list[dict[str, Tensor]]:
    torch.manual_seed(0)
    states = [{name: torch.rand_like(each.float()) for name, each in Net().state_dict().items()} for _ in range(count)]
    return [each | {"norm.num_batches_tracked": torch.tensor(5)} for each in states]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [7, 1000])
def test_mixing_into_a_live_model_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, weights: tuple[float, ...], layout: torch.memory_format, size: int
) -> None:
    monkeypatch.setattr(module, "PIECE", size)
    states, model = net_states(3), Net().to(memory_format=layout)
    where = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    kept = [{name: tensor.clone() for name, tensor in each.items()} for each in states]
    mix_into(model, states, weights, policy="geometric")
    assert_same_bits(dict(model.state_dict()), mix(states, weights, policy="geometric"))
    assert {name: tensor.data_ptr() for name, tensor in model.state_dict().items()} == where
    for each, before in zip(states, kept, strict=True):
        assert_same_bits(each, before)


def test_a_state_serves_as_a_live_model() -> None:
    states = [big(seed, torch.bfloat16) for seed in range(2)]
    target = {name: torch.zeros_like(tensor) for name, tensor in states[0].items()}
    mix_into(target, states, (0.25, 0.75))
    assert_same_bits(target, mix(states, (0.25, 0.75)))


def test_a_live_model_is_kept_from_negative_variances() -> None:
    states, model = net_states(2), Net()
    states[0]["norm.running_var"], states[1]["norm.running_var"] = torch.full((4,), 0.1), torch.ones(4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(BadInput, match=r"'norm.running_var' negative \(-0.26\)"):
        mix_into(model, states, (1.4, -0.4))
    assert_same_bits(dict(model.state_dict()), before)


def test_a_live_model_must_fit_and_be_none_of_the_ingredients() -> None:
    states, model = net_states(2), Net()
    with pytest.raises(
        BadInput, match=r"the model shares tensor 'conv.weight' with second, which would be overwritten"
    ):
        mix_into(model, [states[0], dict(model.state_dict())], (0.5, 0.5), names=["first", "second"])
    with pytest.raises(Mismatch, match=r"'conv.weight' of shape .* is only in the model"):
        mix_into(model, [{"other": torch.zeros(1)}], (1.0,))
    with pytest.raises(BadInput, match=r"sum to 0\.9"):
        mix_into(model, states, (0.5, 0.4))


def test_weights_near_one_are_taken() -> None:
    require_weights((0.3333333, 0.3333333, 0.3333334), 3)
