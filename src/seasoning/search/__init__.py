"""Search: spaces of weights, strategies that propose from them, and the driver that has proposals measured."""

from seasoning.search.driver import run_strategy
from seasoning.search.spaces import simplex
from seasoning.search.strategies import Proposal, Strategy, grid


__all__ = ["Proposal", "Strategy", "grid", "run_strategy", "simplex"]
