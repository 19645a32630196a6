import base64
import json
import shlex
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from seasoning import statistics
from seasoning.report import CLEAN, Results, single_soup, union_soup
from seasoning.report.explorer import Board, Column, board, mix_command, payload, starting_point
from seasoning.soup import verify_soup
from seasoning.store.database import Store
from tests.command_line import seasoning
from tests.report.boards import best, made_board
from tests.report.runs import made_run


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(Store(made_run(tmp_path, ingredients=4)))


def exact_best(known: Board, importances: list[int], least_clean: float) -> int | None:
    """The same choice in exact fractions, soup by soup."""
    clean = next(index for index, each in enumerate(known.columns) if each.kind == CLEAN)
    ranked = []
    for soup, (weights, right) in enumerate(zip(known.weights, known.right, strict=True)):
        matters = [index for index, importance in enumerate(importances) if importance]
        if any(right[index] < 0 for index in matters) or not matters:
            continue
        if least_clean and Fraction(100 * int(right[clean]), known.columns[clean].images) < Fraction(least_clean):
            continue
        score = sum(Fraction(importances[index] * int(right[index]), known.columns[index].images) for index in matters)
        evenness = sum(Fraction(str(round(weight, 12))) ** 2 for weight in weights)
        ranked.append((-score, evenness, soup))
    return min(ranked)[2] if ranked else None


def random_states(known: Board, count: int, seed: int) -> list[tuple[list[int], float]]:
    """States of the sliders: few columns or many, with and without a least clean accuracy."""
    random = np.random.default_rng(seed)
    states = []
    for number in range(count):
        used = random.random(len(known.columns)) < (0.2, 0.6, 1.0)[number % 3]
        importances = np.where(used, random.integers(0, 11, len(known.columns)), 0)
        states.append((importances.tolist(), float(random.choice([0, 0, 40, 55.5, 61]))))
    return states


@pytest.mark.parametrize("seed", range(3))
def test_the_choice_is_that_of_exact_arithmetic(results: Results, seed: int) -> None:
    for known in (board(results), made_board(300, 20, seed)):
        found = [(best(known, *state), exact_best(known, *state)) for state in random_states(known, 40, seed)]
        assert all(one == other for one, other in found)
        assert len({one for one, _ in found}) > 2


def tied_board() -> Board:
    """Soups of equal scores by other counts: 0.3 + 0.3 and 0.1 + 0.5, which floating point adds up differently."""
    columns = [Column("clean", CLEAN, 10), Column("fog", "shift", 10)]
    weights = np.array([[1.0, 0.0], [0.25, 0.75], [0.5, 0.5], [0.5, 0.5]])
    return Board(columns, ["a", "b"], ["a.pt", "b.pt"], weights, np.array([[3, 3], [1, 5], [5, 1], [3, 3]]), {}, {})


def test_of_equal_scores_the_most_even_mix_wins_and_then_the_first() -> None:
    for importances in ([1, 1], [7, 7], [3, 3]):
        assert best(tied_board(), importances, 0) == exact_best(tied_board(), importances, 0) == 2


def test_presets_choose_the_soups_of_the_tables(results: Results) -> None:
    known, union, single = board(results), union_soup(results), single_soup(results)
    assert union is not None
    assert single is not None
    index = best(known, starting_point(known.columns), 0)
    assert index is not None
    assert tuple(known.weights[index]) == union.weights
    index = best(known, [10 if each.kind in (CLEAN, "shift") else 0 for each in known.columns], 0)
    assert index is not None
    assert tuple(known.weights[index]) == single.weights


@pytest.mark.parametrize(
    ("objectives", "start"),
    [
        ([], [0, 0, 0, 0, 0, 0, 10]),
        ([{"best": "mean"}], [10, 10, 10, 0, 0, 0, 0]),
        ([{"best": "mean", "tasks": ["made", "made@l2:0.5"]}], [10, 0, 0, 0, 10, 0, 0]),
        ([{"best": "made/blur"}], [0, 0, 10, 0, 0, 0, 0]),
        # Sliders that say it by halves: the union, which is measured.
        ([{"best": "weighted", "weights": {"made": 0.2, "union": 0.8}}], [0, 0, 0, 0, 0, 0, 10]),
    ],
)
def test_it_starts_at_the_first_answer_of_the_search(
    tmp_path: Path, objectives: list[dict[str, object]], start: list[int]
) -> None:
    results = Results(Store(made_run(tmp_path, objectives=objectives, grid=2)))
    known = board(results)
    assert payload(known)["start"] == start
    if len(set(start)) == 2 and objectives and objectives[0]["best"] != "weighted":
        index = best(known, start, 0)
        assert index is not None
        answers = results.record.answers
        assert answers is not None
        assert tuple(known.weights[index]) == answers[0].chosen[0].weights


def test_what_cannot_be_chosen_is_none(results: Results) -> None:
    known = board(results)
    assert best(known, [0] * len(known.columns), 0) is None
    assert best(known, [1] * len(known.columns), 100) is None
    nominal = known.weights[:, 3] == 0.5
    # Soups with the nominal ingredient are not measured under the threats.
    only = known._replace(weights=known.weights[nominal], right=known.right[nominal])
    assert best(only, [1] * len(known.columns), 0) is None


def test_without_threats_everything_matters_at_first() -> None:
    assert starting_point([Column("clean", CLEAN, 10), Column("fog", "shift", 10)]) == [10, 10]


def test_counts_survive_the_page(results: Results) -> None:
    for known in (board(results), made_board(50, 3, 0)._replace(columns=[Column("clean", CLEAN, 70_000)] * 8)):
        given = json.loads(json.dumps(payload(known)))
        raw = np.frombuffer(base64.b64decode(given["right"]), f"<u{given['bits'] // 8}")
        counts = raw.reshape(known.right.shape).astype(np.int64)
        assert np.array_equal(np.where(counts == 2 ** given["bits"] - 1, -1, counts), known.right)


def test_held_out_numbers_are_those_of_the_held_out_images(results: Results) -> None:
    known, union = board(results), union_soup(results)
    assert union is not None
    index = next(index for index, row in enumerate(known.weights) if tuple(row) == union.weights)
    outcomes = results.outcomes(results.soup(union.weights), "test", "made")
    entry = results.union_entry(results.soup(union.weights))
    assert outcomes is not None
    assert entry is not None
    assert known.held_out[index][0] == statistics.proportion(outcomes.correct)
    assert known.held_out[index][-1] == entry.estimate
    assert {each.n for each in known.held_out[index] if each is not None} == {90}
    given = json.loads(json.dumps(payload(known)))["heldOut"][str(index)]
    assert given[-1] == pytest.approx(entry.estimate[:3], abs=1e-7)


def test_the_command_writes_the_soup(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(Store(finished / "outcomes.sqlite"))
    files = [each.path for each in results.ingredients]
    assert [Path(file).stem for file in files] == ["linf", "l2", "l1", "nominal"]
    assert mix_command(["a", "b", "c d", "e"], (0.5, 0.0, 0.7, -0.2)) == (
        "seasoning mix a 'c d' e --weights 0.5,0.7,-0.2 --out my-soup.safetensors"
    )
    assert "--weights=-0.4,1.4 " in mix_command(["a", "b"], (-0.4, 1.4))
    monkeypatch.chdir(finished)
    seasoning(*shlex.split(mix_command(files, (0.25, 0.75, 0.0, 0.0)))[1:])
    soup = finished / "my-soup.safetensors"
    assert not verify_soup(soup, [Path(file) for file in files[:2]]).problems
    soup.unlink()
