"""The numbers that the paper published, beside those of a run.

Source: Croce et al. 2023, *Seasoning model soups*, Tables 2-4 (accuracy in %; no intervals were published). Table 2's
mean of SAT is the one of the table; the text around it says 51.75, which its columns do not give.
"""

import csv
from importlib import resources

from seasoning.report.results import CLEAN, Results
from seasoning.report.tables import Row, Table, shifts_table
from seasoning.statistics import Estimate


__all__ = ["COLUMNS", "published_tables"]

COLUMNS = ("IN", "IN-ReaL", "IN-V2", "IN-A", "IN-R", "IN-Sketch", "Conflict", "IN-C")
# What a run may call the paper's columns, in small letters without signs.
_ALIASES = {
    "IN": ("in", "imagenet"),
    "IN-ReaL": ("inreal", "imagenetreal", "real"),
    "IN-V2": ("inv2", "imagenetv2", "v2"),
    "IN-A": ("ina", "imageneta"),
    "IN-R": ("inr", "imagenetr"),
    "IN-Sketch": ("insketch", "imagenetsketch", "sketch"),
    "Conflict": ("conflict", "conflictstimuli", "cueconflict"),
    "IN-C": ("inc", "imagenetc"),
}
_TITLES = {"2": "Published: additional baselines", "3": "Published: top soups", "4": "Published: radii"}


def published_tables(results: Results) -> list[Table]:
    """Tables 2 to 4 as published, followed by the run's rows where a column of the run is one of the paper's.

    Cells of published numbers have no interval (`n` is 0).
    """
    own = _own_rows(results)
    tables = []
    for number, title in _TITLES.items():
        note = "Accuracy in %, on the whole data sets, as published (Croce et al. 2023, Table " + number + ")."
        if own:
            note += " Below: this run, with intervals, where it has the column."
        else:
            note += " This run has none of these columns."
        tables.append(Table(title, note, [*COLUMNS, "mean"], [*_rows(number), *own], f"published-{number}"))
    return tables


def _rows(number: str) -> list[Row]:
    text = resources.files("seasoning.report").joinpath("published.csv").read_text(encoding="utf-8")
    return [
        Row(
            line["model"],
            1,
            [_as_published(line[column]) for column in (*COLUMNS, "mean")],
            one_model=line["one_model"] == "1",
            group=line["group"],
        )
        for line in csv.DictReader(text.splitlines())
        if line["table"] == number
    ]


def _as_published(text: str) -> Estimate:
    value = float(text) / 100
    return Estimate(value, value, value, 0)


def _own_rows(results: Results) -> list[Row]:
    table = shifts_table(results)
    indices = {}
    for index, label in enumerate(table.columns[:-1]):
        name = results.source if label == CLEAN else label
        plain = "".join(filter(str.isalnum, name.lower()))
        for column, names in _ALIASES.items():
            if plain in names:
                indices[column] = index
    if not indices:
        return []
    whole = len(indices) == len(COLUMNS) == len(table.columns) - 1
    return [
        row._replace(
            cells=[
                *(row.cells[indices[column]] if column in indices else None for column in COLUMNS),
                row.cells[-1] if whole else None,
            ],
            best=(),
            group=f"This run ({results.source})",
        )
        for row in table.rows
    ]
