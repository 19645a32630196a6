"""Searches over published data sets: tiny trees of ImageNet, ReaL, A and C, made of the same photographs."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from seasoning.checkpoints.load import save_state
from seasoning.cli import app
from seasoning.commands.search_data import open_sets
from seasoning.config.run_record import read_record
from seasoning.config.search import make_plan, objectives_of
from seasoning.data import Samples, apply_shift
from seasoning.data.decoding import decode_all
from seasoning.data.imagenet import wnids
from seasoning.errors import BadInput, Mismatch, SeasoningError
from seasoning.report.verdicts import notes
from seasoning.selection import Limit
from seasoning.store.database import Store
from tests.commands.searches import found, tasks_of
from tests.data.trees import ORACLE, VAL, save_coded


COUNT = 12


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Twelve photographs of ImageNet, some of them with a reassessed label, and three corruptions of them."""
    names = wnids()
    real: list[list[int]] = []
    for number in range(1, COUNT + 1):
        label = number + 4
        save_coded(tmp_path / "val" / names[label] / VAL.format(number), label)
        # The first two have no label; the others may also be what comes two classes later.
        real.append([] if number < 3 else [label, label + 2])
        # Fog is as good as the original; of noise at severity 2 a model says one class less, at severity 5 two.
        for corruption, severity, off in (("fog", 1, 0), ("gaussian_noise", 2, 1), ("gaussian_noise", 5, 2)):
            folder = tmp_path / "c" / corruption / str(severity) / names[label]
            save_coded(folder / VAL.format(number), label - off)
        # Another photograph of class 6, a ray, for A; the next one of those 200 is 11.
        save_coded(tmp_path / "a" / "n01498041" / f"0.{number}_x _ x_0.9.jpg", 6)
    (tmp_path / "val" / "real.json").write_text(json.dumps(real))
    (tmp_path / "oracle.py").write_text(ORACLE)
    for name, shift in (("plain", 0.0), ("ahead", 2.0)):
        save_state({"shift": torch.tensor([shift])}, tmp_path / f"{name}.safetensors", {})
    return tmp_path


def content(tree: Path, **changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "network": {"architecture": f"{tree / 'oracle.py'}:oracle"},
        "ingredients": {name: str(tree / f"{name}.safetensors") for name in ("plain", "ahead")},
        "data": {"imagenet": "val", "real": "imagenet-real=val", "c": "c"},
        "folder": str(tree),
        "reading": {"partial": True},
        "shots": 4,
        "strategy": "grid",
        "space": {"step": 0.5},
    }
    return plain | changes


PARTS = ["c/gaussian_noise/2", "c/gaussian_noise/5", "c/fog/1"]


def test_a_set_of_many_parts_is_as_many_tasks_and_one_column(tree: Path) -> None:
    plan = make_plan(content(tree))
    parts = open_sets(plan).parts
    assert parts == {"c": tuple(PARTS)}
    named = {each.name: each for each in objectives_of(plan, parts)}
    assert list(named) == ["mean", "imagenet", "real", *PARTS, "c"]
    assert [(term.tasks, term.weight) for term in named["c"].terms] == [((part,), 1 / 3) for part in PARTS]
    # The three columns count alike, whatever they consist of.
    weights = {term.tasks[0]: term.weight for term in named["mean"].terms}
    assert weights == pytest.approx({"imagenet": 1 / 3, "real": 1 / 3, **dict.fromkeys(PARTS, 1 / 9)})


def test_right_soups_for_columns_and_parts(tree: Path) -> None:
    """By hand: half of each ingredient adds 1 to the class, the second alone adds 2."""
    said: list[str] = []
    answer = found(make_plan(content(tree)), tree / "run", said)
    best = {each.objective.name: each.chosen[0] for each in answer.answers}
    assert {name: soup.weights for name, soup in best.items() if "/" in name} == {
        "c/fog/1": (1.0, 0.0),
        "c/gaussian_noise/2": (0.5, 0.5),
        "c/gaussian_noise/5": (0.0, 1.0),
    }
    assert best["imagenet"].weights == (1.0, 0.0)
    scores = {each.objective.name: [soup.judged.whole.value for soup in each.chosen] for each in answer.answers}
    assert scores["c"] == pytest.approx([1 / 3] * 3), "each soup is right on one of the three parts"
    # Three share the highest score: the most even mix first, the others in the order of the space, and it is said.
    parts = next(each for each in answer.answers if each.objective.name == "c")
    assert [soup.weights for soup in parts.chosen] == [(0.5, 0.5), (1.0, 0.0), (0.0, 1.0)]
    assert [each.tied for each in answer.answers] == [1, 1, 2, 1, 1, 1, 3]
    assert notes(parts)[:2] == [
        "Chosen among all 3 soups of the space.",
        "3 soups share the highest score on the selection images; the most even mix is taken.",
    ]
    assert not [note for note in notes(answer.answers[0]) if "share the highest score" in note]
    # ReaL forgives two classes, not one; of ten labelled images.
    assert sorted(scores["real"]) == [0.0, 1.0, 1.0]
    real = next(each for each in answer.answers if each.objective.name == "real")
    assert real.chosen[0].judged.whole.n == COUNT - 2
    # The mean of columns: plain is right on ImageNet, ReaL and one part of three.
    assert best["mean"].weights == (1.0, 0.0)
    assert best["mean"].judged.whole.value == pytest.approx((1 + 1 + 1 / 3) / 3)
    assert any("note: c: 3 of 75 corruptions and severities are there" in line for line in said)
    assert any("note: imagenet: not complete" in line for line in said)
    with Store(tree / "run" / "outcomes.sqlite") as store:
        assert {each.data for each in store.measurements()} >= {"c/selection/fog/1", "c/test/fog/1", "real/test"}


def test_no_photograph_both_chooses_and_tests(tree: Path) -> None:
    plan = make_plan(content(tree))
    tasks = tasks_of(plan, tree)
    assert all(tasks[part].order.tolist() == tasks["imagenet"].order.tolist() for part in PARTS)
    # Of ReaL the first labelled ones in the same order choose: one that ImageNet does not take where one has no label.
    labelled = set(tasks["real"].selection.samples.ids.tolist() + tasks["real"].others.samples.ids.tolist())  # type: ignore[union-attr]
    both = [each for each in tasks["imagenet"].order.tolist() if each in labelled]
    assert tasks["real"].order.tolist()[: len(both)] == both
    chosen = {each for task in tasks.values() for each in task.order.tolist()}
    answer = found(plan, tree / "run")
    for each in answer.answers:
        left = COUNT - len(chosen)
        if each.objective.name != "real":
            for soup in each.chosen:
                assert soup.judged.complement is not None
                assert soup.judged.complement.n == left
    with Store(tree / "run" / "outcomes.sqlite") as store:
        record = read_record(store)
    assert record is not None
    assert set(record.selection) == chosen
    assert record.columns == {"imagenet": ("imagenet",), "real": ("real",), "c": tuple(PARTS)}
    assert set(record.parts) == {"imagenet", "real", *PARTS}


def test_limits_weights_and_unions_take_columns(tree: Path) -> None:
    given = [
        {"best": "weighted", "name": "mix", "weights": {"imagenet": 0.4, "c": 0.6}},
        {"best": "imagenet", "name": "careful", "at_least": {"c": 0.3}},
        {"best": "mean", "name": "both", "tasks": ["real", "c"]},
        {"best": "each", "tasks": ["c"]},
        {"best": "c/fog/1", "name": "one"},
        {"best": "union", "tasks": ["c@linf:0.1", "c@l2:1"]},
    ]
    plan = make_plan(
        content(tree, objectives=given, threats=["linf:0.1", "l2:1"], attacked=["c"], pareto=["one", "c/fog/1"])
    )
    mix, careful, both, *each, one, union = objectives_of(plan, open_sets(plan).parts)
    assert [term.weight for term in mix.terms] == pytest.approx([0.4, 0.2, 0.2, 0.2])
    assert careful.limits == (Limit((PARTS[0],), 0.3, ((PARTS[1],), (PARTS[2],)), "c"),)
    assert careful.tasks == ("imagenet", *PARTS)
    assert [term.weight for term in both.terms] == pytest.approx([1 / 2, 1 / 6, 1 / 6, 1 / 6])
    assert [objective.name for objective in each] == PARTS
    assert one.tasks == (PARTS[2],)
    assert union.terms[0].tasks == ("c/gaussian_noise/2@linf:0.1", "c/gaussian_noise/2@l2:1")
    assert [term.weight for term in union.terms] == pytest.approx([1 / 3] * 3)


def test_a_limit_on_a_column_is_kept_by_its_mean(tree: Path) -> None:
    limited = [{"best": "c/gaussian_noise/5", "at_least": {"c": 0.33}}]
    (answer,) = found(make_plan(content(tree, objectives=limited)), tree / "run").answers
    (kept,) = answer.chosen[0].limits
    assert kept.whole.value == pytest.approx(1 / 3)
    with pytest.raises(BadInput, match=r"none of 3 soups has c at least 0\.34"):
        found(make_plan(content(tree, objectives=[limited[0] | {"at_least": {"c": 0.34}}])), tree / "run")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threats": ["linf:0.1"], "attacked": ["real"]}, "'real' has several right classes for an image"),
        ({"data": {"real": "imagenet-real=val"}, "threats": ["linf:0.1"]}, "'real' has several right classes"),
        ({"reading": {"partial": False}}, "c is not complete: missing: gaussian_noise/1, gaussian_noise/3"),
        ({"data": {"imagenet": "val"}, "reading": {"partial": False}}, "imagenet is not complete: 12 of 50,000 images"),
        ({"data": {"imagenet": "imagenet=vall"}}, "vall is not there; expected for imagenet"),
        ({"data": {"imagenet": "vall"}}, "unknown data set or folder 'vall'"),
        ({"data": {"imagenet": "imagnet=val"}}, "unknown data set 'imagnet': did you mean 'imagenet'"),
        ({"data": {"c": "c"}, "shifts": ["noise"]}, "'c' has 3 parts: put another first"),
        ({"objectives": [{"best": "c/fog/2"}]}, "unknown task .*'c/fog/2': did you mean 'c/fog/1'"),
        ({"pareto": ["c/fog/1", "c/fog/2"]}, "unknown objective of the Pareto front 'c/fog/2'"),
        ({"threats": ["linf:0.1"], "attacked": ["c/fog/2"]}, "unknown data set to attack 'c/fog/2'"),
        ({"data": {"imagenet": "val", "own": "own"}}, "data 'own' has 2 classes that the model does not know"),
        ({"shots": 11}, "data 'real' has 10 labelled images, 11 are to choose"),
    ],
)
def test_what_cannot_be_searched_is_told_before_any_work(
    tree: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    for name in ("cat", "dog"):
        save_coded(tree / "own" / name / "1.png", 0)

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("seasoning.data.reading.decode_all", refuse)
    with pytest.raises(SeasoningError, match=words):
        found(make_plan(content(tree, **changes)), tree / "run")


def test_sets_of_different_models_are_told(tree: Path) -> None:
    from seasoning.data.cifar import CIFAR10

    for name in CIFAR10:
        save_coded(tree / "ten" / name / "1.png", 0)
    plan = make_plan(content(tree, data={"imagenet": "val", "ten": "cifar10=ten"}))
    with pytest.raises(
        BadInput, match="'ten' wants a model of 10 classes and 3 channels, 'imagenet' one of 1000 and 3"
    ):
        open_sets(plan)


def test_masks_measure_among_their_classes(tree: Path) -> None:
    answer = found(
        make_plan(content(tree, data={"imagenet": "val", "a": "a"}, objectives=[{"best": "a"}])), tree / "run"
    )
    # Two classes ahead is 8, and nearest to it among the 200 is still 6.
    assert [soup.judged.whole.value for soup in answer.answers[0].ingredients] == [1.0, 1.0]


def test_a_name_that_is_a_kind_says_the_kind(tree: Path) -> None:
    sets = open_sets(make_plan(content(tree, data={"imagenet-real": "val"})))
    assert sets.opened["imagenet-real"][0].kind == "imagenet-real"
    assert len(sets.opened["imagenet-real"][0].ids) == COUNT - 2


def test_only_what_is_asked_for_is_decoded_and_only_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    own = decode_all

    def counted(places: Any, *more: Any, **options: Any) -> Any:
        decoded.extend(place.path for place in places)
        return own(places, *more, **options)

    monkeypatch.setattr("seasoning.data.reading.decode_all", counted)
    plan = make_plan(content(tree, others=2))
    tasks = tasks_of(plan, tree)
    assert {task.selection.samples.x.dtype for task in tasks.values()} == {torch.uint8}
    assert len(decoded) == len(set(decoded)), "the photographs of ImageNet are those of ReaL"
    assert len([each for each in decoded if "/c/" in each]) == 3 * (4 + 2)


@pytest.mark.parametrize("reading", [{"cache": "kept"}, {"memory_limit": 0.0}])
def test_images_beyond_memory_are_mapped_and_stay_decoded(
    tree: Path, monkeypatch: pytest.MonkeyPatch, reading: dict[str, Any]
) -> None:
    plan = make_plan(content(tree, reading={"partial": True, **reading}))
    first = found(plan, tree / "run")
    kept = list((tree / ("kept" if "cache" in reading else "run/images")).glob("*.pixels"))
    assert kept

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("seasoning.data.reading.decode_all", refuse)
    again = found(plan, tree / "run")
    assert [each.chosen for each in again.answers] == [each.chosen for each in first.answers]
    # Where images are kept does not change what is known of them.
    monkeypatch.undo()
    plain = {each.objective.name: each.chosen for each in found(make_plan(content(tree)), tree / "plain").answers}
    assert plain == {each.objective.name: each.chosen for each in first.answers}


def test_too_small_a_disk_is_told(tree: Path, small_disk: Path) -> None:
    for number in range(40):
        save_coded(tree / "big" / "n01440764" / VAL.format(number + 100), 0, side=256)
    reading = {"classes": list(wnids()), "memory_limit": 0.0}
    plan = make_plan(content(tree, data={"big": "folder=big"}, reading=reading, shots=2))
    with pytest.raises(BadInput, match=r"the images of big take .* GiB on the disk"):
        found(plan, small_disk / "run")


@pytest.mark.parametrize("shift", ["noise", "blur", "contrast", "rotation", "occlusion"])
def test_shifts_of_8_bit_images_are_those_of_floats(shift: str) -> None:
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.integers(0, 256, (3, 3, 12, 12), dtype=np.uint8))
    bits = Samples("x", torch.arange(3), x, torch.zeros(3, dtype=torch.int64), classes=2)
    floats = Samples("x", torch.arange(3), x.float() / 255, torch.zeros(3, dtype=torch.int64), classes=2)
    made, wanted = apply_shift(bits, shift), apply_shift(floats, shift)
    assert made.x.dtype == torch.uint8
    assert (made.images(slice(None)) - wanted.x).abs().max() <= 0.5 / 255 + 1e-6


def test_the_command_takes_kinds_and_caches(tree: Path) -> None:
    command = ["search", "--arch", f"{tree / 'oracle.py'}:oracle", "--out", str(tree / "run"), "--partial"]
    command += ["--ingredient", f"plain={tree / 'plain.safetensors'}"]
    command += ["--ingredient", f"ahead={tree / 'ahead.safetensors'}"]
    command += ["--data", f"imagenet={tree / 'val'}", "--data", f"real=imagenet-real={tree / 'val'}"]
    command += ["--data", f"c={tree / 'c'}", "--objective", "mean", "--objective", "c", "--set", "space.step=0.5"]
    done = CliRunner().invoke(app, [*command, "--shots", "4", "--cache", str(tree / "kept")])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("1 plain") or line.endswith("0.5 ahead")] == [
        "mean",
        "c",
    ]
    assert any(line.startswith("mean ") and "No: it is plain alone" in line for line in lines)
    assert any(line.startswith("c ") and "Not shown: " in line for line in lines)
    assert list((tree / "kept").glob("*.pixels"))


def test_names_in_the_ingredients_number_one_s_own_folders(tree: Path) -> None:
    for name in ("class2", "class10"):
        save_coded(tree / "pets" / name / "1.png", 5)
        save_coded(tree / "pets" / name / "2.png", 5)

    def classes(*orders: tuple[str, ...], **reading: Any) -> tuple[str, ...]:
        for name, order in zip(("plain", "ahead"), orders, strict=True):
            save_state({"shift": torch.zeros(1)}, tree / f"{name}.safetensors", {"classes": json.dumps(order)})
        return open_sets(make_plan(content(tree, data={"pets": "pets"}, shots=2, reading=reading))).classes

    natural = ("class2", "class10")
    assert classes(natural, natural) == natural
    assert classes(natural, natural, class_order="plain") == ("class10", "class2")
    with pytest.raises(Mismatch, match="plain and ahead name the classes in two orders"):
        classes(natural, ("class10", "class2"))
    # What the plan says comes first, whatever a checkpoint says.
    assert classes(("class2", "other"), ("class2", "other"), classes=["class10", "class2"]) == ("class10", "class2")


def test_a_class_named_twice_in_the_plan_is_refused(tree: Path) -> None:
    with pytest.raises(BadInput, match="names 'crane' more than once, for logits 1 and 2"):
        open_sets(make_plan(content(tree, classes=["ant", "crane", "crane"])))


def test_the_paper_s_plan_of_the_documentation_is_one() -> None:
    import re

    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
    section = text[text.index("## The paper's eight data sets") :]
    (block,) = re.findall(r"```toml\n(.*?)```", section.split("\n## ")[0], flags=re.DOTALL)
    plan = make_plan(tomllib.loads(block))
    assert len(plan.data) == 8
    assert plan.shots == 1000
    corruptions = tuple(f"imagenet-c/{number}/{severity}" for number in range(15) for severity in range(1, 6))
    objectives = {each.name: each for each in objectives_of(plan, {"imagenet-c": corruptions})}
    assert len(objectives) == 1 + 7 + 75 + 1
    assert len(objectives["mean"].terms) == 7 + 75
    assert sum(term.weight for term in objectives["mean"].terms) == pytest.approx(1)
    assert objectives["mean"].terms[0].weight == pytest.approx(1 / 8)
