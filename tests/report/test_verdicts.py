from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from seasoning import metrics, statistics
from seasoning.report import Results, union_differences, verdict
from seasoning.report.verdicts import confirmed_unions, notes
from seasoning.selection.answers import Answer
from seasoning.store.database import Store
from tests.report.runs import made_run


@pytest.fixture
def results(finished: Path) -> Results:
    return Results(Store(finished / "outcomes.sqlite"))


def answer(results: Results, name: str) -> Answer:
    return next(each for each in results.record.answers or () if each.objective.name == name)


def union_column(results: Results, weights: tuple[float, ...], *, confirming: bool) -> statistics.Column:
    """Right under all threats on held-out images, and under the stronger attacks as well."""
    rows = [
        results.outcomes(results.soup(weights), "test", f"digits@{threat}", confirming=each)
        for threat in results.threats
        for each in ((False, True) if confirming else (False,))
    ]
    return metrics.union_column(*[outcomes for outcomes in rows if outcomes is not None])


@pytest.mark.parametrize("confirming", [False, True])
def test_the_union_soup_is_compared_with_every_other_model(results: Results, confirming: bool) -> None:
    soup = answer(results, "union").chosen[0].weights
    found = {each.name: each.estimate for each in union_differences(results, confirming=confirming)}
    everyone = {"linf", "l2", "l1", "nominal", "single soup"} | {
        f"{kind} of {size}" for kind in ("ensemble", "uniform soup") for size in (3, 4)
    }
    assert "union soup" not in found
    # What is the union soup itself, under another name, has no difference; the stronger attack met the ingredients.
    assert found.keys() <= ({"linf", "l2", "l1", "nominal"} if confirming else everyone)
    assert len(found) >= (3 if confirming else 7)
    assert {estimate.n for estimate in found.values()} == {results.sizes["test"]}
    for name, weights in (("nominal", (0.0, 0.0, 0.0, 1.0)), ("linf", (1.0, 0.0, 0.0, 0.0))):
        columns = [union_column(results, each, confirming=confirming) for each in (soup, weights)]
        assert name not in found or found[name] == statistics.paired_difference(*columns)


def even_is_best(weights: tuple[float, ...], task: str, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    together = 2 if "together" in task else 0
    return ids % 10 < 8 - 3 * (max(weights) - min(weights)) - together


def test_an_ensemble_of_the_same_weights_is_another_model(tmp_path: Path) -> None:
    results = Results(Store(made_run(tmp_path, ingredients=2, threats=("l2:0.5", "l1:2"), grid=2, right=even_is_best)))
    assert answer(results, "union").chosen[0].weights == (0.5, 0.5)
    found = {each.name: each.estimate.value for each in union_differences(results)}
    # The uniform soup and the single soup are the union soup itself.
    assert found == pytest.approx({"m0": 0.3, "m1": 0.3, "ensemble of 2": 0.2})


def test_the_stronger_attack_only_takes_away(results: Results) -> None:
    unions = confirmed_unions(results)
    assert list(unions) == ["linf", "l2", "l1", "nominal", "union soup"]
    assert all(after.value <= before.value and after.n == before.n for before, after in unions.values())


def test_what_is_not_measured_is_compared_with_nothing(tmp_path: Path) -> None:
    results = Results(Store(made_run(tmp_path, ended=False, grid=2)))
    assert union_differences(results) == []
    assert confirmed_unions(results) == {}
    without = Results(Store(made_run(tmp_path / "without", attack={}, grid=2)))
    assert confirmed_unions(without) == {}
    assert union_differences(without) != []


def fractions(accuracies: dict[tuple[float, ...], float]) -> Any:
    """Exactly so many images of each hundred, by the weights of a soup."""

    def right(weights: tuple[float, ...], task: str, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        return (37 * ids) % 100 < 100 * accuracies.get(weights, 0)

    return right


@pytest.mark.parametrize(
    ("accuracies", "said", "unsaid"),
    [
        # Three at the top, of which the most even mixes go first.
        (
            {(1.0, 0.0): 0.6, (0.75, 0.25): 0.6, (0.5, 0.5): 0.6},
            ["3 soups share the highest score on the selection images; the most even mix is taken."],
            ["share a score there"],
        ),
        # One at the top, then two.
        (
            {(1.0, 0.0): 0.6, (0.75, 0.25): 0.5, (0.5, 0.5): 0.5},
            ["Soups 2 and 3 share a score there; the most even mix goes first."],
            ["share the highest"],
        ),
        ({(1.0, 0.0): 0.6, (0.75, 0.25): 0.5, (0.5, 0.5): 0.4}, [], ["share"]),
    ],
)
def test_ties_are_said(
    tmp_path: Path, accuracies: dict[tuple[float, ...], float], said: list[str], unsaid: list[str]
) -> None:
    path = made_run(
        tmp_path, ingredients=2, threats=(), shifts=(), grid=4, shots=100, others=100, right=fractions(accuracies)
    )
    results = Results(Store(path))
    text = " ".join(notes(answer(results, "made")))
    assert all(each in text for each in said)
    assert not any(each in text for each in unsaid)
    chosen = [soup.weights for soup in answer(results, "made").chosen]
    assert chosen == sorted(chosen, key=lambda weights: (-accuracies[weights], sum(np.square(weights))))


def test_a_soup_that_looked_better_on_few_images_is_told_to_be_worse(tmp_path: Path) -> None:
    def right(weights: tuple[float, ...], task: str, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        # The mix is at 70 % of the images that choose, and at 40 % of all others; m0 is at 60 % throughout.
        mixed, chosen = max(weights) < 1, ids < 100
        return ids % 10 < np.where(mixed, np.where(chosen, 7, 4), 6)

    path = made_run(
        tmp_path, ingredients=2, threats=(), shifts=(), grid=2, shots=100, others=500, right=right, objectives=[]
    )
    best = answer(Results(Store(path)), "made")
    assert best.chosen[0].weights == (0.5, 0.5)
    assert verdict(best).startswith(
        "No: the soup is worse than m0, the best ingredient on the images that chose (-20.0 [-2"
    )
    assert verdict(best).endswith("points, paired over 500 held-out images).")
