"""What a search came to: one type from selection to store, terminal and page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from seasoning.selection.judge import Judged
from seasoning.selection.objectives import Limit, SearchObjective
from seasoning.selection.significance import Comparison
from seasoning.statistics import Estimate


__all__ = ["Answer", "ChosenSoup", "FrontSoup", "Rival", "SearchResult", "weights_in_words"]

Weights = tuple[float, ...]


class ChosenSoup(NamedTuple):
    """A chosen soup, or an ingredient or another model beside it.

    Args:
        name: Its weights in words.
        weights: One number for each ingredient; none of a model that is no soup.
        judged: Its scores on the selection points, on held-out images, and on all.
        best: How often it is the best of its candidates when the selection points are drawn anew.
        screened: Its score while the search screened it, with fewer steps or lower precision, on some of the points.
        same: Its score by full measuring on the same ones: the difference is what screening was misled by.
        limits: Its accuracy on what the objective's limits are about, in their order.
    """

    name: str
    weights: Weights
    judged: Judged
    best: float | None = None
    screened: Estimate | None = None
    same: Estimate | None = None
    limits: tuple[Judged, ...] = ()

    def misses(self, limits: Sequence[Limit]) -> bool:
        """Whether it would not have been chosen, since it misses one of these limits on the selection points."""
        return any(own.selection.value < limit.least - 1e-9 for limit, own in zip(limits, self.limits, strict=True))


class Rival(NamedTuple):
    """The best ingredient on the selection points, of those that keep to the limits there, against the best soup.

    Args:
        name: The ingredient.
        difference: The soup's score minus the ingredient's on held-out images, paired; `None` where none were left or
            where the soup is that ingredient alone.
    """

    name: str
    difference: Estimate | None


class Answer(NamedTuple):
    """The answer to one objective.

    Args:
        objective: What soups should be best at.
        scope: Among which soups they were chosen, in words.
        chosen: The best soups, best first.
        tied: How many soups have the highest score on the selection points.
        comparisons: Tests between them on held-out images, and of the best of them against every candidate; the
            indices are those of the soups and then of the candidates.
        ingredients: Every ingredient, judged alike.
        rival: The ingredient that the best soup is compared with; `None` where none keeps to the limits.
        regret: What choosing on fewer images would have lost.
        soup: The file of the best soup.
        candidates: Every other model of the plan, judged alike.
    """

    objective: SearchObjective
    scope: str
    chosen: tuple[ChosenSoup, ...]
    tied: int
    comparisons: tuple[Comparison, ...]
    ingredients: tuple[ChosenSoup, ...]
    rival: Rival | None
    regret: tuple[Estimate, ...]
    soup: Path
    candidates: tuple[ChosenSoup, ...] = ()


class FrontSoup(NamedTuple):
    """A soup of the Pareto front, and its scores on the selection points in the order of the plan's objectives."""

    name: str
    weights: Weights
    scores: tuple[float, ...]


class SearchResult(NamedTuple):
    """What a search came to.

    Args:
        answers: One for each objective.
        front: The Pareto front.
        front_scope: Among which soups it was found, in words.
        smoke: Whether the search only tried the machinery.
        columns: The texts of the tasks of each column, of a data set of many parts a task for each part.
    """

    answers: tuple[Answer, ...]
    front: tuple[FrontSoup, ...]
    front_scope: str
    smoke: bool
    columns: Mapping[str, tuple[str, ...]]


def weights_in_words(weights: Sequence[float], names: Sequence[str]) -> str:
    """Weights with their ingredients, such as `"0.5 linf + 0.5 l1"`."""
    parts = [f"{weight:.3g} {name}" for weight, name in zip(weights, names, strict=True) if weight != 0]
    return " + ".join(parts).replace("+ -", "- ")
