from itertools import permutations

import numpy as np
import pytest

from seasoning.errors import BadInput
from seasoning.selection import Candidate, SearchObjective, Term, accuracy_on, choose, mean_over, union_over
from tests.make import outcomes


def candidate(weights: tuple[float, ...], **tasks: list[int]) -> Candidate:
    """A soup that is right on the samples marked 1 of each task."""
    return Candidate(
        weights,
        {
            task: outcomes(labels=[1] * len(right), clean=[1] * len(right), adversarial=right)
            if task.startswith("l")
            else outcomes(labels=[1] * len(right), clean=right)
            for task, right in tasks.items()
        },
    )


SOUPS = [
    candidate((1.0, 0.0), clean=[1, 1, 1, 0], blur=[0, 0, 0, 1], l2=[1, 1, 1, 0], l1=[0, 0, 0, 1]),
    candidate((0.5, 0.5), clean=[1, 1, 0, 0], blur=[1, 1, 1, 0], l2=[1, 1, 0, 0], l1=[1, 1, 0, 0]),
    candidate((0.0, 1.0), clean=[1, 0, 0, 0], blur=[1, 1, 1, 1], l2=[1, 0, 0, 0], l1=[1, 1, 1, 1]),
]


def test_each_objective_has_its_own_soup() -> None:
    assert choose(SOUPS, accuracy_on("clean"))[0].weights == (1.0, 0.0)
    assert choose(SOUPS, accuracy_on("blur"))[0].weights == (0.0, 1.0)
    assert choose(SOUPS, mean_over(("clean", "blur")))[0].weights == (0.5, 0.5)
    assert choose(SOUPS, union_over(("l2", "l1")))[0].weights == (0.5, 0.5)


def test_scores_are_those_of_the_estimates() -> None:
    for objective in (accuracy_on("clean"), mean_over(("clean", "blur")), union_over(("l2", "l1"))):
        for soup in SOUPS:
            assert objective.score(soup.outcomes) == pytest.approx(objective.estimate(soup.outcomes).value)
    choice = choose(SOUPS, union_over(("l2", "l1")), top=3)
    assert [round(each.score.value, 6) for each in choice] == [0.5, 0.25, 0.0]


def test_ties_go_to_the_most_even_mix() -> None:
    same = [candidate(weights, clean=[1, 0]) for weights in ((1.0, 0.0), (0.25, 0.75), (0.5, 0.5))]
    assert [each.weights for each in choose(same, accuracy_on("clean"), top=3)] == [
        (0.5, 0.5),
        (0.25, 0.75),
        (1.0, 0.0),
    ]


def test_ties_are_those_of_scores_that_differ_by_rounding_alone() -> None:
    """Means of thirds and tenths: equal scores, summed in another order."""
    objective = SearchObjective("mean", tuple(Term((task,), 1 / 3) for task in ("a", "b", "c")))
    ten = [[1] * count + [0] * (10 - count) for count in (1, 1, 4)]
    soups, points = [], [(1.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.4, 0.3, 0.3), (0.0, 1.0, 0.0), (0.7, 0.3, 0.0)]
    for weights, order in zip(points, [(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0)], strict=True):
        soups.append(candidate(weights, **{task: ten[index] for task, index in zip("abc", order, strict=True)}))
    assert len({objective.score(soup.outcomes) for soup in soups}) > 1, "rounding tells them apart"
    assert [each.weights for each in choose(soups, objective, top=5)] == [
        (0.4, 0.3, 0.3),
        (0.0, 0.5, 0.5),
        (0.7, 0.3, 0.0),
        (1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0),
    ]


def test_of_mixes_as_even_as_each_other_the_first_is_taken() -> None:
    points = [point for point in permutations((0.05, 0.1, 0.35, 0.5))]
    assert len({float(np.square(point).sum()) for point in points}) > 1, "rounding tells them apart"
    for first in range(0, len(points), 5):
        order = points[first:] + points[:first]
        soups = [candidate(weights, clean=[1, 0]) for weights in order]
        assert [each.weights for each in choose(soups, accuracy_on("clean"), top=3)] == order[:3]


def test_an_objective_allows_soups_of_its_ingredients_alone() -> None:
    limited = SearchObjective("clean", (Term(("clean",)),), ingredients=("a", "c"))
    names = ["a", "b", "c"]
    assert limited.allows((0.5, 0.0, 0.5), names)
    assert limited.allows((1.4, 0.0, -0.4), names)
    assert not limited.allows((0.5, 0.5, 0.0), names)
    assert accuracy_on("clean").allows((0.5, 0.5, 0.0), names)


def test_planted_best_soup_is_found_by_brute_force() -> None:
    random = np.random.default_rng(0)
    soups = [candidate((i / 50, 1 - i / 50), l2=list(random.integers(0, 2, 40)), l1=[1] * 40) for i in range(51)]
    best = max(soups, key=lambda each: int((each.outcomes["l2"].adversarial == 1).sum()))
    assert choose(soups, union_over(("l2", "l1")))[0].weights == best.weights


def test_soups_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(BadInput, match="not measured on 'fog', only on clean"):
        choose(SOUPS, accuracy_on("fog"))
    with pytest.raises(BadInput, match="different samples"):
        choose([SOUPS[0], candidate((0.5, 0.5), clean=[1, 1])], accuracy_on("clean"))
    with pytest.raises(BadInput, match="no soups"):
        choose([], accuracy_on("clean"))
