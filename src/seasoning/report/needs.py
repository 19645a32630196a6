"""What a report must know: the models that were chosen, and what has to be measured of each on the test split.

Choices are pure functions of the results they read, and several tables ask for them: each is made once.
"""

from functools import cache
from typing import NamedTuple

from seasoning.outcomes import ModelKey
from seasoning.report.results import CLEAN, Results
from seasoning.selection import Choice, accuracy_on, choose, mean_over, union_over


__all__ = [
    "Contender",
    "Wanted",
    "best_ingredient",
    "contenders",
    "single_soup",
    "specific_soups",
    "union_soup",
    "wanted",
]


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


@cache
def union_soup(results: Results) -> Choice:
    """The soup most robust to all threats at once on the selection split."""
    return choose(results.candidates(results.threats), union_over(results.threats))[0]


@cache
def single_soup(results: Results) -> Choice:
    """The soup of the best mean over the clean data set and its shifts on the selection split."""
    tasks = (CLEAN, *results.shifts)
    return choose(results.candidates(tasks), mean_over(tasks))[0]


@cache
def best_ingredient(results: Results) -> str:
    """The ingredient of the best mean over the clean data set and its shifts on the selection split."""
    tasks = (CLEAN, *results.shifts)
    alone = [each for each in results.candidates(tasks) if max(each.weights) == 1]
    weights = choose(alone, mean_over(tasks))[0].weights
    return results.ingredients[weights.index(1)].name


@cache
def specific_soups(results: Results) -> dict[str, Choice]:
    """For the clean data set and each shift, the soup best on it on the selection split."""
    tasks = (CLEAN, *results.shifts)
    candidates = results.candidates(tasks)
    return {task: choose(candidates, accuracy_on(task))[0] for task in tasks}


@cache
def contenders(results: Results) -> list[Contender]:
    """Ingredients, ensembles and soups, in the order of the tables."""
    count, robust = len(results.ingredients), results.robust_count
    alone = [Contender(each.name, results.alone(each.name), 1, confirmed=True) for each in results.ingredients]
    ensembles = [
        Contender(f"ensemble of {size}", results.ensemble(size), size, confirmed=False)
        for size in dict.fromkeys((robust, count))
    ]
    uniform = (*[1 / robust] * robust, *[0.0] * (count - robust))
    named = {
        "uniform soup": uniform,
        "union soup": union_soup(results).weights,
        "single soup": single_soup(results).weights,
    }
    soups = [
        Contender(name, results.soup(weights), 1, confirmed=name == "union soup") for name, weights in named.items()
    ]
    return [*alone, *ensembles, *soups]


def wanted(results: Results) -> list[Wanted]:
    """What the tables want from the test split, each once."""
    everyone = contenders(results)
    tasks = (CLEAN, *results.shifts, *results.threats)
    found = [Wanted(each.model, task, confirming=False) for each in everyone for task in tasks]
    specific = specific_soups(results)
    found += [Wanted(results.soup(choice.weights), task, confirming=False) for task, choice in specific.items()]
    found += [
        Wanted(each.model, threat, confirming=True) for each in everyone if each.confirmed for threat in results.threats
    ]
    return list(dict.fromkeys(found))
