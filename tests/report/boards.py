"""Boards of the explorer at random, a page of nothing else, and its choice written once more in Python."""

from collections.abc import Sequence

import numpy as np

from seasoning.report.explorer import Board, Column
from seasoning.report.page import assets, environment, explorer_content
from seasoning.report.results import CLEAN, UNION
from seasoning.statistics import EQUAL


__all__ = ["best", "board_page", "made_board"]

_PAGE = """{% include "head.html.j2" %}
<body><main>
<h1>{{ title }}</h1>
<p class="warning">Made for a test: these numbers were drawn at random.</p>
{% include "explorer.html.j2" %}
</main><script>
{{ script }}
</script></body></html>
"""


def board_page(known: Board, title: str) -> str:
    """A page of an explorer alone, over any board."""
    content = {"title": title, "script": assets("js"), "css": assets("css")} | explorer_content(known)
    return environment().from_string(_PAGE).render(**content)


def best(known: Board, importances: Sequence[int], least_clean: float) -> int | None:
    """The soup that the explorer shows.

    Args:
        known: The board.
        importances: How much each column matters, at least 0.
        least_clean: The least clean accuracy that is allowed, in percent.

    Returns:
        Its index: the highest mean accuracy, weighted by importance, among the soups measured on every column that
        matters; of equal ones the most even mix, then the first. `None` where nothing matters or no soup is allowed.
    """
    total = sum(importances)
    if total == 0 or len(known.weights) == 0:
        return None
    allowed = np.ones(len(known.weights), dtype=bool)
    scores = np.zeros(len(known.weights))
    for index, importance in enumerate(importances):
        if importance > 0:
            allowed &= known.right[:, index] >= 0
            scores += importance / total * (known.right[:, index] / max(known.columns[index].images, 1))
    if least_clean > 0:
        clean = next(index for index, each in enumerate(known.columns) if each.kind == CLEAN)
        right = known.right[:, clean]
        allowed &= (right >= 0) & (100 * right / max(known.columns[clean].images, 1) >= least_clean - EQUAL)
    if not allowed.any():
        return None
    top = allowed & (scores >= scores[allowed].max() - EQUAL)
    extremeness = np.square(known.weights).sum(axis=1)
    return int(np.flatnonzero(top & (extremeness <= extremeness[top].min() + EQUAL))[0])


def made_board(soups: int, shifts: int, seed: int) -> Board:
    """Random numbers in the form of a search of four ingredients, to try a page of any size.

    Args:
        soups: How many soups.
        shifts: How many columns besides clean, three threats and their union; as corruptions of five severities.
        seed: Seed of the numbers.
    """
    random = np.random.default_rng(seed)
    names = [f"corruption {number // 5 + 1}/{number % 5 + 1}" for number in range(shifts)]
    columns = [
        Column(CLEAN, CLEAN, 1000),
        *(Column(name, "shift", 1000) for name in names),
        *(Column(name, "threat", 1000) for name in ("linf:8/255", "l2:0.5", "l1:12")),
        Column(UNION, UNION, 1000),
    ]
    ingredients = ["nominal", "linf", "l2", "l1"]
    weights = random.dirichlet(np.ones(4), soups).round(3)
    weights[:, -1] = (1 - weights[:, :-1].sum(axis=1)).round(3)
    strengths = random.uniform(0.2, 0.9, (4, len(columns)))
    fractions = np.clip(weights @ strengths + random.normal(0, 0.01, (soups, len(columns))), 0, 1)
    right = random.binomial(1000, fractions)
    right[:, -1] = np.minimum(right[:, -1], right[:, -4:-1].min(axis=1))
    return Board(columns, ingredients, [f"{name}.safetensors" for name in ingredients], weights, right, {}, {})
