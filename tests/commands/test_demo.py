"""Whole runs, in small: interrupted, killed, refused, and never measured twice."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.images import read_used_images
from seasoning.checkpoints.load import load_ingredient
from seasoning.commands.demo import DemoSpec, demo_spec, run_demo
from seasoning.config.run_record import write_request
from seasoning.data import SHIFTS
from seasoning.data.pixels import pixel_hashes
from seasoning.data.sources import Used, source_parts
from seasoning.errors import BadInput, RunConflict, UnknownName
from seasoning.evaluation import measure as measuring
from seasoning.outcomes import Measurement, ModelKey, Outcomes
from seasoning.report import Results, known_choices, union_soup, wanted, write_report
from seasoning.soup import mix
from seasoning.store.database import Store
from seasoning.store.run_folder import STORE
from tests.commands.test_evaluate import measured


def silent(doing: str, done: float, total: float) -> None:
    """Watches and says nothing."""


def contents(folder: Path) -> dict[Measurement, Outcomes]:
    with Store(folder / "outcomes.sqlite") as store:
        found = {asked: store.outcomes(asked) for asked in store.measurements()}
    assert all(outcomes is not None for outcomes in found.values())
    return {asked: outcomes for asked, outcomes in found.items() if outcomes is not None}


def assert_same_run(one: Path, other: Path) -> None:
    first, second = contents(one), contents(other)
    assert first.keys() == second.keys()
    for asked, outcomes in first.items():
        for name, column in outcomes.columns().items():
            assert np.array_equal(column, second[asked].columns()[name]), (asked, name)
    assert (one / "soup.safetensors").read_bytes() == (other / "soup.safetensors").read_bytes()


def block_rows(folder: Path) -> int:
    connection = sqlite3.connect(folder / "outcomes.sqlite")
    # A process that was only just started has made the file, and not yet its tables.
    (made,) = connection.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'block'").fetchone()
    (count,) = connection.execute("SELECT COUNT(*) FROM block").fetchone() if made else (0,)
    connection.close()
    return int(count)


def test_a_run_leaves_what_it_says(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()} - {"outcomes.sqlite-shm", "outcomes.sqlite-wal"}
    soups = {"soup-union.safetensors", "soup-mean.safetensors", "soup-digits.safetensors", "soup.safetensors"}
    soups |= {f"soup-digits-{shift}.safetensors" for shift in SHIFTS}
    assert names == {".lock", "ingredients", "outcomes.sqlite", "report.html"} | soups
    assert {path.name for path in (finished / "ingredients").iterdir()} == {
        "l1.safetensors",
        "l2.safetensors",
        "linf.safetensors",
        "nominal.safetensors",
    }
    with Store(finished / "outcomes.sqlite") as store:
        results = Results(store)
        for each, task, confirming in wanted(results.record, known_choices(results)):
            key = results.key(each.weights, ensemble=each.ensemble)
            assert results.outcomes(key, "test", task, confirming=confirming) is not None
        states = [
            load_ingredient(finished / "ingredients" / f"{each.name}.safetensors") for each in results.ingredients
        ]
        chosen = union_soup(results)
    assert chosen is not None
    assert fingerprint(load_ingredient(finished / "soup.safetensors")) == fingerprint(mix(states, chosen.weights))


def test_nothing_is_chosen_on_test_images(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[str] = []
    look_up = Results.outcomes

    def watched(self: Results, model: ModelKey, split: str, task: str, *, confirming: bool = False) -> Outcomes | None:
        asked_for.append(split)
        return look_up(self, model, split, task, confirming=confirming)

    monkeypatch.setattr(Results, "outcomes", watched)
    with Store(finished / "outcomes.sqlite") as store:
        results = Results(store)
        results.record = results.record.begun
        assert known_choices(results)
    assert set(asked_for) == {"selection"}
    asked = contents(finished)
    ids = {part: next(o.ids for a, o in asked.items() if a.data == f"digits/{part}") for part in ("selection", "test")}
    assert not set(ids["selection"]) & set(ids["test"])


def test_every_ingredient_and_the_soup_list_their_images(finished: Path) -> None:
    parts = {name: set(pixel_hashes(part.x).tolist()) for name, part in source_parts("digits", Used(120, 40)).items()}
    for file in (finished / "ingredients").glob("*.safetensors"):
        used = read_used_images(file)
        assert used is not None
        assert {kind: set(own.tolist()) for kind, own in used.hashes.items()} == {
            "training": parts["train"],
            "validation": parts["validation"],
            "selection": set(),
        }
    soup = read_used_images(finished / "soup.safetensors")
    assert soup is not None
    assert set(soup.hashes["training"].tolist()) == parts["train"]
    assert len(soup.hashes["selection"]) == 40
    assert soup.complete


def test_outcomes_of_a_smoke_run_are_marked(finished: Path) -> None:
    assert all(each.smoke for each in contents(finished))


def test_a_second_run_does_nothing_again(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)

    def never(*args: object, **options: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(measuring, "evaluate", never)
    monkeypatch.setattr("seasoning.commands.demo.run_recipe", never)
    before = block_rows(folder)
    run_demo(demo_spec(smoke=True), folder, watch=silent)
    assert block_rows(folder) == before
    assert_same_run(finished, folder)


def stop_when(folder: Path, ready: Callable[[], bool], sign: signal.Signals) -> tuple[int, str]:
    """Start a run as a process of its own and send it a signal once something is there."""
    command = [str(Path(sys.executable).with_name("seasoning")), "demo", "--smoke", "--out", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, text=True)
    try:
        deadline = time.monotonic() + 60
        while not ready():
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline, "the run never came so far"
            time.sleep(0.005)
    finally:
        process.send_signal(sign)
        _, said = process.communicate()
    return process.returncode, said


@pytest.mark.parametrize(
    "kills", [["search"], pytest.param(["first training", "second training", "search"], marks=pytest.mark.slow)]
)
def test_killed_runs_go_on_and_end_with_the_same_numbers(kills: list[str], finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    milestones = {
        "first training": (folder / "trainings" / "linf" / "state.pt").exists,
        "second training": (folder / "ingredients" / "l2.safetensors").exists,
        "search": lambda: (folder / "outcomes.sqlite").exists() and block_rows(folder) > 12,
    }
    for kill in kills:
        assert stop_when(folder, milestones[kill], signal.SIGKILL)[0] == -signal.SIGKILL
    before = block_rows(folder)
    assert 12 < before < block_rows(finished)
    run_demo(None, folder, watch=silent)
    assert block_rows(folder) == block_rows(finished)
    assert_same_run(finished, folder)
    for place in (".", "ingredients"):
        names = {each.name for each in (folder / place).iterdir()} - {"outcomes.sqlite-shm", "outcomes.sqlite-wal"}
        assert names == {each.name for each in (finished / place).iterdir()} - {
            "outcomes.sqlite-shm",
            "outcomes.sqlite-wal",
        }


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    code, said = stop_when(
        tmp_path / "run", (tmp_path / "run" / "trainings" / "linf" / "state.pt").exists, signal.SIGINT
    )
    assert code == 130
    assert "the same command goes on from here" in said
    assert "Traceback" not in said


def test_another_run_in_the_folder_is_refused_with_the_differences(finished: Path) -> None:
    spec = demo_spec(["recipe.l2.schedule.epochs=2"], seed=5, smoke=True)
    with pytest.raises(RunConflict) as caught:
        run_demo(spec, finished, watch=silent)
    assert "plan.seed is 0 there and 5 here" in str(caught.value)
    assert "recipe.l2.schedule.epochs is 1 there and 2 here" in str(caught.value)
    assert "--resume" in str(caught.value)


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    for spec in (demo_spec(), None):
        with pytest.raises(RunConflict, match=r"thesis\.tex"):
            run_demo(spec, tmp_path, watch=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(RunConflict, match="is a file"):
        run_demo(demo_spec(), tmp_path / "thesis.tex", watch=silent)


def test_nothing_to_go_on_with_is_said(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(RunConflict, match="no run to go on with"):
            run_demo(None, folder, watch=silent)
    assert list(tmp_path.iterdir()) == []


def test_impossible_specs_leave_no_folder(tmp_path: Path) -> None:
    for setting, words in (
        ("recipe.data.train=1700", "more than its 1797 samples"),
        ("recipe.network.architecture=vit_tiny_patch16_224", "does not take images of shape"),
    ):
        with pytest.raises(BadInput, match=words):
            run_demo(demo_spec([setting]), tmp_path / "run", watch=silent)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"not a tensor in sight", None])
@pytest.mark.parametrize("name", ["ingredients/l2.safetensors", "outcomes.sqlite"])
def test_damaged_files_are_named(finished: Path, tmp_path: Path, name: str, content: bytes | None) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    target = folder / name
    whole = target.read_bytes()
    target.write_bytes(whole[: len(whole) // 2] if content is None else content)
    if name == "outcomes.sqlite" and content == b"":
        # An empty file is an empty store: the run is only measured again.
        run_demo(demo_spec(smoke=True), folder, watch=silent)
        assert_same_run(finished, folder)
        return
    with pytest.raises(BadInput, match=target.name):
        run_demo(demo_spec(smoke=True), folder, watch=silent)


def test_measurements_of_others_stay_out_of_a_run(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunConflict, match="holds a run"):
        measured(finished / "soup.safetensors", finished)
    measured(finished / "soup.safetensors", tmp_path)
    for spec in (demo_spec(smoke=True), None):
        with pytest.raises(RunConflict, match="no run to go on with"):
            run_demo(spec, tmp_path, watch=silent)


def test_a_run_of_another_version_is_refused(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    with Store(folder / "outcomes.sqlite") as store:
        write_request(store, {"sauce": "brown"})
    with pytest.raises(RunConflict, match="another version"):
        run_demo(None, folder, watch=silent)


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    def meddle(doing: str, done: float, total: float) -> None:
        with pytest.raises(RunConflict, match="another process"):
            run_demo(demo_spec(smoke=True), tmp_path, watch=silent)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_demo(demo_spec(smoke=True), tmp_path, watch=meddle)


@pytest.mark.parametrize(
    ("setting", "near"),
    [
        ('plan.shifts=["blurr"]', "blur"),
        ("recipe.network.architecture=resnet_smal", "resnet_small"),
        ("plan.attack.suite=defaults", "default"),
        ("plan.shot=3", "shots"),
        ("recipe.optimizer.rat=3", "optimizer.rate"),
        ("recipes.seed=3", "recipe"),
    ],
)
def test_unknown_names_are_refused_before_any_work(tmp_path: Path, setting: str, near: str) -> None:
    with pytest.raises(UnknownName, match=f"did you mean '{near}'"):
        run_demo(demo_spec([setting]), tmp_path / "run", watch=silent)
    assert not (tmp_path / "run").exists()


def test_progress_reaches_its_end_and_never_falls(tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []
    run_demo(demo_spec(smoke=True), tmp_path, watch=lambda doing, done, total: seen.append((done, total)))
    assert len({total for _, total in seen}) == 1
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    assert all(done < 0.98 * total for done, total in seen[: len(seen) // 2])


def test_reports_of_no_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no run in"):
        write_report(tmp_path / STORE, tmp_path)
    with Store(tmp_path / STORE):
        pass
    with pytest.raises(BadInput, match="holds no search"):
        write_report(tmp_path / STORE, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("training.base_epochs=1", "recipe.linf.schedule.stages"),
        ("data.selection=20", "plan.shots"),
        ("seed=3", "--seed"),
        ("grid_parts=4", "plan.space.step"),
    ],
)
def test_settings_of_earlier_versions_name_the_new_ones(old: str, new: str) -> None:
    with pytest.raises(BadInput, match=new):
        demo_spec([old])


def test_settings_reach_all_recipes_one_of_them_or_the_plan() -> None:
    spec: DemoSpec = demo_spec(
        ["recipe.optimizer.batch_size=32", "recipe.l2.optimizer.rate=0.01", "plan.shots=50"], seed=7
    )
    assert {recipe.optimizer.batch_size for recipe in spec.recipes.values()} == {32}
    assert [recipe.optimizer.rate for recipe in spec.recipes.values()] == [0.1, 0.01, 0.05, 0.1]
    assert spec.plan.shots == 50
    assert {recipe.seed for recipe in spec.recipes.values()} == {7} == {spec.plan.seed}
