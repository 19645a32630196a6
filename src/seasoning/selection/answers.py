"""What a search came to, as values that a table, a page and the store take alike."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seasoning.selection.judge import Judged
from seasoning.selection.objectives import Limit, SearchObjective
from seasoning.selection.significance import Comparison
from seasoning.statistics import Estimate


__all__ = ["Answer", "ChosenSoup", "SearchResult"]

Weights = tuple[float, ...]


class ChosenSoup(NamedTuple):
    """A chosen soup, or an ingredient beside it.

    Args:
        name: Its weights in words.
        weights: One number for each ingredient.
        judged: Its scores on the selection points, on all other images, and on all.
        best: How often it is the best of its candidates when the selection points are drawn anew.
        rough: Its score while the search looked around, with fewer steps or lower precision, on some of the points.
        same: Its score by full measuring on the same ones: the difference is what the search was misled by.
        limits: Shares on what the objective's limits are about, in their order.
    """

    name: str
    weights: Weights
    judged: Judged
    best: float | None = None
    rough: Estimate | None = None
    same: Estimate | None = None
    limits: tuple[Judged, ...] = ()

    def misses(self, limits: Sequence[Limit]) -> bool:
        """Whether it would not have been chosen, since it misses one of these limits on the selection points."""
        return any(own.selection.value < each.least - 1e-9 for each, own in zip(limits, self.limits, strict=True))


class Answer(NamedTuple):
    """The answer to one objective: among which soups, the best ones, tests between them, ingredients, and its file."""

    objective: SearchObjective
    scope: str
    chosen: tuple[ChosenSoup, ...]
    comparisons: tuple[Comparison, ...]
    ingredients: tuple[ChosenSoup, ...]
    regret: tuple[Estimate, ...]
    soup: Path


class SearchResult(NamedTuple):
    """What a search came to; the front holds names, weights and scores in the order of the plan's `pareto`."""

    answers: tuple[Answer, ...]
    front: tuple[tuple[str, Weights, tuple[float, ...]], ...]
    front_scope: str
    smoke: bool

    def plain(self) -> dict[str, Any]:
        """The same as JSON can hold it; estimates are value, low, high and n."""
        answers = [
            {
                "objective": each.objective.name,
                "terms": [[list(term.tasks), term.weight] for term in each.objective.terms],
                "limits": [[list(limit.told), limit.least] for limit in each.objective.limits],
                "scope": each.scope,
                "chosen": [_plain(soup) for soup in each.chosen],
                "ingredients": [_plain(soup) for soup in each.ingredients],
                "comparisons": [
                    [pair.first, pair.second, *pair.difference, pair.p, pair.corrected] for pair in each.comparisons
                ],
                "regret": [list(point) for point in each.regret],
                "soup": each.soup.name,
            }
            for each in self.answers
        ]
        front = [[name, list(weights), list(scores)] for name, weights, scores in self.front]
        return {"answers": answers, "front": front, "front scope": self.front_scope}


def _plain(soup: ChosenSoup) -> dict[str, Any]:
    scores = {**soup.judged._asdict(), "rough": soup.rough, "same": soup.same}
    estimates = {name: None if each is None else list(each) for name, each in scores.items()}
    limits = [[None if each is None else list(each) for each in judged] for judged in soup.limits]
    return {"name": soup.name, "weights": list(soup.weights), "best": soup.best, **estimates, "limits": limits}
