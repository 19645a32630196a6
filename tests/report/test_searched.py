"""Reports of `seasoning search`: its store's notes, as that command leaves them."""

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from seasoning.report.answers import answer_tables, answers, told

from seasoning import metrics, statistics
from seasoning.outcomes import Measurement, ModelKey
from seasoning.report import CLEAN, Results, threats_table, write_report
from seasoning.report.contenders import missing
from seasoning.report.explorer import board, mix_command
from seasoning.store.database import Store
from seasoning.strategies import simplex
from tests.report.runs import random_outcomes
from tests.report.test_page import outline, text_of


MARKS = ("aaa", "bbb", "ccc")
HEADER = {"device": "none", "versions": {}, "seconds": 0.5, "gradients": 1, "forwards": 2}
ATTACKS = {"toons@linf:0.1": "apgd(linf)", "toons@l1:2": "apgd(l1)"}


def searched(folder: Path, *, ended: bool = True, policy: str = "mix") -> Path:
    """A search over three ingredients on two data sets, a shift and two threats."""
    path = folder / "outcomes.sqlite"
    with Store(path) as store:
        store.write_note("network", {"architecture": "resnet18", "options": {}, "normalization": [None, None]})
        files = {f"m{n}": {"threat": None, "fingerprint": mark, "path": f"m{n}.pt"} for n, mark in enumerate(MARKS)}
        store.write_note("ingredients", {name: {**each, "training": None} for name, each in files.items()})
        store.write_note("search attacks", ATTACKS)
        for weights in simplex(3, 2):
            for data, threat in (
                ("toons", None),
                ("toons", "linf:0.1"),
                ("toons", "l1:2"),
                ("toons//fog", None),
                ("photos", None),
            ):
                add(store, weights, "selection", data, threat, policy)
                if max(weights) == 1 or weights == (0.5, 0.0, 0.5):
                    add(store, weights, "test", data, threat, policy)
        # What it looked at with fewer steps, or on some of the images only, is no number of a report.
        add(store, (0.25, 0.75, 0.0), "selection", "toons", "linf:0.1", policy, attack="apgd(fewer)")
        add(store, (0.25, 0.75, 0.0), "selection", "toons", None, policy, rows=5)
        if ended:
            store.write_note("search", note(policy))
    return path


def add(
    store: Store,
    weights: tuple[float, ...],
    part: str,
    data: str,
    threat: str | None,
    policy: str,
    attack: str | None = None,
    rows: int | None = None,
    first: int | None = None,
    samples: str | None = None,
) -> None:
    first = (0 if part == "selection" else 40) if first is None else first
    name, _, shift = data.partition("//")
    key = replace(ModelKey.of(MARKS, weights), policy=policy)
    described = None if threat is None else attack or ATTACKS[f"{name}@{threat}"]
    place = f"{name}/{part}/{shift}" if shift else f"{name}/{part}"
    asked = Measurement(key, place, samples or part, threat, described, 7)
    size = 40 if part == "selection" else 60
    outcomes = random_outcomes(size, f"{weights}{place}{threat}", 0.9 - sum(w * w for w in weights) / 2, threat)
    outcomes = replace(outcomes, ids=outcomes.ids + first)
    store.add(asked, size, outcomes if rows is None else outcomes.take(outcomes.ids < first + rows), HEADER)


def note(policy: str) -> dict[str, Any]:
    def soup(name: str, weights: list[float], **rest: Any) -> dict[str, Any]:
        estimates = {
            "selection": [0.5, 0.4, 0.6, 40],
            "complement": [0.4, 0.3, 0.5, 60],
            "whole": [0.45, 0.4, 0.5, 100],
        }
        return {"name": name, "weights": weights, "best": None, **estimates, "rough": None, "same": None, **rest}

    alone = [soup(f"m{n}", [float(n == each) for each in range(3)]) for n in range(3)]
    alone[1]["selection"] = [0.55, 0.4, 0.6, 40]
    best = soup("soup", [0.5, 0, 0.5], best=0.7, rough=[0.6, 0.5, 0.7, 20], same=[0.5, 0.4, 0.6, 20])
    return {
        "plan": {"seed": 7, "smoke": False, "data": {"toons": "x", "photos": "y"}, "batch_norm": policy},
        "space": 6,
        "selection": list(range(40)),
        "answers": [
            {
                "objective": "union",
                "terms": [[["toons@linf:0.1", "toons@l1:2"], 1.0]],
                "limits": [[["toons"], 0.3]],
                "scope": "among all 6 soups of the space",
                "chosen": [best, soup("other", [0, 1, 0], best=0.3)],
                "ingredients": alone,
                "comparisons": [[0, 1, 0.1, -0.1, 0.2, 60, 0.2, 0.2]],
                "regret": [[20, 0.01, 0.02]],
                "soup": "soup-union.safetensors",
            },
            {
                "objective": "mean",
                "terms": [[["toons"], 1 / 3], [["toons/fog"], 1 / 3], [["photos"], 1 / 3]],
                "limits": [],
                "scope": "among the 4 soups measured on identical images, of 6 in the space",
                "chosen": [soup("m0", [1, 0, 0])],
                "ingredients": alone,
                "comparisons": [],
                "regret": [],
                "soup": "soup-mean.safetensors",
            },
        ],
        "front": [],
        "front scope": "",
    }


@pytest.mark.parametrize("policy", ["mix", "geometric"])
def test_tasks_and_soups_are_those_of_the_search(tmp_path: Path, policy: str) -> None:
    results = Results(Store(searched(tmp_path, policy=policy)))
    assert (results.source, results.threats, results.shifts) == ("toons", ("linf:0.1", "l1:2"), ("fog", "photos"))
    assert results.sizes == {"selection": 40, "test": 60}
    known = board(results)
    assert [each.name for each in known.columns] == [CLEAN, "fog", "photos", "linf:0.1", "l1:2", "union"]
    assert {tuple(row) for row in known.weights} == set(simplex(3, 2))
    assert (known.right >= 0).all()
    assert len(known.held_out) == 4
    assert known.files == ["m0.pt", "m1.pt", "m2.pt"]
    assert known.policy == policy
    rows = {row.name for row in threats_table(results).rows}
    assert {"m0", "m1", "m2"} <= rows
    assert not any(name.startswith("ensemble") for name in rows)


def test_answers_compare_with_the_best_ingredient(tmp_path: Path) -> None:
    results = Results(Store(searched(tmp_path)))
    union, mean = answers(results)
    assert union.rival is not None
    assert union.rival[0] == "m1"
    columns = []
    for weights in (union.weights, (0.0, 1.0, 0.0)):
        attacked = [results.outcomes(results.soup(weights), "test", threat) for threat in results.threats]
        columns.append(metrics.union_column(*[each for each in attacked if each is not None]))
    assert union.difference == statistics.paired_difference(*columns)
    assert "best ingredient on the images that chose" in told(results, union)
    assert told(results, mean).startswith("No: the search chose the ingredient m0 alone")
    first, second = answer_tables(results)
    assert [row[0] for row in first.rows] == ["0.5 m0 + 0.5 m2", "1 m1", "m0", "m1", "m2"]
    assert "Limit: toons at least 30 %" in first.note
    assert "a gap of +10.0 points" in first.note
    assert "Soup 1 minus soup 2: +10.0 [-10.0, +20.0] points, corrected p 0.2." in first.note
    assert "measured on identical images" in second.note


def test_its_page_begins_with_its_first_objective(tmp_path: Path) -> None:
    (page,), _ = write_report(searched(tmp_path), tmp_path)
    text = text_of(page.read_text())
    assert outline(page.read_text()).open == []
    assert "Is one soup better for “union” than the best of its ingredients?" in text
    assert "not finished" not in text
    assert "soup-union.safetensors lies in the folder" in text
    assert "seasoning mix m0.pt m2.pt --weights 0.5,0.5 --out my-soup.safetensors" in text


def test_a_search_that_has_not_ended_shows_what_is_there(tmp_path: Path) -> None:
    store = searched(tmp_path, ended=False)
    assert missing(Results(Store(store))) == ["the end of the search: the choice and its final numbers"]
    (page,), _ = write_report(store, tmp_path)
    text = text_of(page.read_text())
    assert "This run is not finished." in text
    assert f"seasoning search … --out {tmp_path}" in text
    assert re.search(r"the best of the 6 measured soups", text)


def begun(files: str = "m", **plan: Any) -> dict[str, Any]:
    """What a search notes before it measures."""
    tasks = ("toons", "toons/fog", "photos", *ATTACKS)
    return {
        "plan": {**note("mix")["plan"], **plan},
        "ingredients": {
            f"{files}{n}": {"threat": None, "fingerprint": mark, "path": f"{files}{n}.pt", "training": None}
            for n, mark in enumerate(MARKS)
        },
        "attacks": ATTACKS,
        "parts": {task: {"selection": "selection", "test": "test"} for task in tasks},
    }


def test_images_of_another_search_in_the_folder_do_not_count(tmp_path: Path) -> None:
    own = begun()
    with Store(searched(tmp_path)) as store:
        # One with 20 images to choose, whose test images chose here, and with a data set that is not of this one.
        for weights in simplex(3, 2):
            for data, threat in (("toons", None), ("toons", "linf:0.1"), ("others", None)):
                add(store, weights, "selection", data, threat, "mix", samples="other selection", rows=20)
                add(store, weights, "test", data, threat, "mix", samples="other test", first=20)
        store.write_note("search", note("mix") | own)
        results = Results(store)
        assert (results.shifts, results.sizes) == (("fog", "photos"), {"selection": 40, "test": 60})
        for task in (CLEAN, "linf:0.1"):
            held_out = results.outcomes(results.alone("m0"), "test", task)
            assert held_out is not None
            assert held_out.ids.min() == 40
        assert len(board(results).held_out) == 4
        for part in own["parts"].values():
            part["test"] = None
        store.write_note("search", note("mix") | own)
        results = Results(store)
        assert (board(results).held_out, results.sizes["test"]) == ({}, 0)
        assert list(results.radii(results.alone("m0"), "test")) == []


def test_images_that_chose_on_another_data_set_are_not_held_out(tmp_path: Path) -> None:
    with Store(searched(tmp_path)) as store:
        store.write_note("search", note("mix") | {"selection": list(range(50))})
        results = Results(store)
        assert results.sizes == {"selection": 40, "test": 50}
        for task in results.tasks:
            held_out = results.outcomes(results.alone("m0"), "test", task)
            assert held_out is not None
            assert held_out.ids.tolist() == list(range(50, 100))
        assert {column.held_out for column in board(results).columns} == {50}
        difference = answers(results)[0].difference
        assert difference is not None
        assert difference.n == 50
        assert "50 test images" in threats_table(results).note
        store.write_note("search", note("mix") | {"selection": list(range(100))})
        assert board(Results(store)).held_out == {}


def test_answers_stay_with_their_own_ingredients_and_plan(tmp_path: Path) -> None:
    with Store(searched(tmp_path)) as store:
        ended = note("mix") | begun()
        store.write_note("search", ended)
        # The same search goes on; notes beside its own are those of whichever search wrote them last.
        store.write_note("begun", begun())
        store.write_note("ingredients", begun("n")["ingredients"])
        store.write_note("search attacks", {})
        results = Results(store)
        assert [each.name for each in results.ingredients] == ["m0", "m1", "m2"]
        assert results.threats == ("linf:0.1", "l1:2")
        assert (len(answers(results)), missing(results)) == (2, [])
        # Another search is begun and has not ended.
        store.write_note("begun", begun("n", batch_norm="geometric"))
        results = Results(store)
        assert [each.name for each in results.ingredients] == ["n0", "n1", "n2"]
        assert results.setting.policy == "geometric"
        assert (answers(results), missing(results)) == ([], ["the end of the search: the choice and its final numbers"])
    (page,), _ = write_report(tmp_path / "outcomes.sqlite", tmp_path)
    text = text_of(page.read_text())
    assert "This run is not finished." in text
    assert "better for “union”" not in text


def test_its_commands_are_for_a_shell_and_do_what_the_search_did_with_statistics(tmp_path: Path) -> None:
    store = searched(tmp_path, policy="geometric")
    with Store(store) as known:
        files = known.note("ingredients")
        files["m0"]["path"] = "/my runs/it's m0.pt"
        known.write_note("ingredients", files)
        command = mix_command([each["path"] for each in files.values()], (0.5, 0, 0.5), "geometric")
    assert shlex.split(command)[2:] == [
        "/my runs/it's m0.pt",
        "m2.pt",
        "--weights",
        "0.5,0.5",
        "--batch-norm",
        "geometric",
        "--out",
        "my-soup.safetensors",
    ]
    (page,), _ = write_report(store, tmp_path)
    assert text_of(page.read_text()).count(command) == 2


def test_names_of_ingredients_are_not_read_as_formulas(tmp_path: Path) -> None:
    store = searched(tmp_path)
    with Store(store) as known:
        names = dict(zip(("a$_$b", "$x^2$", "m2"), known.note("ingredients").values(), strict=True))
        known.write_note("ingredients", names)
    (page,), _ = write_report(store, tmp_path)
    figures = "".join(re.findall(r"<svg.*?</svg>", page.read_text(), flags=re.DOTALL))
    assert "a$_$b" in figures
    assert "$x^2$" in figures


def test_a_data_set_may_have_an_at_sign_in_its_name(tmp_path: Path) -> None:
    store = searched(tmp_path)
    with Store(store) as known:
        plain = note("mix") | begun()
        known.write_note("search", plain | {"attacks": {f"we@{task}": each for task, each in ATTACKS.items()}})
        assert Results(known).threats == ("linf:0.1", "l1:2")


def test_an_ingredient_that_misses_the_limit_is_no_rival(tmp_path: Path) -> None:
    ended = note("mix")
    alone = [dict(each) for each in ended["answers"][0]["ingredients"]]
    ended["answers"][0]["ingredients"] = alone
    # m1 is the best for the objective; of the clean images, of which the limit wants 0.3, it is right on 0.2.
    for each, share in zip(alone, (0.3, 0.2, 0.2), strict=True):
        each["limits"] = [[[share, 0.1, 0.9, 40], [0.9, 0.8, 1.0, 60], [0.7, 0.6, 0.8, 100]]]
    store = searched(tmp_path)
    with Store(store) as known:
        known.write_note("search", ended)
        results = Results(known)
        union = answers(results)[0]
        assert union.rival is not None
        assert union.rival[0] == "m0"
        names = [row[0] for row in answer_tables(results)[0].rows[2:]]
        assert names == ["m0", "m1 (misses the limit)", "m2 (misses the limit)"]
        alone[0]["limits"][0][0][0] = 0.29
        known.write_note("search", ended)
        results = Results(known)
        union = answers(results)[0]
        assert (union.rival, union.difference) == (None, None)
        assert "no ingredient keeps to the limit" in told(results, union)
    (page,), _ = write_report(store, tmp_path)
    assert "No ingredient keeps to the limit" in text_of(page.read_text())
