"""The paper's search of four ingredients over eight data sets at three sets of radii, beside each other: its Table 4.

The plans are `recipes/imagenet/plan-eps.toml`, `plan-half.toml` and `plan-quarter.toml`; images and ingredients are
looked for where the command is given, as the plans say. A search that was cut off goes on, and each folder gets a page,
Table 3 (`tables/top-soups.md`) and Figure 11 (`figures/composition.png`):

    python -m experiments.imagenet_radii --out runs/radii
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from seasoning.commands.search import run_plan
from seasoning.config import plan_files, read_plan
from seasoning.report import write_report
from seasoning.store import STORE


RADII = ("eps", "half", "quarter")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the three searches, and print their table and the published one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("runs/radii"))
    parser.add_argument("--set", dest="settings", action="append", default=[], help="a setting of all plans, key=value")
    given = parser.parse_args(arguments)
    plans = {name: read_plan(plan_files()[f"imagenet/plan-{name}"], settings=given.settings) for name in RADII}
    for name, plan in plans.items():
        run_plan(plan, given.out / name, say=lambda note: print(note, flush=True))
    stores = [given.out / name / STORE for name in RADII]
    for store in stores:
        folder = store.parent
        write_report(
            store,
            folder,
            formats=("markdown", "latex", "csv"),
            figures=("png", "svg"),
            published=True,
            beside=[other for other in stores if other != store] if store == stores[0] else (),
        )
    tables = given.out / RADII[0] / "tables"
    for table in ("side-by-side", "published-4"):
        print((tables / f"{table}.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
