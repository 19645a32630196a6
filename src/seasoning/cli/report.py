"""`seasoning report`: the page of a run, from its store."""

from pathlib import Path
from typing import Annotated

import typer


__all__ = ["report"]


def report(folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Write the page of a run again, from what its store knows."""
    from seasoning.experiment import rewrite_report

    print(rewrite_report(folder))
