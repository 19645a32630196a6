"""Tables as text: Markdown, LaTeX (booktabs), CSV and the terminal."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from textwrap import fill

from seasoning.report.tables import Grid, Row, Table
from seasoning.statistics import Estimate


__all__ = ["FORMATS", "comma_separated", "latex", "markdown", "terminal"]

_ABSENT = "–"
_WIDTH = 100
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def markdown(table: Table | Grid) -> str:
    """A Markdown table under its title; intervals in brackets, the best in bold."""
    columns, rows = _texts(
        table,
        lambda value, interval, best: f"{f'**{value}**' if best else value}{interval}",
        escape=lambda text: text.replace("|", "\\|"),
    )
    lines = [f"**{table.title}.** {table.note}", "", _bar(columns), _bar(["---", *["---:"] * (len(columns) - 1)])]
    for group, texts in rows:
        if group is not None:
            lines.append(_bar([f"*{group}*", *[""] * (len(columns) - 1)]))
        lines.append(_bar(texts))
    return "\n".join(lines) + "\n"


def latex(table: Table | Grid) -> str:
    """A LaTeX table that needs the package booktabs."""

    def cell(value: str, interval: str, best: bool) -> str:
        small = f" {{\\scriptsize {interval.strip()}}}" if interval else ""
        return (f"\\textbf{{{value}}}" if best else value) + small

    columns, rows = _texts(table, cell, escape=_escaped)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_escaped(table.title)}. {_escaped(table.note)}}}",
        f"\\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
        "\\toprule",
        " & ".join(columns) + " \\\\",
        "\\midrule",
    ]
    for group, texts in rows:
        if group is not None:
            lines.append(f"\\multicolumn{{{len(columns)}}}{{l}}{{\\textit{{{group}}}}} \\\\")
        lines.append(" & ".join(texts) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}"]) + "\n"


def comma_separated(table: Table | Grid) -> str:
    """Numbers for programs: one line for each cell of a table of fractions in [0, 1], or the grid itself."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if isinstance(table, Grid):
        writer.writerow(table.columns)
        writer.writerows([[_plain(each) for each in row] for row in table.rows])
        return buffer.getvalue()
    writer.writerow(["group", "model", "passes", "column", "value", "low", "high", "n", "one_model", "best"])
    for row in table.rows:
        for index, (column, cell) in enumerate(zip(table.columns, row.cells, strict=True)):
            if cell is not None:
                ends = [_number(cell.low), _number(cell.high)] if cell.n else ["", ""]
                one = int(row.one_model or column != "mean")
                best = int(index in row.best)
                writer.writerow(
                    [row.group, row.name, row.passes, column, _number(cell.value), *ends, cell.n or "", one, best]
                )
    return buffer.getvalue()


def terminal(table: Table | Grid) -> str:
    """Aligned text; under each number its interval, a star where it is shown best."""
    if isinstance(table, Grid):
        return "\n".join([table.title, *_aligned([table.columns, *table.rows]), fill(table.note, _WIDTH)]) + "\n"
    lines: list[list[str]] = [["model", "# FP", *table.columns]]
    for group, row in _grouped(table.rows):
        if group is not None:
            lines.append([group])
        first, second = [row.name, f"x{row.passes}"], ["", ""]
        for index, (column, cell) in enumerate(zip(table.columns, row.cells, strict=True)):
            value = _value(row, column, cell)
            first.append(f"*{value}" if index in row.best else value)
            second.append("" if cell is None or not cell.n else f"{100 * cell.low:.0f}-{100 * cell.high:.0f}")
        lines += [first, second] if any(second) else [first]
    note = table.note.replace("Bold:", "Star:")
    return "\n".join([table.title, *_aligned(lines), fill(note, _WIDTH)]) + "\n"


FORMATS: dict[str, tuple[str, Callable[[Table | Grid], str]]] = {
    "markdown": ("md", markdown),
    "latex": ("tex", latex),
    "csv": ("csv", comma_separated),
    "terminal": ("txt", terminal),
}


def _texts(
    table: Table | Grid,
    cell: Callable[[str, str, bool], str],
    escape: Callable[[str], str] = lambda text: text,
) -> tuple[list[str], list[tuple[str | None, list[str]]]]:
    """Headings, and for each row its heading, where a group starts, and its texts."""
    if isinstance(table, Grid):
        return list(map(escape, table.columns)), [(None, list(map(escape, row))) for row in table.rows]
    rows: list[tuple[str | None, list[str]]] = []
    for group, row in _grouped(table.rows):
        texts = [escape(row.name), escape(f"×{row.passes}")]
        for index, (column, each) in enumerate(zip(table.columns, row.cells, strict=True)):
            interval = "" if each is None or not each.n else f" [{100 * each.low:.1f}, {100 * each.high:.1f}]"
            texts.append(cell(escape(_value(row, column, each)), interval, index in row.best))
        rows.append((None if group is None else escape(group), texts))
    return [escape(heading) for heading in ("model", "# FP", *table.columns)], rows


def _grouped(rows: Sequence[Row]) -> list[tuple[str | None, Row]]:
    """Rows, each with the heading that stands above it where a group starts."""
    before = [None, *[row.group for row in rows]]
    return [
        (row.group if row.group and row.group != above else None, row) for above, row in zip(before, rows, strict=False)
    ]


def _value(row: Row, column: str, cell: Estimate | None) -> str:
    if cell is None:
        return _ABSENT
    text = f"{100 * cell.value:.1f}" if cell.n else f"{100 * cell.value:.2f}"
    return text if row.one_model or column != "mean" else f"({text})"


def _number(fraction: float) -> str:
    return f"{fraction:.10g}"


def _plain(text: str) -> str:
    """A count without the commas between its digits; other words as they are."""
    return text.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+", text) else text


def _bar(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    text = "".join(_SPECIAL.get(sign, f"\\{sign}" if sign in "#$%&_{}" else sign) for sign in text)
    return text.replace("×", "$\\times$").replace("–", "--")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    full = [row for row in rows if len(row) > 1]
    widths = [max(len(row[index]) for row in full) for index in range(len(full[0]))]
    return [
        "  ".join(
            text.ljust(width) if index == 0 else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        if len(row) > 1
        else row[0]
        for row in rows
    ]
