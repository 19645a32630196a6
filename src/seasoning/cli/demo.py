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
        typer.Option("--set", help="Setting as key=value, such as training.base_epochs=1; repeatable."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Without settings: go on with the run in the folder.")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try the machinery in seconds; the numbers mean nothing.")
    ] = False,
) -> None:
    """Train robust ingredients on handwritten digits, mix them, choose soups, and write a page about it.

    Run again, it goes on where it was: what is measured is never measured again.
    """
    from seasoning.config.base import RunSpec, resolve
    from seasoning.report.formats import terminal

    given = [*(settings or []), *([f"seed={seed}"] if seed is not None else [])]
    spec = resolve(given, RunSpec().shrunk() if smoke else RunSpec())
    asked = None if resume and not given and not smoke else spec
    with progress() as watch:
        import torch

        from seasoning.commands import demo as experiment

        # Networks as small as these gain nothing from a second thread, and on a busy machine two wait for each other.
        torch.set_num_threads(1)
        finished = experiment.run(asked, out, watch=watch)
    for table in finished.tables:
        print(terminal(table))
    if finished.smoke:
        print("\nSmoke run: it only tried the machinery, the numbers mean nothing.")
    print("\nIs the soup more robust to all threats at once than any of its ingredients?")
    print(*finished.answers, sep="\n", end="\n\n")
    print(f"page: {finished.page}\nsoup: {finished.soup}")
