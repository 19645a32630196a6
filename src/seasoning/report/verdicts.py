"""What a search came to, in sentences, in tables of its answers, and in paired differences."""

from collections import Counter
from typing import NamedTuple

from seasoning import statistics
from seasoning.report.contenders import UNION_SOUP, Contender, contenders, key_of, known_choices, tied_ranks
from seasoning.report.results import Results
from seasoning.report.tables import Grid, in_words, percent, points
from seasoning.selection.answers import Answer, ChosenSoup, SearchResult
from seasoning.selection.judge import Judged
from seasoning.statistics import Estimate


__all__ = [
    "Difference",
    "answer_tables",
    "confirmed_unions",
    "front_table",
    "notes",
    "short_verdict",
    "union_differences",
    "verdict",
    "verdict_table",
]

_NONE_LEFT = "no images left"
_MISSED = " (misses the limit)"
_WORDS = ("Yes", "Not shown", "No", "Not tested")


class Difference(NamedTuple):
    """How far a soup's accuracy lies above that of another model, on the same held-out images."""

    name: str
    estimate: Estimate


def verdict(answer: Answer) -> str:
    """How the best soup compares with the best ingredient: words that begin with Yes, No, Not shown or Not tested."""
    alone, rival = _alone(answer), answer.rival
    if alone is not None:
        return f"No: the search chose the ingredient {alone} alone."
    if rival is None:
        return "Not tested: no ingredient keeps to the limit on the images that chose, as the soup does."
    if rival.difference is None:
        return f"Not tested: no held-out images are left to compare the soup with the ingredient {rival.name}."
    difference = rival.difference
    figures = f"{points(difference)} points, paired over {difference.n} held-out images"
    word = _word(difference)
    if word == "Not shown":
        return (
            f"Not shown: the soup and {rival.name}, the best ingredient on the images that chose, are not told apart "
            f"({figures})."
        )
    how = "better" if word == "Yes" else "worse"
    return f"{word}: the soup is {how} than {rival.name}, the best ingredient on the images that chose ({figures})."


def short_verdict(answer: Answer) -> tuple[str, str]:
    """The word that the verdict begins with, and what it rests on: the difference in points and the ingredient."""
    alone, rival = _alone(answer), answer.rival
    if alone is not None:
        return "No", f"it is {alone} alone"
    if rival is None:
        return "Not tested", "no ingredient keeps to the limit"
    if rival.difference is None:
        return "Not tested", "no held-out images"
    return _word(rival.difference), f"{points(rival.difference)} over {rival.name}"


def verdict_table(result: SearchResult) -> list[list[str]]:
    """A line for each objective: its name, accuracy on held-out images, the verdict in short, and the best soup.

    The objectives of the single parts of a data set of many, such as ImageNet-C, share a line that counts their
    verdicts.
    """
    rows = []
    shared: dict[str, list[Answer]] = {}
    for answer in result.answers:
        tasks = answer.objective.tasks
        column = next((name for name, parts in result.columns.items() if len(parts) > 1 and tasks[0] in parts), None)
        if column is not None and len(tasks) == 1:
            shared.setdefault(column, []).append(answer)
            continue
        complement = answer.chosen[0].judged.complement
        number = _NONE_LEFT if complement is None else percent(complement)
        rows.append([answer.objective.name, number, ": ".join(short_verdict(answer)), answer.chosen[0].name])
    for column, answers in shared.items():
        values = [each.value for answer in answers if (each := answer.chosen[0].judged.complement) is not None]
        between = f"{100 * min(values):.1f} to {100 * max(values):.1f}" if values else _NONE_LEFT
        words = Counter(short_verdict(answer)[0] for answer in answers)
        verdicts = ", ".join(f"{word}: {words[word]}" for word in _WORDS if words[word])
        rows.append([f"{column}, its {len(answers)} parts", between, verdicts, "one for each"])
    return rows


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
    called = [
        *(f"soup {rank}" for rank in range(1, len(answer.chosen) + 1)),
        *(candidate.name for candidate in answer.candidates),
    ]
    for pair in answer.comparisons:
        parts.append(
            f"{called[pair.first].capitalize()} minus {called[pair.second]} on held-out images: "
            f"{points(pair.difference)} points, p = {pair.p:.2g}, corrected {pair.corrected:.2g}."
        )
    if answer.regret:
        lost = ", ".join(f"{point.n}: {100 * point.value:.1f}" for point in answer.regret)
        parts.append(f"Points lost by choosing on fewer images: {lost}.")
    return parts


def answer_tables(results: Results) -> dict[str, Grid]:
    """A table for each objective, by its name: its best soups, the ingredients and the candidates, by image use."""
    columns = ["soup", "# FP", "images that chose", "held-out images", "all images", "chance to be best"]
    grids = {}
    for number, answer in enumerate(results.record.answers or (), 1):
        rows = [_row(soup, soup.name) for soup in answer.chosen]
        for soup in (*answer.ingredients, *answer.candidates):
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
    everyone = {model.name: key_of(results, model) for model in _confirmed(results, confirming)}
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
    for model in _confirmed(results, True) if results.record.confirming else ():
        key = key_of(results, model)
        before, after = (results.union_entry(key, confirming=confirming) for confirming in (False, True))
        if before is not None and after is not None:
            found[model.name] = before.estimate, after.estimate
    return found


def _confirmed(results: Results, confirming: bool) -> list[Contender]:
    everyone = contenders(results.record, known_choices(results))
    return [model for model in everyone if model.confirmed or not confirming]


def _alone(answer: Answer) -> str | None:
    """The ingredient that the best soup is, where it is one."""
    best = answer.chosen[0]
    return next((ingredient.name for ingredient in answer.ingredients if ingredient.weights == best.weights), None)


def _word(difference: Estimate) -> str:
    return "Yes" if difference.low > 0 else "No" if difference.high < 0 else "Not shown"


def _row(soup: ChosenSoup, name: str) -> list[str]:
    judged: Judged = soup.judged
    cells = [_NONE_LEFT if estimate is None else percent(estimate) for estimate in judged]
    return [name, "×1", *cells, "" if soup.best is None else f"{soup.best:.2f}"]
