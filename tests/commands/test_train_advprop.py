"""Trainings with two branches of normalization: what they leave, and what can be made of it."""

from pathlib import Path

import pytest
import torch

from seasoning.checkpoints.load import State, load_ingredient, read_metadata, save_state
from seasoning.checkpoints.provenance import read_ingredient
from seasoning.commands.train import run_recipe
from seasoning.config.train import read_recipe_file
from seasoning.soup import mix_branches
from tests.command_line import seasoning


TEXT = """# Digits: a small network with a branch for attacked images
threats = ["linf:0.1"]

[network]
architecture = "resnet_small"

[data]
source = "digits"
classes = 10
shape = [1, 8, 8]
validation = 60

[objective]
name = "advprop"

[attack]
steps = 2

[optimizer]
rate = 0.05
batch_size = 32
momentum = 0.9
weight_decay = 5e-4

[schedule]
epochs = 2
kind = "cosine"
warmup = 0.1
"""
STAGES = """
[[schedule.stages]]
epochs = 1
objective = "nominal"

[[schedule.stages]]
epochs = 1
objective = "advprop"
"""


def trained(text: str, folder: Path, init: Path | None = None) -> Path:
    folder.mkdir()
    (folder / "digits-advprop.toml").write_text(text)
    spec = read_recipe_file(folder / "digits-advprop.toml")
    return run_recipe("digits-advprop", spec, folder / "run", init=init, device="cpu", trackers=())


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(TEXT, tmp_path_factory.mktemp("advprop") / "it")


def other(name: str) -> str:
    """The name of a parameter in the main branch, from that in the auxiliary one."""
    return name.replace(".aux_bn.0.", ".")


def test_both_branches_are_trained_and_the_file_claims_no_threat(best: Path) -> None:
    state = load_ingredient(best)
    auxiliary = [name for name in state if ".aux_bn.0." in name]
    assert auxiliary
    assert {other(name) for name in auxiliary} < set(state)
    assert not any(torch.equal(state[name], state[other(name)]) for name in auxiliary)
    told = read_ingredient(best)
    # The checkpoint is chosen by clean accuracy: no attacked image passes the main branch.
    assert told["threats"] == []
    assert [robust for _, robust in told["scores"]] == [None, None]
    assert told["gradients"] == 2 * told["images"]["train"] * (2 + 2)


def test_it_is_measured_by_its_main_branch_and_mixes_by_branch(best: Path, tmp_path: Path) -> None:
    def measured(file: Path) -> list[list[str]]:
        printed = seasoning("evaluate", file, "--arch", "resnet_small", "--threat", "linf:0.1", "--device", "cpu")
        return [line.split()[:4] for line in printed.splitlines() if line.split()[:1] in (["clean"], ["linf:0.1"])]

    state, found = load_ingredient(best), {}
    for weights in ((1.0, 0.0), (0.0, 1.0), (0.6, 0.4)):
        file = tmp_path / f"{weights[0]}.safetensors"
        save_state(mix_branches(state, weights), file, read_metadata(best))
        found[weights] = measured(file)
    assert measured(best) == found[1.0, 0.0]
    # The branch that saw attacked images is the more robust one.
    clean, robust = ([float(lines[row][1]) for lines in found.values()] for row in (0, 1))
    assert robust[1] > robust[0]
    assert len(set(clean)) > 1


@pytest.mark.parametrize("branches", [True, False])
def test_a_fine_tune_starts_from_the_branches_that_it_has(best: Path, tmp_path: Path, branches: bool) -> None:
    text = TEXT.replace("threats =", 'starts = ["digits-advprop"]\nthreats =').replace("0.05", "1e-9")
    if not branches:
        text = text.replace('threats = ["linf:0.1"]\n', "").replace('"advprop"', '"nominal"')
        text = text.replace("[attack]\nsteps = 2\n", "")
    again = load_ingredient(trained(text, tmp_path / "tuned", best))
    start: State = load_ingredient(best)
    expected = start if branches else mix_branches(start, (1.0, 0.0))
    assert set(again) == set(expected)
    for name in again:
        torch.testing.assert_close(again[name], expected[name], rtol=0, atol=1e-5)


def test_no_branch_is_left_untrained(tmp_path: Path) -> None:
    (tmp_path / "digits-advprop.toml").write_text(TEXT + STAGES)
    printed = seasoning(
        "train", tmp_path / "digits-advprop.toml", "--out", tmp_path / "run", "--device", "cpu", expect=2
    )
    assert "objective 'advprop' with stages of others, which would leave a branch untrained: give it alone" in printed
    assert not (tmp_path / "run").exists()
