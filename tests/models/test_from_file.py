"""Architectures from somebody's own file."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from seasoning.errors import BadInput, Mismatch, UnknownName
from seasoning.models import PixelClassifier, build_model


TEXT = """
from __future__ import annotations
from dataclasses import dataclass
from torch import nn
import neighbour_of_net

@dataclass
class Sizes:
    hidden: int = 4

class Net(nn.Module):
    def __init__(self, num_classes, in_chans=3, hidden=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(in_chans, hidden, 3), nn.BatchNorm2d(hidden), nn.Flatten())
        self.fc = nn.Linear(hidden * 36, num_classes)

    def forward(self, x):
        return self.fc(self.layers(x))

def build_net(num_classes, hidden=Sizes().hidden):
    return Net(num_classes, hidden=hidden)

def build_any(**options):
    return Net(**options)

def build_nothing(num_classes):
    return {"classes": num_classes}

def build_badly(num_classes):
    raise RuntimeError("no such weather")

def build_more(num_classes, needed):
    return Net(num_classes)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "neighbour_of_net.py").write_text("")
    (tmp_path / "net.py").write_text(TEXT)
    return tmp_path / "net.py"


def first_layer(model: PixelClassifier) -> nn.Conv2d:
    return next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))


def test_the_network_takes_pixels(file: Path) -> None:
    model = build_model(f"{file}:build_net", num_classes=5, hidden=6)
    assert isinstance(model, PixelClassifier)
    assert not model.training
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(model(x), model.network(x), rtol=0, atol=0)
    assert model(x).shape == (2, 5)
    assert first_layer(model).out_channels == 6
    assert "seasoning_architecture" not in sys.modules
    assert str(file.parent) not in sys.path


def test_files_in_two_folders_have_their_own_neighbours(tmp_path: Path) -> None:
    for folder, hidden in (("one", 3), ("two", 7)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "sizes.py").write_text(f"HIDDEN = {hidden}")
        (tmp_path / folder / "parts").mkdir()
        (tmp_path / folder / "parts" / "more.py").write_text(f"HIDDEN = {hidden}")
        text = (
            "import sizes, torch\nfrom parts import more\nassert sizes.HIDDEN == more.HIDDEN\n"
            "def build(num_classes): return torch.nn.Conv2d(3, sizes.HIDDEN, 1)"
        )
        (tmp_path / folder / "net.py").write_text(text)
        assert first_layer(build_model(f"{tmp_path / folder}/net.py:build", num_classes=5)).out_channels == hidden
    assert not {"sizes", "parts", "parts.more"} & set(sys.modules)


def test_packages_of_an_environment_below_the_file_stay_imported(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "installed_for_net.py").write_text("")
    (tmp_path / "net.py").write_text(
        "import installed_for_net, torch\ndef build(num_classes): return torch.nn.Identity()"
    )
    sys.path.append(str(tmp_path / "env"))
    try:
        build_model(f"{tmp_path}/net.py:build", num_classes=5)
        assert "installed_for_net" in sys.modules
    finally:
        sys.path.remove(str(tmp_path / "env"))
        sys.modules.pop("installed_for_net", None)


def test_channels_go_where_they_are_taken(file: Path) -> None:
    assert first_layer(build_model(f"{file}:build_net", num_classes=5, in_chans=1)).in_channels == 3
    assert first_layer(build_model(f"{file}:Net", num_classes=5, in_chans=1)).in_channels == 1
    assert first_layer(build_model(f"{file}:build_any", num_classes=5, in_chans=2)).in_channels == 2


def test_checkpoints_load_with_or_without_prefixes_and_constants(file: Path) -> None:
    name = f"{file}:build_net"
    state = build_model(name, num_classes=5).network.state_dict()
    x = torch.rand(2, 3, 8, 8)
    expected = build_model(name, num_classes=5, state=state)(x)
    torch.testing.assert_close(
        build_model(name, num_classes=5, state={f"1.{key}": value for key, value in state.items()})(x), expected
    )
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    shifted = build_model(name, num_classes=5, state={**state, "mu": mean, "sigma": std})
    torch.testing.assert_close(shifted(x * std.view(1, 3, 1, 1) + mean.view(1, 3, 1, 1)), expected)
    given = build_model(name, num_classes=5, state=state, mean=mean.tolist(), std=std.tolist())
    torch.testing.assert_close(given(x * std.view(1, 3, 1, 1) + mean.view(1, 3, 1, 1)), expected)
    with pytest.raises(Mismatch, match=r"'fc.weight' has shape \(5, 144\)"):
        build_model(name, num_classes=6, state=state)


def test_what_is_wrong_with_the_name_is_said(file: Path) -> None:
    with pytest.raises(BadInput, match=r"no file .*nets.py: did you mean .*net.py\?"):
        build_model(f"{file.with_name('nets.py')}:build_net", num_classes=5)
    with pytest.raises(BadInput, match=r"no file /nowhere/net.py$"):
        build_model("/nowhere/net.py:build_net", num_classes=5)
    with pytest.raises(BadInput, match="name a function of the file"):
        build_model(str(file), num_classes=5)
    with pytest.raises(BadInput, match="name a function of the file"):
        build_model(f"{file}:", num_classes=5)
    with pytest.raises(UnknownName, match=r"unknown function of .*net.py 'build_nett': did you mean 'build_net'"):
        build_model(f"{file}:build_nett", num_classes=5)


def test_what_is_wrong_with_the_function_is_said(file: Path) -> None:
    with pytest.raises(BadInput, match="depth"):
        build_model(f"{file}:build_net", num_classes=5, depth=3)
    with pytest.raises(BadInput, match=r"cannot be called with num_classes: missing .*'needed'"):
        build_model(f"{file}:build_more", num_classes=5)
    with pytest.raises(BadInput, match=r"returned a dict: expected a torch.nn.Module"):
        build_model(f"{file}:build_nothing", num_classes=5)
    with pytest.raises(BadInput, match="build_badly raised RuntimeError: no such weather"):
        build_model(f"{file}:build_badly", num_classes=5)


@pytest.mark.parametrize("text", ["import no_such_package_at_all", "1 / 0", "def broken(:"])
def test_a_file_that_raises_is_named_with_its_exception(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(
        BadInput, match=r"broken.py raised (ModuleNotFoundError|ZeroDivisionError|SyntaxError) on import"
    ):
        build_model(f"{path}:build", num_classes=5)
    assert "seasoning_architecture" not in sys.modules
    assert str(tmp_path) not in sys.path
