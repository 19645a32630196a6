"""The models of the tables: ingredients, candidates, soups and ensembles; and what is measured of each of them.

Choices are pure functions of what they read: the answers of a search that has ended, else what is measured so far.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from seasoning.config.run_record import RunRecord
from seasoning.config.search import points_of
from seasoning.errors import BadInput
from seasoning.outcomes import ModelKey
from seasoning.report.results import MEAN, UNION, Results
from seasoning.selection import Choice, SearchObjective, choose
from seasoning.statistics import EQUAL
from seasoning.task import Task


__all__ = [
    "SINGLE_SOUP",
    "TOP",
    "UNION_SOUP",
    "Contender",
    "chosen_soups",
    "contenders",
    "is_alone",
    "key_of",
    "known_choices",
    "missing",
    "single_soup",
    "soup_name",
    "tied_ranks",
    "top_specific",
    "union_soup",
    "wanted",
]

# How many soups of an objective the paper shows (Table 3), and the most that anything here shows.
TOP, _MOST = 3, 5
SINGLE_SOUP, UNION_SOUP = "single soup", "union soup"


class Contender(NamedTuple):
    """A model of the tables.

    Args:
        name: What the tables call it.
        weights: One number for each ingredient.
        ensemble: Whether it is the ensemble of the ingredients whose weights are not 0, instead of their soup.
        confirmed: Whether it is attacked by the stronger suite, too, where there is one.
        mark: Of a candidate, what tells it from others; it has no weights.
    """

    name: str
    weights: tuple[float, ...]
    ensemble: bool
    confirmed: bool
    mark: str = ""

    @property
    def passes(self) -> int:
        """Forward passes at inference, the paper's "# FP"."""
        return sum(weight != 0 for weight in self.weights) if self.ensemble else 1


def is_alone(weights: Sequence[float]) -> bool:
    """Whether a soup is one ingredient and nothing else."""
    return sum(weight != 0 for weight in weights) == 1


def contenders(record: RunRecord, chosen: Mapping[str, tuple[float, ...]]) -> list[Contender]:
    """Ingredients, candidates, ensembles, uniform soups and the soups chosen for several tasks, in the tables' order.

    Args:
        record: Of the search.
        chosen: Weights of the best soup of objectives, by name; those that are not known yet are left out.
    """
    names = [note.name for note in record.ingredients]
    alone = [
        Contender(name, tuple(float(index == own) for index in range(len(names))), ensemble=False, confirmed=True)
        for own, name in enumerate(names)
    ]
    others = [Contender(note.name, (), False, True, note.fingerprint) for note in record.candidates]
    even = _even(record, names)
    ensembles = [Contender(f"ensemble of {words}", weights, True, False) for words, weights in even.items()]
    uniform = [Contender(f"uniform soup of {words}", weights, False, False) for words, weights in even.items()]
    soups = [
        Contender(soup_name(objective), chosen[objective.name], False, _is_attacked(objective))
        for objective in _of_tables(record.objectives)
        if objective.name in chosen
    ]
    return [
        *alone,
        *others,
        *(ensembles if record.plan.ensemble else ()),
        *(uniform if record.plan.uniform else ()),
        *soups,
    ]


def key_of(results: Results, each: Contender) -> ModelKey:
    """The identity of a model of the tables."""
    if each.mark:
        return ModelKey.of([each.mark], [1.0])
    return results.key(each.weights, ensemble=each.ensemble)


def soup_name(objective: SearchObjective) -> str:
    """What the tables call the best soup of an objective: the single soup is that of the mean over data sets."""
    return {MEAN: SINGLE_SOUP, UNION: UNION_SOUP}.get(objective.name, f"{objective.name} soup")


def wanted(record: RunRecord, chosen: Mapping[str, tuple[float, ...]]) -> list[tuple[Contender, str, bool]]:
    """What the tables want of held-out images: a model, a task, and whether under the stronger attack; each once."""
    everyone = contenders(record, chosen)
    tasks = dict.fromkeys(task for tasks in record.columns.values() for task in tasks)
    found = [(model, task, False) for model in everyone for task in tasks]
    return found + [(model, task, True) for model in everyone if model.confirmed for task in record.confirming]


def chosen_soups(results: Results, objective: SearchObjective, top: int = TOP) -> list[Choice]:
    """The soups of the highest scores of an objective on the selection points; empty where none is measured on all.

    Of an objective of the search they are its answer: no more than the plan asked for.
    """
    asked = _asked(results, objective)
    if asked not in results.choices:
        results.choices[asked] = _choices(results, asked)
    return results.choices[asked][:top]


def known_choices(results: Results) -> dict[str, tuple[float, ...]]:
    """The weights of the best soup of every objective, as far as they can be chosen."""
    found = {objective.name: chosen_soups(results, objective, 1) for objective in results.record.objectives}
    return {name: choices[0].weights for name, choices in found.items() if choices}


def union_soup(results: Results) -> Choice | None:
    """The soup most robust to all threats at once on the selection points, where the search asked for it."""
    asked = _named(results, UNION)
    return next(iter(chosen_soups(results, asked, 1)), None) if asked else None


def single_soup(results: Results, rank: int = 0) -> Choice | None:
    """The soup of the best mean over data sets on the selection points, or one of the next.

    It is the mean that the search asked for, else the plain one over the columns without attack.
    """
    return next(iter(chosen_soups(results, _named(results, MEAN) or results.mean)[rank:]), None)


def top_specific(results: Results) -> dict[str, list[Choice]]:
    """For each column without attack, the soups best on it on the selection points, best first."""
    return {label: chosen_soups(results, results.objective((label,), label)) for label in results.clean}


def tied_ranks(scores: Sequence[float]) -> list[tuple[int, ...]]:
    """Ranks, from 1, that share a score.

    Args:
        scores: In descending order.
    """
    groups = [[1]] if scores else []
    for rank, (above, below) in enumerate(pairwise(scores), 2):
        if above - below <= EQUAL:
            groups[-1].append(rank)
        else:
            groups.append([rank])
    return [tuple(group) for group in groups if len(group) > 1]


def missing(results: Results) -> list[str]:
    """What is not measured yet, in words; empty for a finished search."""
    record = results.record
    if record.answers is not None:
        return []
    lacking = ["the end of the search: the choice and its final numbers"]
    if record.plan.strategy == "grid":
        for objective in _of_tables(record.objectives):
            there, space = len(results.candidates(objective.tasks)), len(points_of(record.plan, objective.ingredients))
            lacking.append(f"soups measured for {objective.name!r} on the selection images: {there} of {space}")
    return lacking


def _even(record: RunRecord, names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Equal weights of all ingredients, and of those that an objective is about, by what they are called."""
    found: dict[str, tuple[float, ...]] = {}
    for group in dict.fromkeys(
        (*(objective.ingredients for objective in record.objectives if objective.ingredients), ())
    ):
        members = [not group or name in group for name in names]
        size = sum(members)
        weights = tuple(float(member) / size for member in members)
        if size > 1 and weights not in found.values():
            words = str(size) if str(size) not in found else f"{size}: {', '.join(group)}"
            found[words] = weights
    return found


def _choices(results: Results, objective: SearchObjective) -> list[Choice]:
    for answer in results.record.answers or ():
        if answer.objective == objective:
            return [Choice(soup.weights, soup.judged.selection) for soup in answer.chosen]
    names = results.names
    candidates = [
        candidate for candidate in results.candidates(objective.tasks) if objective.allows(candidate.weights, names)
    ]
    try:
        return choose(candidates, objective, _MOST) if candidates else []
    except BadInput:
        return []  # no soup keeps to the limits


def _asked(results: Results, objective: SearchObjective) -> SearchObjective:
    """The objective of the search with the same terms, whatever it is called, that without limits first; else this."""
    same = [asked for asked in results.record.objectives if asked.terms == objective.terms]
    plain = [asked for asked in same if not asked.limits and not asked.ingredients]
    return objective if objective in same else next(iter([*plain, *same]), objective)


def _named(results: Results, name: str) -> SearchObjective | None:
    """The objective of the search with this name."""
    return next((asked for asked in results.record.objectives if asked.name == name), None)


def _of_tables(objectives: Sequence[SearchObjective]) -> list[SearchObjective]:
    """The objectives whose soups stand in the tables: those over several tasks, or the first one."""
    return [objective for objective in objectives if len(objective.tasks) > 1] or list(objectives[:1])


def _is_attacked(objective: SearchObjective) -> bool:
    return any(Task.parse(task).threat is not None for task in objective.tasks)
