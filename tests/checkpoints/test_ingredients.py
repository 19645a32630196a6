"""Checkpoints that differ in names, counters or precision come in one form; what else differs is left to be refused."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from seasoning.checkpoints.constants import Constants
from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.ingredients import load_ingredients
from seasoning.checkpoints.load import load_ingredient, save_state
from seasoning.errors import Mismatch
from seasoning.models import build_model
from seasoning.soup import check_mixable, mix, mix_files, verify_soup


def network(seed: int) -> dict[str, Tensor]:
    """A small network of ours with batch normalization, and copies of it a little apart."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = build_model("preact_resnet18", num_classes=5, width=2).network.state_dict()
        torch.manual_seed(seed)
        moved = {name: 0.01 * torch.rand(tensor.shape) for name, tensor in state.items() if tensor.dim()}
    counters = {name: torch.tensor(7 + seed) for name in state if name.endswith("num_batches_tracked")}
    return {name: tensor + moved.get(name, 0) for name, tensor in state.items()} | counters


def public(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of pytorch-cifar."""
    theirs = {"norm1": "bn1", "norm2": "bn2", "shortcut": "shortcut.0"}
    outside = {"stem": "conv1", "norm": "bn", "fc": "linear"}
    renamed = {}
    for name, tensor in state.items():
        layer, _, last = name.rpartition(".")
        if layer.startswith("blocks."):
            _, number, inside = layer.split(".")
            layer = f"layer{int(number) // 2 + 1}.{int(number) % 2}.{theirs.get(inside, inside)}"
        renamed[f"{outside.get(layer, layer)}.{last}"] = tensor
    return renamed


def without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def typed(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


CONSTANTS = {"normalize.mean": torch.tensor([0.5, 0.4, 0.3]), "normalize.std": torch.tensor([0.2, 0.2, 0.1])}
A, B = network(1), network(2)
KINDS: dict[str, tuple[Mapping[str, Tensor], Mapping[str, Tensor]]] = {
    "public beside ours": (public(A), B),
    "ours beside public": (A, public(B)),
    "public in a wrapper beside ours": (under("module.1.", public(A)), B),
    "without counters beside with": (without_counters(A), B),
    "public without counters beside ours": (without_counters(public(A)), B),
    "prefix beside none": (under("backbone.", A), B),
    "two prefixes": (under("encoder.", A), under("model.net.", B)),
    "counts of steps": (A | {"global_step": torch.tensor(7), "epoch": torch.tensor(1)}, B | {"epoch": torch.tensor(3)}),
    "criterion beside one": (under("model.", A) | {"criterion.weight": torch.ones(5)}, B),
    "metrics that differ": (
        under("model.", A) | {"val_acc.tp": torch.ones(5).long()},
        under("model.", B) | {"val_acc.tp": torch.zeros(5).long()},
    ),
    "constants as tensors of one": (under("model.", A) | CONSTANTS, B),
}


@pytest.mark.parametrize("form", ["pt", "safetensors", "legacy"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_differs_in_names_mixes_as_its_tensors_do(tmp_path: Path, kind: str, form: str) -> None:
    paths = [tmp_path / f"{name}.{form}" for name in "ab"]
    for path, state in zip(paths, KINDS[kind], strict=True):
        if form == "safetensors":
            save_state(state, path, {})
        else:
            torch.save(dict(state), path, _use_new_zipfile_serialization=form == "pt")
    out = mix_files(paths, (0.3, 0.7), tmp_path / "soup.safetensors")
    expected = mix([A, B], (0.3, 0.7))
    soup = load_ingredient(out)
    assert set(soup) == set(expected)
    assert all(torch.equal(soup[name], expected[name]) for name in expected)
    assert verify_soup(out, paths) == ([], [])
    loaded = load_ingredients(paths)
    in_memory = mix(loaded.states, (0.3, 0.7))
    assert all(torch.equal(in_memory[name], expected[name]) for name in expected)
    assert check_mixable(loaded.states, constants=loaded.constants).mixable
    # What tells an ingredient from others is what its own file holds, whatever it is mixed with.
    assert json.loads(load_metadata(out))["ingredients"] == [fingerprint(load_ingredient(path)) for path in paths]


def load_metadata(path: Path) -> str:
    from seasoning.checkpoints.load import read_metadata

    return read_metadata(path)["seasoning.soup"]


WIDTHS = [
    (torch.float16, torch.float32, torch.float32),
    (torch.float32, torch.bfloat16, torch.float32),
    (torch.float16, torch.bfloat16, torch.float32),
    (torch.float64, torch.float16, torch.float64),
    (torch.float8_e4m3fn, torch.float16, torch.float16),
    (torch.float8_e4m3fn, torch.float8_e5m2, torch.float32),
]


@pytest.mark.parametrize("form", ["pt", "safetensors"])
@pytest.mark.parametrize(("one", "other", "wide"), WIDTHS)
def test_types_of_different_width_mix_in_the_widest(
    tmp_path: Path,
    one: torch.dtype,
    other: torch.dtype,
    wide: torch.dtype,
    form: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    states = typed(A, one), typed(B, other)
    paths = [tmp_path / f"{name}.{form}" for name in "ab"]
    for path, state in zip(paths, states, strict=True):
        if form == "safetensors":
            save_state(state, path, {})
        else:
            torch.save(state, path)
    with caplog.at_level(logging.INFO, logger="seasoning"):
        soup = load_ingredient(mix_files(paths, (0.25, 0.75), tmp_path / "soup"))
    expected = mix([typed(state, wide) for state in states], (0.25, 0.75))
    assert all(soup[name].dtype == expected[name].dtype for name in expected)
    assert all(torch.equal(soup[name], expected[name]) for name in expected)
    narrow = next(dtype for dtype in (one, other) if dtype != wide)
    assert f"{narrow} beside {wide} in other ingredients, mixed in the wider type" in caplog.text
    assert verify_soup(tmp_path / "soup", paths) == ([], [])


def test_one_type_is_kept_and_nothing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, state in (("a", A), ("b", B)):
        save_state(typed(state, torch.float16), tmp_path / name, {})
    with caplog.at_level(logging.INFO, logger="seasoning"):
        soup = load_ingredient(mix_files([tmp_path / "a", tmp_path / "b"], (0.5, 0.5), tmp_path / "soup"))
    assert soup["stem.weight"].dtype == torch.float16
    assert caplog.text == ""


DIFFERENT: dict[str, tuple[Mapping[str, Tensor], str]] = {
    "another layer": (B | {"extra.weight": torch.ones(2)}, "'extra.weight' of shape .* is only in b"),
    "a layer less": ({name: each for name, each in B.items() if name != "fc.bias"}, "'fc.bias' of shape"),
    "another shape": (B | {"fc.bias": torch.ones(6)}, r"'fc.bias' has shape \(5,\) in a and \(6,\) in b"),
    "integers": (B | {"fc.bias": torch.ones(5).long()}, "'fc.bias' has type torch.float32 in a and torch.int64 in b"),
    "public with a layer more": (public(B) | {"layer9.weight": torch.ones(1)}, "is only in"),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_else_differs_is_refused(tmp_path: Path, kind: str) -> None:
    other, words = DIFFERENT[kind]
    for name, state in (("a", A), ("b", other)):
        save_state(state, tmp_path / name, {})
    loaded = load_ingredients([tmp_path / "a", tmp_path / "b"], ["a", "b"])
    with pytest.raises(Mismatch, match=words):
        mix(loaded.states, (0.5, 0.5), names=loaded.names)
    with pytest.raises(Mismatch):
        mix_files([tmp_path / "a", tmp_path / "b"], (0.5, 0.5), tmp_path / "soup")
    assert not check_mixable(loaded.states).mixable


def write(folder: Path, name: str, *, tensors: bool = False, metadata: bool = False, mean: float = 0.5) -> Path:
    """A checkpoint that says by what it normalizes images in one way or another."""
    carried = {"normalize.mean": torch.full((1, 3, 1, 1), mean), "normalize.std": torch.full((3,), 0.25)}
    said = {"mean": json.dumps([mean] * 3), "std": json.dumps([0.25])}
    save_state(A | (carried if tensors else {}), folder / name, said if metadata else {})
    return folder / name


def test_constants_are_known_wherever_they_are_said(tmp_path: Path) -> None:
    said = Constants((0.5,) * 3, (0.25,))
    paths = [
        write(tmp_path, "a", tensors=True),
        write(tmp_path, "b", metadata=True),
        write(tmp_path, "c"),
        write(tmp_path, "d", tensors=True, metadata=True),
    ]
    found = load_ingredients(paths)
    assert found.constants == [Constants((0.5,) * 3, (0.25,) * 3), said, None, said]
    # Not all have the tensors, so that the soup has none and its metadata says it.
    assert found.agreed() == Constants((0.5,) * 3, (0.25,) * 3)
    soup = mix_files(paths, (0.25,) * 4, tmp_path / "soup")
    assert set(load_ingredient(soup)) == set(A)
    assert json.loads(load_metadata(soup))["mean"] == [0.5] * 3
    # Where all have them the soup has them, too.
    both = load_ingredients([paths[0], paths[0]])
    assert both.agreed() is None
    soup = mix_files([paths[0], paths[0]], (0.5, 0.5), tmp_path / "soup2")
    assert load_ingredient(soup)["normalize.mean"].flatten().tolist() == [0.5] * 3
    assert "mean" not in json.loads(load_metadata(soup))
    assert verify_soup(soup, [paths[0], paths[0]]) == ([], [])


@pytest.mark.parametrize(("one", "other"), [("tensors", "tensors"), ("tensors", "metadata"), ("metadata", "tensors")])
def test_differing_constants_are_refused_wherever_they_are_said(tmp_path: Path, one: str, other: str) -> None:
    paths = [write(tmp_path, "a", **{one: True}), write(tmp_path, "b", **{other: True}, mean=0.4)]
    with pytest.raises(Mismatch, match=r"normalizes images with .*0\.5.* and .*0\.4"):
        mix_files(paths, (0.5, 0.5), tmp_path / "soup")
    assert not (tmp_path / "soup").exists()
    found = load_ingredients(paths)
    with pytest.raises(Mismatch, match="normalizes images with mean"):
        found.agreed()
    assert check_mixable(found.states, constants=found.constants).verdict.startswith("do not mix: ")


def test_a_checkpoint_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a", tensors=True, metadata=True)
    state = dict(load_ingredient(path)) | {"normalize.mean": torch.zeros(3)}
    save_state(state, path, {"mean": "[0.5]", "std": "[0.25]"})
    with pytest.raises(Mismatch, match=r"beside the tensors of .*a normalizes images with mean \[0.5\] and a tensor"):
        load_ingredients([path])


@pytest.mark.parametrize(
    "entries",
    [
        {"mean": [0.5, 0.4, 0.3], "std": (0.2, 0.2, 0.1)},
        {"mean": torch.tensor([0.5, 0.4, 0.3]), "std": torch.tensor([0.2, 0.2, 0.1])},
        {"args": {"lr": 0.1, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}},
        {"config": {"pretrained_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}}},
        {"preprocessing": {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}},
    ],
)
def test_entries_of_a_script_say_constants(tmp_path: Path, entries: dict[str, object]) -> None:
    torch.save({"state_dict": A, **entries}, tmp_path / "a.pt")
    (found,) = load_ingredients([tmp_path / "a.pt"]).constants
    assert found is not None
    assert found.mean == pytest.approx((0.5, 0.4, 0.3))
    assert found.std == pytest.approx((0.2, 0.2, 0.1))


@pytest.mark.parametrize(
    "entries",
    [{"mean": 0.5, "std": 0.1}, {"init": {"mean": [0.0], "std": [0.02]}}, {"args": {"mean": None, "std": None}}],
)
def test_other_numbers_say_none(tmp_path: Path, entries: dict[str, object]) -> None:
    torch.save({"state_dict": A, "run": entries, **({} if "mean" in entries else entries)}, tmp_path / "a.pt")
    assert load_ingredients([tmp_path / "a.pt"]).constants == [None]


def test_wrappers_inside_names_of_some_are_taken_out(tmp_path: Path) -> None:
    inside = {name.replace("blocks.", "blocks.module.", 1): tensor for name, tensor in A.items()}
    for name, state in (("a", inside), ("b", B), ("c", typed(under("encoder.", public(A)), torch.float16))):
        save_state(state, tmp_path / name, {})
    paths = [tmp_path / name for name in "abc"]
    soup = load_ingredient(mix_files(paths, (0.25, 0.25, 0.5), tmp_path / "soup"))
    expected = mix([A, B, typed(typed(A, torch.float16), torch.float32)], (0.25, 0.25, 0.5))
    assert set(soup) == set(expected)
    assert all(torch.equal(soup[name], expected[name]) for name in expected)
    assert verify_soup(tmp_path / "soup", paths) == ([], [])
