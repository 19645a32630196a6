"""What holds for every strategy: one suite for all of them."""

from math import fsum

import pytest

from seasoning.outcomes import Measured, Outcomes
from seasoning.selection import Candidate, SearchObjective, accuracy_on, choose, mean_over, union_over
from seasoning.strategies import STRATEGIES, Proposal, Weights, run_strategy, simplex
from tests.strategies.landscape import Landscape


POINTS = simplex(3, 10)
BEST: dict[str, Weights] = {"clean": (0.5, 0.3, 0.2), "blur": (0.1, 0.8, 0.1), "fog": (0.3, 0.3, 0.4)}
GOALS = [accuracy_on("clean"), mean_over(("clean", "blur")), union_over(("blur", "fog"))]
SHOTS = 200
every_strategy = pytest.mark.parametrize("name", STRATEGIES)


def ran(
    name: str, objectives: list[SearchObjective], seed: int = 0
) -> tuple[Landscape, list[tuple[Proposal, Measured]]]:
    landscape = Landscape(BEST, SHOTS, seed)
    return landscape, run_strategy(STRATEGIES[name](POINTS, objectives, SHOTS), landscape.answer)


@every_strategy
def test_weights_sum_to_one_and_fit_the_ingredients(name: str) -> None:
    _, found = ran(name, GOALS)
    for proposal, _ in found:
        assert len(proposal.weights) == 3
        assert fsum(proposal.weights) == pytest.approx(1)
        assert min(proposal.weights) >= 0
        if name not in ("greedy", "uniform"):
            assert proposal.weights in POINTS


@every_strategy
def test_only_tasks_of_the_goals_are_asked_for_and_each_goal_is_answered(name: str) -> None:
    _, found = ran(name, GOALS)
    assert {task for proposal, _ in found for task in proposal.tasks} == {"clean", "blur", "fog"}
    whole: dict[Weights, dict[str, Outcomes]] = {}
    for proposal, answer in found:
        if proposal.samples is None:
            assert not proposal.screening, "what a soup is chosen by comes from full measuring"
            whole.setdefault(proposal.weights, {}).update(answer)
    for objective in GOALS:
        soups = [Candidate(weights, have) for weights, have in whole.items() if set(objective.tasks) <= set(have)]
        assert choose(soups, objective), "an objective has soups measured on all samples"


@every_strategy
def test_samples_asked_for_lie_within_those_there_are(name: str) -> None:
    _, found = ran(name, GOALS)
    assert all(proposal.samples is None or 1 <= proposal.samples <= SHOTS for proposal, _ in found)


@every_strategy
def test_the_same_outcomes_lead_to_the_same_search(name: str) -> None:
    once, again = ran(name, GOALS)[1], ran(name, GOALS)[1]
    assert [proposal for proposal, _ in once] == [proposal for proposal, _ in again]


@every_strategy
def test_no_search_takes_more_than_the_grid(name: str) -> None:
    landscape, _ = ran(name, GOALS)
    grid, _ = ran("grid", GOALS)
    extra = 3 * SHOTS * 4 if name in ("greedy", "uniform") else 0
    assert landscape.measured() <= grid.measured() + extra


@every_strategy
def test_goals_searched_together_cost_no_more_than_apart(name: str) -> None:
    together = ran(name, GOALS)[0].measured()
    assert together <= sum(ran(name, [objective])[0].measured() for objective in GOALS)


@every_strategy
def test_a_space_of_some_ingredients_is_not_left(name: str) -> None:
    points = [point for point in simplex(3, 10) if not point[1]]
    found = run_strategy(STRATEGIES[name](points, GOALS, SHOTS), Landscape(BEST, SHOTS).answer)
    assert found
    assert all(len(proposal.weights) == 3 and proposal.weights[1] == 0 for proposal, _ in found)
    assert all(fsum(proposal.weights) == pytest.approx(1) for proposal, _ in found)
    assert any(proposal.samples is None for proposal, _ in found)


@every_strategy
def test_a_space_of_one_point_is_measured(name: str) -> None:
    points: list[Weights] = [(0.0, 1.0, 0.0)]
    found = run_strategy(STRATEGIES[name](points, GOALS, SHOTS), Landscape(BEST, SHOTS).answer)
    assert {proposal.weights for proposal, _ in found} == set(points)
    assert {task for proposal, _ in found if proposal.samples is None for task in proposal.tasks} == set(BEST)


@pytest.mark.parametrize("name", ["climb", "race", "grid"])
@pytest.mark.parametrize("seed", range(3))
def test_strategies_that_look_find_the_best_soup(name: str, seed: int) -> None:
    for objective in GOALS[:2]:
        landscape, found = ran(name, [objective], seed)
        soups = [Candidate(each.weights, answer) for each, answer in found if each.samples is None]
        chosen = choose(soups, objective)[0].weights
        truth = max(
            objective.score({task: landscape.outcomes(point, task) for task in objective.tasks}) for point in POINTS
        )
        score = objective.score({task: landscape.outcomes(chosen, task) for task in objective.tasks})
        # Within a standard error of such a score for the one that looks at few soups.
        assert truth - score <= (0.03 if name == "climb" else 0)
