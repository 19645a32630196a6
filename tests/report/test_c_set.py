"""A C set of 75 parts is one column, in selection, tables, verdicts and drawings alike."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from seasoning import metrics, statistics
from seasoning.cli.search import _print_result
from seasoning.report import CLEAN, Results, contenders, shifts_table, single_soup, verdict, wanted, write_report
from seasoning.report.contenders import known_choices, top_specific
from seasoning.report.explorer import board, payload
from seasoning.report.figures import drawings
from seasoning.report.published import COLUMNS, published_tables
from seasoning.report.tables import top_table
from seasoning.report.verdicts import answer_tables
from seasoning.selection.answers import SearchResult
from seasoning.store.database import Store
from tests.report.boards import best
from tests.report.runs import made_plan, made_run
from tests.report.test_page import outline, text_of


DATA = ("imagenet", "imagenet-a", "imagenet-r", "imagenet-c")
NAMES = [f"corruption{number}" for number in range(15)]
PARTS = {"imagenet-c": [f"imagenet-c/{name}/{severity}" for name in NAMES for severity in range(1, 6)]}
# Accuracies on the four data sets: over 78 columns the first ingredient would be the best.
ACCURACIES: dict[tuple[float, ...], tuple[float, ...]] = {
    (1.0, 0.0): (0.8, 0.2, 0.4, 0.62),
    (0.5, 0.5): (0.8, 0.45, 0.55, 0.57),
    (0.0, 1.0): (0.7, 0.3, 0.5, 0.5),
}


def right(weights: tuple[float, ...], task: str, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Exactly so many images of each hundred, mostly the same photographs on all parts of the C set."""
    name = task.partition("/")[0]
    first = PARTS[name].index(task) if name in PARTS else 0
    found: NDArray[np.bool_] = (ids + first // 15) % 100 < round(100 * ACCURACIES[weights][DATA.index(name)])
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = made_plan(
        ingredients=2, data=DATA, threats=(), shifts=(), objectives=[], grid=2, shots=100, others=200, ensemble=False
    )
    return made_run(tmp_path_factory.mktemp("c"), plan, PARTS, right=right)


@pytest.fixture
def results(path: Path) -> Results:
    return Results(Store(path))


def test_it_is_one_column_of_every_table(results: Results) -> None:
    assert results.columns == {
        CLEAN: ("imagenet",),
        "imagenet-a": ("imagenet-a",),
        "imagenet-r": ("imagenet-r",),
        "imagenet-c": tuple(PARTS["imagenet-c"]),
    }
    columns = [CLEAN, "imagenet-a", "imagenet-r", "imagenet-c", "mean"]
    assert shifts_table(results).columns == top_table(results).columns == columns
    rows = {row.name: row for row in shifts_table(results).rows}
    for name, weights in {"m0": (1.0, 0.0), "m1": (0.0, 1.0), "single soup": (0.5, 0.5)}.items():
        *own, mean = [cell.value for cell in rows[name].cells if cell is not None]
        assert own == pytest.approx(ACCURACIES[weights])
        assert mean == pytest.approx(np.mean(ACCURACIES[weights]))
    specific = rows["shift-specific soups"].cells
    assert [cell.value for cell in specific if cell is not None] == pytest.approx([0.8, 0.45, 0.55, 0.62, 0.605])


def by_part(weights: tuple[float, ...], task: str, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """As `right`, but on every second part the second ingredient has 70 of each hundred right."""
    if task in PARTS["imagenet-c"] and PARTS["imagenet-c"].index(task) % 2 and weights == (0.0, 1.0):
        found: NDArray[np.bool_] = ids % 100 < 70
        return found
    return right(weights, task, ids)


def test_its_soup_is_one_or_one_for_each_part(results: Results, tmp_path: Path) -> None:
    plan = made_plan(
        ingredients=2, data=DATA, threats=(), shifts=(), objectives=[], grid=2, shots=100, others=200, ensemble=False
    )
    other = Results(Store(made_run(tmp_path, plan, PARTS, right=by_part)))
    for known, c in ((results, 0.62), (other, (38 * 0.62 + 37 * 0.7) / 75)):
        rows = {row.name: row for row in top_table(known).rows if row.group.startswith("Best")}
        assert list(rows) == ["single soup", "shift-specific soups", "shift-specific soups, each part its own"]
        one, each = list(rows.values())[1:]
        assert not each.one_model
        values = [cell.value for cell in each.cells if cell is not None]
        assert values == pytest.approx([0.8, 0.45, 0.55, c, (0.8 + 0.45 + 0.55 + c) / 4])
        # The other columns are the same; C's is one soup for all parts, the best on their mean.
        assert each.cells[:3] == one.cells[:3]
        assert one.cells[3] is not None
        assert one.cells[3].value == pytest.approx(0.62)
        assert each.cells[3] is not None
        assert each.cells[3].n == one.cells[3].n


def test_its_interval_rests_on_photographs(results: Results) -> None:
    cell = next(row for row in shifts_table(results).rows if row.name == "m0").cells[3]
    assert cell is not None
    assert cell.n == 200
    outcomes = [results.outcomes(results.alone("m0"), "test", task) for task in PARTS["imagenet-c"]]
    columns = [metrics.robust_column(rows) for rows in outcomes if rows is not None]
    assert cell == statistics.mean_accuracy(columns)
    # 75 times as many images that are all different would say more.
    pooled = statistics.proportion(np.concatenate([values for _, values in columns]))
    assert cell.high - cell.low > 1.5 * (pooled.high - pooled.low)


def test_the_single_soup_is_that_of_the_search(results: Results) -> None:
    answers = {answer.objective.name: answer for answer in results.record.answers or ()}
    single = single_soup(results)
    assert single is not None
    assert single.weights == answers["mean"].chosen[0].weights == (0.5, 0.5)
    assert single.score.value == pytest.approx(0.5925)
    assert top_specific(results)["imagenet-c"][0].weights == answers["imagenet-c"].chosen[0].weights == (1.0, 0.0)
    assert known_choices(results) == {name: answer.chosen[0].weights for name, answer in answers.items()}


def test_it_is_so_before_the_search_has_ended(path: Path, tmp_path: Path) -> None:
    plan = made_plan(ingredients=2, data=DATA, threats=(), shifts=(), objectives=[], grid=2, shots=100, others=200)
    results = Results(Store(made_run(tmp_path, plan, PARTS, right=right, ended=False)))
    with Store(path) as ended:
        known = known_choices(Results(ended))
    assert known_choices(results) == known
    single = single_soup(results)
    assert single is not None
    assert single.weights == (0.5, 0.5)


def test_the_mean_is_tested_with_a_paired_interval(results: Results) -> None:
    answer = next(answer for answer in results.record.answers or () if answer.objective.name == "mean")
    assert answer.rival is not None
    # The best ingredient over four columns is m0, at 50.5 %.
    assert answer.rival.name == "m0"
    assert answer.rival.difference is not None
    assert answer.rival.difference.value == pytest.approx(0.5925 - 0.505)
    columns = []
    for weights in ((0.5, 0.5), (1.0, 0.0)):
        entry = results.entry(results.soup(weights), results.clean)
        assert entry is not None
        assert entry.weights == pytest.approx([0.25] * 3 + [0.25 / 75] * 75)
        columns.append(entry)
    one, other = columns
    assert answer.rival.difference == statistics.mean_difference(one.columns, other.columns, one.weights)
    assert verdict(answer).startswith("Yes: the soup is better than m0")
    assert "(+8.8 [" in verdict(answer)
    assert answer_tables(results)["mean"].note.startswith(verdict(answer))


def test_bold_is_tested_on_the_weighted_mean(results: Results) -> None:
    best_of = {row.name: row.best for row in shifts_table(results).rows}
    # Better on a and on r, and so in the mean; alike on the clean images; worse on C.
    assert best_of["single soup"] == best_of["uniform soup of 2"] == (1, 2, 4)
    assert best_of["m0"] == best_of["imagenet-c soup"] == (3,)
    assert best_of["shift-specific soups"] == (1, 2, 3)


def test_it_stands_beside_the_published_column(results: Results) -> None:
    for table in published_tables(results):
        own = next(row for row in table.rows if row.name == "single soup" and row.group.startswith("This run"))
        there = {column: cell.value for column, cell in zip(table.columns, own.cells, strict=True) if cell is not None}
        assert there == pytest.approx({"IN": 0.8, "IN-A": 0.45, "IN-R": 0.55, "IN-C": 0.57})
        assert set(there) < set(COLUMNS)


def test_the_explorer_has_one_slider_for_it_and_chooses_as_the_search_did(results: Results) -> None:
    known = board(results)
    assert [(each.name, each.parts, each.images) for each in known.columns] == [
        (CLEAN, 1, 100),
        ("imagenet-a", 1, 100),
        ("imagenet-r", 1, 100),
        ("imagenet-c", 75, 7500),
    ]
    assert payload(known)["start"] == [10, 10, 10, 10]
    for importances, weights in (([10] * 4, (0.5, 0.5)), ([0, 0, 0, 3], (1.0, 0.0)), ([0, 2, 0, 1], (0.5, 0.5))):
        index = best(known, importances, 0)
        assert index is not None
        assert tuple(known.weights[index]) == weights
    # Its interval is that of the tables, not that of 7500 independent images.
    objective = results.objective(("imagenet-c",), "")
    for soup, ends in zip(known.weights, known.intervals[3], strict=True):
        outcomes = results.measured(results.soup(soup.tolist()), "selection", objective.tasks)
        assert outcomes is not None
        assert tuple(ends) == objective.estimate(outcomes)[1:3]
    assert json.loads(json.dumps(payload(known)))["intervals"]["3"][0] == pytest.approx(known.intervals[3][0].tolist())


def test_held_out_images_are_wanted_of_every_part(results: Results) -> None:
    everyone = contenders(results.record, known_choices(results))
    assert [each.name for each in everyone] == ["m0", "m1", "uniform soup of 2", "single soup", "imagenet-c soup"]
    tasks = {task for _, task, _ in wanted(results.record, known_choices(results))}
    assert tasks == {"imagenet", "imagenet-a", "imagenet-r", *PARTS["imagenet-c"]}


def test_figures_weigh_columns_alike(results: Results) -> None:
    found = {each.name: each for each in drawings(results)}
    rows = {str(row[0]): row for row in found["pareto"].points}
    for words, weights in {"1 m0": (1.0, 0.0), "0.5 m0 + 0.5 m1": (0.5, 0.5), "1 m1": (0.0, 1.0)}.items():
        clean, *others = ACCURACIES[weights]
        assert rows[words][1:3] == pytest.approx((clean, np.mean(others)))
    panels = {row[0] for row in found["composition"].points}
    assert panels == {"clean and under the shifts", *NAMES}


def test_the_page_folds_its_parts(path: Path, tmp_path: Path) -> None:
    (page,), tables = write_report(path, tmp_path, published=True)
    content = page.read_text()
    assert outline(content).open == []
    text = text_of(content)
    assert "Is one soup better for “mean” than the best of its ingredients?" in text
    assert "Yes. The soup is better than m0" in text
    assert "Not tested" not in text
    assert len(re.findall(r'<input type="range" id="slider-', content)) == 4
    # 75 tables and 75 commands are there for whoever opens them.
    assert "The best for each of 75 parts of data sets" in text
    assert "For each of 75 parts of data sets" in text
    folded = re.sub(r"<details.*?</details>", "", content, flags=re.DOTALL)
    assert "Best for imagenet-c</h3>" in folded
    assert "Best for imagenet-c/" not in folded
    assert "Best for imagenet-c/corruption3/2</h3>" in content
    answers = Results(Store(path)).record.answers
    assert answers is not None
    assert verdict(answers[0]) in " ".join(tables.split())


def test_what_is_printed_of_it_stays_within_a_screen(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    record = results.record
    assert record.answers is not None
    assert len(record.answers) > 75
    result = SearchResult(record.answers, record.front, record.front_scope, False, record.columns)
    _print_result(record.plan, result, verbose=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 12
    assert max(map(len, lines)) <= 110
    rows = {line.split("  ")[0]: line for line in lines}
    assert [*rows][1:7] == ["best for", "mean", "imagenet", "imagenet-a", "imagenet-r", "imagenet-c"]
    # One line counts the verdicts of the parts, each once.
    parts = rows["imagenet-c, its 75 parts"]
    assert sum(int(count) for count in re.findall(r": (\d+)", parts)) == 75
    words = [verdict(answer).partition(":")[0] for answer in record.answers if answer.objective.name.count("/") == 2]
    assert f"{words[0]}: {words.count(words[0])}" in parts
    _print_result(record.plan, result, verbose=True)
    assert len(capsys.readouterr().out.splitlines()) > 75 * 8
