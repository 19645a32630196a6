"""Models and data that several tests share, made in seconds."""

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seasoning.checkpoints.load import State
from seasoning.commands.demo import demo_spec, run_demo
from seasoning.data import Samples, load_source, split_samples
from seasoning.models import PixelClassifier, build_model
from seasoning.threat import Threat
from seasoning.training import TrainingAttack, TrainingObjective, adversarial, nominal, train, validator
from tests.make import training_settings


torch.set_num_threads(1)
# Tests send Ctrl-C to processes that they start. Those of a shell's background job would ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave the user's cache alone, in their subprocesses, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def same_chance() -> None:
    """Every test draws the same numbers, alone, in any order and in any process."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def digits() -> dict[str, Samples]:
    """Small parts of the digits: enough to learn from in seconds."""
    return split_samples(load_source("digits"), {"train": 600, "validation": 100, "selection": 100, "test": 200})


def fit(
    parts: dict[str, Samples], objectives: list[TrainingObjective], start: State | None = None, seed: int = 0
) -> State:
    """Parameters trained for a few epochs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model("resnet_small", num_classes=10, state=start)
    trained = train(
        model,
        parts["train"],
        objectives,
        validator(parts["validation"], [], 1, seed),
        training_settings(0.1),
        seed=seed,
        device="cpu",
    )
    return trained.state


@pytest.fixture(scope="session")
def nominal_state(digits: dict[str, Samples]) -> State:
    """A network trained on clean images."""
    return fit(digits, [nominal()] * 10)


@pytest.fixture(scope="session")
def robust_state(digits: dict[str, Samples], nominal_state: State) -> State:
    """Its fine-tuned copy, somewhat robust to l_inf."""
    return fit(digits, [adversarial(Threat("linf", 0.1), TrainingAttack(steps=4))] * 4, nominal_state)


@pytest.fixture(scope="session")
def robust_model(robust_state: State) -> PixelClassifier:
    return build_model("resnet_small", num_classes=10, state=robust_state)


@pytest.fixture(scope="session")
def few(digits: dict[str, Samples]) -> Samples:
    """Forty test images, in batches of the whole."""
    return replace(digits["test"].take(torch.arange(40), "digits/few"), batch_size=40)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a smoke run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run_demo(demo_spec(smoke=True), folder, watch=lambda doing, done, total: None)
    return folder
