"""Candidates of a search: other models of the same classes, in its tables and tests, and never in its soups."""

import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from seasoning.checkpoints.load import State, load_ingredient
from seasoning.commands.search import run_plan
from seasoning.commands.search_cost import SearchCost
from seasoning.config.run_record import read_record
from seasoning.config.search import make_plan
from seasoning.errors import BadInput, Mismatch, SeasoningError
from seasoning.evaluation import measure as measuring
from seasoning.evaluation.evaluator import evaluate
from seasoning.models import build_model
from seasoning.report import Results, shifts_table, threats_table
from seasoning.selection.answers import SearchResult
from seasoning.statistics import holm
from seasoning.store.database import Store
from seasoning.store.run_folder import STORE
from tests.commands.searches import content, found, saved, tasks_of


WIDTHS = (8, 16)


@pytest.fixture(scope="module")
def others(three: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A merge made elsewhere, and a network of another size."""
    path = tmp_path_factory.mktemp("candidates") / "narrow.safetensors"
    torch.manual_seed(1)
    save_file(build_model("resnet_small", num_classes=10, widths=WIDTHS).network.state_dict(), path)
    narrow = {"file": str(path), "architecture": "resnet_small", "options": {"widths": list(WIDTHS)}}
    return {"merge": three["middle"], "narrow": narrow}


@pytest.fixture(scope="module")
def run(
    files: dict[str, str], others: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, SearchResult, SearchCost]:
    folder = tmp_path_factory.mktemp("search") / "run"
    costs: list[SearchCost] = []
    result = run_plan(make_plan(content(files, candidates=others)), folder, on_cost=costs.append)
    return folder, result, costs[0]


def test_they_are_measured_on_everything_and_no_soup_is_made_of_them(
    run: tuple[Path, SearchResult, SearchCost], files: dict[str, str], others: dict[str, Any], tmp_path: Path
) -> None:
    folder, result, _ = run
    with Store(folder / STORE) as store:
        record = read_record(store)
        asked = store.measurements()
    assert record is not None
    assert [(note.name, note.architecture) for note in record.candidates] == [
        ("merge", "resnet_small"),
        ("narrow", "resnet_small"),
    ]
    clean = {name: "digits/{}" + shift for name, shift in {"digits": "", "digits/noise": "/noise"}.items()}
    for note in record.candidates:
        mine = {(each.data, each.threat) for each in asked if each.model.parts == ((note.fingerprint, 1.0),)}
        assert mine == {
            *((text.format(split), None) for text in clean.values() for split in ("selection", "test")),
            *((f"digits/{split}", "linf:0.1") for split in ("selection", "test")),
        }
    # As by hand, in networks of their own.
    networks = {
        "merge": build_model("resnet_small", num_classes=10, state=load_ingredient(others["merge"])),
        "narrow": build_model(
            "resnet_small", num_classes=10, widths=WIDTHS, state=load_ingredient(others["narrow"]["file"])
        ),
    }
    task = tasks_of(make_plan(content(files, candidates=others)), tmp_path)["digits"]
    answer = next(each for each in result.answers if each.objective.name == "digits")
    assert task.others is not None
    for soup in answer.candidates:
        assert soup.judged.complement is not None
        for part, told in ((task.selection, soup.judged.selection), (task.others, soup.judged.complement)):
            assert told.value == pytest.approx(evaluate(networks[soup.name], part.samples).correct.mean())
        assert soup.weights == ()
    assert all(len(soup.weights) == 2 for each in result.answers for soup in each.chosen)


def test_they_stand_in_the_tables_and_tests(run: tuple[Path, SearchResult, SearchCost]) -> None:
    folder, result, _ = run
    with Store(folder / STORE) as store:
        results = Results(store)
        for table in (threats_table(results), shifts_table(results)):
            names = [row.name for row in table.rows]
            assert names[:5] == ["nominal", "linf", "merge", "narrow", "uniform soup of 2"]
            assert all(cell is not None for row in table.rows[2:4] for cell in row.cells)
            assert [row.passes for row in table.rows[2:4]] == [1, 1]
        marks = {note.fingerprint for note in results.record.candidates}
        assert marks <= {mark for asked, _ in results.blocks for mark, _ in asked.model.parts}
    page = html.unescape((folder / "report.html").read_text())
    for answer in result.answers:
        chosen = len(answer.chosen)
        pairs = [(each.first, each.second) for each in answer.comparisons]
        assert pairs[-2:] == [(0, chosen), (0, chosen + 1)]
        assert len(pairs) == chosen * (chosen - 1) // 2 + 2
        # All tests of an objective are corrected together.
        assert [each.corrected for each in answer.comparisons] == holm_of(answer.comparisons)
        last = answer.comparisons[-1]
        assert f"Soup 1 minus narrow on held-out images: {100 * last.difference.value:+.1f} [" in page
        best, narrow = (soup.judged.complement for soup in (answer.chosen[0], answer.candidates[1]))
        assert best is not None
        assert narrow is not None
        assert last.difference.value == pytest.approx(best.value - narrow.value)


def holm_of(comparisons: Any) -> list[float]:
    return list(map(float, np.array(holm([each.p for each in comparisons]))))


def test_the_estimate_counts_them(
    run: tuple[Path, SearchResult, SearchCost], whole: tuple[Path, SearchResult], files: dict[str, str], tmp_path: Path
) -> None:
    _, _, cost = run
    costs: list[SearchCost] = []
    run_plan(make_plan(content(files)), tmp_path / "run", on_cost=costs.append)
    assert (cost.candidates, costs[0].candidates) == (2, 0)
    # Three tasks, 40 images that choose and 30 that do not.
    assert cost.others - costs[0].others == 2 * 3 * 70
    assert cost.images == costs[0].images


def test_a_finished_search_measures_only_a_new_candidate(
    files: dict[str, str], others: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {"shifts": [], "threats": [], "candidates": {"merge": others["merge"]}}
    first = found(make_plan(content(files, **quick)), tmp_path)
    monkeypatch.setattr(measuring, "evaluate", None)
    assert found(make_plan(content(files, **quick)), tmp_path) == first
    # Under another name it is the same model; other constants make it another.
    named = content(files, **quick | {"candidates": {"joint": others["merge"]}})
    assert [each.name for each in found(make_plan(named), tmp_path).answers[0].candidates] == ["joint"]
    dark = {"file": others["merge"], "mean": [0.9], "std": [0.1]}
    with pytest.raises(TypeError):
        found(make_plan(content(files, **quick | {"candidates": {"merge": dark}})), tmp_path)


def test_what_it_was_trained_on_is_left_out(files: dict[str, str], robust_state: State, tmp_path: Path) -> None:
    path = saved(
        robust_state, tmp_path / "joint.safetensors", images={"source": "digits", "train": 1500, "validation": 100}
    )
    plain, beside = (
        tasks_of(make_plan(content(files, others=None, candidates=each)), tmp_path)["digits"].others
        for each in ({}, {"joint": path})
    )
    assert plain is not None
    assert beside is not None
    assert (len(plain.samples), len(beside.samples)) == (657, 157)


def test_models_of_other_classes_and_no_models_are_refused_before_any_work(
    files: dict[str, str], robust_state: State, tmp_path: Path
) -> None:
    seven = tmp_path / "seven.safetensors"
    save_file(build_model("resnet_small", num_classes=7).network.state_dict(), seven)
    digits = [str(number) for number in range(10)]
    told = {}
    for name, classes in {"same": digits, "turned": digits[::-1], "letters": list("abcdefghij")}.items():
        told[name] = str(tmp_path / f"{name}.safetensors")
        save_file(dict(robust_state), told[name], {"classes": json.dumps(classes)})
    for candidate, kind, words in (
        (str(seven), Mismatch, "candidate 'other' .* is no resnet_small of 10 classes: .*say what it is by its archi"),
        (
            told["turned"],
            BadInput,
            r"names its 10 classes in another order \(9, 8, 7, 6, … \(10\)\) than the data has them \(0,",
        ),
        (told["letters"], BadInput, "names its 10 classes otherwise"),
        (str(tmp_path / "none.pt"), BadInput, "candidate 'other': .*none.pt"),
        ({"file": told["same"], "architecture": "resnet_smal"}, SeasoningError, "did you mean 'resnet_small'"),
    ):
        plan = make_plan(content(files, candidates={"other": candidate}))
        with pytest.raises(kind, match=words):
            run_plan(plan, tmp_path / "run")
        assert not (tmp_path / "run").exists()
    # The same classes in the same order are taken.
    quick = {"shifts": [], "threats": [], "shots": 16, "others": 10, "candidates": {"same": told["same"]}}
    assert found(make_plan(content(files, **quick)), tmp_path / "run").answers
