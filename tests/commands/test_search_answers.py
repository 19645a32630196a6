"""What the answers of a search are: limits, ties, rivals, fronts, and what is measured on held-out images."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.load import load_ingredient, save_state
from seasoning.cli.search import _print_answer
from seasoning.config.run_record import read_record
from seasoning.config.search import make_plan
from seasoning.errors import BadInput
from seasoning.evaluation.evaluator import evaluate
from seasoning.models import build_model
from seasoning.outcomes import Measurement, ModelKey
from seasoning.report.verdicts import verdict
from seasoning.selection.answers import Rival, SearchResult
from seasoning.soup import Ensemble
from seasoning.statistics import Estimate, mean_difference
from seasoning.store.database import Store
from seasoning.store.run_folder import STORE
from tests.commands.searches import content, found, loaded, tasks_of


# ---- limits


def test_a_limit_is_reported_on_images_that_did_not_choose(files: dict[str, str], tmp_path: Path) -> None:
    limited = [{"best": "digits@linf:0.1", "at_least": {"digits": 0.5}}]
    (answer,) = found(make_plan(content(files, shifts=[], objectives=limited)), tmp_path / "run").answers
    (kept,) = answer.chosen[0].limits
    assert kept.selection.value >= 0.5
    assert kept.complement is not None
    assert kept.complement.n == 30
    impossible = [{"best": "digits@linf:0.1", "at_least": {"digits": 1.0}}]
    with pytest.raises(BadInput, match="none of"):
        found(make_plan(content(files, shifts=[], objectives=impossible)), tmp_path / "run")


def test_ingredients_that_miss_a_limit_are_marked_and_are_no_rivals(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limited = [{"best": "digits", "at_least": {"digits@linf:0.12": 0.55}}]
    plan = make_plan(content(files, shifts=[], threats=["linf:0.12"], objectives=limited))
    (answer,) = found(plan, tmp_path / "run").answers
    nominal, linf = answer.ingredients
    assert nominal.limits[0].selection.value < 0.55 <= linf.limits[0].selection.value
    assert nominal.limits[0].selection.n == 40
    with Store(tmp_path / "run" / STORE) as store:
        record = read_record(store)
    assert record is not None
    assert record.answers is not None
    assert record.answers[0].ingredients == (nominal, linf)
    # It would be the rival: as good, and the first.
    assert nominal.judged.selection.value >= linf.judged.selection.value
    assert answer.rival is not None
    assert answer.rival.name == "linf"
    _print_answer(answer, 40)
    marked = [line for line in capsys.readouterr().out.splitlines() if line.endswith("misses the limit")]
    assert [line.split()[0] for line in marked] == ["nominal"]


# ---- rivals and verdicts


def test_the_rival_is_compared_image_by_image_on_held_out_ones(whole: tuple[Path, SearchResult]) -> None:
    folder, result = whole
    compared = 0
    with Store(folder / STORE) as store:
        record = read_record(store)
        assert record is not None
        marks = [note.fingerprint for note in record.ingredients]
        for answer in result.answers:
            assert answer.rival is not None
            best = max(answer.ingredients, key=lambda each: each.judged.selection.value)
            assert answer.rival.name == best.name
            if answer.chosen[0].weights == best.weights:
                assert answer.rival.difference is None
                continue
            columns = []
            for weights in (answer.chosen[0].weights, best.weights):
                rows = [
                    store.known(each)
                    for term in answer.objective.terms
                    for each in store.finished()
                    if each.model == ModelKey.of(marks, weights)
                    and each.samples == record.parts[term.tasks[0].partition("@")[0]].test
                    and each.attack == record.attacks.get(term.tasks[0])
                ]
                assert len(rows) == len(answer.objective.terms)
                columns.append([(each.ids, each.robust) for each in rows if each is not None])
            by_hand = np.mean([mine.mean() - theirs.mean() for (_, mine), (_, theirs) in zip(*columns, strict=True)])
            assert answer.rival.difference is not None
            assert answer.rival.difference.value == pytest.approx(by_hand)
            assert answer.rival.difference == pytest.approx(mean_difference(columns[0], columns[1]))
            assert answer.rival.difference.n == 30
            compared += 1
    assert compared, "some soup is compared with an ingredient that it is not"


def test_without_held_out_images_nothing_is_compared(files: dict[str, str], tmp_path: Path) -> None:
    plan = content(files, threats=[], shifts=[], others=0, strategy="uniform")
    (answer,) = found(make_plan(plan), tmp_path / "run").answers
    assert answer.rival is not None
    assert answer.rival.difference is None
    assert verdict(answer).startswith("Not tested: no held-out images are left to compare the soup with")
    assert answer.comparisons == ()


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Estimate(0.1, 0.02, 0.2, 30), "Yes: the soup is better than linf, .* paired over 30 held-out images"),
        (Estimate(-0.1, -0.2, -0.02, 30), "No: the soup is worse than linf"),
        (Estimate(0.1, -0.01, 0.2, 30), "Not shown: the soup and linf, .*are not told apart"),
        (None, "Not tested: no held-out images are left to compare the soup with the ingredient linf"),
    ],
)
def test_the_verdict_says_what_the_interval_shows(
    whole: tuple[Path, SearchResult], difference: Estimate | None, words: str
) -> None:
    answer = whole[1].answers[0]
    soup = answer.chosen[0]._replace(name="made", weights=(0.5, 0.5))
    made = answer._replace(chosen=(soup,), rival=Rival("linf", difference))
    assert re.match(words, verdict(made))
    if difference is not None:
        low, high = (f"{100 * end:+.1f}" for end in (difference.low, difference.high))
        assert f"{100 * difference.value:+.1f} [{low}, {high}] points" in verdict(made)
    assert verdict(made._replace(rival=None)).startswith("Not tested: no ingredient keeps to the limit")
    alone = soup._replace(weights=(1.0, 0.0))
    assert verdict(made._replace(chosen=(alone,))) == "No: the search chose the ingredient nominal alone."


# ---- some of the ingredients


def test_an_objective_of_some_ingredients_chooses_among_their_soups(three: dict[str, str], tmp_path: Path) -> None:
    given = [
        {"best": "digits/noise", "name": "limited", "ingredients": ["middle", "nominal"]},
        {"best": "digits/noise", "name": "free"},
        {"best": "digits", "name": "alone", "ingredients": ["linf"]},
    ]
    changes: dict[str, Any] = {"threats": [], "strategy": "grid", "space": {"step": 0.5}, "objectives": given, "top": 9}
    limited, free, alone = found(make_plan(content(three, **changes)), tmp_path / "run").answers
    # The robust network is the best, where it may be used.
    assert free.chosen[0].weights[1] > 0
    assert free.scope == "among all 6 soups of the space"
    assert {soup.weights for soup in limited.chosen} == {(1.0, 0.0, 0.0), (0.5, 0.0, 0.5), (0.0, 0.0, 1.0)}
    assert limited.scope == "among all 3 soups of the space"
    scores = {soup.weights: soup.judged.selection.value for soup in free.chosen}
    allowed = {weights: score for weights, score in scores.items() if weights[1] == 0}
    assert limited.chosen[0].judged.selection.value == max(allowed.values()) < max(scores.values())
    assert [soup.weights for soup in alone.chosen] == [(0.0, 1.0, 0.0)]
    assert alone.scope == "among all 1 soups of the space"
    assert verdict(alone) == "No: the search chose the ingredient linf alone."
    # Every ingredient is judged beside the soups, and any may be the rival.
    assert [each.name for each in limited.ingredients] == list(three)
    assert limited.rival is not None
    assert limited.rival.name == "linf"


@pytest.mark.parametrize("strategy", ["climb", "greedy", "uniform"])
def test_every_strategy_keeps_to_the_ingredients_of_an_objective(
    three: dict[str, str], tmp_path: Path, strategy: str
) -> None:
    given = [{"best": "digits", "name": "two", "ingredients": ["linf", "middle"]}, {"best": "mean"}]
    plan = make_plan(content(three, threats=[], strategy=strategy, objectives=given, others=10))
    two, mean = found(plan, tmp_path / "run").answers
    assert all(soup.weights[0] == 0 for soup in two.chosen)
    if strategy == "uniform":
        assert [soup.weights for soup in two.chosen] == [(0, 0.5, 0.5)]
        assert (1 / 3, 1 / 3, 1 / 3) in [soup.weights for soup in mean.chosen]


def test_a_front_is_of_soups_that_all_its_objectives_may_choose(three: dict[str, str], tmp_path: Path) -> None:
    given = [
        {"best": "digits", "ingredients": ["nominal", "middle"]},
        {"best": "digits/noise", "ingredients": ["middle", "linf"]},
        {"best": "mean"},
    ]
    changes: dict[str, Any] = {"threats": [], "others": 0, "objectives": given}
    for strategy, pareto in (("grid", ["digits", "mean"]), ("uniform", ["digits", "digits/noise"])):
        plan = make_plan(content(three, strategy=strategy, pareto=pareto, **changes))
        result = found(plan, tmp_path / strategy)
        assert all(soup.weights[1] == 0 for soup in result.front)
        assert result.front
        # Of the middle alone nothing was proposed by the uniform strategy: it is measured for the front.
        wanted = 5 if strategy == "grid" else 1
        assert result.front_scope == f"among all {wanted} soups of the space"


def test_the_pareto_front_measures_what_one_objective_alone_has_met(files: dict[str, str], tmp_path: Path) -> None:
    objectives = [{"best": "digits@linf:0.1"}, {"best": "digits"}]
    plan = make_plan(content(files, shifts=[], objectives=objectives, pareto=["digits", "digits@linf:0.1"]))
    result = found(plan, tmp_path / "run")
    scores = [soup.scores for soup in result.front]
    assert scores
    assert [clean for clean, _ in scores] == sorted((clean for clean, _ in scores), reverse=True)
    assert [robust for _, robust in scores] == sorted(robust for _, robust in scores)
    assert "of 5 in the space" in result.front_scope or "all 5" in result.front_scope
    with Store(tmp_path / "run" / STORE) as store:
        record = read_record(store)
    assert record is not None
    assert (record.front, record.front_scope) == (result.front, result.front_scope)


# ---- what is measured on held-out images


def held_out(folder: Path) -> list[Measurement]:
    with Store(folder / STORE) as store:
        return [asked for asked in store.finished() if "test" in asked.data.split("/")]


def test_what_is_asked_for_is_measured_on_held_out_images(three: dict[str, str], tmp_path: Path) -> None:
    given = [{"best": "union", "ingredients": ["linf", "middle"]}, {"best": "mean"}]
    attack = {"steps": 2, "screening_steps": 2, "confirm": "thorough"}
    changes: dict[str, Any] = {"objectives": given, "attack": attack, "strategy": "greedy", "others": 20}
    threats = ["linf:0.1", "l2:0.5"]
    plan = make_plan(content(three, ensemble=True, threats=threats, **changes))
    result = found(plan, tmp_path / "run")
    marks = [fingerprint(load_ingredient(path)) for path in three.values()]
    tasks = tasks_of(plan)
    asked = held_out(tmp_path / "run")
    with Store(tmp_path / "run" / STORE) as store:
        record = read_record(store)
        assert record is not None
        (confirming,) = set(record.confirming.values())
        assert "restarts=3" in confirming
        everywhere = {("digits/test", None), ("digits/test/noise", None), *(("digits/test", each) for each in threats)}
        # The ensembles and the uniform soups of all, and of those that an objective is limited to.
        for weights in ((1 / 3, 1 / 3, 1 / 3), (0.0, 0.5, 0.5)):
            for kind in ("ensemble", "soup"):
                model = ModelKey.of(marks, weights, kind)
                there = {(each.data, each.threat) for each in asked if each.model == model}
                assert there == everywhere, (kind, weights)
        # Their images chose nothing.
        assert not [each for each in store.measurements() if each.model.kind == "ensemble" and each not in asked]
        chosen = {answer.objective.name: answer.chosen[0].weights for answer in result.answers}
        confirmed = {each.model for each in asked if each.attack == confirming}
        alone = [tuple(float(index == own) for index in range(3)) for own in range(3)]
        # The stronger suite meets the ingredients and the soup that was chosen for the threats.
        assert confirmed == {ModelKey.of(marks, weights) for weights in (*alone, chosen["union"])}
        assert {each.threat for each in asked if each.attack == confirming} == set(threats)
        # An ensemble is that of its own members.
        samples = tasks["digits"].others
        assert samples is not None
        members = [build_model("resnet_small", num_classes=10, state=state) for state in loaded(three)[1:]]
        by_hand = evaluate(Ensemble(members).eval(), samples.samples)
        pair = ModelKey.of(marks, (0.0, 0.5, 0.5), "ensemble")
        (clean,) = [each for each in asked if each.model == pair and (each.data, each.threat) == ("digits/test", None)]
        known = store.known(clean)
        assert known is not None
        assert known.clean.tolist() == by_hand.clean[np.argsort(by_hand.ids)].tolist()


def test_what_is_not_asked_for_is_not_measured(whole: tuple[Path, SearchResult], files: dict[str, str]) -> None:
    folder, _ = whole
    asked = held_out(folder)
    marks = [fingerprint(load_ingredient(path)) for path in files.values()]
    assert {each.model.kind for each in asked} == {"soup"}
    assert not [each for each in asked if each.attack is not None and "restarts=1" not in each.attack]
    # The uniform soup is asked for by default.
    assert ModelKey.of(marks, (0.5, 0.5)) in {each.model for each in asked}


def test_the_uniform_soup_may_be_left_out(files: dict[str, str], tmp_path: Path) -> None:
    given = [{"best": "digits", "ingredients": ["nominal"]}]
    plan = content(files, threats=[], shifts=[], uniform=False, objectives=given, strategy="grid")
    found(make_plan(plan), tmp_path / "run")
    marks = [fingerprint(load_ingredient(path)) for path in files.values()]
    assert {each.model for each in held_out(tmp_path / "run")} == {ModelKey.of([mark], [1]) for mark in marks}


def test_the_loss_for_few_classes_is_that_of_the_confirming_suite_too(tmp_path: Path, files: dict[str, str]) -> None:
    """DLR needs three classes and its targeted form four."""
    states = {name: dict(load_ingredient(path)) for name, path in files.items()}
    for name, state in states.items():
        last = [key for key, tensor in state.items() if len(tensor) == 10 and key.startswith(("head", "fc", "class"))]
        assert last
        state |= {key: state[key][:2] for key in last}
        save_state(state, tmp_path / f"{name}.safetensors", {})
    random = np.random.default_rng(0)
    for name in ("0", "1"):
        (tmp_path / "two" / name).mkdir(parents=True)
        for number in range(8):
            grey = Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).convert("RGB")
            grey.save(tmp_path / "two" / name / f"{name}{number}.png")
    colour = in_colour({name: str(tmp_path / f"{name}.safetensors") for name in states}, tmp_path)
    attack = {"steps": 2, "screening_steps": 2, "loss": "ce", "confirm": "strong"}
    changes: dict[str, Any] = {"data": {"two": str(tmp_path / "two")}, "shifts": [], "shots": 8, "strategy": "uniform"}
    found(make_plan(content(colour, attack=attack, **changes)), tmp_path / "run")
    with Store(tmp_path / "run" / STORE) as store:
        record = read_record(store)
    assert record is not None
    assert all("loss=ce" in text for text in record.confirming.values())


# ---- several data sets


def in_colour(files: dict[str, str], folder: Path) -> dict[str, str]:
    """The same networks for images of three channels."""
    for name, path in files.items():
        state = dict(load_ingredient(path))
        state["stem.weight"] = state["stem.weight"].repeat(1, 3, 1, 1) / 3
        save_state(state, folder / f"{name}.safetensors", {})
    return {name: str(folder / f"{name}.safetensors") for name in files}


def picture_folder(root: Path, prefix: str) -> str:
    random = np.random.default_rng(0)
    for number in range(10):
        (root / str(number)).mkdir(parents=True)
        for index in range(3):
            image = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            image.save(root / str(number) / f"{prefix}{index}.png")
    return str(root)


def test_an_attacked_set_is_weighed_against_clean_photographs_of_another(files: dict[str, str], tmp_path: Path) -> None:
    data = {"photos": picture_folder(tmp_path / "a", ""), "sketches": picture_folder(tmp_path / "b", "sketch-")}
    mixed = {"best": "weighted", "weights": {"sketches": 0.5, "union": 0.5}}
    changes: dict[str, Any] = {"data": data, "shifts": [], "threats": ["linf:0.01"], "shots": 16, "others": 0}
    plan = make_plan(content(in_colour(files, tmp_path), objectives=[mixed], **changes))
    (answer,) = found(plan, tmp_path / "run").answers
    best = answer.chosen[0]
    assert best.screened is not None
    assert best.same is not None
    # All 16 sketches, and those of the attacked photographs that were looked at.
    assert 16 < best.same.n == best.screened.n < 32
