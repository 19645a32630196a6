"""What `seasoning demo` finds over several trainings: a table of finished runs, side by side.

Each run trains its ingredients anew, so the spread between runs is that of the training, which the intervals of one
page do not hold. Two minutes a run on two cores; what is there already is not done again:

    python -m experiments.digits_seeds --out runs
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from seasoning.commands.demo import Finished, demo_spec, run_demo
from seasoning.report import Difference, Results, Table, percent, points, union_differences, verdict
from seasoning.store import STORE, Store


class Run(NamedTuple):
    """A finished demo, and its union soup against every other model: under the default attack, and a stronger one."""

    seed: int
    demo: Finished
    default: list[Difference]
    confirmed: list[Difference]


def main() -> None:
    """Run the demo with every seed, and print tables and answers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("runs"), help="the runs go into seed0, seed1 … in this folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--smoke", action="store_true", help="so few images and steps that the numbers mean nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    runs = [finished(seed, given.out / f"seed{seed}", given.smoke) for seed in given.seeds]
    seeds = "/".join(str(seed) for seed in given.seeds)
    for index in range(len(runs[0].demo.tables)):
        print_table([run.demo.tables[index] for run in runs], seeds)
    print_differences("the default attack", given.seeds, [run.default for run in runs])
    print_differences("the default and a stronger attack", given.seeds, [run.confirmed for run in runs])
    print()
    for run in runs:
        for answer in run.demo.result.answers[:2]:
            best = answer.chosen[0]
            score = percent(best.judged.selection)
            print(f"- Seed {run.seed}, {answer.objective.name}: {best.name}, {score} on the images that chose.")
            print(f"  {verdict(answer)}")


def finished(seed: int, folder: Path, smoke: bool) -> Run:
    """The demo with a seed."""
    demo = run_demo(demo_spec(seed=seed, smoke=smoke), folder, watch=lambda doing, done, total: None)
    with Store(folder / STORE) as store:
        results = Results(store)
        return Run(seed, demo, union_differences(results), union_differences(results, confirming=True))


def print_differences(attack: str, seeds: Sequence[int], runs: Sequence[list[Difference]]) -> None:
    """The union soup against every other model, one column for each run."""
    print(f"\nUnion soup minus another model: union accuracy under {attack}, points, paired, held-out images\n")
    print(f"| against | {' | '.join(f'seed {seed}' for seed in seeds)} |\n| --- |{' --- |' * len(seeds)}")
    differences = [{each.name: points(each.estimate) for each in run} for run in runs]
    for name in dict.fromkeys(name for run in differences for name in run):
        print(f"| {name} | {' | '.join(run.get(name, '-') for run in differences)} |")


def print_table(tables: Sequence[Table], seeds: str) -> None:
    """One cell for each model and column, with the values of all runs."""
    first = tables[0]
    print(f"\n{first.title}, held-out images, % (seeds {seeds})\n")
    print(f"| model | # FP | {' | '.join(first.columns)} |\n| --- | --- |{' --- |' * len(first.columns)}")
    for index, row in enumerate(first.rows):
        values = [[table.rows[index].cells[column] for table in tables] for column in range(len(first.columns))]
        cells = ["/".join("-" if cell is None else f"{100 * cell.value:.1f}" for cell in each) for each in values]
        print(f"| {row.name} | x{row.passes} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
