"""What a report reads of a search: which images count, how its answers are told, and what its commands do."""

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from seasoning import metrics, statistics
from seasoning.config.run_record import RunRecord, read_record, write_record
from seasoning.outcomes import ModelKey
from seasoning.report import CLEAN, Results, threats_table, verdict, write_report
from seasoning.report.contenders import missing
from seasoning.report.explorer import board, mix_command
from seasoning.report.verdicts import answer_tables, notes
from seasoning.selection.answers import Answer
from seasoning.store.database import Store
from tests.report.runs import Made, add, made_plan, made_run, random_right
from tests.report.test_page import outline, text_of


THREATS = ("linf:0.1", "l1:2")
OBJECTIVES = [{"best": "union", "at_least": {"toons": 0.3}}, {"best": "mean"}]


def searched(folder: Path, **settings: Any) -> Path:
    """A search over three ingredients on two data sets, a shift and two threats."""
    about: dict[str, Any] = {"data": ("toons", "photos"), "shifts": ("fog",), "threats": THREATS, "grid": 2}
    return made_run(folder, **about | {"objectives": OBJECTIVES, "ensemble": False} | settings)


def record_of(store: Store) -> RunRecord:
    record = read_record(store)
    assert record is not None
    return record


def answers(results: Results) -> tuple[Answer, ...]:
    assert results.record.answers is not None
    return results.record.answers


@pytest.mark.parametrize("policy", ["mix", "geometric"])
def test_tasks_and_soups_are_those_of_the_search(tmp_path: Path, policy: str) -> None:
    results = Results(Store(searched(tmp_path, batch_norm=policy)))
    assert (results.source, results.threats, results.shifts) == ("toons", THREATS, ("photos", "fog"))
    assert results.sizes == {"selection": 80, "test": 90}
    known = board(results)
    assert [column.name for column in known.columns] == [CLEAN, "photos", "fog", *THREATS, "union"]
    assert len(known.weights) == 6
    assert (known.right >= 0).all()
    assert known.policy == policy
    rows = {row.name for row in threats_table(results).rows}
    assert {"m0", "m1", "m2"} <= rows
    assert not any(name.startswith("ensemble") for name in rows)


def test_what_was_only_screened_is_no_number_of_a_report(tmp_path: Path) -> None:
    path = searched(tmp_path)
    with Store(path) as store:
        made, weights = Made(store, record_of(store), random_right), (0.25, 0.75, 0.0)
        add(made, weights, "selection", "toons@linf:0.1", attack="fewer steps")
        add(made, weights, "selection", "toons", rows=5)
        results = Results(store)
        assert len(board(results).weights) == 6
        assert results.outcomes(results.soup(weights), "selection", "toons") is None


def test_answers_compare_with_the_best_ingredient(tmp_path: Path) -> None:
    results = Results(Store(searched(tmp_path)))
    union = answers(results)[0]
    assert union.rival is not None
    assert union.rival.name == max(union.ingredients, key=lambda soup: soup.judged.selection.value).name
    columns = []
    for weights in (union.chosen[0].weights, [float(name == union.rival.name) for name in results.names]):
        attacked = [results.outcomes(results.soup(weights), "test", f"toons@{threat}") for threat in THREATS]
        columns.append(metrics.union_column(*[rows for rows in attacked if rows is not None]))
    assert union.rival.difference == statistics.paired_difference(*columns)
    table = answer_tables(results)["union"]
    assert [row[0] for row in table.rows[-3:]] == ["m0", "m1", "m2"]
    assert table.note.startswith(verdict(union))
    assert "Limit: toons at least 30 %" in table.note


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.2, "Yes: the soup is better than m1"),
        (-0.2, -0.01, "No: the soup is worse than m1"),
        (-0.1, 0.1, "Not shown: the soup and m1"),
    ],
)
def test_the_interval_of_the_difference_decides_the_sentence(
    tmp_path: Path, low: float, high: float, words: str
) -> None:
    union = answers(Results(Store(searched(tmp_path))))[0]
    assert union.rival is not None
    estimate = statistics.Estimate((low + high) / 2, low, high, 90)
    rival = union.rival._replace(name="m1", difference=estimate)
    changed = union._replace(chosen=(union.chosen[0]._replace(weights=(0.5, 0.0, 0.5)),), rival=rival)
    assert verdict(changed).startswith(words)
    assert verdict(changed._replace(rival=None)).startswith("Not tested: no ingredient keeps to the limit")
    assert "no held-out images" in verdict(changed._replace(rival=rival._replace(difference=None)))
    alone = changed._replace(chosen=(union.chosen[0]._replace(weights=(0.0, 1.0, 0.0)),))
    assert verdict(alone) == "No: the search chose the ingredient m1 alone."


def test_what_screening_misled_by_is_said(tmp_path: Path) -> None:
    union = answers(Results(Store(searched(tmp_path))))[0]
    screened, same = statistics.Estimate(0.6, 0.5, 0.7, 20), statistics.Estimate(0.5, 0.4, 0.6, 20)
    best = union.chosen[0]._replace(screened=screened, same=same)
    said = " ".join(notes(union._replace(chosen=(best, *union.chosen[1:]))))
    assert "a gap of +10.0 points" in said
    assert "a gap of" not in " ".join(notes(union))


def test_its_page_begins_with_its_first_objective(tmp_path: Path) -> None:
    path = searched(tmp_path)
    (page,), _ = write_report(path, tmp_path)
    text = text_of(page.read_text())
    assert outline(page.read_text()).open == []
    assert "Is one soup better for “union” than the best of its ingredients?" in text
    assert "not finished" not in text
    assert "soup-union.safetensors lies in the folder" in text


def test_a_search_that_has_not_ended_shows_what_is_there(tmp_path: Path) -> None:
    store = searched(tmp_path, ended=False, strategy="climb")
    assert missing(Results(Store(store))) == ["the end of the search: the choice and its final numbers"]
    (page,), _ = write_report(store, tmp_path)
    text = text_of(page.read_text())
    assert "This run is not finished." in text
    assert f"seasoning search … --out {tmp_path}" in text
    assert re.search(r"the best of the 6 measured soups", text)


def test_images_of_another_search_in_the_folder_do_not_count(tmp_path: Path) -> None:
    with Store(searched(tmp_path)) as store:
        record = record_of(store)
        made = Made(store, record, random_right)
        before = board(Results(store))
        # One with other images to choose, whose test images chose here, and with a data set that is not of this one.
        for weights in map(tuple, before.weights.tolist()):
            for task in ("toons", "toons@linf:0.1"):
                add(made, weights, "selection", task, samples="other selection")
                add(made, weights, "test", task, samples="other test")
            add(made, weights, "selection", "toons", data="others/selection", samples="others")
        results = Results(store)
        assert (results.shifts, results.sizes) == (("photos", "fog"), {"selection": 80, "test": 90})
        after = board(results)
        np.testing.assert_array_equal(after.right, before.right)
        assert after.held_out == before.held_out
        parts = {name: part.model_copy(update={"test": None}) for name, part in record.parts.items()}
        write_record(store, record.model_copy(update={"parts": parts}))
        results = Results(store)
        assert (board(results).held_out, results.sizes["test"]) == ({}, 0)
        assert list(results.radii(results.alone("m0"))) == []


def test_images_that_chose_on_another_data_set_are_not_held_out(tmp_path: Path) -> None:
    with Store(searched(tmp_path)) as store:
        record = record_of(store)
        write_record(store, record.model_copy(update={"selection": tuple(range(120))}))
        results = Results(store)
        assert results.sizes == {"selection": 80, "test": 50}
        for task in ("toons", "toons/fog", "toons@linf:0.1"):
            held_out = results.outcomes(results.alone("m0"), "test", task)
            assert held_out is not None
            assert held_out.ids.tolist() == list(range(120, 170))
        assert "50 held-out images" in threats_table(results).note
        write_record(store, record.model_copy(update={"selection": tuple(range(170))}))
        assert Results(store).outcomes(results.alone("m0"), "test", "toons") is None


def test_a_search_that_is_begun_anew_has_the_new_names_and_no_answers(tmp_path: Path) -> None:
    with Store(searched(tmp_path)) as store:
        record = record_of(store)
        renamed = tuple(
            note.model_copy(update={"name": f"n{number}"}) for number, note in enumerate(record.ingredients)
        )
        write_record(store, record.model_copy(update={"ingredients": renamed, "answers": None}))
        results = Results(store)
        assert results.names == ["n0", "n1", "n2"]
        assert missing(results)[0] == "the end of the search: the choice and its final numbers"
    (page,), _ = write_report(tmp_path / "outcomes.sqlite", tmp_path)
    text = text_of(page.read_text())
    assert "This run is not finished." in text
    assert "Not known yet" in text


def test_its_commands_are_for_a_shell_and_do_what_the_search_did_with_statistics(tmp_path: Path) -> None:
    store = searched(tmp_path, batch_norm="geometric")
    with Store(store) as known:
        record = record_of(known)
        first = record.ingredients[0].model_copy(update={"path": "/my runs/it's m0.pt"})
        ingredients = (first, *record.ingredients[1:])
        assert record.answers is not None
        best = record.answers[0].chosen[0]._replace(weights=(0.5, 0.0, 0.5))
        changed = (record.answers[0]._replace(chosen=(best,), comparisons=()), *record.answers[1:])
        write_record(known, record.model_copy(update={"ingredients": ingredients, "answers": changed}))
        command = mix_command([note.path for note in ingredients], (0.5, 0.0, 0.5), "geometric")
    assert shlex.split(command)[2:] == [
        "/my runs/it's m0.pt",
        "m2.safetensors",
        "--weights",
        "0.5,0.5",
        "--batch-norm",
        "geometric",
        "--out",
        "my-soup.safetensors",
    ]
    (page,), _ = write_report(store, tmp_path)
    assert text_of(page.read_text()).count(command) >= 1


def test_names_of_ingredients_are_not_read_as_formulas(tmp_path: Path) -> None:
    (page,), _ = write_report(searched(tmp_path, ingredients=("a$_$b", "$x^2$", "m2")), tmp_path)
    figures = "".join(re.findall(r"<svg.*?</svg>", page.read_text(), flags=re.DOTALL))
    assert "a$_$b" in figures
    assert "$x^2$" in figures


def test_an_ingredient_that_misses_the_limit_is_no_rival(tmp_path: Path) -> None:
    def right(weights: tuple[float, ...], task: str, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        # m1 is the best for the objective; of the clean images, of which the limit wants 0.3, it is right on a fifth.
        single = max(weights) == 1
        clean = 2 if single and weights[0] != 1 else 6
        attacked = 3 if weights[1] == 1 else 4 if not single else 2
        return ids % 10 < (attacked if "@" in task else clean)

    results = Results(Store(searched(tmp_path, right=right)))
    union = answers(results)[0]
    assert union.rival is not None
    assert union.rival.name == "m0"
    names = [row[0] for row in answer_tables(results)["union"].rows[-3:]]
    assert names == ["m0", "m1 (misses the limit)", "m2 (misses the limit)"]


def test_a_soup_of_another_treatment_of_statistics_is_not_of_the_run(tmp_path: Path) -> None:
    with Store(searched(tmp_path)) as store:
        record = record_of(store)
        marks = [note.fingerprint for note in record.ingredients]
        other = replace(ModelKey.of(marks, (0.25, 0.75, 0.0)), policy="geometric")
        for task in ("toons", "toons/fog", "photos", *(f"toons@{threat}" for threat in THREATS)):
            add(Made(store, record, random_right), (0.25, 0.75, 0.0), "selection", task, model=other)
        assert len(board(Results(store)).weights) == 6
    assert made_plan().batch_norm == "mix"
