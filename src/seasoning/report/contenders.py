"""What a report must know: the models that were chosen, and what has to be measured of each on the test split.

Choices are pure functions of the results they read, and several tables ask for them: each is made once.
"""

from collections.abc import Sequence
from functools import cache
from math import comb
from typing import NamedTuple

from seasoning.outcomes import ModelKey
from seasoning.report.results import CLEAN, Results
from seasoning.selection import Choice, accuracy_on, choose, mean_over, union_over


__all__ = [
    "TOP",
    "Contender",
    "Wanted",
    "best_ingredient",
    "contenders",
    "is_alone",
    "missing",
    "single_soup",
    "specific_soups",
    "top_single",
    "top_specific",
    "union_soup",
    "wanted",
]

# How many soups of an objective the paper shows (Table 3).
TOP = 3


class Contender(NamedTuple):
    """A model of the tables.

    Args:
        name: What the tables call it.
        model: Its key.
        passes: Forward passes at inference, the paper's "# FP".
        confirmed: Whether it is attacked by the stronger protocol, too.
    """

    name: str
    model: ModelKey
    passes: int
    confirmed: bool


class Wanted(NamedTuple):
    """One measurement on the test split: of a model, on a task, under the default or the stronger attack."""

    model: ModelKey
    task: str
    confirming: bool


def is_alone(weights: Sequence[float]) -> bool:
    """Whether a soup is one ingredient and nothing else."""
    return sum(weight != 0 for weight in weights) == 1


@cache
def union_soup(results: Results) -> Choice:
    """The soup most robust to all threats at once on the selection split."""
    return choose(results.candidates(results.threats), union_over(results.threats))[0]


@cache
def top_single(results: Results) -> list[Choice]:
    """The soups of the best means over the clean data set and its shifts on the selection split, best first."""
    tasks = (CLEAN, *results.shifts)
    return choose(results.candidates(tasks), mean_over(tasks), TOP)


def single_soup(results: Results) -> Choice:
    """The soup of the best mean over the clean data set and its shifts on the selection split."""
    return top_single(results)[0]


@cache
def top_specific(results: Results) -> dict[str, list[Choice]]:
    """For the clean data set and each shift, the soups best on it on the selection split, best first."""
    tasks = (CLEAN, *results.shifts)
    candidates = results.candidates(tasks)
    return {task: choose(candidates, accuracy_on(task), TOP) for task in tasks}


def specific_soups(results: Results) -> dict[str, Choice]:
    """For the clean data set and each shift, the soup best on it on the selection split."""
    return {task: choices[0] for task, choices in top_specific(results).items()}


@cache
def best_ingredient(results: Results) -> str:
    """The ingredient of the best mean over the clean data set and its shifts on the selection split."""
    tasks = (CLEAN, *results.shifts)
    alone = [each for each in results.candidates(tasks) if is_alone(each.weights)]
    weights = choose(alone, mean_over(tasks))[0].weights
    return results.ingredients[weights.index(1)].name


@cache
def contenders(results: Results) -> list[Contender]:
    """Ingredients, baselines, ensembles and soups, in the order of the tables; soups as far as they can be chosen."""
    count, robust = len(results.ingredients), results.robust_count
    single = (*results.ingredients, *results.baselines)
    alone = [Contender(each.name, results.alone(each.name), 1, confirmed=True) for each in single]
    ensembles = [
        Contender(f"ensemble of {size}", results.ensemble(size), size, confirmed=False)
        for size in dict.fromkeys((robust, count))
        if size > 1
    ]
    named: dict[str, tuple[float, ...]] = {}
    if (even := robust or count) > 1:
        named["uniform soup"] = (*[1 / even] * even, *[0.0] * (count - even))
    if results.threats and results.candidates(results.threats):
        named["union soup"] = union_soup(results).weights
    if results.candidates((CLEAN, *results.shifts)):
        named["single soup"] = single_soup(results).weights
    soups = [
        Contender(name, results.soup(weights), 1, confirmed=name == "union soup") for name, weights in named.items()
    ]
    return [*alone, *ensembles, *soups]


def wanted(results: Results) -> list[Wanted]:
    """What the tables want from the test split, each once."""
    everyone = contenders(results)
    shifts = (CLEAN, *results.shifts)
    found = [Wanted(each.model, task, confirming=False) for each in everyone for task in results.tasks]
    if results.candidates(shifts):
        found += [
            Wanted(results.soup(each.weights), task, confirming=False)
            for each in top_single(results)
            for task in shifts
        ]
        found += [
            Wanted(results.soup(each.weights), task, confirming=False)
            for task, choices in top_specific(results).items()
            for each in choices
        ]
    found += [
        Wanted(each.model, threat, confirming=True) for each in everyone if each.confirmed for threat in results.threats
    ]
    return list(dict.fromkeys(found))


def missing(results: Results) -> list[str]:
    """What is not measured yet of the grid and of the tables, in words; empty for a finished run."""
    told = list(results.setting.unfinished)
    if results.setting.answers or told:
        # A search knows by itself what it wants measured.
        return told
    if (parts := results.setting.grid_parts) is not None:
        everyone = len(results.ingredients)
        for tasks, count, what in (
            (results.threats, results.robust_count, "under the threats"),
            ((CLEAN, *results.shifts), everyone, "clean and under the shifts"),
        ):
            if not tasks:
                continue
            whole, there = comb(parts + count - 1, count - 1), len(results.candidates(tasks))
            if there < whole:
                told.append(f"soups {what}, on the selection images: {there} of {whole}")
    asked = wanted(results)
    there = sum(
        results.outcomes(each.model, "test", each.task, confirming=each.confirming) is not None for each in asked
    )
    if there < len(asked):
        told.append(f"measurements of the chosen models on the test images: {there} of {len(asked)}")
    return told
