"""What to do with batch norm's running statistics in a soup: the digits, a batch-norm network, three trainings.

The demo's network with batch norm in place of group norm is trained as the demo's ingredients are. Ingredients and
soups are measured on the test images under the default suite, each after every policy of `seasoning.soup.batch_norm`;
statistics are measured anew on the training images, attacked ones under the three threats in turn. About ten minutes:

    python -m experiments.batch_norm
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.models import register_model
from torch import nn

from experiments.digits import digits_parts, network, trained
from seasoning import Samples, Threat, accuracy, evaluate, load_ingredient, mix, robust_accuracy, union_accuracy
from seasoning.attacks import suite_attack
from seasoning.checkpoints import State
from seasoning.commands.demo import DemoSpec, demo_spec
from seasoning.errors import BadInput
from seasoning.evaluation import calibrate
from seasoning.models import ResidualNetwork
from seasoning.soup import POLICIES


ROBUST = ("linf", "l2", "l1")
SOUPS = {"uniform soup": (1 / 3, 1 / 3, 1 / 3), "soup (0.25, 0.25, 0.5)": (0.25, 0.25, 0.5)}
AFFINE = {"soup (1.4, -0.2, -0.2)": (1.4, -0.2, -0.2), "soup (-0.2, -0.2, 1.4)": (-0.2, -0.2, 1.4)}
ALONE = {name: tuple(float(name == other) for other in ROBUST) for name in ROBUST}
# The numbers of each model and policy, one row for each training.
Rows = dict[tuple[str, str], list[list[float]]]


@register_model  # type: ignore[untyped-decorator]
def resnet_small_batch_norm(pretrained: bool = False, **options: Any) -> ResidualNetwork:
    """The demo's network with batch norm."""
    network = ResidualNetwork(
        (16, 32, 32),
        (2, 1),
        options["num_classes"],
        options["in_chans"],
        norm=nn.BatchNorm2d,
        activation="silu",
        last_activation="silu",
        style="standard",
    )
    channels = options["in_chans"]
    network.pretrained_cfg = {"input_size": (channels, 8, 8), "mean": (0.5,) * channels, "std": (0.5,) * channels}
    return network


def main() -> None:
    """Print one line for each model and policy: means over the trainings, and the union of each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--smoke", action="store_true", help="so few images and steps that the numbers mean nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: Rows = {}
    for seed in given.seeds:
        spec = demo_spec(["recipe.network.architecture=resnet_small_batch_norm"], seed=seed, smoke=given.smoke)
        measure_all(spec, ingredients(spec), rows)
    print_rows(rows, ["clean", *demo_spec().plan.threats, "union"], len(given.seeds))


def ingredients(spec: DemoSpec) -> list[State]:
    """The three robust ingredients, trained."""
    files: list[Path] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ROBUST:
            files.append(trained(spec, name, Path(folder) / name, files[0] if files else None))
        return [dict(load_ingredient(file)) for file in files]


def measure_all(spec: DemoSpec, states: Sequence[State], rows: Rows) -> None:
    """Add the numbers of one training; where a policy refuses the weights it has none."""
    parts, seed = digits_parts(spec), spec.plan.seed
    threats = [Threat.parse(text) for text in spec.plan.threats]
    for name, weights in (ALONE | SOUPS | AFFINE).items():
        for policy in POLICIES:
            if name in ALONE and policy == "geometric":
                continue  # an ingredient alone is the same under both ways of averaging
            runs = rows.setdefault((name, policy), [])
            try:
                # What is measured anew replaces the mixed variances, which only must not be negative.
                mixed = mix(states, weights, policy="mix" if policy == "mix" else "geometric")
            except BadInput:
                continue
            model = network(spec.recipes[ROBUST[0]], mixed)
            if policy in ("clean", "attacked"):
                calibrate(model, parts["train"], threats if policy == "attacked" else (), seed=seed)
            runs.append(measured(model, spec, parts["test"]))


def measured(model: nn.Module, spec: DemoSpec, test: Samples) -> list[float]:
    """Clean accuracy, each threat's, and the union's, in percent."""
    given, threats = spec.plan.attack, [Threat.parse(text) for text in spec.plan.threats]
    found = [
        evaluate(model, test, attack=suite_attack(given.suite, each.norm, steps=given.steps), threat=each)
        for each in threats
    ]
    values = [accuracy(found[0]), *map(robust_accuracy, found), union_accuracy(*found)]
    return [100 * each.value for each in values]


def print_rows(rows: Mapping[tuple[str, str], Sequence[Sequence[float]]], columns: Sequence[str], count: int) -> None:
    print(
        f"| model | policy | {' | '.join(columns)} | union by training |\n| --- | --- |{' --- |' * (len(columns) + 1)}"
    )
    for (name, policy), runs in rows.items():
        if len(runs) < count:
            print(f"| {name} | {policy} | {'| ' * len(columns)}| refused in {count - len(runs)} of {count} |")
            continue
        means = [sum(column) / len(column) for column in zip(*runs, strict=True)]
        unions = ", ".join(f"{run[-1]:.1f}" for run in runs)
        print(f"| {name} | {policy} | {' | '.join(f'{mean:.1f}' for mean in means)} | {unions} |")


if __name__ == "__main__":
    main()
