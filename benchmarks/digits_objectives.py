"""What the ways to withstand several threats are worth on the digits, and what each costs in passes.

For each seed: the base of the demo, fine-tuned copies of it for one threat and for several by MAX, SAT, AVG, E-AT and
MSD, the soup of the singly robust ones that is best on the selection images, and their ensemble. All fine-tunes take
the same epochs, rates and attack steps; all numbers are of the test images, which chose nothing. Five to ten minutes a
seed on one core; run again, it goes on where it was:

    python benchmarks/digits_objectives.py --out runs/objectives
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from seasoning.attacks import suite_attack
from seasoning.checkpoints.load import State, fingerprint, load_ingredient, read_metadata, save_state
from seasoning.commands.ingredients import network_for, recipes, settings_of
from seasoning.config.base import RunSpec
from seasoning.data import load_source, split_samples
from seasoning.evaluation.measure import measure
from seasoning.metrics import clean_column, robust_column, union_column
from seasoning.models import PixelClassifier
from seasoning.outcomes import ModelKey, Outcomes
from seasoning.report.tables import percent, points
from seasoning.selection import Candidate, choose, union_over
from seasoning.soup import Ensemble, mix
from seasoning.statistics import Column, Estimate, mean_accuracy, mean_difference
from seasoning.store.database import Store
from seasoning.strategies import simplex
from seasoning.threat import Threat
from seasoning.training import TrainingAttack, TrainingObjective, make_objective, train, validator


_PASSES = "benchmark.passes"
# Which threats a fine-tune trains on; E-AT is meant for the two extremes.
SEVERAL = {"max": 3, "sat": 3, "avg": 3, "msd": 3, "eat": 2}


class Entry(NamedTuple):
    """A line of the table: test outcomes by task, and forward and backward passes of single images."""

    outcomes: dict[str, Outcomes]
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
    """Everything that one seed trains and measures, kept in a folder."""

    def __init__(self, seed: int, folder: Path, suite: str) -> None:
        self.spec = RunSpec(seed=seed)
        self.threats = [Threat.parse(text) for text in self.spec.threats]
        self.folder, self.suite = folder / f"seed-{seed}", suite
        self.parts = split_samples(load_source(self.spec.data.source), self.spec.data.sizes())
        self.states: dict[str, State] = {}
        self.cost: dict[str, int] = {}

    def train(self) -> None:
        """The base, and its fine-tuned copies."""
        base, *others, _ = recipes(self.spec)
        start = self._ingredient(base.name, base.objectives, base.rate, self.threats[:1], None)
        epochs, rate = self.spec.training.finetune_epochs, self.spec.training.finetune_rate
        for recipe, threat in zip(others, self.threats[1:], strict=True):
            self._ingredient(recipe.name, recipe.objectives, rate, [threat], start)
        attack = TrainingAttack(steps=self.spec.training.attack_steps)
        for name, count in SEVERAL.items():
            threats = self.threats if count == 3 else [self.threats[0], self.threats[2]]
            # All are chosen by the same: the union of all three on the validation images.
            self._ingredient(name, [make_objective(name, threats, attack)] * epochs, rate, self.threats, start)

    def _ingredient(
        self,
        name: str,
        objectives: Sequence[TrainingObjective],
        rate: float,
        threats: list[Threat],
        start: State | None,
    ) -> State:
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            torch.manual_seed(self.spec.seed)
            model = network_for(self.spec, self.parts["train"], start)
            passes = Passes(model.network)
            steps = self.spec.training.attack_steps
            trained = train(
                model,
                self.parts["train"],
                objectives,
                validator(self.parts["validation"], threats, steps, self.spec.seed),
                settings_of(self.spec, rate),
                seed=self.spec.seed,
                device="cpu",
            )
            save_state(trained.state, path, {_PASSES: json.dumps(passes.count)})
            print(f"seed {self.spec.seed}: trained {name}", flush=True)
        self.states[name] = dict(load_ingredient(path))
        self.cost[name] = json.loads(read_metadata(path)[_PASSES])
        return self.states[name]

    def measure(self) -> dict[str, Entry]:
        """Test outcomes of everything, the soup chosen on the selection images."""
        base = self.cost["linf"]
        fine_tuned = {name: base + cost for name, cost in self.cost.items() if name != "linf"}
        with Store(self.folder / "outcomes.sqlite") as store:
            entries = {}
            for name, state in self.states.items():
                outcomes = self._test(store, ModelKey.of([fingerprint(state)], [1.0]), self._soup([state], [1.0]))
                entries[name] = Entry(outcomes, fine_tuned.get(name, base), 1)
            singles = [self.states[name] for name in ("linf", "l2", "l1")]
            marks = [fingerprint(state) for state in singles]
            together = sum(self.cost[name] for name in ("linf", "l2", "l1"))
            candidates, searched = [], 0
            for weights in simplex(len(singles), self.spec.grid_parts):
                found = self._measure(store, ModelKey.of(marks, weights), self._soup(singles, weights), "selection")
                searched += sum(int(each.gradients.sum() + each.forwards.sum()) for each in found.values())
                candidates.append(Candidate(weights, found))
            chosen = choose(candidates, union_over(self.spec.threats))[0].weights
            print(f"seed {self.spec.seed}: soup {dict(zip(('linf', 'l2', 'l1'), chosen, strict=True))}", flush=True)
            outcomes = self._test(store, ModelKey.of(marks, chosen), self._soup(singles, chosen))
            entries["soup"] = Entry(outcomes, together + searched, 1)
            even = [1 / len(singles)] * len(singles)
            outcomes = self._test(store, ModelKey.of(marks, even, "ensemble"), lambda: self._ensemble(singles))
            entries["ensemble"] = Entry(outcomes, together, len(singles))
        return entries

    def _test(self, store: Store, key: ModelKey, build: Callable[[], nn.Module]) -> dict[str, Outcomes]:
        return self._measure(store, key, build, "test")

    def _measure(self, store: Store, key: ModelKey, build: Callable[[], nn.Module], split: str) -> dict[str, Outcomes]:
        suite = self.suite if split == "test" else self.spec.evaluation.suite
        return {
            str(threat): measure(
                store,
                key,
                build,
                self.parts[split],
                threat=threat,
                attack=suite_attack(suite, threat.norm),
                seed=self.spec.seed,
                smoke=False,
            )
            for threat in self.threats
        }

    def _network(self, state: State) -> PixelClassifier:
        return network_for(self.spec, self.parts["train"], state)

    def _soup(self, states: Sequence[State], weights: Sequence[float]) -> Callable[[], nn.Module]:
        return lambda: self._network(mix(states, weights))

    def _ensemble(self, states: Sequence[State]) -> nn.Module:
        return Ensemble(self._network(state) for state in states).eval()


def columns(outcomes: dict[str, Outcomes]) -> list[Column]:
    """What is true of every test image: clean, under each threat, under all."""
    first, *_ = outcomes.values()
    return [clean_column(first), *map(robust_column, outcomes.values()), union_column(*outcomes.values())]


def main() -> None:
    """Train and measure all seeds, and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--suite", default="default", help="attack on the test images")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs = []
    for number in arguments.seeds:
        seed = Seed(number, arguments.out, arguments.suite)
        seed.train()
        runs.append(seed.measure())
    threats = RunSpec().threats
    print(f"\nTest images, suite {arguments.suite}, %: mean over seeds [95 %] (seeds {arguments.seeds})\n")
    heads = ["clean", *threats, "union", "training, M passes", "inference"]
    print(f"| model | {' | '.join(heads)} |\n| --- |{' --- |' * len(heads)}")
    for name in runs[0]:
        print(f"| {name} | {' | '.join(cells([run[name] for run in runs]))} |")
    print(
        "\nUnion: soup minus another, points, paired by image over all seeds\n\n| against | difference |\n| --- | --- |"
    )
    unions = {name: [union_column(*run[name].outcomes.values()) for run in runs] for name in runs[0]}
    for name, other in unions.items():
        if name != "soup":
            print(f"| {name} | {points(mean_difference(unions['soup'], other))} |")


def cells(entries: Sequence[Entry]) -> list[str]:
    """The cells of one line: accuracies over all seeds and of each, and the passes."""
    found = [columns(entry.outcomes) for entry in entries]
    texts = []
    for place in range(len(found[0])):
        each = [column[place] for column in found]
        means: list[Estimate] = [mean_accuracy([column]) for column in each]
        spread = "/".join(f"{100 * mean.value:.1f}" for mean in means)
        texts.append(f"{percent(mean_accuracy(each))} ({spread})")
    passes = sum(entry.training for entry in entries) / len(entries)
    return [*texts, f"{passes / 1e6:.2f}", f"x{entries[0].inference}"]


if __name__ == "__main__":
    main()
