"""What changes the logits of a network from a file, and is no parameter of it, belongs to what it is known by."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from seasoning.models import PixelClassifier, build_model


NET = """
import dataclasses, enum, functools, json, os, pathlib
import torch
from torch import nn
import scales
from parts import inner
from parts.deeper import FACTOR

HERE = pathlib.Path(__file__).parent
PLACE = str(HERE)
TABLE = json.loads((HERE / "table.json").read_text())
LIMIT = float(os.environ.get("SEASONING_TEST_LIMIT", "1"))

class Mode(enum.Enum):
    PLAIN = 1
    OTHER = 2

@dataclasses.dataclass
class Config:
    slope: float

class Net(nn.Module):
    POWER = float(os.environ.get("SEASONING_TEST_POWER", "1"))

    def __init__(self, num_classes):
        super().__init__()
        settings = json.loads((HERE / "settings.json").read_text())
        self.fc = nn.Linear(12, num_classes)
        self.config = Config(settings["slope"])
        self.mode = Mode[settings["mode"]]
        self.activation = functools.partial(nn.functional.leaky_relu, negative_slope=settings["slope"])
        self.register_buffer("mask", torch.tensor(settings["mask"]), persistent=False)
        self.shift = torch.tensor(settings["shift"])
        self.norm = nn.LayerNorm(num_classes, eps=settings["eps"], elementwise_affine=False)

    def forward(self, x):
        y = self.norm(self.activation(self.fc(x.flatten(1))) * self.mask + self.shift)
        return scales.SCALE * inner.double(y) * FACTOR * TABLE["t"] * LIMIT

def build(num_classes):
    import late
    return Net(num_classes) if late.KIND == "plain" else nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))
"""
SETTINGS = {"slope": 0.1, "mask": [1.0, 1.0, 0.0], "shift": 0.0, "eps": 1e-5, "mode": "PLAIN"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    (own / "parts").mkdir(parents=True)
    (own / "net.py").write_text(NET)
    (own / "scales.py").write_text("SCALE = 2.0")
    (own / "late.py").write_text("KIND = 'plain'")
    (own / "unused.py").write_text("X = 1")
    (own / "parts" / "__init__.py").write_text("")
    (own / "parts" / "inner.py").write_text("def double(y):\n    return y + y\n")
    (own / "parts" / "deeper.py").write_text("FACTOR = 1.0")
    (own / "settings.json").write_text(json.dumps(SETTINGS))
    (own / "table.json").write_text('{"t": 1.0}')
    return own


def built(folder: Path) -> PixelClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(f"{folder / 'net.py'}:build", num_classes=3)


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


CHANGES: dict[str, Callable[[Path], None]] = {
    "the file": replaced("net.py", "TABLE[", "1.0 * TABLE["),
    "a neighbour": replaced("scales.py", "2.0", "3.0"),
    "a neighbour in a package": replaced("parts/inner.py", "y + y", "y * 3"),
    "a neighbour of a name": replaced("parts/deeper.py", "1.0", "2.0"),
    "a neighbour of the function": replaced("late.py", "'plain'", "'other'"),
    "a value read by the file": replaced("table.json", "1.0", "2.0"),
    "an option of a layer": replaced("settings.json", "1e-05", "1e-02"),
    "a setting in an object and a partial": replaced("settings.json", '"slope": 0.1', '"slope": 0.3'),
    "a buffer that is not saved": replaced("settings.json", "[1.0, 1.0, 0.0]", "[1.0, 0.0, 1.0]"),
    "a tensor that is no buffer": replaced("settings.json", '"shift": 0.0', '"shift": 1.0'),
    "a choice": replaced("settings.json", '"PLAIN"', '"OTHER"'),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_changes_the_logits_is_another_network(folder: Path, kind: str) -> None:
    before = built(folder)
    CHANGES[kind](folder)
    assert built(folder).code != before.code


@pytest.mark.parametrize("name", ["SEASONING_TEST_LIMIT", "SEASONING_TEST_POWER"])
def test_the_environment_changes_a_network(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = built(folder)
    monkeypatch.setenv(name, "3")
    assert built(folder).code != before.code


def test_what_changes_nothing_is_the_same_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = built(folder)
    assert before.code
    (folder / "unused.py").write_text("X = 2")
    monkeypatch.setenv("ANOTHER", "3")
    assert built(folder).code == before.code
    # Parameters have a fingerprint of their own; and folders may move, or be named from elsewhere.
    assert (
        build_model(f"{folder / 'net.py'}:build", num_classes=3, state=before.network.state_dict()).code == before.code
    )
    shutil.copytree(folder, folder.with_name("elsewhere"))
    assert built(folder.with_name("elsewhere")).code == before.code
    monkeypatch.chdir(folder)
    with torch.random.fork_rng():
        assert build_model("net.py:build", num_classes=3).code == before.code


def test_no_bytecode_is_left_that_could_pass_for_a_changed_file(folder: Path) -> None:
    before = built(folder)
    stat = (folder / "scales.py").stat()
    (folder / "scales.py").write_text("SCALE = 9.0")
    os.utime(folder / "scales.py", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    x = torch.rand(2, 3, 2, 2)
    torch.testing.assert_close(built(folder)(x), before(x) * 4.5)
    assert not list(folder.rglob("__pycache__"))


def test_networks_of_timm_are_known_by_name_and_options() -> None:
    assert build_model("resnet10t", num_classes=3).code == ""
