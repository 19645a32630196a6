from pathlib import Path

import pytest

from seasoning import metrics
from seasoning.report import Results
from seasoning.report.figures import drawings
from seasoning.report.plots import intervals_figure, ternary_figure
from seasoning.report.style import Drawing, inline_svg, points_csv, save
from seasoning.statistics import Estimate
from seasoning.store.database import Store
from tests.report.runs import made_run


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(Store(made_run(tmp_path, curve=[(0.5, 0.1), (0.7, 0.2)])))


def named(results: Results) -> dict[str, Drawing]:
    return {each.name: each for each in drawings(results)}


def test_a_run_of_three_threats_has_its_figures(results: Results) -> None:
    assert list(named(results)) == [
        *["ternary-clean", "ternary-linf-0-1", "ternary-l2-0-5", "ternary-l1-2", "ternary-union"],
        *["lines", "pareto", "union", "composition", "regret", "training"],
    ]


def test_points_are_the_numbers(results: Results) -> None:
    found = named(results)
    tasks = [results.columns[threat][0] for threat in results.threats]
    weights = {each.weights: each.outcomes for each in results.candidates(tasks)}
    assert len(found["ternary-union"].points) == len(weights) == 15
    for *fractions, value, low, high in found["ternary-union"].points:
        estimate = metrics.union_accuracy(*weights[tuple(map(float, fractions))].values())  # type: ignore[arg-type]
        assert (value, low, high) == estimate[:3]
    # Three edges of five soups, each with clean, three threats and the union.
    assert len(found["lines"].points) == 3 * 5 * 5
    assert all(sum(map(float, row[3:])) == 1 for row in found["composition"].points)  # type: ignore[arg-type]
    assert [row[2:] for row in found["training"].points[:2]] == [(1, 0.5), (2, 0.7)]
    assert points_csv(found["training"]).splitlines()[:2] == ["model,column,epoch,accuracy", "m0,clean,1,0.5"]


@pytest.mark.parametrize(
    ("ingredients", "there", "absent"),
    [(2, {"lines", "pareto"}, {"ternary-union"}), (3, {"lines", "ternary-union"}, set()), (5, {"lines"}, set())],
)
def test_shapes_follow_the_number_of_ingredients(
    tmp_path: Path, ingredients: int, there: set[str], absent: set[str]
) -> None:
    names = set(named(Results(Store(made_run(tmp_path, ingredients=ingredients, grid=2)))))
    assert there <= names
    assert not absent & names


def test_corruptions_get_a_panel_with_their_severities(tmp_path: Path) -> None:
    shifts = [f"{name}/{severity}" for name in ("fog", "snow") for severity in (1, 2)]
    results = Results(Store(made_run(tmp_path, threats=(), shifts=shifts, grid=2)))
    assert "pareto" in named(results)
    points = named(results)["composition"].points
    assert {row[0] for row in points} == {"fog", "snow", "clean and under the shifts"}
    assert {row[1] for row in points if row[0] == "fog"} == {"1", "2"}
    # The plan reports three soups for each of the four corrupted sets and the clean one.
    assert len(points) == 3 * 5


def test_corruptions_of_two_data_sets_stay_apart(tmp_path: Path) -> None:
    parts = {name: [f"{name}/fog/{severity}" for severity in (1, 2)] for name in ("a-c", "b-c")}
    path = made_run(tmp_path, parts=parts, data=("made", *parts), threats=(), shifts=(), objectives=[], grid=2)
    groups = {row[0] for row in named(Results(Store(path)))["composition"].points}
    assert groups == {"clean and under the shifts", "a-c: fog", "b-c: fog"}


def test_a_norm_at_two_radii_makes_a_ladder(tmp_path: Path) -> None:
    results = Results(Store(made_run(tmp_path, threats=("linf:0.05", "linf:0.1", "l2:0.5"), grid=2)))
    points = [row for row in named(results)["ladder"].points if row[1] == "m0"]
    assert [row[:3] for row in points] == [("linf", "m0", 0.0), ("linf", "m0", 0.05), ("linf", "m0", 0.1)]
    for row, task in zip(points, ("made", "made@linf:0.05", "made@linf:0.1"), strict=True):
        outcomes = results.outcomes(results.alone("m0"), "test", task)
        assert outcomes is not None
        assert row[3] == metrics.robust_accuracy(outcomes).value


def test_figures_of_names_that_differ_in_signs_have_files_of_their_own(tmp_path: Path) -> None:
    path = made_run(tmp_path, threats=(), data=("made", "a b", "a-b", "数据"), shifts=(), grid=2, objectives=[])
    found = drawings(Results(Store(path)))
    names = [each.name for each in found]
    assert len(names) == len(set(names))
    assert {"ternary-a-b", "ternary-a-b-2"} <= set(names)


def test_files_of_a_figure(results: Results, tmp_path: Path) -> None:
    figure = named(results)["pareto"]
    paths = save(figure, tmp_path / "figures", ("png", "svg", "pdf"))
    again = save(figure, tmp_path / "again", ("png", "svg", "pdf"))
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    assert [path.suffix for path in paths] == [".png", ".svg", ".pdf", ".csv"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert paths[2].read_bytes().startswith(b"%PDF")


def test_pictures_are_the_same_every_time_and_take_the_ink_of_the_page() -> None:
    values: dict[tuple[float, ...], float] = {
        (1.0, 0.0, 0.0): 0.1,
        (0.0, 1.0, 0.0): 0.2,
        (0.0, 0.0, 1.0): 0.3,
        (0.2, 0.3, 0.5): 0.4,
    }
    estimates = {"one": Estimate(0.5, 0.4, 0.6, 100), "two": Estimate(0.2, 0.1, 0.3, 100)}
    for draw in (
        lambda: ternary_figure(values, ("a", "b", "c"), "union", (0.2, 0.3, 0.5)),
        lambda: ternary_figure(dict.fromkeys(values, 0.5), ("a", "b", "c"), "union", (1.0, 0.0, 0.0)),
        lambda: intervals_figure(estimates, "x", "one"),
    ):
        first, again = (inline_svg(Drawing("name", "", "", (), [], draw)) for _ in range(2))
        assert first == again
        assert first.startswith("<svg")
        assert "currentColor" in first
        assert 'id="name-' in first
