"""Honest numbers of chosen soups, against formulas and simulations."""

from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray

from seasoning.errors import BadInput
from seasoning.outcomes import ModelKey, Outcomes
from seasoning.selection import (
    Candidate,
    Entry,
    Limit,
    SearchObjective,
    Term,
    accuracy_on,
    best_probabilities,
    choose,
    compare,
    judge,
    mean_over,
    pareto_front,
    regret_curve,
    scope,
    shown_best,
)
from seasoning.statistics import mean_accuracy
from tests.make import outcomes


def rows(right: list[int], ids: list[int] | None = None) -> Outcomes:
    return outcomes(labels=[1] * len(right), clean=right, ids=ids)


def drawn(random: np.random.Generator, share: float, count: int) -> Outcomes:
    return rows((random.random(count) < share).astype(int).tolist())


def test_a_weighted_sum_is_the_sum_of_its_terms() -> None:
    soup = {"clean": rows([1, 1, 1, 0]), "l2": rows([1, 0, 1, 0]), "l1": rows([0, 1, 1, 0])}
    objective = SearchObjective("mostly clean", (Term(("clean",), 0.7), Term(("l2", "l1"), 0.3)))
    assert objective.tasks == ("clean", "l2", "l1")
    assert objective.score(soup) == pytest.approx(0.7 * 0.75 + 0.3 * 0.25)
    assert objective.estimate(soup).value == pytest.approx(objective.score(soup))
    assert objective.values(soup)[1].mean() == pytest.approx(objective.score(soup))


def test_values_of_sets_of_different_sizes_keep_the_mean_of_means() -> None:
    soup = {"all": rows([1, 0, 1, 0], [4, 2, 9, 7]), "some": rows([1, 1], [9, 2])}
    ids, values = mean_over(("all", "some")).values(soup)
    assert ids.tolist() == [2, 4, 7, 9]
    assert values.mean() == pytest.approx((0.5 + 1.0) / 2)


def test_a_limit_puts_soups_that_miss_it_below_all_others() -> None:
    objective = SearchObjective("union", (Term(("l1",)),), (Limit(("clean",), 0.75),))
    careless = {"clean": rows([1, 1, 0, 0]), "l1": rows([1, 1, 1, 1])}
    careful = {"clean": rows([1, 1, 1, 0]), "l1": rows([0, 0, 0, 0])}
    assert objective.score(careless) == pytest.approx(-0.25)
    assert objective.score(careful) == 0
    assert objective.shortfall(careless) > 0
    assert objective.shortfall(careful) == 0
    soups = [Candidate((1.0, 0.0), careless), Candidate((0.0, 1.0), careful)]
    assert [each.weights for each in choose(soups, objective, top=2)] == [(0.0, 1.0)]
    with pytest.raises(BadInput, match=r"none of 1 soups has clean at least 0\.75"):
        choose(soups[:1], objective)


@pytest.mark.parametrize(
    ("terms", "limits", "words"),
    [
        ((), (), "looks at nothing"),
        ((Term(()),), (), "looks at nothing"),
        ((Term(("a",), 0.0),), (), "not above 0"),
        ((Term(("a",)),), (Limit(("a",), 80),), "outside"),
    ],
)
def test_objectives_of_nothing_are_refused(terms: tuple[Term, ...], limits: tuple[Limit, ...], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        SearchObjective("odd", terms, limits)


def test_the_pareto_front_is_the_one_of_brute_force() -> None:
    random = np.random.default_rng(0)
    soups = [
        Candidate((i / 40, 1 - i / 40), {task: drawn(random, 0.5, 30) for task in ("clean", "l1")}) for i in range(41)
    ]
    objectives = [accuracy_on("clean"), accuracy_on("l1")]
    scores = {each.weights: tuple(objective.score(each.outcomes) for objective in objectives) for each in soups}
    front = [each.weights for each in pareto_front(soups, objectives)]
    for weights, (clean, l1) in scores.items():
        beaten = any(a >= clean and b >= l1 and (a, b) != (clean, l1) for a, b in scores.values())
        assert (weights in front) != beaten
    assert [scores[weights] for weights in front] == sorted((scores[weights] for weights in front), reverse=True)
    with pytest.raises(BadInput, match="at least two"):
        pareto_front(soups, objectives[:1])


def test_a_front_leaves_out_soups_that_miss_a_limit() -> None:
    soups = [
        Candidate((1.0, 0.0), {"clean": rows([1, 0]), "l1": rows([1, 1])}),
        Candidate((0.0, 1.0), {"clean": rows([1, 1]), "l1": rows([0, 0])}),
    ]
    limited = SearchObjective("l1", (Term(("l1",)),), (Limit(("clean",), 0.9),))
    assert [each.weights for each in pareto_front(soups, [accuracy_on("clean"), limited])] == [(0.0, 1.0)]


def test_scores_are_told_apart_by_what_their_samples_were_used_for() -> None:
    soup = {"clean": rows([1, 1, 0, 0, 1], [5, 1, 2, 3, 4])}
    judged = judge(accuracy_on("clean"), soup, {"clean": np.array([1, 5])})
    assert (judged.selection.value, judged.selection.n) == (1.0, 2)
    assert judged.complement is not None
    assert judged.complement.value == pytest.approx(1 / 3)
    assert judged.complement.n == 3
    assert (judged.whole.value, judged.whole.n) == (0.6, 5)
    assert judge(accuracy_on("clean"), soup, {"clean": np.arange(9)}).complement is None


def test_base_images_of_one_set_are_in_no_complement_of_a_derived_set() -> None:
    soup = {"clean": rows([1, 0, 1], [1, 2, 3]), "blur": rows([1, 1, 1], [1, 2, 3])}
    judged = judge(mean_over(("clean", "blur")), soup, dict.fromkeys(("clean", "blur"), np.array([1, 2])))
    assert judged.complement is not None
    assert (judged.complement.value, judged.complement.n) == (1.0, 1)


def test_images_that_chose_in_another_set_are_neither_selection_points_nor_others() -> None:
    soup = {"clean": rows([1, 0, 0, 1, 1], [1, 2, 3, 4, 5])}
    judged = judge(accuracy_on("clean"), soup, {"clean": np.array([1, 2]), "real": np.array([2, 3])})
    assert (judged.selection.value, judged.selection.n) == (0.5, 2)
    assert judged.complement is not None
    assert (judged.complement.value, judged.complement.n) == (1.0, 2)
    assert judged.whole.n == 5


def test_pairs_are_tested_by_mcnemars_exact_test_and_corrected() -> None:
    # Among the others 6 are right for the first alone and 1 for the second alone: 2 * (1 + 7) / 2**7.
    one, other = [1] * 6 + [0] + [1] * 3, [0] * 6 + [1] + [1] * 3
    ids = list(range(12))
    soups = [{"clean": rows([0, 0, *right], ids)} for right in (one, other, one)]
    tested = compare(accuracy_on("clean"), soups, np.array([0, 1]))
    assert [(each.first, each.second) for each in tested] == [(0, 1), (0, 2), (1, 2)]
    exact = 2 * (comb(7, 0) + comb(7, 1)) / 2**7
    assert [each.p for each in tested] == pytest.approx([exact, 1.0, exact])
    assert [each.corrected for each in tested] == pytest.approx([3 * exact, 1.0, 3 * exact])
    assert tested[0].difference.value == pytest.approx(0.5)


def test_the_probability_of_being_best_counts_draws() -> None:
    soups = [
        Candidate((1.0, 0.0), {"clean": rows([1] * 90 + [0] * 10)}),
        Candidate((0.5, 0.5), {"clean": rows([0] * 10 + [1] * 90)}),
        Candidate((0.0, 1.0), {"clean": rows([1] * 20 + [0] * 80)}),
    ]
    shares = best_probabilities(soups, accuracy_on("clean"))
    assert sum(shares.values()) == pytest.approx(1)
    assert shares[0.0, 1.0] == 0
    assert shares[1.0, 0.0] == pytest.approx(0.5, abs=0.05)


def test_the_regret_curve_falls_to_0() -> None:
    random = np.random.default_rng(3)
    soups = [Candidate((i / 20, 1 - i / 20), {"clean": drawn(random, 0.6 + i / 100, 200)}) for i in range(21)]
    curve = regret_curve(soups, accuracy_on("clean"), [5, 50, 200])
    assert [point.n for point in curve] == [5, 50, 200]
    assert curve[0].value > curve[1].value > curve[2].value == 0
    assert curve[0].high >= curve[0].value


def test_the_regret_curve_draws_as_many_images_of_each_set() -> None:
    random = np.random.default_rng(4)
    objective = mean_over(("photos", "sketches", "blur"))

    def soup(share: float) -> dict[str, Outcomes]:
        right = {task: (random.random(60) < share).astype(int).tolist() for task in objective.tasks}
        ids = {"photos": range(60), "sketches": range(100, 160), "blur": range(60)}
        return {task: rows(right[task], list(ids[task])) for task in objective.tasks}

    soups = [Candidate((i / 20, 1 - i / 20), soup(0.6 + i / 200)) for i in range(21)]
    curve = regret_curve(soups, objective, [5, 59, 60])
    assert [point.n for point in curve] == [5, 59, 60]
    assert curve[0].value > curve[1].value >= curve[2].value == curve[2].high == 0


def test_an_entry_counts_its_data_sets_by_their_weights() -> None:
    half, all_right = np.array([True, False] * 20), np.ones(40, dtype=bool)
    entry = Entry(ModelKey.of(["a"], [1]), ((np.arange(40), half), (np.arange(100, 140), all_right)), (0.25, 0.75))
    assert entry.value == pytest.approx(0.25 * 0.5 + 0.75)
    assert entry.estimate.value == pytest.approx(entry.value)
    assert entry.estimate == mean_accuracy(entry.columns, entry.weights)


def test_the_shown_best_is_the_best_by_weight() -> None:
    """One model is better on a set that hardly counts, the other on the one that does."""
    ids = np.arange(400)
    good, bad = np.arange(400) < 380, np.arange(400) < 200

    def entry(name: str, first: NDArray[np.bool_], second: NDArray[np.bool_], weights: tuple[float, ...]) -> Entry:
        return Entry(ModelKey.of([name], [1]), ((ids, first), (ids + 1000, second)), weights)

    for weights, best in (((0.9, 0.1), 0), ((0.1, 0.9), 1)):
        assert shown_best([entry("a", good, bad, weights), entry("b", bad, good, weights), None]) == [best]
    assert shown_best([entry("a", good, bad, (0.5, 0.5)), entry("b", bad, good, (0.5, 0.5))]) == []


def test_a_soup_is_said_to_be_chosen_among_what_was_measured() -> None:
    soups = [Candidate((1.0,), {})] * 3
    assert scope(soups, 3) == "among all 3 soups of the space"
    assert scope(soups, 286) == "among the 3 soups measured on identical images, of 286 in the space"
