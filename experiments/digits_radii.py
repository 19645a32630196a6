"""The radii at which each specialist of the digits keeps 50 to 80 % of the validation images.

For every radius a specialist is trained for it (l_inf from random parameters; l_2 and l_1 fine-tuned from the l_inf one
of the default radius) and measured at it on the validation images with the default suite. The radii of `seasoning demo`
rest on this table; no test image is touched. About five minutes on two cores:

    python -m experiments.digits_radii
"""

import argparse
import tempfile
from pathlib import Path

import torch

from experiments.digits import digits_parts, network, trained
from seasoning import Estimate, Threat, evaluate, load_ingredient, robust_accuracy
from seasoning.attacks import suite_attack
from seasoning.commands.demo import demo_spec
from seasoning.report import percent
from seasoning.threat import NORMS, Norm


RADII: dict[Norm, tuple[float, ...]] = {"linf": (0.15, 0.19, 0.23), "l2": (0.5, 0.7, 0.9), "l1": (1.5, 2.0, 2.5)}


def main() -> None:
    """Print one line for each norm and radius, one column for each seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--norms", nargs="+", choices=NORMS, default=list(RADII), help="only these")
    parser.add_argument("--smoke", action="store_true", help="so few images and steps that the numbers mean nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| threat | {' | '.join(f'seed {seed}' for seed in given.seeds)} |\n| --- |{' --- |' * len(given.seeds)}")
    with tempfile.TemporaryDirectory() as folder:
        for norm in given.norms:
            for eps in RADII[norm]:
                threat = Threat(norm, eps)
                found = [specialist(threat, seed, Path(folder) / str(seed), given.smoke) for seed in given.seeds]
                print(f"| {threat} | {' | '.join(map(percent, found))} |", flush=True)


def specialist(threat: Threat, seed: int, folder: Path, smoke: bool) -> Estimate:
    """Accuracy at its own radius of a network that was trained for it, on the validation images."""
    norm = threat.norm
    spec = demo_spec([f'recipe.{norm}.threats=["{threat}"]'], seed=seed, smoke=smoke)
    base = None if norm == "linf" else trained(demo_spec(seed=seed, smoke=smoke), "linf", folder / "base")
    file = trained(spec, norm, folder / f"{norm}-{threat.eps:g}", base)
    return robust_accuracy(
        evaluate(
            network(spec.recipes[norm], load_ingredient(file)),
            digits_parts(spec)["validation"],
            attack=suite_attack(spec.plan.attack.suite, norm, steps=spec.plan.attack.steps),
            threat=threat,
            seed=seed,
        )
    )


if __name__ == "__main__":
    main()
