"""What a step of training costs, against a loop that only takes the passes that the step needs.

The limit of a step against one threat is ten passes forwards and backwards to the images, one look at the last point,
and one update (forwards, backwards to the parameters, optimizer). MAX is also compared with the sum of its attacks, as
they are, and one update. Steps are those of the whole loop, crops and flips included; CPU time, one thread, fastest of
the interleaved rounds. Twenty minutes:

    python -m benchmarks.training
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch.nn import functional

from benchmarks.networks import NETWORKS, enlarged
from seasoning.attacks import evaluation_mode
from seasoning.data import Samples, load_source
from seasoning.models import PixelClassifier, build_model
from seasoning.threat import Threat
from seasoning.training import (
    OBJECTIVES,
    Scores,
    Settings,
    TrainingAttack,
    TrainingObjective,
    make_objective,
    nominal,
    train,
)
from seasoning.training.attack import attack_batch
from seasoning.training.augment import crop_and_flip


BATCH, STEPS = 128, 10
THREATS = [Threat("linf", 8 / 255), Threat("l2", 0.5), Threat("l1", 12.0)]
ATTACK = TrainingAttack(steps=STEPS)
# One step each, so that what differs is the passes.
SETTINGS = Settings(
    rate=0.01,
    batch_size=BATCH,
    momentum=0.9,
    nesterov=False,
    weight_decay=5e-4,
    schedule="cosine",
    warmup=0.1,
    crop=4,
    flips=True,
)


class Passes(NamedTuple):
    """What a step needs: gradients to the images, looks without a gradient, and losses that are lowered."""

    gradients: int
    looks: int
    lowered: int


def main() -> None:
    """Measure every objective on both networks, and print one table each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--objectives", nargs="+", help="by default all; nominal and max are always measured")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    digits = enlarged(load_source("digits"))
    for name in arguments.networks:
        architecture, options = NETWORKS[name]
        torch.manual_seed(0)
        model = build_model(architecture, num_classes=10, **options)
        print(f"\n## {name}, batches of {BATCH}, attacks of {STEPS} steps\n", flush=True)
        report(model, digits.take(torch.arange(2 * BATCH), "two batches"), arguments.rounds, arguments.objectives)


def report(model: PixelClassifier, samples: Samples, rounds: int, only: Sequence[str] | None) -> None:
    """Print the ratios of one network."""
    count = len(THREATS)
    single = Passes(STEPS, 1, 1)
    objectives: dict[str, tuple[TrainingObjective, Passes]] = {"nominal": (nominal(), Passes(0, 0, 1))}
    for threat in THREATS:
        objectives[str(threat)] = make_objective("adversarial", [threat], ATTACK), single
    needs = {
        "max": Passes(count * STEPS, count, 1),
        "avg": Passes(count * STEPS, count, count),
        "msd": Passes(STEPS, count * STEPS, 1),
    }
    for name in OBJECTIVES:
        objectives[name] = make_objective(name, THREATS, ATTACK), needs.get(name, single)
    objectives = {name: each for name, each in objectives.items() if not only or name in ("nominal", "max", *only)}
    times: dict[str, list[float]] = {}

    def clock(key: str, work: Callable[[], float]) -> None:
        times.setdefault(key, []).append(work())

    for _ in range(rounds):
        for name, (objective, passes) in objectives.items():
            # The threat drawn differs from step to step, and with it the cost of a step.
            steps = 4 if name in ("sat", "eat") else 1
            clock(name, partial(loop_time, model, samples, objective, steps))
            clock(f"{name} passes", partial(passes_time, model, samples, passes))
        clock("attacks", lambda: timed(lambda: attack_all(model, samples)))
        clock("images", lambda: fetch_time(samples))
    best = {key: min(values) for key, values in times.items()}
    print("| objective | a step, s | passes only, s | ratio | images on the way, % |\n| --- | --- | --- | --- | --- |")
    for name in objectives:
        step, limit = best[name], best[f"{name} passes"]
        print(f"| {name} | {step:.2f} | {limit:.2f} | {step / limit:.3f} | {100 * best['images'] / step:.2f} |")
    parts = best["attacks"] + best["nominal passes"]
    print(f"\nMAX / (its attacks + one update): {best['max'] / parts:.3f}", flush=True)


def loop_time(model: PixelClassifier, samples: Samples, objective: TrainingObjective, steps: int) -> float:
    """Mean seconds of a step of the training loop, validation and set-up left out."""
    ends = [time.process_time()]

    epochs = math.ceil((steps + 1) / 2)
    train(
        model,
        samples,
        [objective] * epochs,
        lambda each: Scores(0.0),
        SETTINGS,
        device="cpu",
        on_step=lambda report: ends.append(time.process_time()),
    )
    # The first step also sets things up; those that begin an epoch also end one, which costs nothing here.
    return (ends[-1] - ends[1]) / (len(ends) - 2)


def passes_time(model: PixelClassifier, samples: Samples, passes: Passes) -> float:
    """Seconds of the passes alone, in the modes of a step."""
    x, y = samples.x[:BATCH], samples.y[:BATCH]
    optimizer = torch.optim.SGD(model.network.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4)

    def work() -> None:
        with evaluation_mode(model):
            for _ in range(passes.gradients):
                leaf = x.detach().requires_grad_()
                torch.autograd.grad(functional.cross_entropy(model(leaf), y, reduction="sum"), leaf)
            with torch.no_grad():
                for _ in range(passes.looks):
                    model(x)
        model.train()
        optimizer.zero_grad(set_to_none=True)
        torch.stack([functional.cross_entropy(model(x), y) for _ in range(passes.lowered)]).mean().backward()
        optimizer.step()

    return timed(work)


def attack_all(model: PixelClassifier, samples: Samples) -> None:
    """The attacks of MAX."""
    model.train()
    for threat in THREATS:
        attack_batch(model, samples.x[:BATCH], samples.y[:BATCH], threat, ATTACK, 0)


def fetch_time(samples: Samples) -> float:
    """Seconds to pick, crop and flip the images of a step."""
    rows = torch.randperm(len(samples))[:BATCH]
    return timed(lambda: crop_and_flip(samples.x[rows], 4, True, 0))


def timed(work: Callable[[], object]) -> float:
    """CPU seconds of some work."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
