"""PyTorch files with all that training scripts leave in them: read, and nothing of them run."""

import argparse
import collections
import datetime
import enum
import functools
import io
import pickle
import sys
import warnings
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seasoning.checkpoints.load import load_ingredient
from seasoning.checkpoints.pickles import read_pickle
from seasoning.errors import BadInput


TENSORS = {"conv.weight": torch.arange(6.0).view(2, 3), "conv.bias": torch.ones(2)}
RAN: list[str] = []


class Settings:
    """An object of a script; making one, or anything of it, would be noticed."""

    def __new__(cls, *arguments: Any) -> "Settings":
        RAN.append("new")
        return super().__new__(cls)

    def __init__(self) -> None:
        self.rate = 0.1

    def __setstate__(self, state: Any) -> None:
        RAN.append("setstate")


class Attributes(dict[str, Any]):
    """A mapping with attributes, as configurations often are."""

    def __setitem__(self, key: str, value: Any) -> None:
        RAN.append("setitem")
        super().__setitem__(key, value)


class Names(list[str]):
    """A list of a class of its own."""

    def append(self, value: str) -> None:
        RAN.append("append")
        super().append(value)

    def extend(self, values: Any) -> None:
        RAN.append("extend")
        super().extend(values)


class Slots:
    """An object without a dictionary."""

    __slots__ = ("rate",)

    def __init__(self) -> None:
        self.rate = 0.1


class Mode(enum.Enum):
    """A choice in a configuration."""

    FAST = "fast"


def nothing(value: str) -> str:
    """A function of a script."""
    RAN.append("called")
    return value


LEFT_BEHIND: dict[str, Any] = {
    "numpy number": np.float64(0.93),
    "numpy array": np.arange(3),
    "numpy string": np.str_("resnet18"),
    "numpy generator": np.random.default_rng(0),
    "path": Path("runs") / "one",
    "pure path": PurePosixPath("/data"),
    "namespace": argparse.Namespace(lr=0.1, data=Path("images"), seeds=[1, 2]),
    "default dict": collections.defaultdict(list, {"loss": [0.5]}),
    "default dict of a class": collections.defaultdict(Settings, {"a": 1}),
    "deque": collections.deque([1, 2], maxlen=5),
    "counter": collections.Counter("abca"),
    "date": datetime.datetime(2024, 1, 2),
    "duration": datetime.timedelta(seconds=3),
    "set": {1, 2},
    "frozen set": frozenset({1}),
    "object": Settings(),
    "object with slots": Slots(),
    "mapping of a class": Attributes(lr=0.1, nested=Attributes(a=1)),
    "list of a class": Names(["a", "b"]),
    "choice": Mode.FAST,
    "class": Settings,
    "function": nothing,
    "partial": functools.partial(nothing, "a"),
    "type": torch.float32,
    "device": torch.device("cpu"),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", LEFT_BEHIND)
def test_what_scripts_leave_is_passed_over_and_nothing_is_run(tmp_path: Path, kind: str, legacy: bool) -> None:
    content = {"state_dict": TENSORS, "best": LEFT_BEHIND[kind], "log": [{"more": LEFT_BEHIND[kind]}]}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    RAN.clear()
    found = load_ingredient(tmp_path / "a.pt")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }
    assert RAN == []


def test_everything_at_once_beside_the_tensors_themselves(tmp_path: Path) -> None:
    torch.save({**TENSORS, **LEFT_BEHIND}, tmp_path / "a.pt")
    assert sorted(load_ingredient(tmp_path / "a.pt")) == sorted(TENSORS)


def test_torch_allows_afterwards_what_it_allowed_before(tmp_path: Path) -> None:
    torch.save({"state_dict": TENSORS, "settings": Settings()}, tmp_path / "a.pt")
    before = set(torch.serialization.get_safe_globals())
    load_ingredient(tmp_path / "a.pt")
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pt", weights_only=True)


class Calls:
    """A pickle that calls a function when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


def eval_of(text: str) -> Calls:
    return Calls(eval, text)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("evil", "name"),
    [
        (eval_of("RAN.append('eval')"), "builtins.eval"),
        (Calls(exec, "RAN.append('exec')"), "builtins.exec"),
        (Calls(nothing, "a"), "tests.checkpoints.test_pickles.nothing"),
        (Calls(__import__, "antigravity"), "builtins.__import__"),
        (Calls(__import__("subprocess").Popen, ["true"]), "subprocess.Popen"),
        (Calls(__import__("os").system, "true"), "(posix|nt).system"),
        (Calls(__import__("shutil").rmtree, "nowhere"), "shutil.rmtree"),
        (Calls(functools.partial(nothing, "a")), "functools.partial"),
        (Calls(torch.hub.load, "a", "b"), "torch.hub.load"),
        (Calls(sys.exit, 3), "sys.exit"),
    ],
)
def test_functions_are_never_called(tmp_path: Path, evil: Calls, name: str, legacy: bool) -> None:
    torch.save({"state_dict": TENSORS, "evil": [evil]}, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    RAN.clear()
    with pytest.raises(BadInput, match=rf"wants to run code, which is refused \(it asks for {name}"):
        load_ingredient(tmp_path / "a.pt")
    assert RAN == []


def test_a_plain_pickle_that_calls_is_told_apart_from_damage(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(pickle.dumps(eval_of("1"), protocol=2))
    with pytest.raises(BadInput, match="wants to run code"):
        load_ingredient(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps({"a": Path("x")}, protocol=2))
    with pytest.raises(BadInput, match=r"b\.pt"):
        load_ingredient(tmp_path / "b.pt")


def test_a_pickle_that_is_cut_off_is_damaged(tmp_path: Path) -> None:
    torch.save({"state_dict": TENSORS, "path": Path("x")}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        for name, each in content.items():
            archive.writestr(name, each[: len(each) // 2] if name.endswith("data.pkl") else each)
    with pytest.raises(BadInput, match=r"b\.pt is .*damaged"):
        load_ingredient(tmp_path / "b.pt")


def test_an_archive_of_something_else_is_not_called_damaged(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", weight=np.zeros(3))
    with pytest.raises(BadInput, match="is neither a safetensors nor a PyTorch file, or is damaged"):
        read_pickle(tmp_path / "a.npz")


def test_other_protocols_are_named(tmp_path: Path) -> None:
    torch.save({"state_dict": TENSORS, "path": Path("x")}, tmp_path / "a.pt", pickle_protocol=4)
    with pytest.raises(BadInput, match="pickle protocol that is not read"):
        load_ingredient(tmp_path / "a.pt")


class Wrapper(nn.Module):
    """A network with parts of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(8, 3, bias=False)
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("fleeting", torch.ones(1), persistent=False)


@pytest.mark.parametrize("nested", [False, True])
def test_a_whole_network_gives_its_parameters(tmp_path: Path, nested: bool) -> None:
    network = Wrapper()
    torch.save({"model": network, "epoch": 3} if nested else network, tmp_path / "a.pt")
    found = load_ingredient(tmp_path / "a.pt")
    expected = network.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not any(tensor.requires_grad for tensor in found.values())


def test_a_program_is_not_run(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "a.pt"))
    with pytest.raises(BadInput, match="is a TorchScript program, which is not run"):
        load_ingredient(tmp_path / "a.pt")


def test_tensors_keep_their_values_and_share_memory_as_they_did(tmp_path: Path) -> None:
    tied = torch.arange(4.0)
    torch.save({"a": tied, "b": tied, "part": tied[1:3], "settings": Settings()}, tmp_path / "a.pt")
    content: dict[str, Tensor] = read_pickle(tmp_path / "a.pt")
    assert content["a"].data_ptr() == content["b"].data_ptr()
    assert content["part"].tolist() == [1, 2]


def test_a_file_in_memory_of_python_two_is_read(tmp_path: Path) -> None:
    # Protocol 2 has the names of Python 2: copy_reg, __builtin__.
    buffer = io.BytesIO()
    torch.save({"state_dict": TENSORS, "old": {"s": {1}, "o": object()}}, buffer)
    (tmp_path / "a.pt").write_bytes(buffer.getvalue())
    assert sorted(load_ingredient(tmp_path / "a.pt")) == sorted(TENSORS)
