import html
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from seasoning import metrics
from seasoning.errors import BadInput
from seasoning.experiment import rewrite_report
from seasoning.metrics import Estimate
from seasoning.report import CLEAN, Results, Row, comparisons, contenders, shifts_table, threats_table, verdict
from seasoning.report import tables as tables_module
from seasoning.report.figures import intervals_figure, ternary_figure
from seasoning.report.needs import best_ingredient, single_soup, specific_soups, union_soup
from seasoning.report.tables import Comparison, confirmed_unions, percent, points, shift_verdict, spoken_weights
from seasoning.search import simplex
from seasoning.selection import Choice
from seasoning.store import Store


@pytest.fixture
def results(finished: Path) -> Results:
    return Results(Store(finished / "outcomes.sqlite"))


class Outline(HTMLParser):
    """Tags that are open at the end, and everything that a browser would fetch."""

    EMPTY = ("meta", "link", "br", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.images: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href") and value]
        if tag == "img":
            self.images.append(dict(attrs).get("alt"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert all(each.startswith("data:") for each in outline.fetched)
    assert "<script" not in page
    assert "@import" not in page
    # Five triangles and one picture of intervals, each told in words too.
    assert len(outline.images) == 6
    assert all(outline.images)


def test_the_page_names_split_interval_and_answer(finished: Path, results: Results) -> None:
    page = (finished / "report.html").read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", page)).replace("&#39;", "'")
    assert verdict(results) in text
    assert "Smoke run." in text
    assert f"On the {results.sizes['test']} images of the test split" in text
    assert "95 % intervals" in text
    union = next(row.cells[-1] for row in threats_table(results).rows if row.name == "union soup")
    assert percent(union) in text


def test_writing_it_again_gives_the_same_page(finished: Path) -> None:
    before = (finished / "report.html").read_text()
    rewrite_report(finished)
    assert (finished / "report.html").read_text() == before


def test_its_python_runs(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"<pre>(import timm.*?)</pre>", (finished / "report.html").read_text(), flags=re.DOTALL)
    assert code is not None
    monkeypatch.chdir(finished)
    names: dict[str, Any] = {}
    exec(compile(html.unescape(code[1]), "report.html", "exec"), names)
    x = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(names["network"].eval()((x - 0.5) / 0.5), names["model"](x))


def test_tables_are_those_of_the_outcomes(results: Results) -> None:
    models = {each.name: each.model for each in contenders(results)}
    for row in threats_table(results).rows:
        attacked = [results.outcomes(models[row.name], "test", threat) for threat in results.threats]
        known = [outcomes for outcomes in attacked if outcomes is not None]
        assert row.cells[-1] == metrics.union_accuracy(*known)
        assert row.cells[1] == metrics.robust_accuracy(known[0])
        assert row.cells[-1].value <= min(cell.value for cell in row.cells)
    tasks = [CLEAN, *results.shifts]
    shifts = {row.name: row for row in shifts_table(results).rows}
    for row in shifts.values():
        assert row.cells[-1].value == pytest.approx(sum(cell.value for cell in row.cells[:-1]) / len(tasks))
    specific = specific_soups(results)
    for place, task in enumerate(tasks):
        outcomes = results.outcomes(results.soup(specific[task].weights), "test", task)
        assert outcomes is not None
        assert shifts["shift-specific soups"].cells[place] == metrics.accuracy(outcomes)
    assert not shifts["shift-specific soups"].one_model


def test_passes_are_those_of_inference(results: Results) -> None:
    passes = {row.name: row.passes for row in threats_table(results).rows}
    assert passes == {name: 1 for name in passes} | {"ensemble of 3": 3, "ensemble of 4": 4}


def test_union_soups_hold_no_nominal_ingredient(results: Results) -> None:
    assert union_soup(results).weights[-1] == 0
    assert len(single_soup(results).weights) == 4
    candidates = {each.weights for each in results.candidates(results.threats)}
    assert candidates == {(*weights, 0.0) for weights in simplex(3, 2)}


def test_an_unfinished_run_says_so(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    with Store(tmp_path / "run" / "outcomes.sqlite") as store:
        store._connection.execute(
            "DELETE FROM block WHERE key IN (SELECT key FROM measurement WHERE asked LIKE '%digits/test%')"
        )
        store._connection.commit()
        with pytest.raises(BadInput, match="not finished"):
            threats_table(Results(store))


def compared(name: str, value: float, low: float, high: float) -> Comparison:
    return Comparison(name, Estimate(value, low, high, 397))


@pytest.mark.parametrize(
    ("differences", "answer", "closest"),
    [
        ([("linf", 0.2, 0.1, 0.3), ("l1", 0.05, 0.01, 0.09), ("ensemble of 3", -0.1, -0.2, -0.05)], "Yes", "l1"),
        ([("linf", 0.2, 0.1, 0.3), ("l1", 0.05, -0.01, 0.1)], "Not shown", "difference to l1"),
        ([("linf", 0.02, 0.01, 0.03), ("l1", 0.05, -0.01, 0.1)], "Not shown", "difference to l1"),
        ([("linf", 0.2, 0.1, 0.3), ("l2", -0.01, -0.1, 0.08)], "No:", "l2"),
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
    monkeypatch.setattr(tables_module, "union_soup", lambda results: choice)
    made = [compared(*each) for each in differences]
    monkeypatch.setattr(tables_module, "comparisons", lambda results, confirming: made)
    said = verdict(results)
    assert answer in said
    assert closest in said


def test_a_chosen_ingredient_is_no_soup(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Choice((0.0, 0.0, 1.0, 0.0), Estimate(0.5, 0.4, 0.6, 300))
    monkeypatch.setattr(tables_module, "union_soup", lambda results: alone)
    assert verdict(results).startswith("No: the search chose the ingredient l1 alone")
    rival = best_ingredient(results)
    weights = tuple(float(each.name == rival) for each in results.ingredients)
    monkeypatch.setattr(tables_module, "single_soup", lambda results: Choice(weights, alone.score))
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
    assert percent(Estimate(0.3153, 0.27, 0.362, 397)) == "31.5 [27.0, 36.2]"
    assert points(Estimate(0.106, -0.071, 0.14, 397)) == "+10.6 [-7.1, +14.0]"
    assert Row("a", 1, []).one_model


def test_pictures_are_the_same_every_time() -> None:
    values: dict[tuple[float, ...], float] = {
        (1.0, 0.0, 0.0): 0.1,
        (0.0, 1.0, 0.0): 0.2,
        (0.0, 0.0, 1.0): 0.3,
        (0.2, 0.3, 0.5): 0.4,
    }
    first, again = (ternary_figure(values, ("a", "b", "c"), "union", (0.2, 0.3, 0.5)) for _ in range(2))
    assert first == again
    assert first.startswith("<svg")
    flat = ternary_figure(dict.fromkeys(values, 0.5), ("a", "b", "c"), "union", (1.0, 0.0, 0.0))
    assert flat.startswith("<svg")
    estimates = {"one": Estimate(0.5, 0.4, 0.6, 100), "two": Estimate(0.2, 0.1, 0.3, 100)}
    assert intervals_figure(estimates, "x", "one") != intervals_figure(estimates, "x", "two")
