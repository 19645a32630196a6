import numpy as np
import pytest

from seasoning.errors import BadInput
from seasoning.selection import Candidate, accuracy_on, choose, mean_over, union_over
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
