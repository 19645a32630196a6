"""Soups made of files by one verb, with batch-norm statistics mixed or measured anew."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor

from seasoning.checkpoints.load import State, read_metadata, save_state
from seasoning.commands.check import check_checkpoints
from seasoning.commands.mix import make_soup
from seasoning.errors import BadInput, UnknownName
from seasoning.models import build_model
from seasoning.soup import verify_soup
from seasoning.threat import Threat


ARCHITECTURE = "preact_resnet18"
OPTIONS: dict[str, Any] = {"width": 4}


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two copies of one batch-norm network, moved a little apart."""
    folder = tmp_path_factory.mktemp("copies")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = build_model(ARCHITECTURE, num_classes=10, in_chans=1, **OPTIONS).network.state_dict()
        paths = []
        for name in ("a", "b"):
            moved = {key: tensor + 0.02 * torch.rand(tensor.shape) for key, tensor in base.items() if tensor.dim()}
            save_state({**base, **moved}, folder / f"{name}.safetensors", {})
            paths.append(folder / f"{name}.safetensors")
    return paths


def recipe(path: Path) -> dict[str, object]:
    told: dict[str, object] = json.loads(read_metadata(path)["seasoning.soup"])
    return told


def statistics(state: State) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if "running" in name}


@pytest.mark.parametrize("policy", ["clean", "attacked"])
def test_statistics_are_measured_anew_and_parameters_mixed(copies: list[Path], tmp_path: Path, policy: str) -> None:
    threats = [Threat("linf", 0.1)] if policy == "attacked" else []
    out = make_soup(
        copies,
        (0.5, 0.5),
        tmp_path / "soup.safetensors",
        policy=policy,
        architecture=ARCHITECTURE,
        options=OPTIONS,
        data="digits",
        threats=threats,
    )
    soup, plain = load_file(out), load_file(make_soup(copies, (0.5, 0.5), tmp_path / "plain.safetensors"))
    assert all(torch.equal(soup[name], plain[name]) for name in plain if "running" not in name and "num" not in name)
    assert not any(torch.equal(one, plain[name]) for name, one in statistics(soup).items())
    assert recipe(out)["policy"] == policy
    # What the stem makes of the images varies less than the 1 that an untrained layer starts from.
    assert float(soup["blocks.0.norm1.running_var"].mean()) < 0.8
    found = verify_soup(out, copies)
    assert found.problems == []
    assert set(statistics(soup)) <= set(found.unchecked)
    model = timm.create_model(ARCHITECTURE, num_classes=10, in_chans=1, checkpoint_path=str(out), **OPTIONS)
    assert torch.equal(model.state_dict()["fc.weight"], soup["fc.weight"])


def test_attacked_statistics_differ_from_clean_ones(copies: list[Path], tmp_path: Path) -> None:
    both = [
        make_soup(
            copies,
            (1.4, -0.4),
            tmp_path / f"{len(threats)}.safetensors",
            policy="attacked" if threats else "clean",
            architecture=ARCHITECTURE,
            options=OPTIONS,
            data="digits",
            threats=threats,
        )
        for threats in ((), (Threat("linf", 0.2),))
    ]
    clean, attacked = (load_file(path) for path in both)
    assert not torch.allclose(clean["norm.running_mean"], attacked["norm.running_mean"])
    assert all(bool((tensor >= 0).all()) for name, tensor in attacked.items() if "running_var" in name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"policy": "clean"}, "give the architecture and training images"),
        ({"policy": "attacked", "architecture": ARCHITECTURE, "data": "digits"}, "'attacked' with 0 threats"),
        ({"policy": "mix", "threats": [Threat("l2", 1.0)]}, "'mix' with 1 threats"),
        ({"policy": "geometric", "data": "digits"}, "takes no architecture and no data"),
    ],
)
def test_what_a_policy_lacks_is_named(
    copies: list[Path], tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        make_soup(copies, (0.5, 0.5), tmp_path / "soup.safetensors", **options)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="did you mean 'attacked'"):
        make_soup(copies, (0.5, 0.5), tmp_path / "soup.safetensors", policy="atacked")
    assert list(tmp_path.iterdir()) == []


def test_the_loss_between_checkpoints_is_tried_where_there_are_images(copies: list[Path]) -> None:
    blind = check_checkpoints(copies)
    assert (blind.mixable, blind.barriers) == (True, {})
    seen = check_checkpoints(copies, architecture=ARCHITECTURE, options=OPTIONS, data="digits")
    assert list(seen.barriers) == [(0, 1)]
    assert seen.center is not None
    with pytest.raises(BadInput, match="give both, or neither"):
        check_checkpoints(copies, data="digits")
