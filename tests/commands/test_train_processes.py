"""`seasoning train` under torchrun: one training, one voice, one writer."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seasoning.checkpoints.provenance import read_ingredient
from tests.command_line import program, seasoning, terminal
from tests.commands.test_train import TEXT, place


pytestmark = pytest.mark.slow


def launched(recipe: Path, folder: Path, *options: str) -> "subprocess.Popen[str]":
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python"]
    command = program("train", recipe, "--out", folder, "--device", "cpu", "--tracker", "none", *options)
    return subprocess.Popen(
        torchrun + command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=terminal(), text=True
    )


def test_sigterm_saves_once_and_one_process_goes_on(tmp_path: Path) -> None:
    recipe, folder = tmp_path / "digits-eat.toml", tmp_path / "run"
    recipe.write_text(TEXT.replace("epochs = 3", "epochs = 6"))
    options = ("--resume", "--save-seconds", "0")
    process = launched(recipe, folder, *options)
    deadline = time.monotonic() + 120
    while place(folder) < (1, 3):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    # Both processes ended after the same step, and one of them said so.
    assert printed.count("stopped in epoch") == 1
    assert printed.count("epoch 1;") == 1
    assert "another of the" not in errors
    epoch, step = place(folder)
    assert (1, 3) <= (epoch, step) < (6, 0)
    assert f"epoch {epoch + 1}, step {step}; give the same command with --resume" in " ".join(printed.split())
    printed = seasoning("train", recipe, "--out", folder, "--device", "cpu", "--tracker", "none", *options)
    assert f"ingredient: {folder / 'best.safetensors'}" in printed
    assert place(folder) == (6, 0)
    assert len(read_ingredient(folder / "last.safetensors")["scores"]) == 6


def test_a_batch_that_processes_do_not_divide_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "digits-eat.toml").write_text(TEXT)
    process = launched(tmp_path / "digits-eat.toml", tmp_path / "run", "--set", "optimizer.batch_size=33")
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "batch_size=33 in 2 processes" in errors
    assert "set batch_size to 32 or 34" in errors
    assert not (tmp_path / "run").exists()
