from math import comb, fsum

import pytest

from seasoning.errors import BadInput
from seasoning.outcomes import Outcomes
from seasoning.search import Proposal, Strategy, grid, run_strategy, simplex
from tests.make import outcomes


@pytest.mark.parametrize(("count", "parts"), [(1, 5), (2, 4), (3, 8), (4, 10)])
def test_the_simplex_holds_every_convex_mix_once(count: int, parts: int) -> None:
    points = simplex(count, parts)
    assert len(points) == len(set(points)) == comb(parts + count - 1, count - 1)
    assert all(fsum(weights) == pytest.approx(1) and min(weights) >= 0 for weights in points)
    assert all((parts * weight) == pytest.approx(round(parts * weight)) for weights in points for weight in weights)


def test_a_grid_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="at least 1"):
        simplex(0, 3)
    with pytest.raises(BadInput, match="at least 1"):
        simplex(3, 0)


def answer(proposal: Proposal) -> dict[str, Outcomes]:
    return {task: outcomes(labels=[1], clean=[1]) for task in proposal.tasks}


def test_a_grid_asks_for_everything_once() -> None:
    found = run_strategy(grid(simplex(3, 2), ("clean", "blur")), answer)
    assert [proposal.weights for proposal, _ in found] == simplex(3, 2)
    assert all(list(answers) == ["clean", "blur"] for _, answers in found)


def test_the_driver_sends_back_the_outcomes_of_each_round() -> None:
    received: list[list[list[str]]] = []

    def two_rounds() -> Strategy:
        first = yield [Proposal((1.0,), ("a",)), Proposal((1.0,), ("b",))]
        received.append([list(each) for each in first])
        second = yield [Proposal((1.0,), ("c",))]
        received.append([list(each) for each in second])

    found = run_strategy(two_rounds(), answer)
    assert received == [[["a"], ["b"]], [["c"]]]
    assert len(found) == 3
