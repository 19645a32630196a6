"""A training in several processes: the same as in one, and what becomes of it when one of them dies."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from seasoning.errors import BadInput, SeasoningError
from seasoning.noise import derived_seed
from seasoning.training import accelerator as accelerators
from seasoning.training import distributed
from seasoning.training.distributed import (
    added,
    any_of,
    average_statistics,
    require_same,
    share_of,
    summed,
    surviving,
)
from seasoning.training.objectives import OneOf
from tests.training.processes import OBJECTIVES, model_for, run, samples


ROOT = Path(__file__).parents[2]
# Those in which an image has nothing to do with the others of its batch.
FLAT = [name for name in OBJECTIVES if name != "norm"]


@given(st.integers(1, 60), st.integers(1, 12))
def test_shares_are_the_batch(size: int, processes: int) -> None:
    rows = torch.arange(100, 100 + size)
    shares = [share_of(rows, rank, processes) for rank in range(processes)]
    taken = [share for share in shares if share.weight]
    assert torch.equal(torch.cat([share.rows for share in taken]), rows)
    assert all(torch.equal(share.rows, rows[share.first : share.first + len(share.rows)]) for share in shares)
    assert min(len(share.rows) for share in shares) >= min(size, 2)
    assert max(len(share.rows) for share in taken) - min(len(share.rows) for share in taken) <= 1
    # The mean over processes of weighted means is the mean of the batch.
    mean = sum(share.weight * float(share.rows.double().mean()) for share in shares) / processes
    assert mean == pytest.approx(float(rows.double().mean()), rel=1e-12)


def gradients(model: nn.Module) -> Tensor:
    return torch.cat(
        [
            torch.zeros(each.numel()).double() if each.grad is None else each.grad.flatten()
            for each in model.parameters()
        ]
    )


@pytest.mark.parametrize("size", [18, 4])
@pytest.mark.parametrize("name", FLAT)
def test_shares_have_the_gradient_of_the_batch(name: str, size: int) -> None:
    images, _ = samples()
    rows, objective = torch.arange(size), OBJECTIVES[name]
    if isinstance(objective, OneOf):
        objective = objective.draw(3, {})

    def gradient(processes: int) -> Tensor:
        model, whole = model_for(name).train(), torch.zeros(())
        for rank in range(processes):
            share = share_of(rows, rank, processes)
            seed = derived_seed(3, share.first)
            found = objective(model, images.x[share.rows], images.y[share.rows], seed=seed, state={})
            whole = whole + found.loss * share.weight / processes
        whole.backward()
        return gradients(model)

    one = gradient(1)
    assert float(one.abs().max()) > 0
    for processes in (2, 3):
        torch.testing.assert_close(gradient(processes), one, rtol=1e-10, atol=1e-14)


def together(number: int = 2, **options: Any) -> Any:
    """Accelerate in one of several processes."""
    return SimpleNamespace(num_processes=number, device=torch.device("cpu"), **options)


ALONE = together(1)


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the other processes tell, to be filled in by a test."""
    told: list[Any] = []
    monkeypatch.setattr(distributed, "gather_object", lambda mine: [*mine, *told])
    return told


def test_numbers_are_summed_over_processes(others: list[Any]) -> None:
    others.append({"a": 10.0, "c": 5.0})
    assert summed(ALONE, {"a": 1.0, "b": 2.0}) == {"a": 1.0, "b": 2.0}
    assert summed(together(), {"a": 1.0, "b": 2.0}) == {"a": 11.0, "b": 2.0, "c": 5.0}


@pytest.mark.parametrize(("mine", "other"), [(True, 0.0), (False, 1.0), (False, 0.0)])
def test_one_process_that_is_to_stop_is_enough(others: list[Any], mine: bool, other: float) -> None:
    others.append({"said": other})
    assert any_of(together(), mine) == (mine or other > 0)
    assert any_of(ALONE, mine) == mine


def test_what_an_objective_carries_grows_by_what_each_process_adds(others: list[Any]) -> None:
    before, after = {"seen": 100.0, "kept": 1.0}, {"seen": 109.0, "fooled": 4.0, "kept": 1.0}
    assert added(ALONE, before, after) == after
    others.append({"seen": 9.0, "fooled": 2.0})
    assert added(together(), before, after) == {"seen": 118.0, "fooled": 6.0, "kept": 1.0}
    # A process without images of its own adds nothing, and learns the same.
    assert added(together(), before, before) == {"seen": 109.0, "fooled": 2.0, "kept": 1.0}


def test_running_statistics_are_the_weighted_mean_of_all() -> None:
    layer = nn.Sequential(nn.BatchNorm2d(2), nn.Linear(1, 1))
    norm: Any = layer[0]
    norm.running_mean, norm.running_var = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    theirs = torch.tensor([5.0, 6.0, 7.0, 8.0])
    # This process has 3 images of 4, the other 1.
    average_statistics(together(reduce=lambda mine, reduction: mine + theirs / 4), layer, 1.5)
    torch.testing.assert_close(norm.running_mean, torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(norm.running_var, torch.tensor([4.0, 5.0]))
    average_statistics(ALONE, layer, 1.0)
    torch.testing.assert_close(norm.running_mean, torch.tensor([2.0, 3.0]))


def test_processes_at_different_trainings_are_told_apart(others: list[Any]) -> None:
    others.append({"images": {"train": "a"}, "state": {"step": None}})
    require_same(together(), others[0])
    with pytest.raises(BadInput, match=r"process 2 of 2 is at another training than the first.*step") as caught:
        require_same(together(), {"images": {"train": "a"}, "state": {"step": 3}})
    assert "a folder that they share" in str(caught.value)


def test_a_process_that_is_gone_is_told_and_nothing_else() -> None:
    gone = RuntimeError("[gloo/transport/tcp/pair.cc:545] Read error: Connection reset by peer")
    with (
        pytest.raises(SeasoningError, match=r"another of the 2 processes.*state\.pt holds.*--resume"),
        surviving(2, lambda: "state.pt holds it"),
    ):
        raise gone
    for processes, error in ((1, gone), (2, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))):
        with pytest.raises(RuntimeError) as caught, surviving(processes, lambda: ""):
            raise error
        assert caught.value is error


def test_processes_that_do_not_see_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    alone = SimpleNamespace(num_processes=1, process_index=0, device=torch.device("mps"))
    monkeypatch.setattr(accelerators, "PartialState", lambda cpu, timeout: alone)
    with pytest.raises(BadInput, match="4 processes were started, which cannot share mps: give --device cpu"):
        accelerators.processes(None)


def launch(processes: int, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Start so many processes with torchrun, and wait until they have ended."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=300, check=False, cwd=ROOT, env=environment
    )


def train_in(processes: int, accumulate: int, folder: Path, names: list[str], *kill: str) -> str:
    """What they printed."""
    arguments = ("-m", "tests.training.processes", str(accumulate), str(folder), ",".join(names), *kill)
    done = launch(processes, *arguments)
    assert (done.returncode == 0) == (not kill), done.stderr
    return done.stderr


def found(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return content


def require_equal(folder: Path, other: Path, name: str) -> None:
    one, two = found(folder, name), found(other, name)
    count = min(len(one["losses"]), len(two["losses"]))
    assert one["losses"][-count:] == pytest.approx(two["losses"][-count:], rel=1e-9)
    assert one["scores"] == two["scores"]
    for key, values in one["last"].items():
        torch.testing.assert_close(
            torch.tensor(values).double(), torch.tensor(two["last"][key]).double(), rtol=1e-6, atol=1e-8
        )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of every objective."""
    folder = tmp_path_factory.mktemp("alone")
    for name in FLAT:
        run(name, 1, folder)
        assert len(found(folder, name)["losses"]) == 10
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "accumulate", "names"), [(2, 1, FLAT), (3, 2, ["linf", "eat", "advprop"])])
def test_several_processes_train_as_one(
    alone: Path, tmp_path: Path, processes: int, accumulate: int, names: list[str]
) -> None:
    train_in(processes, accumulate, tmp_path, names)
    for name in names:
        require_equal(alone, tmp_path, name)


@pytest.mark.slow
def test_a_killed_process_ends_the_training_which_goes_on_in_fewer_or_more(alone: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    said = train_in(2, 1, tmp_path, ["linf"], "3")
    assert time.monotonic() - begun < 120
    assert "another of the 2 processes of this training ended" in said
    assert "linf.pt holds the last saved state, epoch 1, step 3: give the same command with --resume" in said
    assert not (tmp_path / "linf.json").exists()
    state = (tmp_path / "linf.pt").read_bytes()
    run("linf", 1, tmp_path)
    assert len(found(tmp_path, "linf")["losses"]) == 7
    require_equal(alone, tmp_path, "linf")
    (tmp_path / "linf.pt").write_bytes(state)
    train_in(3, 1, tmp_path, ["linf"])
    assert len(found(tmp_path, "linf")["losses"]) == 7
    require_equal(alone, tmp_path, "linf")
