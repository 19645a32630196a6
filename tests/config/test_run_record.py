"""The run record: what a search writes into its store comes back as it was, and what others wrote is refused."""

import sqlite3
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from seasoning.config.run_record import (
    EpochNote,
    IngredientNote,
    NetworkNote,
    PartsNote,
    RunRecord,
    read_record,
    read_request,
    write_record,
    write_request,
)
from seasoning.config.search import make_plan, objectives_of
from seasoning.errors import BadInput
from seasoning.selection import Comparison, Judged, Limit, SearchObjective, Term
from seasoning.selection.answers import Answer, ChosenSoup, FrontSoup, Rival
from seasoning.statistics import Estimate
from seasoning.store.database import Store


JUDGED = Judged(Estimate(2 / 3, 0.5, 0.8, 40), Estimate(0.6, 1 / 7, 0.7, 60), Estimate(0.62, 0.5, 0.7, 100))
NO_OTHERS = JUDGED._replace(complement=None)
OBJECTIVE = SearchObjective(
    "careful",
    (Term(("digits@linf:0.1", "digits@l2:0.5"), 0.7), Term(("digits",), 0.3)),
    (Limit(("c/fog/1",), 0.3, (("c/fog/2",), ("c/snow/1",)), "c"), Limit(("digits",), 0.8)),
    ("linf", "l2"),
)
# Every field has a value that is not its default.
FULL = Answer(
    objective=OBJECTIVE,
    scope="among all 11 soups of the space",
    chosen=(
        ChosenSoup(
            "0.7 linf + 0.3 l2", (0.7, 0.1 + 0.2, 0.0), JUDGED, 0.4, JUDGED.whole, JUDGED.selection, (JUDGED, JUDGED)
        ),
        ChosenSoup("1 l2", (0.0, 1.0, 0.0), JUDGED, 0.1, None, None, (JUDGED, NO_OTHERS)),
    ),
    tied=2,
    comparisons=(Comparison(0, 1, Estimate(-0.01, -0.2, 0.1, 60), 1e-17, 1.0),),
    ingredients=(ChosenSoup("linf", (1.0, 0.0, 0.0), JUDGED, limits=(JUDGED, JUDGED)),),
    rival=Rival("linf", Estimate(0.1, -0.05, 0.25, 60)),
    regret=(Estimate(0.02, 0.0, 0.05, 2), Estimate(0.0, 0.0, 0.0, 40)),
    soup=Path("soup-careful.safetensors"),
    candidates=(ChosenSoup("joint", (), JUDGED, limits=(JUDGED, JUDGED)),),
)
# What there is without held-out images, limits and screening.
BARE = Answer(
    objective=SearchObjective("digits", (Term(("digits",)),)),
    scope="among the 2 soups measured on identical images, of 11 in the space",
    chosen=(ChosenSoup("1 nominal", (0.0, 0.0, 1.0), NO_OTHERS),),
    tied=1,
    comparisons=(),
    ingredients=(ChosenSoup("nominal", (0.0, 0.0, 1.0), NO_OTHERS),),
    rival=Rival("nominal", None),
    regret=(),
    soup=Path("soup-digits.safetensors"),
)


def record(**changes: Any) -> RunRecord:
    plan = make_plan(
        {
            "network": {"architecture": "resnet_small", "options": {"widths": [4, 8]}},
            "ingredients": {name: f"{name}.safetensors" for name in ("linf", "l2", "nominal")},
            "data": {"digits": "digits"},
            "shifts": ["noise"],
            "threats": ["linf:8/255", "l2:0.5"],
            "objectives": [{"best": "union", "ingredients": ["linf", "l2"]}, {"best": "mean", "at_least": {}}],
            "attack": {"confirm": "thorough"},
            "reading": {"cache": "kept", "memory_limit": 0.1},
        }
    )
    curve = (EpochNote(epoch=1, clean=0.9, robust=1 / 3), EpochNote(epoch=2, clean=0.95, robust=None))
    told = IngredientNote(
        name="linf",
        path="/x/linf.safetensors",
        fingerprint="aa",
        threat="linf:8/255",
        epoch=3,
        epochs=20,
        gradients=10**12,
        curve=curve,
    )
    silent = IngredientNote(
        name="l2", path="l2.pt", fingerprint="bb", threat=None, epoch=None, epochs=None, gradients=None, curve=()
    )
    network = NetworkNote(
        architecture="resnet_small", options={"widths": "[4, 8]"}, classes=10, mean=(0.1307,), std=(1 / 3,)
    )
    made: dict[str, Any] = {
        "plan": plan,
        "network": network,
        "ingredients": (told, silent),
        "columns": plan.asked({}).columns,
        "objectives": tuple(objectives_of(plan, {})),
        "attacks": {"digits@linf:8/255": "apgd(steps=40)"},
        "confirming": {"digits@linf:8/255": "apgd(steps=100)"},
        "parts": {"digits": PartsNote(selection="cc", test="dd"), "digits/noise": PartsNote(selection="ee", test=None)},
        "selection": (3, 1, 2**40),
        "space": 66,
    }
    return RunRecord(**(made | changes))


def kept(made: RunRecord, folder: Path) -> RunRecord | None:
    """The record after a way through a store."""
    path = folder / "a.sqlite"
    with Store(path) as store:
        write_record(store, made)
    with Store(path) as store:
        return read_record(store)


def test_a_search_that_was_only_begun_comes_back_as_it_was(tmp_path: Path) -> None:
    made = record()
    assert made.answers is None
    assert kept(made, tmp_path) == made


def test_every_field_of_the_answers_comes_back_as_it_was(tmp_path: Path) -> None:
    front = (FrontSoup("0.7 linf + 0.3 l2", (0.7, 0.3, 0.0), (0.5, 1 / 3)),)
    made = record(answers=(FULL, BARE), front=front, front_scope="among all 66 soups of the space")
    back = kept(made, tmp_path)
    assert back == made
    assert back is not None
    assert back.answers is not None
    for mine, theirs in zip((FULL, BARE), back.answers, strict=True):
        for name in Answer._fields:
            assert getattr(theirs, name) == getattr(mine, name), name
    first = back.answers[0]
    # Not only equal, but of the types that say what is what.
    kinds = [type(first), type(first.objective), type(first.chosen[0]), type(first.chosen[0].judged), type(first.soup)]
    assert kinds[:4] == [Answer, SearchObjective, ChosenSoup, Judged]
    assert isinstance(first.soup, Path)
    assert isinstance(first.rival, Rival)
    assert first.rival.difference == Estimate(0.1, -0.05, 0.25, 60)
    assert first.objective.limits[0].names == ("c",)
    assert back.answers[1].chosen[0].judged.complement is None
    assert back.begun == record()


def test_the_full_answer_of_these_tests_leaves_nothing_at_its_default() -> None:
    def check(value: Any, where: str) -> None:
        assert value not in (None, (), ""), where
        for name in getattr(value, "_fields", ()):
            check(getattr(value, name), f"{where}.{name}")

    for name in Answer._fields:
        check(getattr(FULL, name), name)
    check(FULL.chosen[0], "chosen")
    check(OBJECTIVE.limits[0], "limit")
    # A field that may be nothing is nothing in the other answer.
    assert type(None) in get_args(get_type_hints(Rival)["difference"])
    assert BARE.rival == Rival("nominal", None)


def test_a_new_record_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    kept(record(answers=(FULL,)), tmp_path)
    assert kept(record(space=11), tmp_path) == record(space=11)


def test_a_fresh_store_has_no_record(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        assert read_record(store) is None
        assert read_request(store) is None
        write_request(store, {"plan": {"shots": 3}})
        assert read_request(store) == {"plan": {"shots": 3}}
        # What was asked for is no search yet.
        assert read_record(store) is None


@pytest.mark.parametrize("name", ["spec", "search", "begun", "search attacks"])
def test_a_store_of_an_earlier_version_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        store.write_note(name, {"seed": 0})
        with pytest.raises(BadInput, match=r"a run of another version of seasoning: report it with that one, or run"):
            read_record(store)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layout": 3}, r"another version of seasoning, or a damaged record \(1 notes cannot be read\)"),
        ({"later": 1, "space": "many"}, r"\(2 notes cannot be read\)"),
        ({"answers": [{"objective": "mean"}]}, "cannot be read"),
    ],
)
def test_a_record_of_another_layout_is_refused_with_what_to_do(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        store.write_note("run", record().model_dump(mode="json") | changes)
        with pytest.raises(BadInput, match=f"{words}.* run it again in another folder"):
            read_record(store)


def test_the_store_holds_one_note_of_plain_json(tmp_path: Path) -> None:
    kept(record(answers=(FULL, BARE)), tmp_path)
    connection = sqlite3.connect(tmp_path / "a.sqlite")
    assert connection.execute("SELECT name FROM note").fetchall() == [("run",)]
    connection.close()
