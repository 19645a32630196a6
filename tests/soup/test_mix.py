from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seasoning.checkpoint import fingerprint, load_ingredient, read_metadata, save_state
from seasoning.errors import BadInput, Mismatch
from seasoning.soup import mix, mix_files


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
    with pytest.raises(Mismatch, match=r"integer buffer 'table' differs between ingredients 1 and 2"):
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


def test_broken_tensors_are_named() -> None:
    broken = changed(conv__weight=torch.full((4, 3, 3, 3), torch.nan))
    with pytest.raises(BadInput, match=r"'conv.weight' is not finite"):
        mix([state(0), broken], (0.5, 0.5))


def test_files_mix_as_states_do(tmp_path: Path) -> None:
    save_state(state(0), tmp_path / "a.safetensors", {})
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state(1).items()}}, tmp_path / "b.pt")
    out = mix_files([tmp_path / "a.safetensors", tmp_path / "b.pt"], (0.3, 0.7), tmp_path / "soup.safetensors")
    assert_equal(dict(sorted(mix([state(0), state(1)], (0.3, 0.7)).items())), dict(load_ingredient(out)))
    recipe = read_metadata(out)["seasoning.soup"]
    assert fingerprint(state(0)) in recipe
    assert fingerprint(state(1)) in recipe


def test_an_existing_soup_is_kept(tmp_path: Path) -> None:
    save_state(state(0), tmp_path / "a.safetensors", {})
    out = tmp_path / "soup.safetensors"
    out.write_text("precious")
    with pytest.raises(BadInput, match="exists"):
        mix_files([tmp_path / "a.safetensors"], (1.0,), out)
    assert out.read_text() == "precious"


def test_a_failed_mix_writes_nothing(tmp_path: Path) -> None:
    save_state(state(0), tmp_path / "a.safetensors", {})
    save_state({"other": torch.zeros(1)}, tmp_path / "b.safetensors", {})
    with pytest.raises(Mismatch):
        mix_files([tmp_path / "a.safetensors", tmp_path / "b.safetensors"], (0.5, 0.5), tmp_path / "soup.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]
