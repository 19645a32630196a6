from pathlib import Path

import numpy as np
import pytest

from seasoning import metrics
from seasoning.outcomes import ModelKey
from seasoning.report import CLEAN, Results, Row, comparisons, contenders, shifts_table, threats_table, verdict
from seasoning.report import verdicts as verdicts_module
from seasoning.report.contenders import best_ingredient, missing, single_soup, specific_soups, union_soup
from seasoning.report.costs import cost_tables, joint_training, spent
from seasoning.report.formats import FORMATS, comma_separated, latex, markdown, terminal
from seasoning.report.published import COLUMNS, published_tables
from seasoning.report.tables import Table, percent, points, side_by_side, spoken_weights, top_table
from seasoning.report.verdicts import Comparison, confirmed_unions, shift_verdict
from seasoning.report.write import soups_table, tables_of
from seasoning.selection import Choice, Entry, shown_best
from seasoning.statistics import Estimate
from seasoning.store.database import Store
from seasoning.strategies import simplex
from tests.report.runs import add, made_run


@pytest.fixture
def results(finished: Path) -> Results:
    return Results(Store(finished / "outcomes.sqlite"))


@pytest.fixture
def made(tmp_path: Path) -> Results:
    return Results(Store(made_run(tmp_path, ingredients=4)))


def known(cells: list[Estimate | None]) -> list[Estimate]:
    assert None not in cells
    return [each for each in cells if each is not None]


def test_tables_are_those_of_the_outcomes(results: Results) -> None:
    models = {each.name: each.model for each in contenders(results)}
    for row in threats_table(results).rows:
        attacked = [results.outcomes(models[row.name], "test", threat) for threat in results.threats]
        there = [outcomes for outcomes in attacked if outcomes is not None]
        cells = known(row.cells)
        assert cells[-1] == metrics.union_accuracy(*there)
        assert cells[1] == metrics.robust_accuracy(there[0])
        assert cells[-1].value <= min(cell.value for cell in cells)
    tasks = [CLEAN, *results.shifts]
    shifts = {row.name: row for row in shifts_table(results).rows}
    for row in shifts.values():
        *own, mean = known(row.cells)
        assert mean.value == pytest.approx(sum(cell.value for cell in own) / len(tasks))
    specific = specific_soups(results)
    for place, task in enumerate(tasks):
        outcomes = results.outcomes(results.soup(specific[task].weights), "test", task)
        assert outcomes is not None
        assert shifts["shift-specific soups"].cells[place] == metrics.accuracy(outcomes)
    assert not shifts["shift-specific soups"].one_model


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


def test_union_soups_hold_no_nominal_ingredient(results: Results) -> None:
    assert union_soup(results).weights[-1] == 0
    assert len(single_soup(results).weights) == 4
    candidates = {each.weights for each in results.candidates(results.threats)}
    assert candidates == {(*weights, 0.0) for weights in simplex(3, 2)}


def test_what_is_not_measured_is_left_open(tmp_path: Path) -> None:
    results = Results(Store(made_run(tmp_path, tested=False)))
    assert threats_table(results).rows == []
    assert verdict(results).startswith("Not known yet")
    assert shift_verdict(results).startswith("Not known yet")
    assert comparisons(results) == []
    assert confirmed_unions(results) == {}
    with Store(tmp_path / "outcomes.sqlite") as store:
        add(store, results.alone("m0"), "test", CLEAN)
        rows = threats_table(Results(store)).rows
    assert [row.name for row in rows] == ["m0"]
    assert rows[0].cells[1:] == [None] * 4


def compared(name: str, value: float, low: float, high: float) -> Comparison:
    return Comparison(name, Estimate(value, low, high, 397))


def others(*named: tuple[str, float, float, float]) -> list[tuple[str, float, float, float]]:
    """The given differences, and of the other ingredients clear ones."""
    rest = {"linf", "l2", "l1", "nominal"} - {name for name, *_ in named}
    return [*named, *((name, 0.5, 0.4, 0.6) for name in sorted(rest))]


@pytest.mark.parametrize(
    ("differences", "answer", "closest"),
    [
        (others(("l1", 0.05, 0.01, 0.09), ("ensemble of 3", -0.1, -0.2, -0.05)), "Yes", "l1"),
        (others(("linf", 0.2, 0.1, 0.3), ("l1", 0.05, -0.01, 0.1)), "Not shown", "difference to l1"),
        (others(("linf", 0.02, 0.01, 0.03), ("l1", 0.05, -0.01, 0.1)), "Not shown", "difference to l1"),
        (others(("linf", 0.2, 0.1, 0.3), ("l2", -0.01, -0.1, 0.08)), "No:", "l2"),
        ([("linf", 0.2, 0.1, 0.3)], "Not known yet", "not measured"),
    ],
)
def test_the_answer_follows_the_intervals(
    results: Results,
    monkeypatch: pytest.MonkeyPatch,
    differences: list[tuple[str, float, float, float]],
    answer: str,
    closest: str,
) -> None:
    choice = Choice((0.5, 0.0, 0.5, 0.0), Estimate(0.5, 0.4, 0.6, 300))
    monkeypatch.setattr(verdicts_module, "union_soup", lambda results: choice)
    made = [compared(*each) for each in differences]
    monkeypatch.setattr(verdicts_module, "comparisons", lambda results, confirming: made)
    said = verdict(results)
    assert answer in said
    assert closest in said


def test_a_chosen_ingredient_is_no_soup(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Choice((0.0, 0.0, 1.0, 0.0), Estimate(0.5, 0.4, 0.6, 300))
    monkeypatch.setattr(verdicts_module, "union_soup", lambda results: alone)
    assert verdict(results).startswith("No: the search chose the ingredient l1 alone")
    rival = best_ingredient(results)
    weights = tuple(float(each.name == rival) for each in results.ingredients)
    monkeypatch.setattr(verdicts_module, "single_soup", lambda results: Choice(weights, alone.score))
    assert f"than the ingredient {rival} alone" in shift_verdict(results)


def test_the_stronger_attack_only_takes_away(results: Results) -> None:
    unions = confirmed_unions(results)
    assert list(unions) == ["linf", "l2", "l1", "nominal", "union soup"]
    assert all(after.value <= before.value and after.n == before.n for before, after in unions.values())
    names = [each.name for each in comparisons(results, confirming=True)]
    assert set(names) <= {"linf", "l2", "l1", "nominal"}


def test_comparisons_are_paired_over_the_test_split(results: Results) -> None:
    names = [each.name for each in comparisons(results)]
    assert "union soup" not in names
    assert all(each.difference.n == results.sizes["test"] for each in comparisons(results))


def test_weights_are_spoken_with_their_ingredients(results: Results) -> None:
    assert spoken_weights(results, (0.5, 0.0, 0.25, 0.25)) == "0.5 linf + 0.25 l1 + 0.25 nominal"
    assert spoken_weights(results, (1.4, -0.4, 0.0, 0.0)) == "1.4 linf - 0.4 l2"
    assert percent(Estimate(0.3153, 0.27, 0.362, 397)) == "31.5 [27.0, 36.2]"
    assert points(Estimate(0.106, -0.071, 0.14, 397)) == "+10.6 [-7.1, +14.0]"
    assert Row("a", 1, []).one_model


# Which row is best.


def entry(name: str, *columns: list[int]) -> Entry:
    return Entry(ModelKey("soup", ((name, 1.0),)), tuple((np.arange(len(c)), np.array(c, dtype=bool)) for c in columns))


def test_bold_wants_a_clear_winner() -> None:
    clear, poor = entry("a", [1] * 50), entry("b", [0, 1] * 25)
    assert shown_best([poor, clear]) == [1]
    assert shown_best([poor, clear, clear]) == [1, 2]
    close = entry("c", [1] * 48 + [0] * 2)
    assert shown_best([poor, clear, close]) == []
    assert shown_best([clear]) == []
    assert shown_best([clear, None]) == []
    assert shown_best([clear, entry("d", [0] * 49)]) == []


# As text.


def table() -> Table:
    cells: list[Estimate | None] = [Estimate(0.5, 0.4, 0.6, 100), None]
    rows = [
        Row("one_a", 1, cells, best=(0,), group="first"),
        Row(
            "several", 3, [Estimate(0.25, 0.2, 0.3, 100), Estimate(0.3, 0.2, 0.4, 100)], one_model=False, group="first"
        ),
    ]
    return Table("Title", "A note, 95 %.", ["clean", "mean"], rows, "name")


def test_markdown_shows_value_interval_and_best() -> None:
    assert markdown(table()).splitlines() == [
        "**Title.** A note, 95 %.",
        "",
        "| model | # FP | clean | mean |",
        "| --- | ---: | ---: | ---: |",
        "| *first* |  |  |  |",
        "| one_a | ×1 | **50.0** [40.0, 60.0] | – |",
        "| several | ×3 | 25.0 [20.0, 30.0] | (30.0) [20.0, 40.0] |",
    ]


def test_latex_escapes_and_uses_booktabs() -> None:
    text = latex(table())
    assert "\\toprule" in text
    assert "\\caption{Title. A note, 95 \\%.}" in text
    assert "\\textit{first}" in text
    assert "one\\_a & $\\times$1 & \\textbf{50.0} {\\scriptsize [40.0, 60.0]} & -- \\\\" in text
    assert text.count("{") == text.count("}")


def test_csv_has_a_line_for_every_number() -> None:
    assert comma_separated(table()).splitlines() == [
        "group,model,passes,column,value,low,high,n,one_model,best",
        "first,one_a,1,clean,0.5,0.4,0.6,100,1,1",
        "first,several,3,clean,0.25,0.2,0.3,100,1,0",
        "first,several,3,mean,0.3,0.2,0.4,100,0,0",
    ]


def test_the_terminal_has_the_interval_below() -> None:
    lines = terminal(table()).splitlines()
    assert lines[0] == "Title"
    assert lines[3].split() == ["one_a", "x1", "*50.0", "–"]
    assert lines[4].split() == ["40-60"]
    assert len({len(line) for line in lines[1:2] + lines[3:4]}) == 1


def test_every_table_has_every_format(made: Results) -> None:
    for each in tables_of(made, published=True):
        for _, write in FORMATS.values():
            assert write(each)


def test_all_soups_are_counted(made: Results) -> None:
    soups = soups_table(made)
    assert len(soups.rows) == len(simplex(4, 4))
    assert soups.columns[-1] == "union (of 80)"
    one = made.candidates(made.threats)[0]
    row = next(row for row in soups.rows if tuple(map(float, row[:4])) == one.weights)
    assert int(row[-1]) == metrics.union_column(*[one.outcomes[each] for each in made.threats])[1].sum()


# Beside the paper, and what it cost.


def test_published_means_are_those_of_their_columns(made: Results) -> None:
    tables = published_tables(made)
    assert [len(each.rows) for each in tables] == [2, 6, 6]
    for row in [row for each in tables for row in each.rows]:
        *own, mean = known(row.cells)
        assert mean.value == pytest.approx(np.mean([cell.value for cell in own]), abs=0.0001)
        assert mean.n == 0
    assert "This run has none of these columns." in tables[0].note


def test_published_rows_stand_above_ones_own_of_the_same_columns(tmp_path: Path) -> None:
    results = Results(Store(made_run(tmp_path, shifts=("imagenet-a", "IN-Sketch"))))
    table = published_tables(results)[0]
    own = next(row for row in table.rows if row.name == "single soup")
    place = COLUMNS.index("IN-A")
    assert own.cells[place] == next(row for row in shifts_table(results).rows if row.name == "single soup").cells[1]
    assert own.cells[COLUMNS.index("IN")] is None
    assert own.cells[-1] is None


def test_costs_add_up(made: Results) -> None:
    stages = spent(made)
    asked = [each for each, _ in made.costs()]
    assert sum(each.gradients for each in stages.values()) == 10 * len(asked)
    assert joint_training(made) is None
    rows = cost_tables(made)[0].rows
    assert rows[0] == ["training m0", *["not recorded"] * 3]
    assert len(cost_tables(made)) == 1


def test_soups_are_weighed_against_joint_trainings(tmp_path: Path) -> None:
    results = Results(Store(made_run(tmp_path, passes=1000)))
    # Three robust ingredients, the first of them the base: two fine-tunes, and the base's own threat as long.
    assert joint_training(results) == 3000
    table = cost_tables(results)[1]
    searched = spent(results)["selection"].gradients
    assert table.rows[0][1:3] == [f"{3000 + searched:,}", "4,000"]
    assert table.rows[2][2] == "31,000"
