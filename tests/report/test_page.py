import html
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from seasoning.errors import BadInput
from seasoning.report import Results, threats_table, verdict, write_page, write_report
from seasoning.report.tables import percent
from seasoning.store.database import Store
from seasoning.store.run_folder import STORE
from tests.report.runs import made_run


@pytest.fixture
def results(finished: Path) -> Results:
    return Results(Store(finished / "outcomes.sqlite"))


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
    word, _, rest = verdict(results).partition(": ")
    assert f"{word}. {rest[0].upper()}{rest[1:]}" in text
    assert "Smoke run." in text
    assert "not finished" not in text
    assert f"On the {results.sizes['test']} images of the test split" in text
    assert "95 % intervals" in text
    union = next(row.cells[-1] for row in threats_table(results).rows if row.name == "union soup")
    assert union is not None
    assert percent(union) in text


@pytest.mark.slow
def test_writing_it_again_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    for place in ("one", "two"):
        write_report(
            finished / "outcomes.sqlite",
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
    ("ingredients", "threats"), [(1, ("linf:0.1",)), (1, ()), (2, ()), (3, ("linf:0.1", "l2:0.5")), (5, ("l1:1",))]
)
def test_any_number_of_ingredients_has_a_page(tmp_path: Path, ingredients: int, threats: tuple[str, ...]) -> None:
    store = made_run(tmp_path, ingredients=ingredients, threats=threats, parts=2)
    (page,), _ = write_report(store, tmp_path)
    text = text_of(page.read_text())
    assert outline(page.read_text()).open == []
    assert "not finished" not in text
    assert ("canvas data-part" in page.read_text()) == (ingredients > 1)
    assert ("outside:" in text) == (ingredients == 4)


def test_an_unfinished_run_shows_what_is_there_and_how_to_go_on(tmp_path: Path) -> None:
    store = made_run(tmp_path, tested=False)
    (page,), _ = write_report(store, tmp_path)
    text = text_of(page.read_text())
    assert "This run is not finished." in text
    assert "measurements of the chosen models on the test images: 0 of" in text
    assert f"seasoning demo --resume --out {tmp_path}" in text
    assert "Not known yet" in text


def test_a_search_cut_off_in_the_middle_says_how_far_it_came(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    with Store(tmp_path / "run" / "outcomes.sqlite") as store:
        store._connection.execute("DELETE FROM block WHERE rowid > 20")
        store._connection.commit()
    (page,), _ = write_report(tmp_path / "run" / "outcomes.sqlite", tmp_path / "run")
    assert re.search(r"soups under the threats, on the selection images: \d of 6", text_of(page.read_text()))


def test_empty_stores_and_unknown_formats_are_refused(tmp_path: Path) -> None:
    with Store(tmp_path / "outcomes.sqlite") as store:
        with pytest.raises(BadInput, match="holds no run"):
            Results(store)
        store.write_note("spec", {"data": {}})
        with pytest.raises(BadInput, match="seasoning demo --resume"):
            Results(store)
    with pytest.raises(BadInput, match="no run in"):
        write_report(tmp_path / "none" / "outcomes.sqlite", tmp_path)
    with pytest.raises(LookupError, match="did you mean 'markdown'"):
        write_report(tmp_path / "outcomes.sqlite", tmp_path, formats=["markdwon"])
    with pytest.raises(LookupError, match="unknown format of figures 'gif'"):
        write_report(tmp_path / "outcomes.sqlite", tmp_path, figures=["gif"])


def test_a_name_cannot_break_the_page(tmp_path: Path) -> None:
    store = made_run(tmp_path, shifts=("</script><b>", "a&b"), parts=2)
    with Store(store) as opened:
        page = write_page(Results(opened), tmp_path / "report.html").read_text()
    assert "</script><b>" not in page
    assert outline(page).open == []
