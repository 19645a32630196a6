"""What a report must know: the models that were chosen, and what has to be measured of each on the test split."""

from typing import NamedTuple

from seasoning.outcomes import ModelKey
from seasoning.report.results import CLEAN, Results
from seasoning.selection import Choice, accuracy_on, choose, mean_over, union_over


__all__ = ["Contender", "best_ingredient", "contenders", "needs", "single_soup", "specific_soups", "union_soup"]


class Contender(NamedTuple):
    """A model of the tables.

    Args:
        name: What the tables call it.
        model: Its key.
        passes: Forward passes at inference, the paper's "# FP".
        weights: One for each ingredient; `None` for an ensemble.
    """

    name: str
    model: ModelKey
    passes: int
    weights: tuple[float, ...] | None


def union_soup(results: Results) -> Choice:
    """The soup most robust to all threats at once on the selection split."""
    return choose(results.candidates(results.threats), union_over(results.threats))[0]


def single_soup(results: Results) -> Choice:
    """The soup of the best mean over the clean data set and its shifts on the selection split."""
    tasks = (CLEAN, *results.shifts)
    return choose(results.candidates(tasks), mean_over(tasks))[0]


def best_ingredient(results: Results) -> str:
    """The ingredient of the best mean over the clean data set and its shifts on the selection split."""
    tasks = (CLEAN, *results.shifts)
    alone = [each for each in results.candidates(tasks) if max(each.weights) == 1]
    weights = choose(alone, mean_over(tasks))[0].weights
    return results.ingredients[weights.index(1)].name


def specific_soups(results: Results) -> dict[str, Choice]:
    """For the clean data set and each shift, the soup best on it on the selection split."""
    tasks = (CLEAN, *results.shifts)
    candidates = results.candidates(tasks)
    return {task: choose(candidates, accuracy_on(task))[0] for task in tasks}


def contenders(results: Results) -> list[Contender]:
    """Ingredients, ensembles and soups, in the order of the tables."""
    count, robust = len(results.ingredients), results.robust_count
    alone = []
    for place, each in enumerate(results.ingredients):
        weights = tuple(float(place == other) for other in range(count))
        alone.append(Contender(each.name, results.soup(weights), 1, weights))
    ensembles = [
        Contender(f"ensemble of {size}", results.ensemble(size), size, None) for size in dict.fromkeys((robust, count))
    ]
    uniform = (*[1 / robust] * robust, *[0.0] * (count - robust))
    named = {
        "uniform soup": uniform,
        "union soup": union_soup(results).weights,
        "single soup": single_soup(results).weights,
    }
    soups = [Contender(name, results.soup(weights), 1, weights) for name, weights in named.items()]
    return [*alone, *ensembles, *soups]


def needs(results: Results) -> list[tuple[ModelKey, str]]:
    """Models and tasks that the tables want from the test split, each once."""
    tasks = (CLEAN, *results.shifts, *results.threats)
    wanted = [(each.model, task) for each in contenders(results) for task in tasks]
    wanted += [(results.soup(choice.weights), task) for task, choice in specific_soups(results).items()]
    return list(dict.fromkeys(wanted))
