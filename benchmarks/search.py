"""How good, and how cheap, are the strategies? All of them on the same stored outcomes of whole grids.

Four ingredients of a finished run of `seasoning demo`, step 0.1: 286 soups, measured once on all images that nothing
was trained on, clean, under five shifts and under three threats. A seed is a training and a set of selection images;
the rest of the images is held out. Strategies are then replayed: what they ask for is answered from the store, and the
passes of exactly those samples are counted. Tuned on the first two trainings; nothing was tuned on the third.

    python -m experiments.digits_seeds --out runs
    python -m benchmarks.search runs/seed0 runs/seed1 runs/seed2

Measuring takes a quarter of an hour for each training on one core; it is kept in `--cache`, and goes on where it was.
"""

import argparse
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from scipy import stats

from seasoning.attacks import suite_attack
from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.load import load_ingredient
from seasoning.data import SHIFTS, apply_shift, load_source, split_samples
from seasoning.evaluation.measure import measure
from seasoning.models import build_model
from seasoning.outcomes import ModelKey, Outcomes
from seasoning.selection import Candidate, SearchObjective, accuracy_on, choose, mean_over, union_over
from seasoning.soup import mix_into
from seasoning.store.database import Store
from seasoning.strategies import STRATEGIES, Proposal, Strategy, Weights, run_strategy, simplex
from seasoning.threat import Threat


INGREDIENTS = ("nominal", "linf", "l2", "l1")
THREATS = ("linf:0.19", "l2:0.7", "l1:2")
SETS = ("clean", *SHIFTS)
SHOTS, SPLITS = 300, 2
# Uniform soups of some of the ingredients are no points of the grid, and greedy and uniform want them.
EXTRA = [
    tuple(float(each in some) / len(some) for each in range(4))
    for some in ((0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3), (0, 1, 2, 3))
]

TASKS: dict[str, list[SearchObjective]] = {
    **{task: [accuracy_on(task)] for task in (*SETS, *THREATS)},
    "union": [union_over(THREATS)],
    "single soup": [mean_over(SETS)],
}
TOGETHER = [mean_over(SETS), *(accuracy_on(task) for task in SETS)]

Known = dict[tuple[Weights, str], Outcomes]


class Seed(NamedTuple):
    """A training, the points of its grid, the ids that choose, in their order, and those that are held out."""

    known: Known
    points: list[Weights]
    order: NDArray[np.int64]
    outside: NDArray[np.int64]


class Score(NamedTuple):
    """What a strategy came to: its passes as a fraction of the grid's, regret on all points, held-out loss."""

    fraction: float
    regret: float
    loss: float


def measured(run: Path, cache: Path, points: Sequence[Weights]) -> Known:
    """Outcomes of all soups of a run's ingredients on all tasks."""
    samples = split_samples(load_source("digits"), {"train": 900, "rest": 897})["rest"]
    tasks = {task: apply_shift(samples, task) if task in SHIFTS else samples for task in (*SETS, *THREATS)}
    marks = {task: each.fingerprint() for task, each in tasks.items()}
    states = [dict(load_ingredient(run / "ingredients" / f"{name}.safetensors")) for name in INGREDIENTS]
    keys = [fingerprint(state) for state in states]
    model = build_model("resnet_small", num_classes=10, in_chans=1)
    known: Known = {}
    with Store(cache) as store:
        for weights in track([*points, *EXTRA], description=f"measuring {run}"):

            def build(weights: Weights = weights) -> torch.nn.Module:
                mix_into(model.network, states, weights)
                return model

            for task, each in tasks.items():
                threat = Threat.parse(task) if task in THREATS else None
                known[weights, task] = measure(
                    store,
                    ModelKey.of(keys, weights),
                    build,
                    each,
                    threat=threat,
                    attack=None if threat is None else suite_attack("default", threat.norm),
                    seed=0,
                    smoke=False,
                    fingerprint=marks[task],
                )
    return known


def seeds(known: Known, points: list[Weights]) -> list[Seed]:
    """Disjoint sets of selection images of one training."""
    ids = next(iter(known.values())).ids
    order = np.array(sorted(ids, key=lambda each: hashlib.sha256(f"selection {each}".encode()).digest()))
    parts = [order[SHOTS * number : SHOTS * (number + 1)] for number in range(SPLITS)]
    return [Seed(known, points, part, np.setdiff1d(ids, part)) for part in parts]


def replay(
    strategy: Callable[..., Strategy], objectives: list[SearchObjective], seed: Seed
) -> tuple[list[Candidate], int]:
    """The soups that a strategy measured on all selection points, and the passes it took."""
    passes: dict[tuple[Weights, str], NDArray[np.bool_]] = {}
    whole: dict[Weights, dict[str, Outcomes]] = {}

    def answer(proposal: Proposal) -> dict[str, Outcomes]:
        ids = seed.order[: proposal.samples]
        answers = {}
        for task in proposal.tasks:
            outcomes = seed.known[proposal.weights, task]
            asked = np.isin(outcomes.ids, ids)
            passes[proposal.weights, task] = passes.get((proposal.weights, task), False) | asked
            answers[task] = outcomes.take(asked)
        if proposal.samples is None:
            whole.setdefault(proposal.weights, {}).update(answers)
        return answers

    run_strategy(strategy(seed.points, objectives, SHOTS), answer)
    spent = sum(
        int((seed.known[key].gradients + seed.known[key].forwards)[asked].sum()) for key, asked in passes.items()
    )
    return [Candidate(weights, outcomes) for weights, outcomes in whole.items()], spent


def judged(seed: Seed, objective: SearchObjective, weights: Weights, picked: Weights) -> tuple[float, float]:
    """Regret on all points, and held-out loss against the grid's pick in standard errors of a selection score."""
    everything = {point: {task: seed.known[point, task] for task in objective.tasks} for point in seed.points}
    chosen = {task: seed.known[weights, task] for task in objective.tasks}
    regret = max(map(objective.score, everything.values())) - objective.score(chosen)

    def outside(point: Weights) -> float:
        rows = {task: seed.known[point, task] for task in objective.tasks}
        return objective.score({task: each.take(np.isin(each.ids, seed.outside)) for task, each in rows.items()})

    best = outside(picked)
    return regret, (best - outside(weights)) / np.sqrt(best * (1 - best) / SHOTS)


def table(
    all_seeds: Sequence[Seed], strategies: Mapping[str, Callable[..., Strategy]]
) -> dict[str, dict[str, list[Score]]]:
    """Scores of every strategy on every task, one for each seed."""
    found: dict[str, dict[str, list[Score]]] = {}
    for task, objectives in TASKS.items():
        for seed in all_seeds:
            soups, most = replay(STRATEGIES["grid"], objectives, seed)
            picked = choose(soups, objectives[0])[0].weights
            for name, strategy in strategies.items():
                soups, spent = replay(strategy, objectives, seed)
                regret, loss = judged(seed, objectives[0], choose(soups, objectives[0])[0].weights, picked)
                found.setdefault(name, {}).setdefault(task, []).append(Score(spent / most, regret, loss))
    return found


def upper(values: Sequence[float]) -> float:
    """Upper end of the 95 % interval of a mean, by Student's t."""
    return float(np.mean(values) + stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def print_table(found: dict[str, dict[str, list[Score]]], count: int) -> None:
    """A line for each strategy, then the default's and the cautious one's tasks one by one."""
    print(f"\nOver {len(TASKS)} tasks and {count} seeds; loss: held-out score of the grid's pick minus the strategy's")
    print(
        "\n| strategy | passes, fraction of the grid's: mean, worst task | regret on all points, points | loss, "
        "standard errors: mean, upper 95 % bound |\n| --- | --- | --- | --- |"
    )
    for name, tasks in found.items():
        fractions = [float(np.mean([score.fraction for score in scores])) for scores in tasks.values()]
        losses = [float(np.mean([scores[seed].loss for scores in tasks.values()])) for seed in range(count)]
        regret = 100 * np.mean([score.regret for scores in tasks.values() for score in scores])
        passes = f"{np.mean(fractions):.3f}, {max(fractions):.3f}"
        print(f"| {name} | {passes} | {regret:.2f} | {np.mean(losses):+.2f}, {upper(losses):+.2f} |")
    for name in ("climb", "race"):
        print(f"\n`{name}`, task by task\n\n| task | passes | regret, points | loss: mean, range over seeds |")
        print("| --- | --- | --- | --- |")
        for task, scores in found[name].items():
            losses = [score.loss for score in scores]
            fraction = np.mean([score.fraction for score in scores])
            regret = np.mean([score.regret for score in scores])
            spread = f"{np.mean(losses):+.2f}, {min(losses):+.2f} to {max(losses):+.2f}"
            print(f"| {task} | {fraction:.3f} | {100 * regret:.2f} | {spread} |")


def print_together(all_seeds: Sequence[Seed]) -> None:
    """The single soup and every set's own, searched together by the default strategy."""
    fractions, losses = [], []
    for seed in all_seeds:
        everything, most = replay(STRATEGIES["grid"], TOGETHER, seed)
        soups, spent = replay(STRATEGIES["climb"], TOGETHER, seed)
        fractions.append(spent / most)
        for objective in TOGETHER:
            have = [soup for soup in soups if set(objective.tasks) <= set(soup.outcomes)]
            picked, chosen = (choose(each, objective)[0].weights for each in (everything, have))
            losses.append(judged(seed, objective, chosen, picked)[1])
    print(
        f"\nSingle soup and the {len(SETS)} sets' own together, `climb`: {np.mean(fractions):.3f} of the grid's passes "
        f"(worst seed {max(fractions):.3f}), mean loss {np.mean(losses):+.2f} standard errors"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs of `seasoning demo`")
    parser.add_argument("--cache", type=Path, default=Path("runs/benchmarks"), help="folder that keeps the outcomes")
    parser.add_argument("--parts", type=int, default=10, help="weights are multiples of one over it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    points = simplex(len(INGREDIENTS), arguments.parts)
    every = [
        seed
        for run in arguments.runs
        for seed in seeds(measured(run, arguments.cache / f"search-{run.name}.sqlite", points), points)
    ]
    print_table(table(every, STRATEGIES), len(every))
    print_together(every)


if __name__ == "__main__":
    main()
