"""`seasoning demo`: the whole job on embedded data."""

from pathlib import Path
from typing import Annotated

import typer

from seasoning.cli.shared import progress


__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of training and of all random starts.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting of recipe.… or plan.…, such as plan.shots=200; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in the folder; not with settings.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try the machinery in seconds; the numbers mean nothing.")
    ] = False,
) -> None:
    """Train robust ingredients on handwritten digits, mix them, choose soups, and write a page about it.

    Run again, it goes on where it was: what is measured is never measured again.
    """
    from seasoning.report.formats import terminal
    from seasoning.report.verdicts import verdict

    given = bool(settings or smoke or seed is not None)
    with progress() as watch:
        import torch

        from seasoning.commands.demo import demo_spec, run_demo

        # Networks as small as these gain nothing from a second thread, and on a busy machine two wait for each other.
        torch.set_num_threads(1)
        spec = None if resume and not given else demo_spec(settings or (), seed=seed, smoke=smoke)
        finished = run_demo(spec, out, watch=watch)
    for table in finished.tables:
        print(terminal(table))
    if finished.result.smoke:
        print("\nSmoke run: it only tried the machinery, the numbers mean nothing.")
    for answer in finished.result.answers[:2]:
        print(
            f"\nIs one soup better for {answer.objective.name!r} than the best of its ingredients?\n{verdict(answer)}"
        )
    print(f"\npage: {finished.page}\nsoup: {finished.soup}")
