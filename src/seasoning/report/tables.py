"""Tables and sentences: the same numbers for the terminal and the page, each with its interval."""

from collections.abc import Sequence
from typing import NamedTuple

from seasoning import metrics
from seasoning.errors import BadInput
from seasoning.metrics import Estimate
from seasoning.outcomes import ModelKey, Outcomes
from seasoning.report.needs import best_ingredient, contenders, single_soup, specific_soups, union_soup
from seasoning.report.results import CLEAN, Results


__all__ = [
    "Comparison",
    "Row",
    "Table",
    "comparisons",
    "confirmed_unions",
    "percent",
    "points",
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


def points(difference: Estimate) -> str:
    """A difference and its 95 % interval in points, such as `"+10.6 [+7.1, +14.0]"`."""
    value, low, high = (100 * each for each in difference[:3])
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


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


def comparisons(results: Results, *, confirming: bool = False) -> list[Comparison]:
    """The union soup against every other contender: paired differences of union accuracy on the test split.

    Args:
        results: The run.
        confirming: Count an image only if it also withstands the stronger attack, which not every model met.
    """
    models = [each for each in contenders(results) if each.confirmed or not confirming]
    soup = next(each for each in models if each.name == "union soup")
    column = _union(results, soup.model, confirming)
    return [
        Comparison(each.name, metrics.paired_difference(column, _union(results, each.model, confirming)))
        for each in models
        if each.model != soup.model
    ]


def confirmed_unions(results: Results) -> dict[str, tuple[Estimate, Estimate]]:
    """Union accuracy on the test split under the default attack, and under it and the stronger one together."""
    return {
        each.name: (
            metrics.proportion(_union(results, each.model, confirming=False)[1]),
            metrics.proportion(_union(results, each.model, confirming=True)[1]),
        )
        for each in contenders(results)
        if each.confirmed
    }


def verdict(results: Results, *, confirming: bool = False) -> str:
    """Whether the union soup beats each single ingredient, in plain words."""
    chosen = union_soup(results).weights
    if max(chosen) == 1:
        name = results.ingredients[chosen.index(1)].name
        return f"No: the search chose the ingredient {name} alone; no mix withstood more on the selection split."
    names = {each.name for each in results.ingredients}
    against = [each for each in comparisons(results, confirming=confirming) if each.name in names]
    closest = min(against, key=lambda each: each.difference.low)
    figure = f"{points(closest.difference)} points, paired over {closest.difference.n} test images"
    if closest.difference.low > 0:
        return (
            "Yes: the soup's union accuracy is above that of each single ingredient. "
            f"The closest is {closest.name} ({figure})."
        )
    if min(each.difference.value for each in against) > 0:
        return (
            "Not shown: the soup's union accuracy is measured above that of each single ingredient, but the interval "
            f"of the difference to {closest.name} contains 0 ({figure})."
        )
    closest = min(against, key=lambda each: each.difference.value)
    figure = f"{points(closest.difference)} points, paired over {closest.difference.n} test images"
    return f"No: the soup's union accuracy is not above that of the ingredient {closest.name} ({figure})."


def shift_verdict(results: Results) -> str:
    """Whether the single soup beats the best ingredient under the shifts, in plain words."""
    tasks = (CLEAN, *results.shifts)
    soup, rival = results.soup(single_soup(results).weights), best_ingredient(results)
    if soup == results.alone(rival):
        return f"On the selection split no mix has a better mean over the shifts than the ingredient {rival} alone."
    mine, theirs = (
        [metrics.clean_column(_test(results, model, task)) for task in tasks] for model in (soup, results.alone(rival))
    )
    difference = metrics.mean_difference(mine, theirs)
    answer = "above" if difference.low > 0 else "below" if difference.high < 0 else "neither shown above nor below"
    return (
        f"On the test split the single soup is {answer} the ingredient {rival}, the best of them on the selection "
        f"split ({points(difference)} points of mean accuracy, paired over {difference.n} base images)."
    )


def _accuracies(outcomes: Sequence[Outcomes]) -> list[Estimate]:
    columns = [metrics.clean_column(each) for each in outcomes]
    return [*map(metrics.accuracy, outcomes), metrics.mean_accuracy(*columns)]


def _union(results: Results, model: ModelKey, confirming: bool) -> metrics.Column:
    attacks = (False, True) if confirming else (False,)
    return metrics.union_column(
        *[_test(results, model, threat, confirming=each) for threat in results.threats for each in attacks]
    )


def _test(results: Results, model: ModelKey, task: str, *, confirming: bool = False) -> Outcomes:
    outcomes = results.outcomes(model, "test", task, confirming=confirming)
    if outcomes is None:
        raise BadInput(f"the run is not finished: a model was not measured on the test split ({task}); run it again")
    return outcomes
