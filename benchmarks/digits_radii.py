"""The radii at which each specialist of the digits keeps 50 to 80 % of the validation images.

For every radius a specialist is trained for it (l_inf from scratch; l_2 and l_1 fine-tuned from the l_inf one of the
default radius) and measured at it on the validation split with the default protocol. The defaults of `seasoning demo`
rest on this table; no test image is touched. About five minutes on two cores:

    python benchmarks/digits_radii.py
"""

import tempfile
from pathlib import Path

from seasoning.attacks import suite_attack
from seasoning.commands.ingredients import prepare_ingredient, recipes
from seasoning.config.base import RunSpec
from seasoning.data import load_source, split_samples
from seasoning.evaluation.evaluator import evaluate
from seasoning.metrics import robust_accuracy
from seasoning.models import build_model
from seasoning.report.tables import percent
from seasoning.threat import Norm


RADII: dict[Norm, tuple[float, ...]] = {"linf": (0.15, 0.19, 0.23), "l2": (0.5, 0.7, 0.9), "l1": (1.5, 2.0, 2.5)}
SEEDS = (0, 1, 2)


def main() -> None:
    """Print one line for each norm and radius, one column for each seed."""
    data = RunSpec().data
    parts = split_samples(load_source(data.source), data.sizes())
    print(f"| threat | {' | '.join(f'seed {seed}' for seed in SEEDS)} |\n| --- |{' --- |' * len(SEEDS)}")
    for norm, radii in RADII.items():
        for eps in radii:
            cells = []
            for seed in SEEDS:
                spec = with_radius(norm, eps, seed)
                chosen = next(each for each in recipes(spec) if each.name == norm)
                with tempfile.TemporaryDirectory() as folder:
                    base = None
                    if norm != "linf":
                        first = recipes(spec)[0]
                        base = prepare_ingredient(first, cache(seed), spec, parts, None, lambda: None).state
                    state = prepare_ingredient(chosen, Path(folder), spec, parts, base, lambda: None).state
                    model = build_model(spec.training.architecture, num_classes=10, state=state)
                if chosen.threat is None:
                    raise RuntimeError(f"{norm} is no threat")
                attack = suite_attack(spec.evaluation.suite, chosen.threat.norm, steps=spec.evaluation.steps)
                outcomes = evaluate(model, parts["validation"], attack=attack, threat=chosen.threat, seed=seed)
                cells.append(percent(robust_accuracy(outcomes)))
            print(f"| {norm}:{eps:g} | {' | '.join(cells)} |", flush=True)


def with_radius(norm: Norm, eps: float, seed: int) -> RunSpec:
    """The default run with one threat's radius changed."""
    default = RunSpec()
    threats = tuple(f"{norm}:{eps}" if text.startswith(norm) else text for text in default.threats)
    return default.model_copy(update={"threats": threats, "seed": seed})


_CACHE = tempfile.TemporaryDirectory()


def cache(seed: int) -> Path:
    """Where the base of a seed is kept, so that it is trained once."""
    return Path(_CACHE.name) / str(seed)


if __name__ == "__main__":
    main()
