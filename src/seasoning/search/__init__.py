"""Search: spaces of weights, strategies that propose from them, and the driver that has proposals measured."""

from collections.abc import Callable

from seasoning.search.climb import climb
from seasoning.search.driver import run_strategy
from seasoning.search.race import race
from seasoning.search.rehearsal import rehearse
from seasoning.search.spaces import Weights, box, ladder, line, neighbours, simplex, starts
from seasoning.search.strategies import (
    Answer,
    Goal,
    Proposal,
    Strategy,
    all_tasks,
    greedy,
    grid,
    random_points,
    together,
    uniform,
)


__all__ = [
    "STRATEGIES",
    "Answer",
    "Goal",
    "Proposal",
    "Strategy",
    "Weights",
    "all_tasks",
    "box",
    "climb",
    "greedy",
    "grid",
    "ladder",
    "line",
    "neighbours",
    "race",
    "random_points",
    "rehearse",
    "run_strategy",
    "simplex",
    "starts",
    "together",
    "uniform",
]

STRATEGIES: dict[str, Callable[..., Strategy]] = {
    "climb": climb,
    "race": race,
    "grid": grid,
    "greedy": greedy,
    "uniform": uniform,
    "random": random_points,
}
