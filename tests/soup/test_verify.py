"""What a provenance says beside the tensors is verified, too: normalization, and what became of statistics."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seasoning.checkpoints.constants import Constants
from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.load import load_ingredient, read_metadata, save_state
from seasoning.checkpoints.provenance import soup_metadata
from seasoning.commands.mix import make_soup
from seasoning.models import build_model
from seasoning.soup import mix, mix_files, verify_soup


SAID = {"mean": "[0.5, 0.4, 0.3]", "std": "[0.25]"}
CONSTANTS = Constants((0.5, 0.4, 0.3), (0.25,))


def state(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = {"fc.weight": torch.randn(3, 4, generator=generator), "bn.running_var": torch.ones(3)}
    return made | {"bn.running_mean": torch.randn(3, generator=generator)}


def ingredients(folder: Path, metadata: dict[str, str]) -> list[Path]:
    for seed in (0, 1):
        save_state(state(seed), folder / f"{seed}.safetensors", metadata)
    return [folder / f"{seed}.safetensors" for seed in (0, 1)]


def changed(soup: Path, **settings: Any) -> Path:
    """A copy of a soup whose provenance says something else; `None` takes an entry out."""
    provenance = json.loads(read_metadata(soup)["seasoning.soup"]) | settings
    told = {key: value for key, value in provenance.items() if value is not None}
    path = soup.with_name("changed.safetensors")
    save_state(dict(load_ingredient(soup)), path, {"seasoning.soup": json.dumps(told)})
    return path


def test_constants_of_the_provenance_are_those_of_the_ingredients(tmp_path: Path) -> None:
    paths = ingredients(tmp_path, SAID)
    soup = mix_files(paths, (0.5, 0.5), tmp_path / "soup.safetensors")
    assert verify_soup(soup, paths) == ([], [])
    assert verify_soup(changed(soup, mean=[0.5, 0.4, 0.3003]), paths) == ([], [])
    (problem,) = verify_soup(changed(soup, mean=[0.5, 0.4, 0.2]), paths).problems
    assert problem.startswith(
        "by its provenance the soup normalizes images with mean [0.5, 0.4, 0.2] and by their files"
    )
    (problem,) = verify_soup(changed(soup, std=[1.0]), paths).problems
    assert "with std [1] and by their files its ingredients with [0.25]" in problem
    (problem,) = verify_soup(changed(soup, mean=None, std=None), paths).problems
    assert problem == "the provenance lacks by what its ingredients normalize images: mean [0.5, 0.4, 0.3]"


def test_constants_that_no_ingredient_says_are_seen(tmp_path: Path) -> None:
    paths = ingredients(tmp_path, {})
    soup = mix_files(paths, (0.5, 0.5), tmp_path / "soup.safetensors")
    assert verify_soup(soup, paths) == ([], [])
    (problem,) = verify_soup(changed(soup, mean=[0.5], std=[0.25]), paths).problems
    assert "mean [0.5]; its ingredients say nothing" in problem


def test_constants_in_tensors_are_seen(tmp_path: Path) -> None:
    carried = {"normalize.mean": torch.tensor([0.5, 0.4, 0.3]), "normalize.std": torch.tensor([0.25] * 3)}
    paths = [tmp_path / "a", tmp_path / "b"]
    for seed, path in enumerate(paths):
        save_state(state(seed) | carried, path, {})
    soup = mix_files(paths, (0.5, 0.5), tmp_path / "soup.safetensors")
    assert verify_soup(soup, paths) == ([], [])
    assert verify_soup(changed(soup, mean=[0.5, 0.4, 0.3], std=[0.25]), paths) == ([], [])
    (problem,) = verify_soup(changed(soup, mean=[0.0], std=[1.0]), paths).problems
    assert "with mean [0] and a tensor of" in problem


def test_statistics_that_were_only_mixed_are_no_measured_ones(tmp_path: Path) -> None:
    paths = ingredients(tmp_path, SAID)
    mixed = mix([state(0), state(1)], (0.5, 0.5))
    marks = [fingerprint(state(seed)) for seed in (0, 1)]
    metadata = soup_metadata(marks, (0.5, 0.5), policy="clean", constants=CONSTANTS)
    save_state(mixed, tmp_path / "soup", metadata)
    (problem,) = verify_soup(tmp_path / "soup", paths).problems
    assert problem == "the provenance has policy 'clean', and the soup the mixed statistics, not measured ones"
    save_state(mixed | {"bn.running_mean": torch.zeros(3)}, tmp_path / "soup", metadata)
    found = verify_soup(tmp_path / "soup", paths)
    assert found == ([], ["bn.running_mean", "bn.running_var"])


def test_a_soup_without_statistics_has_none_that_were_measured(tmp_path: Path) -> None:
    states = [{"fc.weight": torch.full((2, 2), value)} for value in (1.0, 2.0)]
    for number, each in enumerate(states):
        save_state(each, tmp_path / str(number), {})
    metadata = soup_metadata([fingerprint(each) for each in states], (0.5, 0.5), policy="attacked")
    save_state(mix(states, (0.5, 0.5)), tmp_path / "soup", metadata)
    (problem,) = verify_soup(tmp_path / "soup", [tmp_path / "0", tmp_path / "1"]).problems
    assert problem == "the provenance has policy 'attacked', and the soup no statistics that could be measured"


@pytest.mark.parametrize("carry", [False, True])
def test_measured_statistics_come_with_the_normalization_that_they_were_measured_with(
    tmp_path: Path, carry: bool
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = build_model("preact_resnet18", num_classes=10, in_chans=1, width=2).network.state_dict()
    carried = {"normalize.mean": torch.tensor([0.25]), "normalize.std": torch.tensor([0.75])}
    paths = [tmp_path / "a", tmp_path / "b"]
    for number, path in enumerate(paths):
        moved = {name: each + 0.01 * number if each.is_floating_point() else each for name, each in base.items()}
        save_state({f"model.{name}": each for name, each in moved.items()} | (carried if carry else {}), path, {})
    soup = make_soup(
        *(paths, (0.5, 0.5), tmp_path / "soup"),
        policy="clean",
        architecture="preact_resnet18",
        options={"width": 2},
        data="digits",
    )
    told = json.loads(read_metadata(soup)["seasoning.soup"])
    own = build_model("preact_resnet18", num_classes=10, in_chans=1, width=2).constants
    assert told["mean"] == pytest.approx([0.25] if carry else list(own.mean))
    assert told["std"] == pytest.approx([0.75] if carry else list(own.std))
    assert verify_soup(soup, paths).problems == []
    assert set(load_ingredient(soup)) == set(base)
    (problem,) = verify_soup(changed(soup, mean=[0.0], std=[1.0]), paths).problems if carry else ("with mean [0] and",)
    assert "with mean [0] and" in problem


def test_the_soup_of_the_demo_is_what_its_provenance_says(finished: Path) -> None:
    names = ("linf", "l2", "l1", "nominal")
    found = verify_soup(
        finished / "soup.safetensors", [finished / "ingredients" / f"{name}.safetensors" for name in names]
    )
    assert found == ([], [])
    assert json.loads(read_metadata(finished / "soup.safetensors")["seasoning.soup"])["mean"] == [0.5]
