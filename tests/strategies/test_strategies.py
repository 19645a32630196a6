from math import comb, fsum

import pytest

from seasoning.errors import BadInput
from seasoning.outcomes import Outcomes
from seasoning.selection import Limit, SearchObjective, Term, accuracy_on, mean_over
from seasoning.strategies import (
    Proposal,
    Strategy,
    Weights,
    box,
    climb,
    dry_run,
    greedy,
    grid,
    ladder,
    line,
    members,
    neighbours,
    race,
    run_strategy,
    simplex,
    starts,
    together,
    uniform,
)
from tests.make import outcomes
from tests.strategies.landscape import Landscape


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


@pytest.mark.parametrize(("count", "parts", "low", "high"), [(2, 10, -0.4, 1.4), (3, 5, -0.4, 1.4), (3, 10, 0.1, 0.6)])
def test_a_box_holds_every_affine_mix_in_its_range_once(count: int, parts: int, low: float, high: float) -> None:
    points = box(count, parts, low, high)
    steps = range(round(low * parts), round(high * parts) + 1)
    wanted = {
        tuple(share / parts for share in (*rest, parts - sum(rest)))
        for rest in ([(a,) for a in steps] if count == 2 else [(a, b) for a in steps for b in steps])
        if parts - sum(rest) in steps
    }
    assert len(points) == len(wanted)
    assert set(points) == wanted


def test_a_box_between_0_and_1_is_the_simplex() -> None:
    assert set(box(3, 10, 0, 1)) == set(simplex(3, 10))


def test_a_line_goes_from_one_model_to_the_other_and_beyond() -> None:
    assert line(2) == [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)]
    assert line(2, -0.5, 1.5) == [(1.5, -0.5), (1.0, 0.0), (0.5, 0.5), (0.0, 1.0), (-0.5, 1.5)]


def test_spaces_without_points_are_refused() -> None:
    with pytest.raises(BadInput, match="widen the box"):
        box(3, 10, 0.4, 0.6)
    with pytest.raises(BadInput, match="widen the line"):
        line(2, 0.1, 0.2)


def test_a_ladder_takes_one_rung_of_each_norm() -> None:
    points = ladder(("nominal", "linf", "linf", "l2"), 4)
    assert len(points) == len(set(points))
    assert all(fsum(point) == 1 and not (point[1] and point[2]) for point in points)
    assert {(0.0, 1.0, 0.0, 0.0), (0.25, 0.0, 0.5, 0.25), (0.5, 0.5, 0.0, 0.0)} <= set(points)
    assert len(points) == 2 * comb(6, 2) - comb(5, 1)


def test_starts_are_the_corners_and_the_middle() -> None:
    assert starts(simplex(3, 3)) == [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1 / 3, 1 / 3, 1 / 3)]
    assert starts(line(2)) == [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]


def test_members_are_the_ingredients_that_a_space_uses() -> None:
    assert members(simplex(3, 2)) == [0, 1, 2]
    assert members([(1.0, 0.0, 0.0), (-0.5, 0.0, 1.5)]) == [0, 2]
    assert (0.0, 0.5, 0.5) in starts([point for point in simplex(3, 2) if not point[0]])


def test_neighbours_shift_weight_between_two_ingredients() -> None:
    points = simplex(3, 10)
    around = neighbours(points, (0.5, 0.4, 0.1), 0.1)
    assert len(around) == 6
    assert (0.6, 0.3, 0.1) in around
    # Less than the move is left of the third one: all of it goes.
    assert set(neighbours(points, (0.5, 0.4, 0.1), 0.3)) >= {(0.6, 0.4, 0.0), (0.5, 0.5, 0.0)}


def test_a_ladder_is_climbed_from_rung_to_rung() -> None:
    points = ladder(("nominal", "linf", "linf"), 4)
    assert (0.5, 0.0, 0.5) in neighbours(points, (0.5, 0.5, 0.0), 0.25)


def answer(proposal: Proposal) -> dict[str, Outcomes]:
    return {task: outcomes(labels=[1], clean=[1]) for task in proposal.tasks}


def test_a_grid_asks_for_everything_once() -> None:
    objectives = [accuracy_on("clean"), mean_over(("clean", "blur"))]
    found = run_strategy(grid(simplex(3, 2), objectives, 1), answer)
    assert [proposal.weights for proposal, _ in found] == simplex(3, 2)
    assert all(list(answers) == ["clean", "blur"] for _, answers in found)


def test_a_search_without_objectives_is_refused() -> None:
    with pytest.raises(BadInput, match="at least one"):
        run_strategy(grid(simplex(3, 2), [], 1), answer)


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


def test_strategies_side_by_side_share_proposals_and_end_apart() -> None:
    received: dict[str, list[int]] = {"short": [], "long": []}

    def asks(name: str, rounds: int) -> Strategy:
        for number in range(rounds):
            answers = yield [Proposal((1.0,), ("a",)), Proposal((float(number),), (name,))]
            assert [list(each) for each in answers] == [["a"], [name]]
            received[name].append(number)

    found = run_strategy(together([asks("short", 1), asks("long", 3)]), answer)
    assert received == {"short": [0], "long": [0, 1, 2]}
    assert len(found) == 3 + 2 + 2, "what both ask for in a round is asked once"


FOUR: dict[str, Weights] = {"clean": (0.5, 0.3, 0.1, 0.1), "blur": (0.1, 0.1, 0.4, 0.4)}


def test_a_climb_takes_a_small_share_of_the_grid() -> None:
    landscape = Landscape(FOUR, 1000)
    points = simplex(4, 10)
    run_strategy(climb(points, [accuracy_on("clean")], 1000), landscape.answer)
    assert landscape.measured() <= 0.05 * len(points) * 1000


@pytest.mark.parametrize("seed", range(3))
def test_a_climb_goes_along_a_limit(seed: int) -> None:
    landscape = Landscape(FOUR, 400, seed)
    points, objective = simplex(4, 10), SearchObjective("blur", (Term(("blur",)),), (Limit(("clean",), 0.8),))
    found = run_strategy(climb(points, [objective], 400), landscape.answer)
    chosen = max(objective.score(answer) for each, answer in found if each.samples is None)
    truth = max(
        objective.score({task: landscape.outcomes(point, task) for task in objective.tasks}) for point in points
    )
    assert truth - chosen <= 0.03


def test_a_climb_measures_as_many_soups_in_full_as_asked() -> None:
    landscape = Landscape({"clean": (1.0, 0.0, 0.0, 0.0)}, 200)
    run_strategy(climb(simplex(4, 10), [accuracy_on("clean")], 200, finalists=5), landscape.answer)
    assert len({each.weights for each in landscape.asked if each.samples is None}) >= 5


def test_a_climb_screens_and_ends_in_full() -> None:
    landscape = Landscape(FOUR, 200)
    run_strategy(climb(simplex(4, 10), [accuracy_on("clean")], 200), landscape.answer)
    assert all(each.screening == (each.samples is not None) for each in landscape.asked)


def test_a_race_drops_what_is_clearly_worse_and_keeps_the_best() -> None:
    landscape = Landscape(FOUR, 400)
    points, objective = simplex(4, 5), accuracy_on("clean")
    found = run_strategy(race(points, [objective], 400), landscape.answer)
    last = {each.weights for each, _ in found if each.samples is None}
    truth = max(points, key=lambda point: objective.score({"clean": landscape.outcomes(point, "clean")}))
    assert truth in last
    assert len(last) < len(points) / 2
    assert landscape.measured() < 0.6 * len(points) * 400


def test_a_wider_zone_of_indifference_drops_more() -> None:
    counts = []
    for zone in (0.0, 0.05):
        landscape = Landscape(FOUR, 400)
        run_strategy(race(simplex(4, 5), [accuracy_on("clean")], 400, zone=zone), landscape.answer)
        counts.append(landscape.measured())
    assert counts[1] < counts[0]


def test_a_race_keeps_soups_that_may_keep_to_the_limit() -> None:
    landscape = Landscape(FOUR, 400)
    objective = SearchObjective("blur", (Term(("blur",)),), (Limit(("clean",), 0.8),))
    found = run_strategy(race(simplex(4, 5), [objective], 400), landscape.answer)
    last = [answer for each, answer in found if each.samples is None]
    assert any(objective.feasible(each) for each in last)


def test_greedy_is_wortsmans_recipe() -> None:
    # Alone: b 3, a 2, c 1 of 4 right; b and a together 4; with c 2.
    right: dict[Weights, list[int]] = {
        (0, 1, 0): [1, 1, 1, 0],
        (1, 0, 0): [1, 1, 0, 0],
        (0, 0, 1): [1, 0, 0, 0],
        (0.5, 0.5, 0): [1, 1, 1, 1],
    }
    asked: list[Weights] = []

    def measure(proposal: Proposal) -> dict[str, Outcomes]:
        asked.append(proposal.weights)
        return {"clean": outcomes(labels=[1] * 4, clean=right.get(proposal.weights, [1, 1, 0, 0]))}

    run_strategy(greedy(simplex(3, 2), [accuracy_on("clean")], 4), measure)
    assert asked[3:] == [(0.5, 0.5, 0.0), (1 / 3, 1 / 3, 1 / 3)]


def test_the_uniform_and_the_greedy_soup_are_of_the_ingredients_of_the_space() -> None:
    points = [point for point in simplex(4, 2) if not point[1]]
    landscape = Landscape(FOUR, 50)
    (found,) = run_strategy(uniform(points, [accuracy_on("clean")], 50), landscape.answer)
    assert found[0].weights == (1 / 3, 0.0, 1 / 3, 1 / 3)
    soups = [each.weights for each, _ in run_strategy(greedy(points, [accuracy_on("clean")], 50), landscape.answer)]
    assert soups[:3] == [(1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)]
    assert all(weights[1] == 0 for weights in soups)


def test_a_dry_run_counts_a_grid_exactly_and_a_climb_closely() -> None:
    points, objectives = simplex(4, 10), [accuracy_on("clean"), accuracy_on("blur")]
    assert dry_run(grid, points, objectives, 100) == {("clean", False): 28600, ("blur", False): 28600}
    landscape = Landscape(FOUR, 500)
    run_strategy(climb(points, objectives, 500), landscape.answer)
    assert 0.4 < sum(dry_run(climb, points, objectives, 500).values()) / landscape.measured() < 2.5
