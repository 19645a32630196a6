"""The page in a real browser."""

from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from seasoning import statistics
from seasoning.report import Results, write_report
from seasoning.report.explorer import Board, board, mix_command
from seasoning.report.tables import spoken_weights
from seasoning.store.database import Store
from tests.report.boards import best, board_page, made_board
from tests.report.browser import complaints, display, move_sliders, requests, show
from tests.report.runs import made_plan, made_run
from tests.report.test_explorer import exact_best, random_states, tied_board


WIDE, PHONE = (1280, 900), (360, 740)


@pytest.fixture(autouse=True)
def _light(browser: webdriver.Chrome) -> None:
    display(browser, *WIDE, dark=False)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Board, Path]:
    """A made board of 5,000 soups and 90 columns, and its page."""
    known = made_board(5000, 85, 0)
    path = tmp_path_factory.mktemp("large") / "board.html"
    path.write_text(board_page(known, "5,000 soups"), encoding="utf-8")
    return known, path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """A run of four ingredients with more soups than a smoke run has, and its page."""
    folder = tmp_path_factory.mktemp("made")
    store = made_run(folder, ingredients=4, grid=6)
    (page,), _ = write_report(store, folder)
    return Results(Store(store)), page


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """A search over three data sets, one of them of 75 parts, a shift and two threats, with long names; its page."""
    folder = tmp_path_factory.mktemp("searched")
    corruptions = [f"corruption{number}" for number in range(15)]
    parts = {"my-data-c": [f"my-data-c/{name}/{severity}" for name in corruptions for severity in range(1, 6)]}
    plan = made_plan(
        ingredients=["robust-to-linf", "robust-to-l2", "a-vision-transformer-of-old", "nominal"],
        data=("my-data", "photographs-of-my-own-camera", "my-data-c"),
        shifts=("noise",),
        threats=("linf:8/255", "l2:0.5"),
        objectives=[],
        shots=40,
        others=50,
        grid=2,
    )
    store = made_run(folder, plan, parts)
    (page,), _ = write_report(store, folder)
    return Results(Store(store)), page


def text(browser: webdriver.Chrome, part: str) -> str:
    found: str = browser.execute_script(f"return document.querySelector('[data-part=\"{part}\"]').textContent")
    return found


def test_a_real_run_loads_without_complaint_or_request(browser: webdriver.Chrome, finished: Path) -> None:
    show(browser, finished / "report.html")
    assert complaints(browser) == []
    assert requests(browser) == [(finished / "report.html").resolve().as_uri()]
    assert not browser.find_elements(By.CSS_SELECTOR, "script[src], link[rel=stylesheet], iframe")


def test_twenty_states_of_the_sliders_choose_what_python_computes(browser: webdriver.Chrome, finished: Path) -> None:
    with Store(finished / "outcomes.sqlite") as store:
        known = board(Results(store))
    show(browser, finished / "report.html")
    for state in random_states(known, 20, 0):
        assert move_sliders(browser, *state) == best(known, *state) == exact_best(known, *state)
    assert complaints(browser) == []


@pytest.mark.slow
def test_so_they_do_among_many_soups(
    browser: webdriver.Chrome, made: tuple[Results, Path], large: tuple[Board, Path]
) -> None:
    for known, page, count in ((board(made[0]), made[1], 20), (*large, 8)):
        show(browser, page)
        chosen = [(move_sliders(browser, *state), best(known, *state)) for state in random_states(known, count, 1)]
        assert all(one == other for one, other in chosen)
        assert len({one for one, _ in chosen}) > 2
        assert complaints(browser) == []


def test_of_equal_scores_the_most_even_mix_wins(browser: webdriver.Chrome, tmp_path: Path) -> None:
    page = tmp_path / "board.html"
    page.write_text(board_page(tied_board(), "ties"), encoding="utf-8")
    show(browser, page)
    assert [move_sliders(browser, [each, each], 0) for each in (1, 3, 7)] == [2, 2, 2]


def test_the_command_is_for_a_shell_as_that_of_python_is(browser: webdriver.Chrome, tmp_path: Path) -> None:
    files = ["/my runs/it's.pt", "$HOME/b.pt", "c.pt"]
    known = tied_board()._replace(files=files, policy="geometric")
    page = tmp_path / "board.html"
    page.write_text(board_page(known, "names"), encoding="utf-8")
    show(browser, page)
    place = move_sliders(browser, [1, 1], 0)
    assert place is not None
    assert text(browser, "command") == mix_command(files[: len(known.ingredients)], known.weights[place], "geometric")


def test_the_soup_is_shown_with_its_numbers_and_its_command(
    browser: webdriver.Chrome, made: tuple[Results, Path]
) -> None:
    results, page = made
    known = board(results)
    show(browser, page)
    importances = [each.name in ("l2:0.5", "noise") for each in known.columns]
    place = move_sliders(browser, [int(each) for each in importances], 0)
    assert place is not None
    weights = tuple(known.weights[place])
    assert text(browser, "title") == f"Best: {spoken_weights(results, weights)}"
    assert text(browser, "command") == mix_command([each.path for each in results.ingredients], weights)
    rows = browser.find_elements(By.CSS_SELECTOR, '[data-part="numbers"] tbody tr')
    for row, column, right in zip(rows, known.columns, known.right[place], strict=True):
        estimate = statistics.proportion(np.arange(column.images) < right)
        value, low, high = (f"{100 * each:.1f}" for each in estimate[:3])
        assert row.find_element(By.CLASS_NAME, "value").text == value
        assert row.find_element(By.CLASS_NAME, "interval").text == f"{low}–{high}"
        assert ("matters" in (row.get_attribute("class") or "")) == (column.name in ("l2:0.5", "noise"))


def test_held_out_numbers_stand_beside(browser: webdriver.Chrome, made: tuple[Results, Path]) -> None:
    show(browser, made[1])
    union = next(row for row in browser.find_elements(By.CSS_SELECTOR, '[data-part="numbers"] tbody tr')[-1:])
    table = {
        row.find_element(By.TAG_NAME, "th").text: row.find_elements(By.TAG_NAME, "td")[-1].get_attribute("data-value")
        for row in browser.find_elements(By.CSS_SELECTOR, "#tables table.sortable")[0].find_elements(
            By.CSS_SELECTOR, "tbody tr"
        )
    }
    shown = union.find_element(By.CLASS_NAME, "held").text.split(" ")[0]
    assert shown == f"{100 * float(table['union soup'] or 0):.1f}"


def test_nothing_possible_is_said(browser: webdriver.Chrome, made: tuple[Results, Path]) -> None:
    results, page = made
    width = len(board(results).columns)
    show(browser, page)
    assert move_sliders(browser, [0] * width, 0) is None
    assert "move a slider" in text(browser, "title")
    assert move_sliders(browser, [1] * width, 99.5) is None
    assert "No measured soup of these keeps 99.5 % clean accuracy" in text(browser, "title")


def test_tables_sort_by_a_click_on_a_heading(browser: webdriver.Chrome, made: tuple[Results, Path]) -> None:
    show(browser, made[1])
    table = browser.find_element(By.CSS_SELECTOR, "#tables table.sortable")
    heads = table.find_elements(By.CSS_SELECTOR, "thead button")

    def values(place: int) -> list[str]:
        script = """
        const cells = [...arguments[0].tBodies[0].rows].map((row) => row.cells[arguments[1]]);
        return cells.map((cell) => cell.dataset.value ?? cell.textContent)"""
        found: list[str] = browser.execute_script(script, table, place)
        return found

    last = len(heads) - 1
    before = values(0)
    heads[last].click()
    falling = [float(each) for each in values(last)]
    assert falling == sorted(falling, reverse=True)
    assert values(0) != before
    heads[last].click()
    rising = [float(each) for each in values(last)]
    assert rising == sorted(rising)
    assert table.find_elements(By.TAG_NAME, "th")[last].get_attribute("aria-sort") == "ascending"
    heads[0].send_keys(Keys.ENTER)
    assert values(0) == sorted(values(0))


def test_all_soups_sort_and_show(browser: webdriver.Chrome, large: tuple[Board, Path]) -> None:
    known, page = large
    show(browser, page)
    browser.find_element(By.CSS_SELECTOR, "details.all summary").click()
    heads = browser.find_elements(By.CSS_SELECTOR, "#soups thead button")
    heads[4].click()
    rows = browser.find_elements(By.CSS_SELECTOR, "#soups tbody tr")
    assert len(rows) == 25
    highest = known.right[:, 0].max()
    assert rows[0].find_elements(By.TAG_NAME, "td")[5].text == f"{highest / 10:.1f}"
    browser.find_element(By.ID, "more-soups").click()
    assert len(browser.find_elements(By.CSS_SELECTOR, "#soups tbody tr")) == 125
    browser.find_element(By.CSS_SELECTOR, "#soups tbody button").click()
    shown = int(browser.find_element(By.ID, "explorer").get_attribute("data-shown") or -1)
    assert known.right[shown, 0] == highest


def beyond(browser: webdriver.Chrome) -> list[str]:
    """What reaches beyond the screen, apart from what lies in a box that scrolls."""
    script = """
    const shown = [...document.querySelectorAll("main *, header *")]
      .filter((each) => !each.closest(".scroll, pre, svg, .hidden, .skip, [hidden]"));
    return shown.filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
      .map((each) => each.outerHTML.slice(0, 80))"""
    found: list[str] = browser.execute_script(script)
    return found


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_has_no_sideways_scroll(
    browser: webdriver.Chrome, finished: Path, large: tuple[Board, Path], searched: tuple[Results, Path], dark: bool
) -> None:
    display(browser, *PHONE, dark=dark)
    for page in (finished / "report.html", large[1], searched[1]):
        show(browser, page)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
        assert beyond(browser) == []


@pytest.mark.parametrize("width", [1440, WIDE[0], 1152, 1000, 900, 700])
def test_a_desk_has_nothing_cut_off(
    browser: webdriver.Chrome, finished: Path, searched: tuple[Results, Path], width: int
) -> None:
    display(browser, width, WIDE[1], dark=False)
    for page in (finished / "report.html", searched[1]):
        show(browser, page)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert beyond(browser) == []
        # The numbers of the explorer, held-out ones in the last column, fit into their own box, too.
        script = """
        const box = document.querySelector(".numbers");
        return [box.scrollWidth - box.clientWidth, box.querySelectorAll("thead th").length]"""
        over, heads = browser.execute_script(script)
        assert (over, heads) == (0, 5)


def test_sliders_are_few_and_in_groups(browser: webdriver.Chrome, searched: tuple[Results, Path]) -> None:
    results, page = searched
    show(browser, page)
    groups = {
        group.find_element(By.TAG_NAME, "legend").text: [
            label.text for label in group.find_elements(By.TAG_NAME, "label")
        ]
        for group in browser.find_elements(By.TAG_NAME, "fieldset")
    }
    # A data set of 75 parts has one, as the shift and the threats have.
    assert groups == {
        "Under attack": ["linf:8/255", "l2:0.5", "union"],
        "Without attack": ["clean", "photographs-of-my-own-camera", "my-data-c", "noise"],
    }
    # All are in sight at once, without a scroll bar of their own.
    script = "const box = document.querySelector('.controls'); return box.scrollHeight - box.clientHeight"
    assert browser.execute_script(script) == 0
    known = board(results)
    for state in random_states(known, 10, 3):
        assert move_sliders(browser, *state) == best(known, *state)


def test_the_interval_of_many_parts_is_that_of_the_tables(
    browser: webdriver.Chrome, searched: tuple[Results, Path]
) -> None:
    results, page = searched
    show(browser, page)
    known = board(results)
    column = next(index for index, each in enumerate(known.columns) if each.parts > 1)
    importances = [int(index == column) for index in range(len(known.columns))]
    soup = move_sliders(browser, importances, 0)
    assert soup is not None
    objective = results.objective((known.columns[column].name,), "")
    outcomes = results.measured(results.soup(known.weights[soup].tolist()), "selection", objective.tasks)
    assert outcomes is not None
    value, low, high = (f"{100 * each:.1f}" for each in objective.estimate(outcomes)[:3])
    row = browser.find_elements(By.CSS_SELECTOR, '[data-part="numbers"] tbody tr')[column]
    assert row.find_element(By.CLASS_NAME, "value").text == value
    assert row.find_element(By.CLASS_NAME, "interval").text == f"{low}–{high}"


def test_everything_works_from_the_keyboard(browser: webdriver.Chrome, made: tuple[Results, Path]) -> None:
    results, page = made
    show(browser, page)
    root = browser.find_element(By.ID, "explorer")
    clean = browser.find_element(By.CSS_SELECTOR, 'input[data-column="0"]')
    clean.send_keys(Keys.ARROW_RIGHT)
    assert clean.get_attribute("value") == "1"
    known = board(results)
    state = [1, *[0] * (len(known.columns) - 2), 10]
    assert root.get_attribute("data-soup") == str(best(known, state, 0))
    for part in ("map", "scatter"):
        canvas = browser.find_element(By.CSS_SELECTOR, f'canvas[data-part="{part}"]')
        before = root.get_attribute("data-shown")
        for key in (Keys.ARROW_LEFT, Keys.ARROW_RIGHT, Keys.ARROW_UP, Keys.ARROW_DOWN):
            canvas.send_keys(key)
            if root.get_attribute("data-shown") != before:
                break
        assert root.get_attribute("data-shown") != before
        assert text(browser, "title").startswith("Shown: ")
        browser.find_element(By.CSS_SELECTOR, '[data-part="back"]').send_keys(Keys.ENTER)
        assert root.get_attribute("data-shown") == root.get_attribute("data-soup")


def test_a_click_on_a_dot_shows_its_soup(browser: webdriver.Chrome, made: tuple[Results, Path]) -> None:
    show(browser, made[1])
    root = browser.find_element(By.ID, "explorer")
    # The first ingredient stands at the top of the triangle.
    script = """
    const canvas = document.querySelector('canvas[data-part="map"]');
    const box = canvas.getBoundingClientRect();
    for (let y = 0; y < box.height; y += 4) {
      const place = {clientX: box.left + box.width / 2, clientY: box.top + y, bubbles: true};
      canvas.dispatchEvent(new MouseEvent("click", place));
      if (document.getElementById("explorer").dataset.shown !== document.getElementById("explorer").dataset.soup) break;
    }"""
    browser.execute_script(script)
    known = board(made[0])
    assert tuple(known.weights[int(root.get_attribute("data-shown") or -1)]) == (1.0, 0.0, 0.0, 0.0)


def luminance(color: str) -> float:
    parts = [float(each) / 255 for each in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast(browser: webdriver.Chrome, finished: Path, dark: bool) -> None:
    display(browser, *WIDE, dark=dark)
    show(browser, finished / "report.html")
    script = "const s = getComputedStyle(document.querySelector(arguments[0])); return [s.color, s.backgroundColor]"
    _, paper = browser.execute_script(script, "body")
    assert (luminance(paper) < 0.2) == dark
    for name, least in (("body", 7.0), (".note", 4.5), (".word", 4.5), (".over", 4.5)):
        ink, _ = browser.execute_script(script, name)
        light, low = sorted((luminance(ink), luminance(paper)), reverse=True)
        assert (light + 0.05) / (low + 0.05) >= least, name
    for part in browser.find_elements(By.CSS_SELECTOR, ".weights span:not([hidden])"):
        ink, back = (luminance(part.value_of_css_property(name)) for name in ("color", "background-color"))
        assert (max(ink, back) + 0.05) / (min(ink, back) + 0.05) >= 4.5


@pytest.mark.parametrize("ingredients", [2, 3, 4, 5])
def test_maps_follow_the_number_of_ingredients(browser: webdriver.Chrome, tmp_path: Path, ingredients: int) -> None:
    store = made_run(tmp_path, ingredients=ingredients, threats=("l2:0.5",), grid=3)
    (page,), _ = write_report(store, tmp_path)
    show(browser, page)
    assert complaints(browser) == []
    canvases = browser.find_elements(By.TAG_NAME, "canvas")
    assert len(canvases) == 2
    drawn = """
    const pixels = arguments[0].getContext("2d").getImageData(0, 0, arguments[0].width, arguments[0].height);
    return pixels.data.some((each) => each > 0)"""
    assert all(browser.execute_script(drawn, each) for each in canvases)
