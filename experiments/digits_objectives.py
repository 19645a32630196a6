"""What the ways to withstand several threats are worth on the digits, and what each costs in passes.

For each seed: the base of the demo, fine-tuned copies of it for one threat and for several by MAX, SAT, AVG, E-AT and
MSD, the soup of the singly robust ones that is best on the selection images, and their ensemble. All fine-tunes take
the same epochs, rates and attack steps; all numbers are of the test images, which chose nothing. Five to ten minutes a
seed on one core; run again, it does not train or search again:

    python -m experiments.digits_objectives --out runs/objectives
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from experiments.digits import digits_parts, network
from seasoning import Threat, evaluate, load_ingredient
from seasoning.attacks import suite_attack
from seasoning.checkpoints import read_metadata, save_state
from seasoning.commands.demo import demo_spec
from seasoning.commands.search import run_plan
from seasoning.commands.train_recipe import check_recipe
from seasoning.config import RecipeSpec, resolve
from seasoning.metrics import clean_column, robust_column, union_column
from seasoning.models import PixelClassifier
from seasoning.outcomes import Outcomes
from seasoning.report import Results, percent, points, spent
from seasoning.soup import Ensemble
from seasoning.statistics import Column, mean_accuracy, mean_difference
from seasoning.store import STORE, Store
from seasoning.training import train, validator


_PASSES = "experiment.passes"
ROBUST = ("linf", "l2", "l1")
# The threats that a fine-tune for several trains on; E-AT is meant for the two extremes.
SEVERAL = {"max": ROBUST, "sat": ROBUST, "avg": ROBUST, "msd": ROBUST, "eat": ("linf", "l1")}


class Entry(NamedTuple):
    """A line of the table: test outcomes of each threat, and forward and backward passes of single images."""

    outcomes: list[Outcomes]
    training: int
    inference: int


class Passes:
    """Counts the images that go through a network, forwards and backwards."""

    def __init__(self, network: nn.Module) -> None:
        self.count = 0
        network.register_forward_pre_hook(self._see)

    def _see(self, network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        # Every pass that keeps its graph is followed by one backwards.
        self.count += len(inputs[0]) * (2 if torch.is_grad_enabled() else 1)


class Seed:
    """Everything that one seed trains and measures; checkpoints and the search are kept in a folder."""

    def __init__(self, seed: int, folder: Path, suite: str, smoke: bool) -> None:
        self.spec = demo_spec(seed=seed, smoke=smoke)
        self.threats = [Threat.parse(text) for text in self.spec.plan.threats]
        self.seed, self.suite, self.folder = seed, suite, folder / f"seed-{seed}"
        self.parts = digits_parts(self.spec)
        self.files: dict[str, Path] = {}
        self.cost: dict[str, int] = {}

    def train(self) -> None:
        """The base, and its fine-tuned copies."""
        recipes = self.spec.recipes
        for name in ROBUST:
            own = [Threat.parse(text) for text in recipes[name].threats]
            self._ingredient(name, recipes[name], own)
        for name, norms in SEVERAL.items():
            texts = [str(threat) for threat in self.threats if threat.norm in norms]
            recipe = resolve([f"objective.name={name}", f"threats={json.dumps(texts)}"], recipes["l2"])
            # All are chosen by the same: the union of all three on the validation images.
            self._ingredient(name, recipe, self.threats)

    def _ingredient(self, name: str, recipe: RecipeSpec, threats: Sequence[Threat]) -> None:
        """Train by a recipe, from the base where there is one; the best checkpoint is chosen under the threats."""
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            objectives, settings = check_recipe(recipe)
            torch.manual_seed(self.seed)
            model = network(recipe, load_ingredient(self.files["linf"]) if self.files else None)
            passes = Passes(model.network)
            steps = 0 if recipe.attack is None else recipe.attack.steps
            validate = validator(self.parts["validation"], threats, steps, self.seed)
            found = train(model, self.parts["train"], objectives, validate, settings, seed=self.seed, device="cpu")
            save_state(found.state, path, {_PASSES: json.dumps(passes.count)})
            print(f"seed {self.seed}: trained {name}", flush=True)
        self.files[name] = path
        self.cost[name] = json.loads(read_metadata(path)[_PASSES])

    def measure(self) -> dict[str, Entry]:
        """Test outcomes of everything."""
        base, singles = self.cost["linf"], [self._model(self.files[name]) for name in ROBUST]
        entries = {}
        for name, path in self.files.items():
            own = 0 if name == "linf" else self.cost[name]
            entries[name] = Entry(self._test(self._model(path)), base + own, 1)
        together = sum(self.cost[name] for name in ROBUST)
        soup, searched = self._search()
        entries["soup"] = Entry(self._test(self._model(soup)), together + searched, 1)
        entries["ensemble"] = Entry(self._test(Ensemble(singles).eval()), together, len(singles))
        return entries

    def _search(self) -> tuple[Path, int]:
        """The file of the soup of the best union on the selection images, and the passes that choosing it took."""
        changes = {
            "ingredients": {name: str(self.files[name]) for name in ROBUST},
            "shifts": (),
            "objectives": self.spec.plan.objectives[:1],
            "top": 1,
            "uniform": False,
            "ensemble": False,
            "attack": self.spec.plan.attack.model_copy(update={"confirm": None}),
        }
        folder = self.folder / "search"
        (answer,) = run_plan(self.spec.plan.model_copy(update=changes), folder).answers
        print(f"seed {self.seed}: {answer.objective.name} soup {answer.chosen[0].name}", flush=True)
        with Store(folder / STORE) as store:
            cost = spent(Results(store))["selection"]
        return answer.soup, cost.gradients + cost.forwards

    def _test(self, model: nn.Module) -> list[Outcomes]:
        steps, seed = self.spec.plan.attack.steps, self.seed
        return [
            evaluate(
                model,
                self.parts["test"],
                attack=suite_attack(self.suite, threat.norm, steps=steps),
                threat=threat,
                seed=seed,
            )
            for threat in self.threats
        ]

    def _model(self, path: Path) -> PixelClassifier:
        return network(self.spec.recipes["linf"], load_ingredient(path))


def main() -> None:
    """Train and measure all seeds, and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--suite", default="default", help="attack suite on the test images")
    parser.add_argument("--smoke", action="store_true", help="so few images and steps that the numbers mean nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    runs = []
    for number in given.seeds:
        seed = Seed(number, given.out, given.suite, given.smoke)
        seed.train()
        runs.append(seed.measure())
    print(f"\nTest images, suite {given.suite}, %: mean over seeds [95 %] (seeds {given.seeds})\n")
    heads = ["clean", *demo_spec().plan.threats, "union", "training, M passes", "inference"]
    print(f"| model | {' | '.join(heads)} |\n| --- |{' --- |' * len(heads)}")
    for name in runs[0]:
        print(f"| {name} | {' | '.join(cells([run[name] for run in runs]))} |")
    print(
        "\nUnion: soup minus another, points, paired by image over all seeds\n\n| against | difference |\n| --- | --- |"
    )
    unions = {name: [union_column(*run[name].outcomes) for run in runs] for name in runs[0]}
    for name, other in unions.items():
        if name != "soup":
            print(f"| {name} | {points(mean_difference(unions['soup'], other))} |")


def cells(entries: Sequence[Entry]) -> list[str]:
    """The cells of one line: accuracies over all seeds and of each, and the passes."""
    found = [columns(entry.outcomes) for entry in entries]
    texts = []
    for index in range(len(found[0])):
        own = [column[index] for column in found]
        spread = "/".join(f"{100 * mean_accuracy([column]).value:.1f}" for column in own)
        texts.append(f"{percent(mean_accuracy(own))} ({spread})")
    passes = sum(entry.training for entry in entries) / len(entries)
    return [*texts, f"{passes / 1e6:.2f}", f"x{entries[0].inference}"]


def columns(outcomes: Sequence[Outcomes]) -> list[Column]:
    """What is true of every test image: clean, under each threat, under all."""
    return [clean_column(outcomes[0]), *map(robust_column, outcomes), union_column(*outcomes)]


if __name__ == "__main__":
    main()
