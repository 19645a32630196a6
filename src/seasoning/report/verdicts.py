"""What a search came to, in sentences, in tables of its answers, and in paired differences."""

from typing import NamedTuple

from seasoning import statistics
from seasoning.outcomes import ModelKey
from seasoning.report.contenders import UNION_SOUP, Contender, contenders, known_choices, tied_ranks
from seasoning.report.results import Results
from seasoning.report.tables import Grid, in_words, percent, points
from seasoning.selection.answers import Answer, ChosenSoup
from seasoning.selection.judge import Judged
from seasoning.statistics import Estimate


__all__ = ["Difference", "answer_tables", "confirmed_unions", "front_table", "notes", "union_differences", "verdict"]

_NONE_LEFT = "no images left"
_MISSED = " (misses the limit)"


class Difference(NamedTuple):
    """How far a soup's accuracy lies above that of another model, on the same held-out images."""

    name: str
    estimate: Estimate


def verdict(answer: Answer) -> str:
    """How the best soup compares with the best ingredient: words that begin with Yes, No, Not shown or Not tested."""
    best, rival = answer.chosen[0], answer.rival
    alone = next((each.name for each in answer.ingredients if each.weights == best.weights), None)
    if alone is not None:
        return f"No: the search chose the ingredient {alone} alone."
    if rival is None:
        return "Not tested: no ingredient keeps to the limit on the images that chose, as the soup does."
    if rival.difference is None:
        return f"Not tested: no held-out images are left to compare the soup with the ingredient {rival.name}."
    difference = rival.difference
    figures = f"{points(difference)} points, paired over {difference.n} held-out images"
    if difference.low > 0:
        return f"Yes: the soup is better than {rival.name}, the best ingredient on the images that chose ({figures})."
    if difference.high < 0:
        return f"No: the soup is worse than {rival.name}, the best ingredient on the images that chose ({figures})."
    return (
        f"Not shown: the soup and {rival.name}, the best ingredient on the images that chose, are not told apart "
        f"({figures})."
    )


def notes(answer: Answer) -> list[str]:
    """Among what the soups were chosen, ties, limits, how far screening misled, and the tests between them."""
    parts = [f"Chosen {answer.scope}."]
    if answer.tied > 1:
        parts.append(
            f"{answer.tied} soups share the highest score on the selection images; the most even mix is taken."
        )
    for ranks in tied_ranks([soup.judged.selection.value for soup in answer.chosen]):
        if ranks[0] > 1:
            parts.append(f"Soups {in_words(ranks)} share a score there; the most even mix goes first.")
    for limit in answer.objective.limits:
        parts.append(f"Limit: {' and '.join(limit.names)} at least {100 * limit.least:g} %.")
    best = answer.chosen[0]
    for limit, kept in zip(answer.objective.limits, best.limits, strict=True):
        held_out = _NONE_LEFT if kept.complement is None else percent(kept.complement)
        parts.append(
            f"The best soup has {percent(kept.selection)} % there, on held-out images {held_out} "
            f"({' and '.join(limit.names)})."
        )
    if best.screened is not None and best.same is not None:
        gap = 100 * (best.screened.value - best.same.value)
        parts.append(
            f"While screening with fewer steps the best scored {percent(best.screened)}, in full on the same "
            f"{best.same.n} images {percent(best.same)}: a gap of {gap:+.1f} points."
        )
    for pair in answer.comparisons:
        parts.append(
            f"Soup {pair.first + 1} minus soup {pair.second + 1} on held-out images: {points(pair.difference)} points, "
            f"p = {pair.p:.2g}, corrected {pair.corrected:.2g}."
        )
    if answer.regret:
        lost = ", ".join(f"{point.n}: {100 * point.value:.1f}" for point in answer.regret)
        parts.append(f"Points lost by choosing on fewer images: {lost}.")
    return parts


def answer_tables(results: Results) -> dict[str, Grid]:
    """A table for each objective, by its name: its best soups and the ingredients, by the use of their images."""
    columns = ["soup", "# FP", "images that chose", "held-out images", "all images", "chance to be best"]
    grids = {}
    for number, answer in enumerate(results.record.answers or (), 1):
        rows = [_row(soup, soup.name) for soup in answer.chosen]
        for soup in answer.ingredients:
            rows.append(_row(soup, soup.name + (_MISSED if soup.misses(answer.objective.limits) else "")))
        note = " ".join([verdict(answer), *notes(answer), "Accuracy in %, 95 % intervals."])
        name = answer.objective.name
        grids[name] = Grid(f"Best for {name}", note, columns, rows, f"objective-{number}")
    return grids


def front_table(results: Results) -> Grid | None:
    """The Pareto front of the objectives that the plan names; `None` where it names none."""
    record, names = results.record, results.plan.pareto
    if not record.front:
        return None
    rows = [[soup.name, *(f"{100 * score:.1f}" for score in soup.scores)] for soup in record.front]
    note = (
        f"Soups that no other one beats in everything, {record.front_scope}. Accuracy in % on the selection images: "
        "too high, as that of the best of many is."
    )
    return Grid(f"Pareto front of {' and '.join(names)}", note, ["soup", *names], rows, "front")


def union_differences(results: Results, *, confirming: bool = False) -> list[Difference]:
    """The union soup against every other contender: paired differences of union accuracy on held-out images.

    Models that are not measured are left out; without a measured union soup there is nothing to compare.

    Args:
        results: The run.
        confirming: Count an image only if it also withstands the stronger attack, which not every model met.
    """
    everyone = {each.name: _key(results, each) for each in _confirmed(results, confirming)}
    soup = everyone.pop(UNION_SOUP, None)
    own = None if soup is None else results.union_entry(soup, confirming=confirming)
    if own is None:
        return []
    found = []
    for name, key in everyone.items():
        other = None if key == soup else results.union_entry(key, confirming=confirming)
        if other is not None:
            found.append(Difference(name, statistics.mean_difference(own.columns, other.columns, own.weights)))
    return found


def confirmed_unions(results: Results) -> dict[str, tuple[Estimate, Estimate]]:
    """Union accuracy on held-out images under the default attack, and under it and the stronger one together."""
    found = {}
    for each in _confirmed(results, True) if results.record.confirming else ():
        key = _key(results, each)
        before, after = (results.union_entry(key, confirming=confirming) for confirming in (False, True))
        if before is not None and after is not None:
            found[each.name] = before.estimate, after.estimate
    return found


def _confirmed(results: Results, confirming: bool) -> list[Contender]:
    everyone = contenders(results.record, known_choices(results))
    return [each for each in everyone if each.confirmed or not confirming]


def _key(results: Results, each: Contender) -> ModelKey:
    return results.key(each.weights, ensemble=each.ensemble)


def _row(soup: ChosenSoup, name: str) -> list[str]:
    judged: Judged = soup.judged
    cells = [_NONE_LEFT if estimate is None else percent(estimate) for estimate in judged]
    return [name, "×1", *cells, "" if soup.best is None else f"{soup.best:.2f}"]
