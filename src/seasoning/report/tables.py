"""Tables and sentences: the same numbers for the terminal and the page, each with its interval."""

from collections.abc import Sequence
from typing import NamedTuple

from seasoning import metrics
from seasoning.errors import BadInput
from seasoning.metrics import Estimate
from seasoning.outcomes import ModelKey, Outcomes
from seasoning.report.needs import Contender, best_ingredient, contenders, specific_soups
from seasoning.report.results import CLEAN, Results


__all__ = [
    "Comparison",
    "Row",
    "Table",
    "comparisons",
    "percent",
    "shift_verdict",
    "shifts_table",
    "spoken_weights",
    "threats_table",
    "verdict",
]


class Row(NamedTuple):
    """One model: name, forward passes at inference, a number for each column."""

    name: str
    passes: int
    cells: list[Estimate]
    # The mean of several models is no model's number: it goes in parentheses, as in the paper.
    one_model: bool = True


class Table(NamedTuple):
    """Numbers with intervals; `note` says what they are and on which split."""

    title: str
    note: str
    columns: list[str]
    rows: list[Row]


class Comparison(NamedTuple):
    """How far the union soup's union accuracy lies above another model's, on the same test images."""

    name: str
    difference: Estimate


def percent(estimate: Estimate) -> str:
    """Value and interval in percent, such as `"31.5 [27.1, 36.2]"`."""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def spoken_weights(results: Results, weights: Sequence[float]) -> str:
    """Weights with their ingredients, such as `"0.5 linf + 0.5 l1"`."""
    parts = [
        f"{weight:.3g} {each.name}" for weight, each in zip(weights, results.ingredients, strict=True) if weight != 0
    ]
    return " + ".join(parts)


def threats_table(results: Results) -> Table:
    """Clean, per-threat and union accuracy of every contender on the test split."""
    rows = []
    for each in contenders(results):
        attacked = [_test(results, each.model, threat) for threat in results.threats]
        cells = [metrics.accuracy(_test(results, each.model, CLEAN))]
        cells += [metrics.robust_accuracy(outcomes) for outcomes in attacked]
        rows.append(Row(each.name, each.passes, [*cells, metrics.union_accuracy(*attacked)]))
    note = f"Accuracy in %, {results.sizes['test']} test images, 95 % intervals (Wilson)."
    return Table("Threats", note, [CLEAN, *results.threats, "union"], rows)


def shifts_table(results: Results) -> Table:
    """Accuracy of every contender under the shifts of the test split, their mean, and the shift-specific soups."""
    tasks = [CLEAN, *results.shifts]
    rows = [
        Row(each.name, each.passes, _accuracies([_test(results, each.model, task) for task in tasks]))
        for each in contenders(results)
    ]
    specific = specific_soups(results)
    own = [_test(results, results.soup(specific[task].weights), task) for task in tasks]
    rows.append(Row("shift-specific soups", 1, _accuracies(own), one_model=False))
    note = (
        f"Accuracy in %, {results.sizes['test']} test images under each condition, 95 % intervals (Wilson; of the "
        "mean: bootstrap of base images). The mean is that of the columns, in parentheses where it is not one model."
    )
    return Table("Shifts", note, [*tasks, "mean"], rows)


def comparisons(results: Results) -> list[Comparison]:
    """The union soup against every other contender: paired differences of union accuracy on the test split."""
    models = {each.name: each for each in contenders(results)}
    soup = _union(results, models["union soup"])
    return [
        Comparison(name, metrics.paired_difference(soup, _union(results, each)))
        for name, each in models.items()
        if each.model != models["union soup"].model
    ]


def shift_verdict(results: Results) -> str:
    """Whether the single soup beats the best ingredient under the shifts, in plain words."""
    tasks = (CLEAN, *results.shifts)
    models, rival = {each.name: each.model for each in contenders(results)}, best_ingredient(results)
    soup, ingredient = (
        [metrics.clean_column(_test(results, models[name], task)) for task in tasks] for name in ("single soup", rival)
    )
    value, low, high, n = metrics.mean_difference(soup, ingredient)
    figure = f"{100 * value:+.1f} points of mean accuracy, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    answer = "above" if low > 0 else "below" if high < 0 else "neither shown above nor below"
    return (
        f"On the test split the single soup is {answer} the ingredient {rival}, the best of them on the selection "
        f"split ({figure}, paired over {n} base images)."
    )


def verdict(results: Results) -> str:
    """Whether the union soup beats each single ingredient, in plain words."""
    names = {each.name for each in results.ingredients}
    against = [each for each in comparisons(results) if each.name in names]
    if not against:
        return "The search chose a single ingredient: on the selection images no mix was more robust to all threats."
    closest = min(against, key=lambda each: each.difference.value)
    value, low, high, n = closest.difference
    figure = f"{100 * value:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    figure += f", paired over {n} test images"
    if all(each.difference.low > 0 for each in against):
        return (
            "Yes: the soup's union accuracy is above that of each single ingredient. "
            f"The closest is {closest.name} ({figure})."
        )
    if value > 0:
        return (
            "Not shown: the soup's union accuracy is measured above that of each single ingredient, but for "
            f"{closest.name} the difference is within its interval ({figure})."
        )
    return f"No: the soup's union accuracy is not above that of the ingredient {closest.name} ({figure})."


def _accuracies(outcomes: Sequence[Outcomes]) -> list[Estimate]:
    columns = [metrics.clean_column(each) for each in outcomes]
    return [*map(metrics.accuracy, outcomes), metrics.mean_accuracy(*columns)]


def _union(results: Results, contender: Contender) -> metrics.Column:
    return metrics.union_column(*[_test(results, contender.model, threat) for threat in results.threats])


def _test(results: Results, model: ModelKey, task: str) -> Outcomes:
    outcomes = results.outcomes(model, "test", task)
    if outcomes is None:
        raise BadInput(f"the run is not finished: a model was not measured on the test split ({task}); run it again")
    return outcomes
