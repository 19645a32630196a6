"""`seasoning report`: the page, tables and figures of a run, from its store."""

from pathlib import Path
from typing import Annotated

import typer


__all__ = ["report"]


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; by default the folder of the run.")] = None,
    formats: Annotated[
        str | None,
        typer.Option("--format", help="Also write tables: markdown, latex, csv, terminal, with commas between."),
    ] = None,
    figures: Annotated[str | None, typer.Option(help="Also write figures: png, svg, pdf, with commas between.")] = None,
    published: Annotated[bool, typer.Option("--published", help="The paper's Tables 2-4 beside the run's.")] = False,
    beside: Annotated[
        list[Path] | None, typer.Option("--beside", help="Another run for a table of several; repeatable.")
    ] = None,
) -> None:
    """Write the page of a run from what its store knows; tables and figures where asked."""
    from seasoning.report.write import write_report
    from seasoning.store.run_folder import STORE

    asked = [name for name in (formats or "").split(",") if name]
    written, printed = write_report(
        folder / STORE,
        folder if out is None else out,
        formats=asked,
        figures=[name for name in (figures or "").split(",") if name],
        published=published,
        beside=[folder / STORE for folder in beside or []],
    )
    if "terminal" in asked:
        print(printed)
    for path in written:
        print(path)
