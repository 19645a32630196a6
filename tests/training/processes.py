"""What the tests of several processes start: a short training in float64 that writes what it came to."""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from seasoning.data import Samples, load_source
from seasoning.models import PixelClassifier, split_norms
from seasoning.threat import Threat
from seasoning.training import (
    Settings,
    TrainingAttack,
    TrainingObjective,
    TrainingProgress,
    adversarial,
    advprop,
    eat,
    make_objective,
    nominal,
    train,
    validator,
)
from tests.make import training_settings


LINF, L2, L1 = Threat("linf", 0.1), Threat("l2", 0.5), Threat("l1", 2.0)
ATTACK = TrainingAttack(steps=2)
OBJECTIVES: dict[str, TrainingObjective] = {
    "nominal": nominal(),
    "linf": adversarial(LINF, ATTACK),
    "l1": adversarial(L1, ATTACK),
    "kl": adversarial(L2, TrainingAttack(steps=2, loss="kl")),
    "eat": eat([LINF, L1], ATTACK),
    "max": make_objective("max", [LINF, L1], ATTACK),
    "msd": make_objective("msd", [LINF, L1], ATTACK),
    "advprop": advprop(LINF, ATTACK),
    "norm": adversarial(LINF, ATTACK),
}


class Flat(nn.Module):
    """A network in which no image meets another, unless it has batch norm."""

    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), norm(16), nn.Tanh(), nn.Linear(16, 10))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


def model_for(name: str) -> PixelClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PixelClassifier(Flat(nn.BatchNorm1d if name == "norm" else nn.LayerNorm), (0.5,), (0.5,)).double()
    if name == "advprop":
        split_norms(model.network)
    return model


def samples() -> tuple[Samples, Samples]:
    """Images to train on and to validate on; 76 are four batches of 18 and one of 4."""
    every = load_source("digits")
    every = replace(every, x=every.x.double())
    return every.take(torch.arange(76), "digits/train"), every.take(torch.arange(100, 130), "digits/validation")


def settings_for(accumulate: int) -> Settings:
    return replace(training_settings(0.05), batch_size=18, accumulate=accumulate, crop=1, flips=True)


def run(name: str, accumulate: int, folder: Path, kill: int | None = None) -> None:
    """Train two epochs under an objective; `kill` is the step after which the last process kills itself."""
    torch.set_num_threads(1)
    rank, processes = (int(os.environ.get(key, default)) for key, default in (("RANK", 0), ("WORLD_SIZE", 1)))
    losses: list[float] = []

    def note(report: TrainingProgress) -> None:
        losses.append(report.loss)
        if len(losses) == kill and rank == processes - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    images, held_out = samples()
    trained = train(
        model_for(name),
        images,
        [OBJECTIVES[name]] * 2,
        validator(held_out, [LINF], 2, 0),
        settings_for(accumulate),
        resume=folder / f"{name}.pt",
        save_seconds=0,
        on_step=note,
        device="cpu",
    )
    if rank == 0:
        found = {
            "losses": losses,
            "scores": [list(each) for each in trained.scores],
            "last": {key: tensor.tolist() for key, tensor in trained.last.items()},
        }
        (folder / f"{name}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    for each in sys.argv[3].split(","):
        run(each, int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[4]) if len(sys.argv) > 4 else None)
