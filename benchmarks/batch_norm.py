"""What to do with batch norm's running statistics in a soup: the digits, a batch-norm network, three trainings.

The demo's network with batch norm in place of group norm is trained as the demo's ingredients are. Ingredients and
soups are measured on the test split under the default protocol, each after every policy of `seasoning.soup.batch_norm`;
statistics are measured anew on the training images, attacked ones under the three threats in turn. About ten minutes:

    python benchmarks/batch_norm.py
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from timm.models import register_model
from torch import Tensor, nn

from seasoning.attacks import suite_attack
from seasoning.checkpoints.load import State
from seasoning.commands.ingredients import network_for, prepare_ingredient, recipes
from seasoning.config.base import RunSpec
from seasoning.data import Samples, load_source, split_samples
from seasoning.errors import BadInput
from seasoning.evaluation.evaluator import evaluate
from seasoning.evaluation.recalibrate import calibrate
from seasoning.metrics import accuracy, robust_accuracy, union_accuracy
from seasoning.models.resnet import ResidualNetwork
from seasoning.soup import mix
from seasoning.soup.batch_norm import POLICIES, geometric_mean
from seasoning.threat import Threat


SEEDS = (0, 1, 2)
SOUPS = {"uniform soup": (1 / 3, 1 / 3, 1 / 3), "soup (0.25, 0.25, 0.5)": (0.25, 0.25, 0.5)}
AFFINE = {"soup (1.4, -0.2, -0.2)": (1.4, -0.2, -0.2), "soup (-0.2, -0.2, 1.4)": (-0.2, -0.2, 1.4)}


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


def ingredients(spec: RunSpec, parts: dict[str, Samples]) -> dict[str, State]:
    """The three robust ingredients, trained."""
    states: dict[str, State] = {}
    with tempfile.TemporaryDirectory() as folder:
        for recipe in recipes(spec):
            if recipe.threat is not None:
                base = next(iter(states.values()), None)
                states[recipe.name] = prepare_ingredient(recipe, Path(folder), spec, parts, base, lambda: None).state
    return states


def soup(states: list[State], weights: tuple[float, ...], policy: str) -> dict[str, Tensor]:
    """Mixed parameters; variances by the geometric mean where the policy is not to average them."""
    if policy == "mix":
        return mix(states, weights)
    variances = [name for name in states[0] if name.endswith("running_var")]
    safe = {name: geometric_mean([state[name] for state in states], weights).float() for name in variances}
    rest = [{name: tensor for name, tensor in state.items() if name not in safe} for state in states]
    return mix(rest, weights) | safe


def measured(model: nn.Module, spec: RunSpec, test: Samples) -> list[float]:
    """Clean accuracy, each threat's, and the union's, in percent."""
    threats = [Threat.parse(text) for text in spec.threats]
    found = [evaluate(model, test, attack=suite_attack("default", each.norm), threat=each) for each in threats]
    values = [accuracy(evaluate(model, test)), *map(robust_accuracy, found), union_accuracy(*found)]
    return [100 * each.value for each in values]


def main() -> None:
    """Print one line for each model and policy: means over the trainings, and the union of each."""
    torch.set_num_threads(1)
    rows: dict[tuple[str, str], list[list[float]]] = {}
    for seed in SEEDS:
        default = RunSpec()
        training = default.training.model_copy(update={"architecture": "resnet_small_batch_norm"})
        spec = default.model_copy(update={"seed": seed, "training": training})
        parts = split_samples(load_source(spec.data.source), spec.data.sizes())
        states = ingredients(spec, parts)
        threats = [Threat.parse(text) for text in spec.threats]
        weights = {name: tuple(float(name == other) for other in states) for name in states}
        for name, numbers in (weights | SOUPS | AFFINE).items():
            for policy in POLICIES:
                if name in states and policy == "geometric":
                    continue  # an ingredient alone is the same under both ways of averaging
                try:
                    mixed = soup(list(states.values()), numbers, policy)
                except BadInput:
                    rows.setdefault((name, policy), [])
                    continue
                model = network_for(spec, parts["train"], mixed)
                if policy in ("clean", "attacked"):
                    calibrate(model, parts["train"], threats if policy == "attacked" else (), seed=seed)
                rows.setdefault((name, policy), []).append(measured(model, spec, parts["test"]))
    columns = ["clean", *RunSpec().threats, "union"]
    print(
        f"| model | policy | {' | '.join(columns)} | union by training |\n| --- | --- |{' --- |' * (len(columns) + 1)}"
    )
    for (name, policy), runs in rows.items():
        if len(runs) < len(SEEDS):
            print(f"| {name} | {policy} | {'| ' * len(columns)}| refused in {len(SEEDS) - len(runs)} of {len(SEEDS)} |")
            continue
        means = [sum(column) / len(column) for column in zip(*runs, strict=True)]
        unions = ", ".join(f"{run[-1]:.1f}" for run in runs)
        print(f"| {name} | {policy} | {' | '.join(f'{mean:.1f}' for mean in means)} | {unions} |")


if __name__ == "__main__":
    main()
