"""What a run came to, in sentences and paired differences."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from seasoning import metrics, statistics
from seasoning.outcomes import ModelKey, Outcomes
from seasoning.report.contenders import best_ingredient, contenders, is_alone, single_soup, union_soup
from seasoning.report.results import CLEAN, Results
from seasoning.report.tables import points
from seasoning.statistics import Estimate


__all__ = ["Comparison", "comparisons", "confirmed_unions", "shift_verdict", "verdict"]


class Comparison(NamedTuple):
    """How far the union soup's union accuracy lies above another model's, on the same test images."""

    name: str
    difference: Estimate


def comparisons(results: Results, *, confirming: bool = False) -> list[Comparison]:
    """The union soup against every other contender: paired differences of union accuracy on the test split.

    Models that are not measured are left out; without a measured union soup there is nothing to compare.

    Args:
        results: The run.
        confirming: Count an image only if it also withstands the stronger attack, which not every model met.
    """
    models = {each.name: each.model for each in contenders(results) if each.confirmed or not confirming}
    soup = models.get("union soup")
    column = None if soup is None else _union(results, soup, confirming)
    if column is None:
        return []
    others = {name: _union(results, model, confirming) for name, model in models.items() if model != soup}
    return [
        Comparison(name, statistics.paired_difference(column, other))
        for name, other in others.items()
        if other is not None
    ]


def confirmed_unions(results: Results) -> dict[str, tuple[Estimate, Estimate]]:
    """Union accuracy on the test split under the default attack, and under it and the stronger one together."""
    found = {}
    for each in contenders(results):
        before, after = (_union(results, each.model, confirming) for confirming in (False, True))
        if each.confirmed and before is not None and after is not None:
            found[each.name] = statistics.proportion(before[1]), statistics.proportion(after[1])
    return found


def verdict(results: Results, *, confirming: bool = False) -> str:
    """Whether the union soup beats each single ingredient, in plain words."""
    if not results.threats or not results.candidates(results.threats):
        return "Not known: no soup is measured under all threats."
    chosen = union_soup(results).weights
    if is_alone(chosen):
        name = results.ingredients[chosen.index(1)].name
        return f"No: the search chose the ingredient {name} alone; no mix withstood more on the selection split."
    names = {each.name for each in results.ingredients}
    against = [each for each in comparisons(results, confirming=confirming) if each.name in names]
    if len(against) < len(names):
        return "Not known yet: the soup or an ingredient is not measured on the test split under every threat."
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
    alone = [each for each in results.candidates(tasks) if is_alone(each.weights)]
    if not alone:
        return "Not known yet: no ingredient is measured on every data set of the selection split."
    soup, rival = results.soup(single_soup(results).weights), best_ingredient(results)
    if soup == results.alone(rival):
        return f"On the selection split no mix has a better mean over the shifts than the ingredient {rival} alone."
    mine, theirs = (_clean(results, model, tasks) for model in (soup, results.alone(rival)))
    if mine is None or theirs is None:
        return f"Not known yet: the single soup or the ingredient {rival} is not measured on the test split."
    difference = statistics.mean_difference(mine, theirs)
    answer = "above" if difference.low > 0 else "below" if difference.high < 0 else "neither shown above nor below"
    return (
        f"On the test split the single soup is {answer} the ingredient {rival}, the best of them on the selection "
        f"split ({points(difference)} points of mean accuracy, paired over {difference.n} base images)."
    )


def _clean(results: Results, model: ModelKey, tasks: Sequence[str]) -> list[statistics.Column] | None:
    known = _all(results.outcomes(model, "test", task) for task in tasks)
    return None if known is None else [metrics.clean_column(each) for each in known]


def _union(results: Results, model: ModelKey, confirming: bool) -> statistics.Column | None:
    attacks = (False, True) if confirming else (False,)
    known = _all(
        results.outcomes(model, "test", threat, confirming=each) for threat in results.threats for each in attacks
    )
    return metrics.union_column(*known) if known else None


def _all(outcomes: Iterable[Outcomes | None]) -> list[Outcomes] | None:
    found = list(outcomes)
    known = [each for each in found if each is not None]
    return known if len(known) == len(found) else None
