"""Tables: the same numbers for the terminal, the page and a paper, each with its interval."""

from collections.abc import Sequence
from typing import NamedTuple

from seasoning import statistics
from seasoning.report.contenders import (
    SINGLE_SOUP,
    TOP,
    Contender,
    chosen_soups,
    contenders,
    key_of,
    known_choices,
    single_soup,
    tied_ranks,
    top_specific,
)
from seasoning.report.results import UNION, Results
from seasoning.selection import Entry, accuracy_on, shown_best
from seasoning.selection.answers import weights_in_words
from seasoning.statistics import Estimate


__all__ = [
    "Grid",
    "Row",
    "Table",
    "in_words",
    "percent",
    "points",
    "shifts_table",
    "side_by_side",
    "spoken_weights",
    "threats_table",
    "top_table",
]

_SPECIFIC = "shift-specific soups"
_PARTED = "shift-specific soups, each part its own"
_RANKS = ("Best soups of the search", "Second best soups", "Third best soups")
_BOLD = "Bold: better than every other row of its column (paired tests over the same images, Holm-corrected, 5 %)."


class Row(NamedTuple):
    """One model: its name, forward passes at inference, a number for each column.

    Args:
        name: What the row is called.
        passes: Forward passes at inference.
        cells: A number for each column; `None` where it is not measured.
        one_model: Whether one model has all the numbers; otherwise its mean goes in parentheses, as in the paper.
        best: Indices of the columns in which a paired test on held-out images shows it best.
        group: The heading above the row; rows of one group follow each other.
    """

    name: str
    passes: int
    cells: list[Estimate | None]
    one_model: bool = True
    best: tuple[int, ...] = ()
    group: str = ""


class Table(NamedTuple):
    """Numbers with intervals; `note` says what they are and on which split, `name` is a word for files."""

    title: str
    note: str
    columns: list[str]
    rows: list[Row]
    name: str


class Grid(NamedTuple):
    """A table of words and counts; the first column names the row."""

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]
    name: str


def percent(estimate: Estimate) -> str:
    """Value and interval in percent, such as `"31.5 [27.1, 36.2]"`."""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def points(difference: Estimate) -> str:
    """A difference and its 95 % interval in points, such as `"+10.6 [+7.1, +14.0]"`."""
    value, low, high = (100 * value for value in difference[:3])
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def in_words(numbers: Sequence[int]) -> str:
    """At least two numbers, such as `"1, 2 and 3"`."""
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def spoken_weights(results: Results, weights: Sequence[float]) -> str:
    """Weights with the ingredients of a run, such as `"0.5 linf + 0.5 l1"`."""
    return weights_in_words(weights, results.names)


def threats_table(results: Results) -> Table:
    """Accuracy of every contender on held-out images: clean, under each threat, and under all of them at once."""
    models = contenders(results.record, known_choices(results))
    keys = [key_of(results, model) for model in models]
    before = () if results.before_attack is None else (results.before_attack,)
    columns: dict[str, list[Entry | None]] = {
        label: [results.entry(key, (label,)) for key in keys] for label in (*before, *results.threats)
    }
    if results.union is not None:
        columns[UNION] = [results.union_entry(key) for key in keys]
    columns |= {label: [results.entry(key, (label,)) for key in keys] for label in results.elsewhere}
    rows = _rows(models, list(columns.values()))
    images = max((cell.n for row in rows for cell in row.cells if cell is not None), default=0)
    note = (
        f"Accuracy in %, {images} held-out images, 95 % intervals (Agresti-Coull). # FP: forward passes at inference. "
        f"{_BOLD}"
    )
    return Table("Threats", note, list(columns), rows, "threats")


def shifts_table(results: Results) -> Table:
    """Accuracy of every contender without attack on held-out images, their mean, and the shift-specific soups."""
    labels = results.clean
    models = contenders(results.record, known_choices(results))
    keys = [key_of(results, model) for model in models]
    columns = [[results.entry(key, (label,)) for key in keys] for label in labels]
    columns.append([results.entry(key, labels) for key in keys])
    specific = {label: choices[0] for label, choices in top_specific(results).items() if choices}
    if len(specific) < len(labels):
        rows = _rows(models, columns)
    else:
        own = [results.entry(results.soup(specific[label].weights), (label,)) for label in labels]
        for column, entry in zip(columns, [*own, None], strict=True):
            column.append(entry)
        rows = _rows([*models, Contender(_SPECIFIC, models[0].weights, False, False)], columns)
        if rows and rows[-1].name == _SPECIFIC:
            rows[-1] = _several(results, rows[-1], own)
    return Table("Shifts", _shifts_note(results), [*labels, "mean"], rows, "shifts")


def top_table(results: Results) -> Table:
    """The best, second and third best soups of the search, single and shift-specific, in the form of Table 3."""
    rows: list[Row] = []
    for rank, heading in enumerate(_RANKS[:TOP]):
        rows += _chosen_rows(results, rank, heading)
    note = _shifts_note(results).removesuffix(_BOLD)
    note += f"Ranks are those of the {results.sizes['selection']} selection images."
    singles = [choice for rank in range(TOP) if (choice := single_soup(results, rank)) is not None]
    tied = {
        name: tied_ranks([choice.score.value for choice in choices])
        for name, choices in {"mean": singles, **top_specific(results)}.items()
    }
    sharing = [
        f"{name} ({' and '.join(in_words(ranks) for ranks in groups)})" for name, groups in tied.items() if groups
    ]
    if sharing:
        note += f" Ranks that share a score there, the most even mix first: {'; '.join(sharing)}."
    return Table("Top soups", note, [*results.clean, "mean"], rows, "top-soups")


def side_by_side(runs: Sequence[tuple[str, Results]]) -> Table:
    """The best single and shift-specific soups of several runs, a group for each, in the form of Table 4."""
    columns = list(dict.fromkeys(label for _, results in runs for label in results.clean))
    rows = []
    for name, results in runs:
        for row in _chosen_rows(results, 0, f"{name}: {', '.join(results.threats) or 'no threats'}"):
            known = dict(zip(results.clean, row.cells, strict=False))
            mean = row.cells[-1] if set(results.clean) == set(columns) else None
            rows.append(row._replace(cells=[*[known.get(label) for label in columns], mean], best=()))
    note = "Accuracy in %, held-out images of each run, 95 % intervals; runs are not paired, so nothing is bold."
    return Table("Runs side by side", note, [*columns, "mean"], rows, "side-by-side")


def _chosen_rows(results: Results, rank: int, group: str) -> list[Row]:
    """The single soup of a rank on the selection images, and the shift-specific ones."""
    labels, single = results.clean, single_soup(results, rank)
    specific = [choices[rank:] for choices in top_specific(results).values()]
    rows = []
    if single is not None:
        key = results.soup(single.weights)
        entries = [*(results.entry(key, (label,)) for label in labels), results.entry(key, labels)]
        rows.append(Row(SINGLE_SOUP, 1, [_estimate(entry) for entry in entries], group=group))
    if all(specific):
        own = [
            results.entry(results.soup(choices[0].weights), (label,))
            for choices, label in zip(specific, labels, strict=True)
        ]
        cells = [*map(_estimate, own), None]
        rows.append(_several(results, Row(_SPECIFIC, 1, cells, group=group), own))
        several = [len(results.columns[label]) > 1 for label in labels]
        parted = [
            _own_parts(results, label, rank) if parts else entry
            for label, entry, parts in zip(labels, own, several, strict=True)
        ]
        if any(several) and all(entry is not None for entry in parted):
            cells = [*map(_estimate, parted), None]
            rows.append(_several(results, Row(_PARTED, 1, cells, group=group), parted))
    return [row for row in rows if any(cell is not None for cell in row.cells)]


def _own_parts(results: Results, label: str, rank: int) -> Entry | None:
    """The mean over the parts of a column, each by the soup of a rank of its own; `None` where one is not measured."""
    entries = []
    for task in results.columns[label]:
        choices = chosen_soups(results, accuracy_on(task))[rank:]
        entry = results.task_entry(results.soup(choices[0].weights), task) if choices else None
        if entry is None:
            return None
        entries.append(entry)
    columns = tuple(column for entry in entries for column in entry.columns)
    return Entry(entries[0].model, columns, (1 / len(columns),) * len(columns))


def _several(results: Results, row: Row, own: Sequence[Entry | None]) -> Row:
    """The row with the mean over its own model on each column."""
    known = [entry for entry in own if entry is not None]
    mean = None
    if len(known) == len(own):
        columns = [column for entry in known for column in entry.columns]
        mean = statistics.mean_accuracy(columns, [weight / len(own) for entry in known for weight in entry.weights])
    return row._replace(cells=[*row.cells[:-1], mean], one_model=False)


def _rows(models: Sequence[Contender], columns: Sequence[Sequence[Entry | None]]) -> list[Row]:
    """A row for each model that is measured at all."""
    there = [any(column[index] is not None for column in columns) for index in range(len(models))]
    models = [model for model, known in zip(models, there, strict=True) if known]
    columns = [[cell for cell, known in zip(column, there, strict=True) if known] for column in columns]
    best = [set(shown_best(column)) for column in columns]
    return [
        Row(
            model.name,
            model.passes,
            [_estimate(column[index]) for column in columns],
            best=tuple(number for number, indices in enumerate(best) if index in indices),
        )
        for index, model in enumerate(models)
    ]


def _estimate(entry: Entry | None) -> Estimate | None:
    return None if entry is None else entry.estimate


def _shifts_note(results: Results) -> str:
    return (
        f"Accuracy in %, {results.sizes['test']} held-out images of the main data set, 95 % intervals "
        "(Agresti-Coull; of means over base images). # FP: forward passes at inference. The mean is that of the "
        f"columns, in parentheses where it is not one model. {_BOLD}"
    )
