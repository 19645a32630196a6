"""Tables: the same numbers for the terminal, the page and a paper, each with its interval."""

from collections.abc import Sequence
from typing import NamedTuple

from seasoning import metrics, statistics
from seasoning.outcomes import ModelKey
from seasoning.report.contenders import TOP, Contender, contenders, specific_soups, top_single, top_specific
from seasoning.report.results import CLEAN, Results
from seasoning.selection import Entry, shown_best
from seasoning.statistics import Estimate


__all__ = [
    "Row",
    "Table",
    "percent",
    "points",
    "shifts_table",
    "side_by_side",
    "spoken_weights",
    "threats_table",
    "top_table",
]

_RANKS = ("Best soups of the search", "Second best soups", "Third best soups")
_BOLD = "Bold: better than every other row of its column (paired tests over the same images, Holm-corrected, 5 %)."


class Row(NamedTuple):
    """One model: its name, forward passes at inference, a number for each column.

    Args:
        name: What the row is called.
        passes: Forward passes at inference.
        cells: A number for each column; `None` where it is not measured.
        one_model: Whether one model has all the numbers; otherwise its mean goes in parentheses, as in the paper.
        best: Places of the columns in which a paired test on held-out images shows it best.
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


def percent(estimate: Estimate) -> str:
    """Value and interval in percent, such as `"31.5 [27.1, 36.2]"`."""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def points(difference: Estimate) -> str:
    """A difference and its 95 % interval in points, such as `"+10.6 [+7.1, +14.0]"`."""
    value, low, high = (100 * each for each in difference[:3])
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def spoken_weights(results: Results, weights: Sequence[float]) -> str:
    """Weights with their ingredients, such as `"0.5 linf + 0.5 l1"`."""
    parts = [
        f"{weight:.3g} {each.name}" for weight, each in zip(weights, results.ingredients, strict=True) if weight != 0
    ]
    return " + ".join(parts).replace("+ -", "- ")


def threats_table(results: Results) -> Table:
    """Clean, per-threat and union accuracy of every contender on the test split."""
    models = contenders(results)
    columns: dict[str, list[Entry | None]] = {
        task: [_entry(results, each.model, (task,)) for each in models] for task in (CLEAN, *results.threats)
    }
    columns["union"] = [_union(results, each.model) for each in models]
    note = (
        f"Accuracy in %, {results.sizes['test']} test images, 95 % intervals (Agresti-Coull). # FP: forward passes at "
        f"inference. {_BOLD}"
    )
    return Table("Threats", note, list(columns), _rows(models, list(columns.values())), "threats")


def shifts_table(results: Results) -> Table:
    """Accuracy of every contender under the shifts of the test split, their mean, and the shift-specific soups."""
    tasks = (CLEAN, *results.shifts)
    models = contenders(results)
    columns: list[list[Entry | None]] = [[_entry(results, each.model, (task,)) for each in models] for task in tasks]
    columns.append([_entry(results, each.model, tasks) for each in models])
    if results.candidates(tasks):
        specific = specific_soups(results)
        for column, task in zip(columns, tasks, strict=False):
            column.append(_entry(results, results.soup(specific[task].weights), (task,)))
        columns[-1].append(None)
        rows = _rows([*models, Contender("shift-specific soups", models[0].model, 1, confirmed=False)], columns)
        if rows and rows[-1].name == "shift-specific soups":
            rows[-1] = _several(results, rows[-1], [results.soup(specific[task].weights) for task in tasks], tasks)
    else:
        rows = _rows(models, columns)
    return Table("Shifts", _shifts_note(results), [*tasks, "mean"], rows, "shifts")


def top_table(results: Results) -> Table:
    """The best, second and third best soups of the search, single and shift-specific, in the form of Table 3."""
    tasks = (CLEAN, *results.shifts)
    rows: list[Row] = []
    for rank, heading in enumerate(_RANKS[:TOP]):
        rows += _chosen_rows(results, rank, heading)
    chosen_on = f"Ranks are those of the {results.sizes['selection']} selection images."
    note = _shifts_note(results).removesuffix(_BOLD) + chosen_on
    return Table("Top soups", note, [*tasks, "mean"], rows, "top-soups")


def side_by_side(runs: Sequence[tuple[str, Results]]) -> Table:
    """The best single and shift-specific soups of several runs, a group for each, in the form of Table 4."""
    columns = list(dict.fromkeys(task for _, results in runs for task in (CLEAN, *results.shifts)))
    rows = []
    for name, results in runs:
        tasks = (CLEAN, *results.shifts)
        for row in _chosen_rows(results, 0, f"{name}: {', '.join(results.threats) or 'no threats'}"):
            known = dict(zip(tasks, row.cells, strict=False))
            mean = row.cells[-1] if set(tasks) == set(columns) else None
            rows.append(row._replace(cells=[*[known.get(task) for task in columns], mean], best=()))
    note = "Accuracy in %, the test images of each run, 95 % intervals; runs are not paired, so nothing is bold."
    return Table("Runs side by side", note, [*columns, "mean"], rows, "side-by-side")


def _chosen_rows(results: Results, rank: int, group: str) -> list[Row]:
    """The single soup of a rank on the selection split, and the shift-specific ones."""
    tasks = (CLEAN, *results.shifts)
    if not results.candidates(tasks):
        return []
    singles, specific = top_single(results), top_specific(results)
    if rank >= len(singles):
        return []
    single = results.soup(singles[rank].weights)
    cells = [*(_entry(results, single, (task,)) for task in tasks), _entry(results, single, tasks)]
    own = [results.soup(specific[task][rank].weights) for task in tasks]
    each = [_estimate(_entry(results, model, (task,))) for model, task in zip(own, tasks, strict=True)]
    rows = [
        Row("single soup", 1, [_estimate(cell) for cell in cells], group=group),
        _several(results, Row("shift-specific soups", 1, [*each, None], group=group), own, tasks),
    ]
    return [row for row in rows if any(cell is not None for cell in row.cells)]


def _several(results: Results, row: Row, models: Sequence[ModelKey], tasks: Sequence[str]) -> Row:
    """The row with the mean over its own model on each task."""
    outcomes = [results.outcomes(model, "test", task) for model, task in zip(models, tasks, strict=True)]
    known = [metrics.clean_column(each) for each in outcomes if each is not None]
    mean = statistics.mean_accuracy(known) if len(known) == len(tasks) else None
    return row._replace(cells=[*row.cells[:-1], mean], one_model=False)


def _rows(models: Sequence[Contender], columns: Sequence[Sequence[Entry | None]]) -> list[Row]:
    """A row for each model that is measured at all."""
    there = [any(column[place] is not None for column in columns) for place in range(len(models))]
    models = [model for model, known in zip(models, there, strict=True) if known]
    columns = [[cell for cell, known in zip(column, there, strict=True) if known] for column in columns]
    best = [set(shown_best(column)) for column in columns]
    return [
        Row(
            each.name,
            each.passes,
            [_estimate(column[place]) for column in columns],
            best=tuple(number for number, places in enumerate(best) if place in places),
        )
        for place, each in enumerate(models)
    ]


def _entry(results: Results, model: ModelKey, tasks: Sequence[str]) -> Entry | None:
    """A model in the column of a task, or of the mean over several; under a threat an image must be right attacked."""
    columns = []
    for task in tasks:
        outcomes = results.outcomes(model, "test", task)
        if outcomes is None:
            return None
        attacked = task in results.threats
        columns.append(metrics.robust_column(outcomes) if attacked else metrics.clean_column(outcomes))
    return Entry(model, tuple(columns))


def _union(results: Results, model: ModelKey) -> Entry | None:
    attacked = [results.outcomes(model, "test", threat) for threat in results.threats]
    known = [each for each in attacked if each is not None]
    return Entry(model, (metrics.union_column(*known),)) if known and len(known) == len(attacked) else None


def _estimate(entry: Entry | None) -> Estimate | None:
    if entry is None:
        return None
    if len(entry.columns) == 1:
        return statistics.proportion(entry.columns[0][1])
    return statistics.mean_accuracy(entry.columns)


def _shifts_note(results: Results) -> str:
    return (
        f"Accuracy in %, {results.sizes['test']} test images under each condition, 95 % intervals "
        "(Agresti-Coull; of the mean over base images). # FP: forward passes at inference. The mean is that of the "
        f"columns, in parentheses where it is not one model. {_BOLD}"
    )
