"""Strategies: spaces of weights, generators that propose soups from them, and the driver that runs one."""

from collections.abc import Callable

from seasoning.strategies.climb import climb
from seasoning.strategies.driver import Proposal, Scoring, Strategy, all_tasks, run_strategy, together
from seasoning.strategies.dry_run import dry_run
from seasoning.strategies.greedy import greedy
from seasoning.strategies.grid import grid, random_points, uniform
from seasoning.strategies.race import race
from seasoning.strategies.spaces import Weights, box, ladder, line, members, neighbours, simplex, starts


__all__ = [
    "STRATEGIES",
    "Proposal",
    "Scoring",
    "Strategy",
    "Weights",
    "all_tasks",
    "box",
    "climb",
    "dry_run",
    "greedy",
    "grid",
    "ladder",
    "line",
    "members",
    "neighbours",
    "race",
    "random_points",
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
