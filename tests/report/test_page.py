import html
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from seasoning.config.run_record import write_record, write_request
from seasoning.errors import BadInput
from seasoning.outcomes import Measurement
from seasoning.report import Results, threats_table, verdict, write_page, write_report
from seasoning.report.explorer import board
from seasoning.report.tables import percent
from seasoning.store.database import Store
from seasoning.store.run_folder import STORE
from tests.report.runs import made_plan, made_record, made_run


@pytest.fixture
def results(finished: Path) -> Results:
    return Results(Store(finished / STORE))


class Outline(HTMLParser):
    """Tags that are open at the end, and everything that a browser would fetch."""

    EMPTY = ("meta", "link", "br", "img", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.pictures: list[str | None] = []
        self.ids: list[str] = []
        self.labelled: set[str | None] = set()
        self.inputs: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]
        self.ids += [value for name, value in attrs if name == "id" and value]
        if given.get("role") == "img":
            self.pictures.append(given.get("aria-label"))
        if tag == "label":
            self.labelled.add(given.get("for"))
        if tag == "input":
            self.inputs.append(given.get("id"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline(page: str) -> Outline:
    found = Outline()
    found.feed(page)
    return found


def text_of(page: str) -> str:
    page = re.sub(r"<(script|style|svg)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", "", page)))


def test_the_page_is_whole_and_fetches_nothing(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    found = outline(page)
    assert found.open == []
    assert all(each.startswith(("data:", "#")) for each in found.fetched)
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert len(found.ids) == len(set(found.ids))
    # Two maps of the explorer, five triangles, and at least lines, scatter, intervals and composition; each in words.
    assert len(found.pictures) >= 11
    assert all(found.pictures)
    assert set(found.inputs) <= found.labelled


def test_the_page_names_split_interval_and_answer(finished: Path, results: Results) -> None:
    text = text_of((finished / "report.html").read_text())
    answers = results.record.answers
    assert answers is not None
    word, _, rest = verdict(answers[0]).partition(": ")
    assert f"Is one soup better for “{answers[0].objective.name}” than the best of its ingredients?" in text
    assert f"{word}. {rest[0].upper()}{rest[1:]}" in text
    # Every answer ends in its sentence, not the first one alone.
    assert all(verdict(answer) in text for answer in answers)
    assert "Smoke run." in text
    assert "not finished" not in text
    assert f"On {results.sizes['test']} held-out images, which chose nothing" in text
    assert "95 % intervals" in text
    union = next(row.cells[-1] for row in threats_table(results).rows if row.name == "union soup")
    assert union is not None
    assert percent(union) in text


def test_writing_it_again_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    for place in ("one", "two"):
        write_report(
            finished / STORE,
            tmp_path / place,
            formats=("markdown", "latex", "csv"),
            figures=("svg",),
            published=True,
        )
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) > 40
    for each in files:
        assert (tmp_path / "one" / each).read_bytes() == (tmp_path / "two" / each).read_bytes(), each


def test_the_page_of_the_run_is_that_of_its_store(finished: Path) -> None:
    before = (finished / "report.html").read_bytes()
    write_report(finished / STORE, finished)
    assert (finished / "report.html").read_bytes() == before


def test_its_python_runs(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (finished / "report.html").read_text()
    code = re.search(r"<pre[^>]*>(import timm.*?)</pre>", page, flags=re.DOTALL)
    assert code is not None
    monkeypatch.chdir(finished)
    names: dict[str, Any] = {}
    exec(compile(html.unescape(code[1]), "report.html", "exec"), names)
    x = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(names["network"].eval()((x - 0.5) / 0.5), names["model"](x))


@pytest.mark.parametrize(
    ("ingredients", "threats"), [(2, ()), (2, ("linf:0.1",)), (3, ("linf:0.1", "l2:0.5")), (5, ("l1:1",))]
)
def test_any_number_of_ingredients_has_a_page(tmp_path: Path, ingredients: int, threats: tuple[str, ...]) -> None:
    store = made_run(tmp_path, ingredients=ingredients, threats=threats, grid=2)
    (page,), _ = write_report(store, tmp_path)
    text = text_of(page.read_text())
    assert outline(page.read_text()).open == []
    assert "not finished" not in text
    assert "canvas data-part" in page.read_text()
    assert ("outside:" in text) == (ingredients == 4)


def test_an_unfinished_run_shows_what_is_there_and_how_to_go_on(tmp_path: Path) -> None:
    store = made_run(tmp_path / "my run", ended=False, grid=2)
    (page,), _ = write_report(store, tmp_path)
    text = text_of(page.read_text())
    assert outline(page.read_text()).open == []
    assert "This run is not finished." in text
    assert "the end of the search: the choice and its final numbers" in text
    assert "soups measured for 'union' on the selection images: 6 of 6" in text
    assert f"seasoning search … --out '{tmp_path}/my run'" in text
    assert "Not known yet" in text
    assert "Of the soups measured so far it was the best for “union”" in text
    # Objectives of the search have the soups that are the best so far.
    assert text.count("seasoning mix") >= len(Results(Store(store)).record.objectives)
    with Store(store) as opened:
        write_request(opened, {"plan": {}})
    (page,), _ = write_report(store, tmp_path)
    assert f"seasoning demo --resume --out '{tmp_path}/my run'" in text_of(page.read_text())


def test_a_search_cut_off_in_the_middle_says_how_far_it_came(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    with Store(tmp_path / "run" / STORE) as store:
        record = Results(store).record
        write_record(store, record.begun)
        store._connection.execute("DELETE FROM block WHERE rowid > 20")
        store._connection.commit()
    (page,), _ = write_report(tmp_path / "run" / STORE, tmp_path / "run")
    assert re.search(r"soups measured for 'union' on the selection images: \d of 6", text_of(page.read_text()))


def test_a_search_whose_soups_keep_to_no_limit_yet_has_a_page(tmp_path: Path) -> None:
    objectives = [{"best": "union", "at_least": {"made": 0.999}}]
    store = made_run(tmp_path, ended=False, objectives=objectives, grid=2)
    (page,), _ = write_report(store, tmp_path)
    assert "No soup is chosen yet" in text_of(page.read_text())


def test_empty_stores_and_unknown_formats_are_refused(tmp_path: Path) -> None:
    with Store(tmp_path / STORE) as store:
        with pytest.raises(BadInput, match="holds no search"):
            Results(store)
        write_record(store, made_record(made_plan()))
        with pytest.raises(BadInput, match="has measured nothing yet"):
            Results(store)
        store.write_note("run", {"layout": 1})
        with pytest.raises(BadInput, match="another version of seasoning"):
            Results(store)
    with pytest.raises(BadInput, match="no run in"):
        write_report(tmp_path / "none" / STORE, tmp_path)
    with pytest.raises(LookupError, match="did you mean 'markdown'"):
        write_report(tmp_path / STORE, tmp_path, formats=["markdwon"])
    with pytest.raises(LookupError, match="unknown format of figures 'gif'"):
        write_report(tmp_path / STORE, tmp_path, figures=["gif"])


def test_a_name_cannot_break_the_page(tmp_path: Path) -> None:
    names = ["</script><b>", "a&b", '"><em>']
    store = made_run(tmp_path, ingredients=names, data=("a&b<em>", "<script>"), shifts=(), grid=2)
    with Store(store) as opened:
        page = write_page(Results(opened), tmp_path / "report.html").read_text()
    assert "</script><b>" not in page
    assert '"><em>' not in page
    assert "b<em>" not in page
    assert outline(page).open == []


def test_the_front_of_the_plan_has_a_table(tmp_path: Path) -> None:
    store = made_run(tmp_path, pareto=["union", "made"], grid=2)
    (page,), tables = write_report(store, tmp_path)
    front = Results(Store(store)).record.front
    text = text_of(page.read_text())
    assert "Pareto front of union and made" in text
    assert "Pareto front of union and made" in tables
    for soup in front:
        assert f"{soup.name} {100 * soup.scores[0]:.1f} {100 * soup.scores[1]:.1f}" in re.sub(r" +", " ", tables)


def test_a_measurement_is_read_from_the_store_once_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large search: 3 data sets, one of ten parts, of 286 soups most measured in part, all in several blocks."""
    parts = {"made-c": [f"made-c/{name}/{severity}" for name in ("fog", "snow") for severity in range(1, 6)]}
    plan = made_plan(
        ingredients=4, data=("made", "other", "made-c"), threats=("l2:0.5", "l1:2"), shifts=(), objectives=[], grid=10
    )
    # Every soup with a weight of 0.7 is measured on everything, as are the ingredients.
    store = made_run(tmp_path, plan, parts, whole=lambda weights: max(weights) in (0.7, 1), blocks=2)
    read = Counter[Measurement]()
    columns = Store.columns

    def counted(self: Store, asked: Measurement, *given: Any) -> Any:
        read[asked] += 1
        return columns(self, asked, *given)

    monkeypatch.setattr(Store, "columns", counted)
    write_report(store, tmp_path, formats=("csv",), published=True)
    assert len(read) > 500
    assert set(read.values()) == {1}
    with Store(store) as opened:
        finished = opened.finished()
        assert len(opened.measurements()) > 3000
        # What is there in part answers nothing, and is never read.
        assert read.keys() <= set(finished)
        known = board(Results(opened))
    assert len(known.weights) == 4 + 4 * 10 + sum(tuple(row) == (0.25,) * 4 for row in known.weights)


def test_runs_in_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    stores = [made_run(tmp_path / place / "run", threats=(), grid=1) for place in ("one", "two")]
    _, tables = write_report(stores[0], tmp_path / "out", beside=stores[1:])
    assert all(f"{store.parent}: no threats" in tables for store in stores)
