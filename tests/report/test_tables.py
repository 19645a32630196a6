from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seasoning import metrics
from seasoning.config.run_record import read_record
from seasoning.outcomes import ModelKey
from seasoning.report import (
    CLEAN,
    Results,
    Row,
    contenders,
    known_choices,
    shifts_table,
    single_soup,
    threats_table,
    union_soup,
)
from seasoning.report.contenders import missing, tied_ranks, top_specific
from seasoning.report.formats import FORMATS
from seasoning.report.published import COLUMNS, published_tables
from seasoning.report.tables import percent, points, side_by_side, spoken_weights, top_table
from seasoning.report.write import soups_table, tables_of
from seasoning.selection import Entry, shown_best
from seasoning.statistics import Estimate
from seasoning.store.database import Store
from seasoning.strategies import simplex
from tests.report.runs import Made, add, made_run, random_right


@pytest.fixture
def results(finished: Path) -> Results:
    return Results(Store(finished / "outcomes.sqlite"))


@pytest.fixture
def made(tmp_path: Path) -> Results:
    return Results(Store(made_run(tmp_path, ingredients=4)))


def models(results: Results) -> dict[str, ModelKey]:
    """The models of the tables by their names."""
    everyone = contenders(results.record, known_choices(results))
    return {each.name: results.key(each.weights, ensemble=each.ensemble) for each in everyone}


def known(cells: list[Estimate | None]) -> list[Estimate]:
    assert None not in cells
    return [each for each in cells if each is not None]


def test_tables_are_those_of_the_outcomes(results: Results) -> None:
    keys = models(results)
    rows = threats_table(results).rows
    assert [row.name for row in rows] == list(keys)
    for row in rows:
        attacked = [results.outcomes(keys[row.name], "test", f"digits@{threat}") for threat in results.threats]
        there = [outcomes for outcomes in attacked if outcomes is not None]
        cells = known(row.cells)
        assert cells[-1] == metrics.union_accuracy(*there)
        assert cells[1] == metrics.robust_accuracy(there[0])
        assert cells[-1].value <= min(cell.value for cell in cells)
    shifts = {row.name: row for row in shifts_table(results).rows}
    for row in shifts.values():
        *own, mean = known(row.cells)
        assert mean.value == pytest.approx(sum(cell.value for cell in own) / len(results.clean))
    specific = top_specific(results)
    for index, label in enumerate(results.clean):
        outcomes = results.outcomes(results.soup(specific[label][0].weights), "test", results.columns[label][0])
        assert outcomes is not None
        assert shifts["shift-specific soups"].cells[index] == metrics.accuracy(outcomes)
    assert not shifts["shift-specific soups"].one_model


def test_the_soups_of_the_tables_are_those_of_the_answers(results: Results) -> None:
    answers = {answer.objective.name: answer for answer in results.record.answers or ()}
    union, single = union_soup(results), single_soup(results)
    assert union is not None
    assert single is not None
    assert union.weights == answers["union"].chosen[0].weights
    assert single.weights == answers["mean"].chosen[0].weights
    cells = {row.name: row.cells for row in shifts_table(results).rows}
    assert cells["single soup"][-1] == answers["mean"].chosen[0].judged.complement
    assert {row.name: row.cells for row in threats_table(results).rows}["union soup"][-1] == (
        answers["union"].chosen[0].judged.complement
    )
    for label, choices in top_specific(results).items():
        name = results.columns[label][0]
        assert [each.weights for each in choices] == [soup.weights for soup in answers[name].chosen]


def test_a_finished_run_misses_nothing(results: Results) -> None:
    assert missing(results) == []
    assert all(None not in row.cells for row in top_table(results).rows)


def test_top_soups_have_a_group_for_each_rank(made: Results) -> None:
    rows = top_table(made).rows
    assert [row.group for row in rows] == [
        *["Best soups of the search"] * 2,
        *["Second best soups"] * 2,
        *["Third best soups"] * 2,
    ]
    first = shifts_table(made).rows
    assert rows[0].cells == next(row.cells for row in first if row.name == "single soup")
    assert rows[1].cells == next(row.cells for row in first if row.name == "shift-specific soups")


def test_runs_stand_side_by_side(made: Results, tmp_path: Path) -> None:
    other = Results(Store(made_run(tmp_path / "other", shifts=("noise", "fog"))))
    table = side_by_side([("one", made), ("two", other)])
    assert table.columns == [CLEAN, "noise", "blur", "fog", "mean"]
    assert [row.group.partition(":")[0] for row in table.rows] == ["one", "one", "two", "two"]
    assert table.rows[0].cells[3] is None
    # A mean over fewer columns than the table has would mislead.
    assert table.rows[0].cells[-1] is None
    assert all(row.best == () for row in table.rows)


def test_passes_are_those_of_inference(results: Results) -> None:
    passes = {row.name: row.passes for row in threats_table(results).rows}
    assert passes == {name: 1 for name in passes} | {"ensemble of 3": 3, "ensemble of 4": 4}


def test_even_mixes_are_of_all_and_of_those_of_an_objective(tmp_path: Path) -> None:
    objectives = [{"best": "union", "ingredients": list(names)} for names in (("m1", "m2", "m3"), ("m0", "m1", "m2"))]
    named = [{**each, "name": f"union {number}"} for number, each in enumerate(objectives)]
    results = Results(Store(made_run(tmp_path, ingredients=4, objectives=named, grid=2, shifts=())))
    everyone = {each.name: each.weights for each in contenders(results.record, {}) if each.ensemble}
    third = 1 / 3
    assert everyone == {
        "ensemble of 3": (0, third, third, third),
        "ensemble of 3: m0, m1, m2": (third, third, third, 0),
        "ensemble of 4": (0.25, 0.25, 0.25, 0.25),
    }
    assert {row.name for row in threats_table(results).rows} >= everyone.keys()


def test_union_soups_hold_no_nominal_ingredient(results: Results) -> None:
    union, single = union_soup(results), single_soup(results)
    assert union is not None
    assert union.weights[-1] == 0
    assert single is not None
    assert len(single.weights) == 4
    tasks = [results.columns[threat][0] for threat in results.threats]
    # The nominal ingredient alone is measured as a rival.
    candidates = {each.weights for each in results.candidates(tasks)}
    assert candidates == {*((*weights, 0.0) for weights in simplex(3, 2)), (0.0, 0.0, 0.0, 1.0)}


def test_what_is_not_measured_is_left_open(tmp_path: Path) -> None:
    path = made_run(tmp_path, ended=False)
    results = Results(Store(path))
    assert threats_table(results).rows == []
    assert shifts_table(results).rows == []
    assert top_table(results).rows == []
    assert missing(results) == [
        "the end of the search: the choice and its final numbers",
        "soups measured for 'union' on the selection images: 15 of 15",
        "soups measured for 'mean' on the selection images: 15 of 15",
    ]
    with Store(path) as store:
        record = read_record(store)
        assert record is not None
        add(Made(store, record, random_right), (1.0, 0.0, 0.0), "test", "made")
        rows = threats_table(Results(store)).rows
    assert [row.name for row in rows] == ["m0"]
    assert rows[0].cells[1:] == [None] * 4


def test_attacks_on_another_data_set_have_columns_of_their_own(tmp_path: Path) -> None:
    plan: dict[str, Any] = {"data": ("made", "other"), "attacked": ["made", "other"], "shifts": ()}
    objectives = [{"best": "union", "tasks": ["made@linf:0.1", "made@l2:0.5"]}, {"best": "each"}]
    results = Results(Store(made_run(tmp_path, objectives=objectives, threats=("linf:0.1", "l2:0.5"), grid=2, **plan)))
    assert results.columns == {
        CLEAN: ("made",),
        "other": ("other",),
        "linf:0.1": ("made@linf:0.1",),
        "l2:0.5": ("made@l2:0.5",),
        "other@linf:0.1": ("other@linf:0.1",),
        "other@l2:0.5": ("other@l2:0.5",),
    }
    table = threats_table(results)
    assert table.columns == [CLEAN, "linf:0.1", "l2:0.5", "union", "other@linf:0.1", "other@l2:0.5"]
    assert None not in next(row.cells for row in table.rows if row.name == "union soup")
    assert shifts_table(results).columns == [CLEAN, "other", "mean"]


def test_clean_accuracy_beside_threats_is_that_of_the_attacked_data_set(tmp_path: Path) -> None:
    objectives = [{"best": "union"}, {"best": "each"}]
    plan: dict[str, Any] = {"data": ("made", "other"), "attacked": ["other"], "shifts": ()}
    results = Results(Store(made_run(tmp_path, objectives=objectives, grid=2, **plan)))
    table = threats_table(results)
    assert table.columns == ["other", "linf:0.1", "l2:0.5", "l1:2", "union"]
    outcomes = results.outcomes(results.alone("m0"), "test", "other")
    assert outcomes is not None
    assert table.rows[0].cells[0] == metrics.accuracy(outcomes)


def test_a_shift_and_a_data_set_of_one_name_are_two_columns(tmp_path: Path) -> None:
    results = Results(Store(made_run(tmp_path, data=("made", "blur"), threats=(), grid=2)))
    assert results.columns["blur"] == ("blur",)
    assert results.columns["made/blur"] == ("made/blur",)
    assert shifts_table(results).columns == [CLEAN, "blur", "noise", "made/blur", "mean"]


def test_weights_are_spoken_with_their_ingredients(results: Results) -> None:
    assert spoken_weights(results, (0.5, 0.0, 0.25, 0.25)) == "0.5 linf + 0.25 l1 + 0.25 nominal"
    assert spoken_weights(results, (1.4, -0.4, 0.0, 0.0)) == "1.4 linf - 0.4 l2"
    assert percent(Estimate(0.3153, 0.27, 0.362, 397)) == "31.5 [27.0, 36.2]"
    assert points(Estimate(0.106, -0.071, 0.14, 397)) == "+10.6 [-7.1, +14.0]"
    assert Row("a", 1, []).one_model


# Ties.


@pytest.mark.parametrize(
    ("scores", "tied"),
    [
        ([], []),
        ([0.5], []),
        ([0.5, 0.4, 0.3], []),
        ([0.5, 0.4, 0.4], [(2, 3)]),
        ([0.1 + 0.2, 0.3, 0.2, 0.2, 0.2], [(1, 2), (3, 4, 5)]),
    ],
)
def test_ranks_that_share_a_score(scores: list[float], tied: list[tuple[int, ...]]) -> None:
    assert tied_ranks(scores) == tied


def test_the_table_of_top_soups_says_which_ranks_tie(tmp_path: Path) -> None:
    # The better half of the images with m0, and three of four soups alike without.
    path = made_run(tmp_path, threats=(), grid=2, right=lambda weights, task, ids: ids % 4 < 2 + (weights[0] == 1))
    note = top_table(Results(Store(path))).note
    assert note.endswith(
        "Ranks that share a score there, the most even mix first: mean (2 and 3); clean (2 and 3); noise (2 and 3); "
        "blur (2 and 3)."
    )
    apart = made_run(tmp_path / "apart", threats=(), shifts=(), grid=1, right=_all_apart)
    assert "share" not in top_table(Results(Store(apart))).note


def _all_apart(weights: tuple[float, ...], task: str, ids: np.ndarray) -> np.ndarray:
    return ids % 10 < 3 + int(np.argmax(weights))


# Which row is best.


def entry(name: str, *columns: list[int]) -> Entry:
    return Entry(
        ModelKey("soup", ((name, 1.0),)),
        tuple((np.arange(len(c)), np.array(c, dtype=bool)) for c in columns),
        tuple(1 / len(columns) for _ in columns),
    )


def test_bold_wants_a_clear_winner() -> None:
    clear, poor = entry("a", [1] * 50), entry("b", [0, 1] * 25)
    assert shown_best([poor, clear]) == [1]
    assert shown_best([poor, clear, clear]) == [1, 2]
    close = entry("c", [1] * 48 + [0] * 2)
    assert shown_best([poor, clear, close]) == []
    assert shown_best([clear]) == []
    assert shown_best([clear, None]) == []
    assert shown_best([clear, entry("d", [0] * 49)]) == []


def test_a_clear_winner_is_bold_in_every_column_and_a_doubtful_one_nowhere(tmp_path: Path) -> None:
    path = made_run(tmp_path, threats=(), grid=2, right=lambda weights, task, ids: ids % 10 < 4 + 4 * (weights[0] == 1))
    rows = {row.name: row.best for row in shifts_table(Results(Store(path))).rows}
    # m0 is the single soup and the specific ones, too, whose mean is not one model's.
    assert {name: best for name, best in rows.items() if best} == {
        "m0": (0, 1, 2, 3),
        "single soup": (0, 1, 2, 3),
        "shift-specific soups": (0, 1, 2),
    }
    alike = made_run(tmp_path / "alike", threats=(), grid=2, right=lambda weights, task, ids: ids % 10 < 4)
    assert not any(row.best for row in shifts_table(Results(Store(alike))).rows)


def test_every_table_has_every_format(made: Results) -> None:
    for each in tables_of(made, published=True):
        for _, write in FORMATS.values():
            assert write(each)


def test_all_soups_are_counted(made: Results) -> None:
    soups = soups_table(made)
    assert len(soups.rows) == len(simplex(4, 4))
    assert soups.columns[-1] == "union (of 80)"
    tasks = [made.columns[threat][0] for threat in made.threats]
    one = made.candidates(tasks)[0]
    row = next(row for row in soups.rows if tuple(map(float, row[:4])) == one.weights)
    assert int(row[-1]) == metrics.union_column(*[one.outcomes[each] for each in tasks])[1].sum()


# Beside the paper.


def test_published_means_are_those_of_their_columns(made: Results) -> None:
    tables = published_tables(made)
    assert [len(each.rows) for each in tables] == [2, 6, 6]
    for row in [row for each in tables for row in each.rows]:
        *own, mean = known(row.cells)
        assert mean.value == pytest.approx(np.mean([cell.value for cell in own]), abs=0.0001)
        assert mean.n == 0
    assert "This run has none of these columns." in tables[0].note


def test_published_rows_stand_above_ones_own_of_the_same_columns(tmp_path: Path) -> None:
    results = Results(Store(made_run(tmp_path, data=("made", "imagenet-a", "IN-Sketch"), shifts=(), grid=2)))
    table = published_tables(results)[0]
    own = next(row for row in table.rows if row.name == "single soup")
    index = COLUMNS.index("IN-A")
    assert own.cells[index] == next(row for row in shifts_table(results).rows if row.name == "single soup").cells[1]
    assert own.cells[COLUMNS.index("IN")] is None
    assert own.cells[-1] is None
