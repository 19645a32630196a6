"""What `seasoning demo` finds over several trainings: a table of finished runs, side by side.

Each run trains its ingredients anew, so the spread between runs is that of the training, which the intervals of one
page do not hold. Two minutes a run on two cores:

    for seed in 0 1 2; do seasoning demo --seed $seed --out runs/seed$seed; done
    python benchmarks/digits_seeds.py runs/seed0 runs/seed1 runs/seed2
"""

import sys
from contextlib import ExitStack
from pathlib import Path

from seasoning.report import Results, comparisons, shift_verdict, shifts_table, threats_table, union_soup, verdict
from seasoning.report.tables import Table, percent, points, spoken_weights
from seasoning.store.database import Store


def main(folders: list[str]) -> None:
    """Print the tables and answers of the runs."""
    with ExitStack() as stack:
        runs = [Results(stack.enter_context(Store(Path(folder) / "outcomes.sqlite"))) for folder in folders]
        seeds = "/".join(str(run.seed) for run in runs)
        for make in (threats_table, shifts_table):
            print_table([make(run) for run in runs], seeds)
        print_differences(runs, confirming=False)
        print_differences(runs, confirming=True)
        print()
        for run in runs:
            soup = union_soup(run)
            print(
                f"- Seed {run.seed}: {spoken_weights(run, soup.weights)}, {percent(soup.score)} on the selection split."
            )
            print(f"  {verdict(run)} {shift_verdict(run)}")


def print_differences(runs: list[Results], *, confirming: bool) -> None:
    """The union soup against every other model, one column for each run."""
    attacks = "under the default and a stronger attack" if confirming else "under the default attack"
    print(f"\nUnion soup minus another model: union accuracy {attacks}, points, paired, test split\n")
    print(f"| against | {' | '.join(f'seed {run.seed}' for run in runs)} |\n| --- |{' --- |' * len(runs)}")
    differences = [{each.name: each.difference for each in comparisons(run, confirming=confirming)} for run in runs]
    for name in differences[0]:
        print(f"| {name} | {' | '.join(points(each[name]) if name in each else '-' for each in differences)} |")


def print_table(tables: list[Table], seeds: str) -> None:
    """One cell for each model and column, with the values of all runs."""
    first = tables[0]
    print(f"\n{first.title}, test split, % (seeds {seeds})\n")
    print(f"| model | # FP | {' | '.join(first.columns)} |\n| --- | --- |{' --- |' * len(first.columns)}")
    for place, row in enumerate(first.rows):
        values = [[table.rows[place].cells[column] for table in tables] for column in range(len(first.columns))]
        cells = ["/".join("-" if cell is None else f"{100 * cell.value:.1f}" for cell in each) for each in values]
        print(f"| {row.name} | x{row.passes} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
