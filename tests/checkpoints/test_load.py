import json
import logging
import os
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.load import State, TensorBytes, load_ingredient, locate, read_metadata, save_state
from seasoning.errors import BadInput, UnknownName


STATE = {"conv.weight": torch.arange(6.0).view(2, 3), "norm.count": torch.tensor(3), "half": torch.ones(2).bfloat16()}


def assert_is_state(found: State) -> None:
    content = dict(found)
    assert set(content) == set(STATE)
    assert all(torch.equal(content[name], STATE[name]) for name in STATE)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_state(STATE, tmp_path / "a.safetensors", {"note": "hello"})
    assert_is_state(load_ingredient(tmp_path / "a.safetensors"))
    assert read_metadata(tmp_path / "a.safetensors") == {"note": "hello"}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "nest",
    [
        *([], ["state_dict"], ["model_state_dict"], ["model"], ["ema"], ["net"], ["params"], ["state_dict_ema"]),
        *(["ema", "state_dict"], ["net", "model"], ["model", "ema", "state_dict"]),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "model."])
def test_torch_files_are_unpacked(tmp_path: Path, nest: list[str], prefix: str, legacy: bool) -> None:
    content: object = {prefix + name: tensor for name, tensor in STATE.items()}
    for name in reversed(nest):
        content = {name: content, "epoch": 3}
    torch.save(content, tmp_path / "a.ckpt", _use_new_zipfile_serialization=not legacy)
    assert_is_state(load_ingredient(tmp_path / "a.ckpt"))


def test_what_was_taken_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inner = {f"module.{name}": tensor for name, tensor in STATE.items()}
    torch.save({"model_ema": {"w": torch.zeros(1)}, "net": inner, "epoch": 3}, tmp_path / "a.pt")
    with caplog.at_level(logging.INFO, logger="seasoning"):
        assert_is_state(load_ingredient(tmp_path / "a.pt"))
    said = [record.getMessage() for record in caplog.records]
    assert said[0].endswith("a.pt: taking the parameters from 'net', not from 'model_ema'")
    assert said[1].endswith("a.pt: taking 'module.' off every name")


def test_averages_of_models_load(tmp_path: Path) -> None:
    network = nn.Linear(2, 3)
    torch.save(torch.optim.swa_utils.AveragedModel(network).state_dict(), tmp_path / "a.pt")
    assert sorted(load_ingredient(tmp_path / "a.pt")) == ["bias", "weight"]


def test_files_are_told_apart_by_content(tmp_path: Path) -> None:
    save_file(STATE, str(tmp_path / "a.pt"))
    torch.save(STATE, tmp_path / "b.safetensors")
    assert_is_state(load_ingredient(tmp_path / "a.pt"))
    assert_is_state(load_ingredient(tmp_path / "b.safetensors"))


def test_tensors_are_read_when_asked_for(tmp_path: Path) -> None:
    save_state(STATE, tmp_path / "a.safetensors", {})
    state = load_ingredient(tmp_path / "a.safetensors")
    assert len(state) == 3
    assert "conv.weight" in state
    with pytest.raises(KeyError):
        state["absent"]


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch hacked",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_wants_to_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _Evil()}, tmp_path / "evil.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(BadInput, match=r"wants to run code, which is refused \(it asks for \w+\.system\)"):
        load_ingredient("evil.pt")
    assert not (tmp_path / "hacked").exists()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_damaged_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "safetensors":
        save_state(STATE, path, {})
    else:
        torch.save(STATE, path)
    truncated(path)
    with pytest.raises(BadInput, match="damaged"):
        load_ingredient(path)


@pytest.mark.parametrize("content", [b"", b"# A text, not a pickle", b"hello", b"12345678{ not json", b"PK and no zip"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(BadInput, match=r"a\.pt is .*damaged") as caught:
        load_ingredient(tmp_path / "a.pt")
    assert "run code" not in str(caught.value)


def test_checkpoints_without_parameters_are_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "loss": 0.5}, tmp_path / "a.pt")
    with pytest.raises(BadInput, match=r"\['epoch', 'loss'\] and no parameters"):
        load_ingredient(tmp_path / "a.pt")
    torch.save([1, 2], tmp_path / "b.pt")
    with pytest.raises(BadInput, match="holds a list"):
        load_ingredient(tmp_path / "b.pt")


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "linf.safetensors").write_bytes(b"")
    with pytest.raises(BadInput, match=r"did you mean .*linf\.safetensors"):
        load_ingredient(tmp_path / "lnif.safetensors")
    with pytest.raises(BadInput, match="no checkpoint"):
        load_ingredient(tmp_path / "nowhere" / "a.pt")


def test_pretrained_models_load_through_timm(tmp_path: Path) -> None:
    network = timm.create_model("resnet10t", num_classes=3)
    timm.models.save_for_hf(network, tmp_path, model_config={"num_classes": 3}, safe_serialization=True)
    state = load_ingredient(f"local-dir:{tmp_path}")
    assert fingerprint(state) == fingerprint(network.state_dict())
    with pytest.raises(UnknownName, match="did you mean 'timm:resnet18"):
        load_ingredient("timm:resnet181")
    with pytest.raises(BadInput, match="could not be loaded by timm"):
        load_ingredient(f"local-dir:{tmp_path / 'absent'}")


def test_fingerprints_are_of_the_content(tmp_path: Path) -> None:
    save_state(STATE, tmp_path / "a.safetensors", {"note": "x"})
    torch.save(dict(reversed(STATE.items())), tmp_path / "a.pt")
    mark = fingerprint(STATE)
    assert fingerprint(load_ingredient(tmp_path / "a.safetensors")) == mark
    assert fingerprint(load_ingredient(tmp_path / "a.pt")) == mark
    changes: list[dict[str, Tensor]] = [
        {"conv.weight": STATE["conv.weight"].view(3, 2)},
        {"conv.weight": STATE["conv.weight"] + 1e-6},
        {"norm.count": torch.tensor(3.0)},
        {"extra": torch.zeros(1)},
    ]
    assert all(fingerprint(STATE | change) != mark for change in changes)


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_tensors_are_where_they_are_said_to_be(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.file"
    state = STATE | {"strided": torch.arange(10.0)[::2]}
    if form == "safetensors":
        save_state(state, path, {})
    else:
        nested = {"model": {f"module.{name}": tensor for name, tensor in state.items()}}
        torch.save(nested, path, _use_new_zipfile_serialization=form == "zip")
    found = locate(path)
    assert set(found) == set(state)
    lying = {name for name, each in found.items() if isinstance(each, TensorBytes)}
    assert lying == {"safetensors": set(state), "zip": set(STATE), "legacy": set()}[form]
    content = path.read_bytes()
    for name, each in found.items():
        assert (each.dtype, tuple(each.shape)) == (state[name].dtype, tuple(state[name].shape))
        if isinstance(each, TensorBytes):
            own = content[each.offset : each.offset + state[name].nbytes]
            assert torch.equal(torch.frombuffer(bytearray(own), dtype=each.dtype).view(each.shape), state[name])
        else:
            assert torch.equal(each, state[name])


def test_types_that_torch_has_not_are_refused(tmp_path: Path) -> None:
    save_state({"a": torch.zeros(2, dtype=torch.float16)}, tmp_path / "a.safetensors", {})
    content = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(content.replace(b'"F16"', b'"U16"'))
    with pytest.raises(BadInput, match="type U16"):
        locate(tmp_path / "a.safetensors")


def test_torch_files_have_no_metadata(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a.pt")
    assert read_metadata(tmp_path / "a.pt") == {}


def sharded(folder: Path, suffix: str = "safetensors") -> Path:
    """The state in two files and their index."""
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    names = [f"{stem}-0000{number}-of-00002.{suffix}" for number in (1, 2)]
    places = {name: names[number > 0] for number, name in enumerate(STATE)}
    for file in names:
        content = {name: STATE[name] for name in STATE if places[name] == file}
        if suffix == "safetensors":
            save_state(content, folder / file, {"format": "pt"})
        else:
            torch.save(content, folder / file)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_network_in_several_files_is_one(tmp_path: Path, suffix: str) -> None:
    index = sharded(tmp_path, suffix)
    assert_is_state(load_ingredient(index))
    assert_is_state(load_ingredient(tmp_path))
    found = locate(index)
    assert set(found) == set(STATE)
    for name, each in found.items():
        if isinstance(each, TensorBytes):
            content = each.path.read_bytes()[each.offset : each.offset + STATE[name].nbytes]
            assert torch.equal(torch.frombuffer(bytearray(content), dtype=each.dtype).view(each.shape), STATE[name])
    assert fingerprint(load_ingredient(index)) == fingerprint(STATE)


def test_files_that_lack_of_several_are_named(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    part = tmp_path / "model-00002-of-00002.safetensors"
    with pytest.raises(BadInput, match=r"is one of 2 files of one network: name their index"):
        load_ingredient(part)
    save_state({"half": STATE["half"]}, part, {})
    with pytest.raises(BadInput, match=r"lack tensor 'norm.count'"):
        load_ingredient(index)
    part.unlink()
    with pytest.raises(BadInput, match=r"lacks model-00002-of-00002\.safetensors: copy all of them"):
        load_ingredient(index)
    index.write_text("{}")
    with pytest.raises(BadInput, match="is no index of a checkpoint"):
        load_ingredient(index)
    (tmp_path / "more.index.json").write_text("{}")
    with pytest.raises(BadInput, match="is a folder: name a checkpoint in it"):
        load_ingredient(tmp_path)
