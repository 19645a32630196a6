"""Where the parameters lie in a file: nests, averages beside them, a network that is there twice."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from seasoning.checkpoints.load import load_ingredient
from seasoning.errors import BadInput


NETWORK = {"conv.weight": torch.arange(8.0).view(2, 4), "norm.weight": torch.ones(2), "head.bias": torch.arange(3.0)}
AVERAGE = {name: tensor + 0.5 for name, tensor in NETWORK.items()}
CONSTANTS = {"mean": torch.tensor([0.5, 0.4, 0.3]), "std": torch.tensor([0.2, 0.2, 0.1])}


def under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def write(content: Any, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file({name: tensor.clone() for name, tensor in content.items()}, path)
    else:
        torch.save(content, path)
    return path


def plain(state: Mapping[str, Tensor]) -> dict[str, list[float]]:
    return {name: tensor.tolist() for name, tensor in state.items()}


NESTED: dict[str, Any] = {
    "beside numbers": {**NETWORK, "epoch": 7, "best": 0.5, "history": [1, 2]},
    "extra state": {"state_dict": {**NETWORK, "conv._extra_state": None}},
    "empty nest": {"net": NETWORK, "state_dict": {}},
    "scalar tensors beside": {"net": NETWORK, "best": torch.tensor(0.5), "step": torch.tensor(3)},
    "unknown nest": {"my_classifier_v2": NETWORK, "epoch": 3},
    "unknown nest beside an optimizer": {
        "my_classifier": NETWORK,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(4)}}, "param_groups": [{"lr": 0.1}]},
        "optim_states": {"conv.weight": torch.ones(3)},
        "rng_state": torch.zeros(16, dtype=torch.uint8),
    },
    "unknown nest beside weights of classes": {"my_classifier": NETWORK, "class_weights": torch.ones(3)},
    "deep": {"checkpoint": {"model": {"state_dict": NETWORK}}, "args": {"lr": 0.1}},
    "trained and average": {"state_dict": NETWORK, "state_dict_ema": AVERAGE},
    "average first": {"ema": AVERAGE, "net": NETWORK},
    "student and teacher": {"teacher": AVERAGE, "student": NETWORK},
    "average alone": {"model_ema": {"decay": 0.9, "module": under("module.", NETWORK)}},
    "prefixed average": {"state_dict": under("model.", NETWORK) | under("ema_model.", AVERAGE)},
    "average without a prefix for the trained": {"state_dict": NETWORK | under("model_ema.module.", AVERAGE)},
    "twice the same": under("module.model.", NETWORK) | under("module.attacker.model.", NETWORK),
}


@pytest.mark.parametrize("kind", NESTED)
def test_the_trained_network_is_found(tmp_path: Path, kind: str) -> None:
    assert plain(load_ingredient(write(NESTED[kind], tmp_path / "a.pt"))) == plain(NETWORK)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_network_that_is_there_twice_comes_with_the_constants_of_the_copy(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    content = under("module.model.", NETWORK) | under("module.normalizer.", CONSTANTS)
    content |= under("module.attacker.model.", NETWORK)
    content |= under("module.attacker.normalize.", {name: tensor + 0.1 for name, tensor in CONSTANTS.items()})
    with caplog.at_level(logging.INFO, logger="seasoning"):
        found = load_ingredient(write(content, tmp_path / f"a.{suffix}"))
    assert plain(found) == plain(under("model.", NETWORK) | under("normalizer.", CONSTANTS))
    assert "the network is there 2 times, taking 'module.model', not 'module.attacker.model'" in caplog.text


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("state_dict_ema", AVERAGE),
        ("state_dict", NETWORK),
        ("head", {"bias": NETWORK["head.bias"]}),
    ],
)
def test_another_network_is_taken_by_its_name(tmp_path: Path, part: str, expected: Mapping[str, Tensor]) -> None:
    path = write({"state_dict": NETWORK, "state_dict_ema": AVERAGE}, tmp_path / "a.pt")
    assert plain(load_ingredient(f"{path}:{part}")) == plain(expected)


def test_a_part_of_the_names_is_taken_by_its_prefix(tmp_path: Path) -> None:
    path = write(under("encoder_q.", NETWORK) | under("encoder_k.", AVERAGE), tmp_path / "a.safetensors")
    assert len(load_ingredient(path)) == 6
    assert plain(load_ingredient(f"{path}:encoder_k")) == plain(AVERAGE)
    with pytest.raises(BadInput, match=r"has no part 'encoder': it holds 6 tensors: 'encoder_k' \(3\), 'encoder_q'"):
        load_ingredient(f"{path}:encoder")


def test_what_was_not_taken_is_said_with_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write({"state_dict": NETWORK, "state_dict_ema": AVERAGE, "epoch": 3}, tmp_path / "a.pt")
    with caplog.at_level(logging.INFO, logger="seasoning"):
        load_ingredient(path)
    assert f"{path}: taking the parameters from 'state_dict', not from 'state_dict_ema'" in caplog.text
    assert f"{path} holds another network: {path}:state_dict_ema takes it" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="seasoning"):
        load_ingredient(write({**NETWORK, "epoch": 3}, tmp_path / "b.pt"))
    assert "leaving out 'epoch' beside the tensors" in caplog.text


def test_of_several_networks_of_unknown_names_one_is_asked_for(tmp_path: Path) -> None:
    path = write({"generator": NETWORK, "critic": AVERAGE, "step": 3}, tmp_path / "a.pt")
    with pytest.raises(BadInput, match=r"holds several networks, 'generator', 'critic': say which, as in .*a\.pt:gen"):
        load_ingredient(path)
    assert plain(load_ingredient(f"{path}:critic")) == plain(AVERAGE)


BELONG_TOGETHER: dict[str, dict[str, Tensor]] = {
    "two towers": under("left.", NETWORK) | under("right.", AVERAGE),
    "numbered blocks that are alike": under("blocks.0.", NETWORK) | under("blocks.1.", NETWORK),
    "tied embedding and head": {"embed.weight": torch.ones(3, 4), "head.weight": torch.ones(3, 4)},
    "a tower and more": under("net.", NETWORK) | under("other.", NETWORK) | {"head.weight": torch.ones(2, 2)},
}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("kind", BELONG_TOGETHER)
def test_parts_of_one_network_stay_together(tmp_path: Path, kind: str, suffix: str) -> None:
    content = BELONG_TOGETHER[kind]
    assert plain(load_ingredient(write(content, tmp_path / f"a.{suffix}"))) == plain(content)


def test_what_is_in_a_file_without_parameters_is_named(tmp_path: Path) -> None:
    content = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(4)}}}, "args": {"lr": 0.1}}
    with pytest.raises(BadInput, match=r"holds \['args', 'epoch', 'optimizer'\] and no parameters"):
        load_ingredient(write(content, tmp_path / "a.pt"))
