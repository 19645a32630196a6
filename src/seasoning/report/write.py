"""The files of a report: the page, tables and figures, each written completely or not at all."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from seasoning.atomic import replacing
from seasoning.errors import BadInput, UnknownName
from seasoning.report.costs import cost_tables
from seasoning.report.explorer import board
from seasoning.report.figures import drawings
from seasoning.report.formats import FORMATS
from seasoning.report.page import write_page
from seasoning.report.published import published_tables
from seasoning.report.results import Results
from seasoning.report.style import FIGURE_FORMATS, save
from seasoning.report.tables import Grid, Table, shifts_table, side_by_side, threats_table, top_table
from seasoning.report.verdicts import answer_tables, front_table
from seasoning.store.database import Store


__all__ = ["soups_table", "tables_of", "write_report"]


def write_report(
    store: Path,
    out: Path,
    *,
    formats: Sequence[str] = (),
    figures: Sequence[str] = (),
    published: bool = False,
    beside: Sequence[Path] = (),
) -> tuple[list[Path], str]:
    """Write the page of a run, and its tables and figures in the formats asked for.

    Args:
        store: The run's store.
        out: The folder; tables go to `tables/` in it, figures and their points to `figures/`.
        formats: Keys of `FORMATS`.
        figures: Of `FIGURE_FORMATS`.
        published: Whether the paper's Tables 2-4 stand beside the run's.
        beside: Stores of other runs, for one table of several.

    Returns:
        The files written, and the tables as text for a terminal.

    Raises:
        UnknownName: a format that is none.
        BadInput: there is no run, or nothing of it to report yet.
    """
    for kind, asked, known in (("format of tables", formats, FORMATS), ("format of figures", figures, FIGURE_FORMATS)):
        for name in asked:
            if name not in known:
                raise UnknownName(kind, name, known)
    for path in (store, *beside):
        if not path.exists():
            raise BadInput(f"no run in {path.parent}: give the folder of one, such as runs/demo")
    with ExitStack() as opened:
        results, *others = (Results(opened.enter_context(Store(path))) for path in (store, *beside))
        written = [write_page(results, out / "report.html", published=published, folder=store.parent)]
        tables = tables_of(results, published=published)
        if others:
            names = _names([path.parent for path in (store, *beside)])
            tables.append(side_by_side(list(zip(names, (results, *others), strict=True))))
        for form in formats:
            suffix, write = FORMATS[form]
            if form != "terminal":
                written += [_write(out / "tables" / f"{table.name}.{suffix}", write(table)) for table in tables]
        if "csv" in formats:
            soups = soups_table(results)
            written.append(_write(out / "tables" / f"{soups.name}.csv", FORMATS["csv"][1](soups)))
        if figures:
            written += [path for drawing in drawings(results) for path in save(drawing, out / "figures", figures)]
        return written, "\n".join(FORMATS["terminal"][1](table) for table in tables)


def tables_of(results: Results, *, published: bool) -> list[Table | Grid]:
    """Every table that the run has numbers for."""
    front = front_table(results)
    tables: list[Table | Grid] = [*answer_tables(results).values(), *([front] if front else [])]
    known = [threats_table(results)] if results.threats else []
    known += [shifts_table(results)] if results.shifts or not results.threats else []
    tables += [table for table in (*known, top_table(results)) if table.rows]
    return [*tables, *cost_tables(results), *(published_tables(results) if published else [])]


def soups_table(results: Results) -> Grid:
    """Every soup: its weights, and how many of the selection images it has right in every column."""
    known = board(results)
    heads = [f"{column.name} (of {column.images})" for column in known.columns]
    rows = [
        [*(f"{weight:.12g}" for weight in weights), *("" if count < 0 else str(count) for count in counts)]
        for weights, counts in zip(known.weights, known.right, strict=True)
    ]
    return Grid("All soups", "Right images of the selection split.", [*known.ingredients, *heads], rows, "soups")


def _names(folders: Sequence[Path]) -> list[str]:
    """What to call runs: by their folders' names, where these differ, else by the whole paths."""
    names = [folder.name for folder in folders]
    return names if len(set(names)) == len(names) else list(map(str, folders))


def _write(path: Path, text: str) -> Path:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
