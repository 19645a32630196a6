"""What `seasoning search` came to, objective by objective, as it kept it in its store."""

from typing import Any, NamedTuple

from seasoning import metrics, statistics
from seasoning.outcomes import ModelKey
from seasoning.report.contenders import is_alone
from seasoning.report.costs import Grid
from seasoning.report.results import Results
from seasoning.report.tables import percent, points, spoken_weights
from seasoning.statistics import Column, Estimate


__all__ = ["Answer", "answer_tables", "answers", "told"]

_NONE_LEFT = "no images left"
_MISSED = " (misses the limit)"


class Answer(NamedTuple):
    """One objective: what it is called, its tasks by term, among what it was chosen, the best soup, and its numbers.

    Args:
        name: The objective.
        terms: Tasks on all of which an image must be right, and what that share counts for.
        scope: Among which soups the best was chosen.
        weights: Of the best soup.
        selection: Its score on the images that chose it.
        held_out: Its score on images that did not; `None` where none were left.
        rival: The best ingredient on the images that chose, of those that keep to the limits there, and its score on
            those that did not; `None` where no ingredient keeps to them.
        difference: Of the soup and that ingredient there, paired; `None` where it cannot be had from the store.
        file: The soup's file.
    """

    name: str
    terms: tuple[tuple[tuple[str, ...], float], ...]
    scope: str
    weights: tuple[float, ...]
    selection: Estimate
    held_out: Estimate | None
    rival: tuple[str, Estimate | None] | None
    difference: Estimate | None
    file: str


def answers(results: Results) -> list[Answer]:
    """The best soup of every objective."""
    return [_answer(results, each) for each in results.setting.answers]


def told(results: Results, answer: Answer) -> str:
    """How the soup compares with the best ingredient, in plain words that begin with the verdict."""
    if is_alone(answer.weights):
        return f"No: the search chose the ingredient {results.ingredients[answer.weights.index(1)].name} alone."
    if answer.rival is None:
        return "Nothing to compare with: no ingredient keeps to the limit on the images that chose, as the soup does."
    name, score = answer.rival
    if answer.difference is None:
        mine, other = (_NONE_LEFT if each is None else percent(each) for each in (answer.held_out, score))
        return f"Not tested: on images that chose nothing the soup has {mine}, the ingredient {name} {other}."
    word = "Yes" if answer.difference.low > 0 else "No" if answer.difference.high < 0 else "Not shown"
    than = {"Yes": "above", "No": "below"}.get(word, "neither shown above nor below")
    return (
        f"{word}: the soup is {than} {name}, the best ingredient on the images that chose "
        f"({points(answer.difference)} points, paired over {answer.difference.n} images that chose nothing)."
    )


def answer_tables(results: Results) -> list[Grid]:
    """A table for each objective: its best soups and the ingredients, by what their images were used for."""
    grids = []
    for number, each in enumerate(results.setting.answers, 1):
        rows = [
            [
                name,
                "×1",
                *[_cell(soup.get(part)) for part in ("selection", "complement", "whole")],
                "" if soup.get("best") is None else f"{soup['best']:.2f}",
            ]
            for name, soup in [
                *((spoken_weights(results, soup["weights"]), soup) for soup in each["chosen"]),
                *((soup["name"] + ("" if _keeps(each, soup) else _MISSED), soup) for soup in each["ingredients"]),
            ]
        ]
        columns = ["soup", "# FP", "images that chose", "images that chose nothing", "all images", "chance to be best"]
        grids.append(Grid(f"Best for {each['objective']}", _note(each), columns, rows, f"objective-{number}"))
    return grids


def _note(answer: dict[str, Any]) -> str:
    """Among what the soups were chosen, how far the search misled, and which tests were made."""
    parts = [f"Chosen {answer['scope']}. Accuracy in %, 95 % intervals."]
    for limit in answer.get("limits", ()):
        parts.append(f"Limit: {' and '.join(limit[0])} at least {100 * limit[1]:g} %.")
    best = answer["chosen"][0]
    if best.get("rough") and best.get("same"):
        rough, same = Estimate(*best["rough"]), Estimate(*best["same"])
        gap = 100 * (rough.value - same.value)
        parts.append(
            f"While looking around with fewer steps the best scored {percent(rough)}, in full on the same {same.n} "
            f"images {percent(same)}: a gap of {gap:+.1f} points."
        )
    for first, second, value, low, high, n, _, corrected in answer["comparisons"]:
        difference = points(Estimate(value, low, high, n))
        parts.append(f"Soup {first + 1} minus soup {second + 1}: {difference} points, corrected p {corrected:.2g}.")
    return " ".join(parts)


def _answer(results: Results, note: dict[str, Any]) -> Answer:
    best = note["chosen"][0]
    labels = results.setting.labels
    terms = tuple((tuple(labels.get(task, task) for task in tasks), weight) for tasks, weight in note["terms"])
    allowed = [each for each in note["ingredients"] if _keeps(note, each)]
    rival = max(allowed, key=lambda each: each["selection"][0], default=None)
    soup = results.soup(best["weights"])
    return Answer(
        note["objective"],
        terms,
        note["scope"],
        tuple(best["weights"]),
        Estimate(*best["selection"]),
        _estimate(best["complement"]),
        rival and (rival["name"], _estimate(rival["complement"])),
        rival and _difference(results, terms, soup, results.soup(rival["weights"])),
        note["soup"],
    )


def _keeps(answer: dict[str, Any], soup: dict[str, Any]) -> bool:
    """Whether a soup keeps to the limits of an objective on the images that chose, as far as the search noted it."""
    judged = zip(soup.get("limits", ()), answer.get("limits", ()), strict=False)
    return all(selection[0] >= least for (selection, *_), (_, least) in judged)


def _difference(
    results: Results, terms: tuple[tuple[tuple[str, ...], float], ...], soup: ModelKey, other: ModelKey
) -> Estimate | None:
    if soup == other:
        return None
    columns: list[list[Column]] = []
    for model in (soup, other):
        rows = [[results.outcomes(model, "test", task) for task in tasks] for tasks, _ in terms]
        known = [[each for each in row if each is not None] for row in rows]
        if any(len(here) < len(row) for here, row in zip(known, rows, strict=True)):
            return None
        columns.append([metrics.union_column(*row) for row in known])
    first, second = columns
    return statistics.mean_difference(first, second, [weight for _, weight in terms])


def _estimate(numbers: list[float] | None) -> Estimate | None:
    if numbers is None:
        return None
    value, low, high, n = numbers
    return Estimate(value, low, high, int(n))


def _cell(numbers: list[float] | None) -> str:
    estimate = _estimate(numbers)
    return _NONE_LEFT if estimate is None else percent(estimate)
