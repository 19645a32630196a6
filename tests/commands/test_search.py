"""Searches as their users start them, on a few digits and two small networks."""

import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.load import load_ingredient, save_state
from seasoning.commands.search import check_plan, run_plan
from seasoning.commands.search_cost import SearchCost
from seasoning.config.base import resolve
from seasoning.config.run_record import read_record
from seasoning.config.search import make_plan
from seasoning.data import Samples
from seasoning.errors import BadInput, RunConflict, SeasoningError, UnknownName
from seasoning.evaluation import measure as measuring
from seasoning.evaluation.evaluator import evaluate
from seasoning.evaluation.live_soup import LiveSoup
from seasoning.models import build_model
from seasoning.outcomes import Measurement, ModelKey
from seasoning.selection import accuracy_on
from seasoning.selection.answers import SearchResult
from seasoning.soup import mix, verify_soup
from seasoning.store.database import Store
from seasoning.store.run_folder import STORE
from tests.commands.searches import content, found, loaded, tasks_of
from tests.make import outcomes


def test_every_objective_gets_soups_with_honest_numbers(whole: tuple[Path, SearchResult]) -> None:
    _, result = whole
    assert [each.objective.name for each in result.answers] == ["mean", "digits", "digits/noise", "digits@linf:0.1"]
    for answer in result.answers:
        assert "soups measured on identical images, of 5 in the space" in answer.scope or "all 5 soups" in answer.scope
        for soup in (*answer.chosen, *answer.ingredients):
            assert soup.judged.complement is not None
            assert (soup.judged.selection.n, soup.judged.complement.n, soup.judged.whole.n) == (40, 30, 70)
        assert answer.regret[-1].value == 0
        assert len(answer.comparisons) == len(answer.chosen) * (len(answer.chosen) - 1) / 2
    attacked = result.answers[-1].chosen[0]
    assert attacked.screened is not None
    assert attacked.same is not None
    assert attacked.screened.value >= attacked.same.value
    assert attacked.screened.n == attacked.same.n < 40


def test_the_cost_is_told_before_the_work(files: dict[str, str], tmp_path: Path) -> None:
    told: list[tuple[SearchCost, int]] = []

    def on_cost(cost: SearchCost) -> None:
        with Store(tmp_path / "run" / STORE) as store:
            told.append((cost, sum(len(store.known_ids(asked)) for asked in store.measurements())))

    plan = make_plan(content(files, threats=[], strategy="grid", others=10))
    run_plan(plan, tmp_path / "run", on_cost=on_cost)
    ((cost, measured),) = told
    named = (cost.strategy, cost.soups, cost.ingredients, cost.objectives, cost.tasks, cost.shots)
    assert named == ("grid", 5, 2, 3, 2, 40)
    # A grid is known beforehand; of the images that only measure at most: two ingredients, the uniform soup and that
    # of the mean on each task, and the three best soups of each objective on its own.
    assert (cost.images, cost.fraction) == (5 * 40 * 2, 1)
    assert cost.others == 10 * (2 * 4 + 3 * 4)
    assert 0 < cost.search_seconds <= cost.seconds
    assert cost.passes == pytest.approx(5 * 40 * 2, rel=0.1)
    # The warm-up alone.
    assert measured == 2 * 5


def test_whoever_watches_is_told_of_the_leader_and_the_end(files: dict[str, str], tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []

    def watch(doing: str, done: float, total: float) -> None:
        seen.append((doing, done / total))

    plan = make_plan(content(files, threats=[], shifts=[], others=10))
    run_plan(plan, tmp_path / "run", watch=watch)
    work = [fraction for doing, fraction in seen if not doing.startswith("reading")]
    assert work == sorted(work)
    assert seen[-1] == ("done", 1.0)
    said = [doing for doing, _ in seen]
    assert any(re.fullmatch(r"digits \d+\.\d %: (0\.\d+|1) (nominal|linf).*", doing) for doing in said)
    order = [said.index(each) for each in ("warming up", "final numbers", "judging digits", "done")]
    assert order == sorted(order)


def test_written_soups_are_what_their_provenance_says(whole: tuple[Path, SearchResult], files: dict[str, str]) -> None:
    folder, result = whole
    names = {answer.soup.name for answer in result.answers}
    assert names == {path.name for path in folder.glob("*.safetensors")}
    assert "soup-digits-linf-0.1.safetensors" in names
    for answer in result.answers:
        assert answer.soup.parent == folder
        assert not verify_soup(answer.soup, [Path(path) for path in files.values()]).problems


def test_the_record_tells_a_report_what_was_found(whole: tuple[Path, SearchResult], files: dict[str, str]) -> None:
    folder, result = whole
    with Store(folder / STORE) as store:
        record = read_record(store)
        assert record is not None
        assert {asked.data for asked in store.measurements()} == {
            f"digits/{part}" for part in ("selection", "test", "selection/noise", "test/noise")
        }
        data = {asked.samples: asked.data for asked in store.measurements()}
    assert record.plan == make_plan(content(files))
    # Files go by their names, so that the folder may be moved.
    assert record.answers == tuple(answer._replace(soup=Path(answer.soup.name)) for answer in result.answers)
    assert (record.front, record.front_scope) == ((), "")
    marks = {name: fingerprint(load_ingredient(path)) for name, path in files.items()}
    assert {note.name: note.fingerprint for note in record.ingredients} == marks
    assert [note.path for note in record.ingredients] == list(files.values())
    assert record.network.architecture == "resnet_small"
    assert (record.network.classes, record.network.mean, record.network.std) == (10, (0.5,), (0.5,))
    assert list(record.columns) == ["digits", "digits/noise", "digits@linf:0.1"]
    assert (list(record.attacks), record.confirming, record.space) == (["digits@linf:0.1"], {}, 5)
    assert {name: (data[part.selection], data[str(part.test)]) for name, part in record.parts.items()} == {
        "digits": ("digits/selection", "digits/test"),
        "digits/noise": ("digits/selection/noise", "digits/test/noise"),
    }
    assert len(record.selection) == 40


class Interrupted(Exception):
    """Stands for a user who stops a search."""


def stop(doing: str, done: float, total: float) -> None:
    """Ends a search in its warm-up."""
    if doing == "warming up":
        raise Interrupted


def test_a_record_is_of_one_search_when_another_is_begun(
    whole: tuple[Path, SearchResult], files: dict[str, str], tmp_path: Path
) -> None:
    folder = shutil.copytree(whole[0], tmp_path / "run")
    # The same one again: its answers stay until there are new ones.
    with pytest.raises(Interrupted):
        run_plan(make_plan(content(files)), folder, watch=stop)
    with Store(folder / STORE) as store:
        same = read_record(store)
    assert same is not None
    assert same.answers is not None
    assert same.answers[0].chosen == whole[1].answers[0].chosen
    # Another one: nothing of it is mixed up with these.
    renamed = {"one": files["linf"], "other": files["nominal"]}
    with pytest.raises(Interrupted):
        run_plan(make_plan(content(renamed, shifts=[], others=0)), folder, watch=stop)
    with Store(folder / STORE) as store:
        begun = read_record(store)
    assert begun is not None
    assert begun.answers is None
    assert [note.name for note in begun.ingredients] == ["one", "other"] == list(begun.plan.ingredients)
    assert [note.fingerprint for note in begun.ingredients] == [note.fingerprint for note in same.ingredients][::-1]
    assert list(begun.parts) == ["digits"]
    assert begun.parts["digits"].test is None


def test_what_is_known_is_never_measured_again(
    whole: tuple[Path, SearchResult], files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(measuring, "evaluate", refuse)
    folder = shutil.copytree(whole[0], tmp_path / "run")
    again = found(make_plan(content(files)), folder)
    assert [each.chosen for each in again.answers] == [each.chosen for each in whole[1].answers]
    # Another objective over the same outcomes needs no model either.
    changed = content(files, objectives=[{"best": "digits"}], shifts=[])
    assert found(make_plan(changed), folder).answers[0].objective == accuracy_on("digits")


def test_a_grid_finds_what_brute_force_finds(files: dict[str, str], tmp_path: Path) -> None:
    plan = make_plan(content(files, threats=[], shifts=[], strategy="grid", others=0))
    (answer,) = found(plan, tmp_path / "run").answers
    samples = tasks_of(plan)["digits"].selection.samples
    scores = {}
    for fraction in (1, 0.75, 0.5, 0.25, 0):
        state = mix(loaded(files), (fraction, 1 - fraction))
        scores[fraction, 1 - fraction] = float(
            evaluate(build_model("resnet_small", num_classes=10, state=state), samples).correct.mean()
        )
    assert answer.scope == "among all 5 soups of the space"
    assert answer.chosen[0].judged.selection.value == pytest.approx(max(scores.values()))
    assert answer.chosen[0].judged.complement is None
    assert scores[answer.chosen[0].weights] == max(scores.values())  # type: ignore[index]
    assert answer.tied == sum(score == max(scores.values()) for score in scores.values())


_KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from seasoning.config.search import read_plan
from seasoning.commands.search import check_plan, run_plan
left = int(sys.argv[3])
def watch(doing, done, total):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
run_plan(read_plan(Path(sys.argv[1])), Path(sys.argv[2]), watch=watch)
"""


@pytest.mark.parametrize("kills", [[25], pytest.param([6, 25, 45], marks=pytest.mark.slow)])
def test_a_search_killed_at_any_moment_ends_with_the_same_soup(
    kills: list[int], whole: tuple[Path, SearchResult], files: dict[str, str], tmp_path: Path
) -> None:
    folder, result = whole
    plan, out = tmp_path / "plan.toml", tmp_path / "run"
    # As plans were written before they had sections.
    plan.write_text(
        'architecture = "resnet_small"\nshifts = ["noise"]\nthreats = ["linf:0.1"]\nshots = 40\nothers = 30\n'
        f'[ingredients]\nnominal = "{files["nominal"]}"\nlinf = "{files["linf"]}"\n[data]\ndigits = "digits"\n'
        "[attack]\nsteps = 4\nrough_steps = 2\n[space]\nstep = 0.25\n"
    )
    command = [sys.executable, "-c", _KILLED, str(plan), str(out)]
    known = []
    for left in kills:
        done = subprocess.run([*command, str(left)], check=False)
        assert done.returncode == -signal.SIGKILL
        with Store(out / STORE) as store:
            known.append(sum(1 for _ in store.headers()))
    assert known[-1] > 0
    assert known == sorted(set(known)), "each start goes on where the last one was killed"
    assert subprocess.run([*command, "-1"], check=False).returncode == 0
    for answer in result.answers:
        assert (out / answer.soup.name).read_bytes() == answer.soup.read_bytes()
    with Store(folder / STORE) as one, Store(out / STORE) as other:
        first, second = read_record(one), read_record(other)
        assert first is not None
        assert second is not None
        assert first.answers == second.answers
        assert {each.key for each in one.measurements()} >= {each.key for each in other.measurements()}
        for asked in other.measurements():
            mine, theirs = one.known(asked), other.known(asked)
            assert mine is not None
            assert theirs is not None
            assert mine.ids.tolist() == theirs.ids.tolist()
            assert mine.adversarial.tolist() == theirs.adversarial.tolist()


def test_bfloat16_screens_and_full_precision_decides(files: dict[str, str], tmp_path: Path) -> None:
    plan = make_plan(content(files, precision="bf16", threats=[], shifts=[]))
    (answer,) = found(plan, tmp_path / "run").answers
    with Store(tmp_path / "run" / STORE) as store:
        assert {each.precision for each in store.measurements()} == {"full", "bf16"}
    best = answer.chosen[0]
    assert best.screened is not None
    samples = tasks_of(plan)["digits"].selection.samples
    full = evaluate(build_model("resnet_small", num_classes=10, state=mix(loaded(files), best.weights)), samples)
    assert best.judged.selection.value == full.correct.mean()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"shots": 5000},
            "data 'digits' has 697 images that no ingredient or candidate was trained or validated on, 5000",
        ),
        ({"data": {"d": "digit"}}, "unknown data set or folder 'digit': did you mean 'digits'"),
        ({"shifts": ["fogg"]}, "unknown shift 'fogg'"),
        ({"network": {"architecture": "resnet_smal"}}, "unknown architecture 'resnet_smal': did you mean 'resnet_sm"),
        ({"attack": {"suite": "defalt"}}, "unknown attack suite 'defalt': did you mean 'default'"),
        ({"attack": {"confirm": "thorogh"}}, "unknown attack suite 'thorogh': did you mean 'thorough'"),
        ({"attack": {"loss": "dlrr"}}, "unknown loss 'dlrr': did you mean 'dlr'"),
        ({"ingredients": {"a": "none.pt", "b": "none.pt"}}, "ingredient none.pt is not there"),
        ({"time_limit": 1e-4}, "the search would take about .* more than the 0.0001 minutes given"),
    ],
)
def test_impossible_searches_are_refused_before_the_work(
    files: dict[str, str], tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(SeasoningError, match=words):
        found(make_plan(content(files, **changes)), tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("strategy=climbing", "unknown strategy 'climbing': did you mean 'climb'"),
        ('shifts=["nose"]', "unknown shift 'nose': did you mean 'noise'"),
        ("attack.confirm=through", "unknown attack suite 'through': did you mean 'thorough'"),
    ],
)
def test_unknown_names_are_told_also_of_a_plan_that_was_changed(
    files: dict[str, str], tmp_path: Path, change: str, words: str
) -> None:
    plan = resolve([change], make_plan(content(files)))
    for refuse in (check_plan, partial(found, folder=tmp_path / "run")):
        with pytest.raises(UnknownName, match=words):
            refuse(plan)
    assert not (tmp_path / "run").exists()


def test_ingredients_that_cannot_be_mixed_are_told_before_any_work(
    files: dict[str, str], digits: dict[str, Samples], tmp_path: Path
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        stranger = build_model("resnet_small", num_classes=10).network.state_dict()
    save_state(stranger, tmp_path / "stranger.safetensors", {})
    ingredients = files | {"stranger": str(tmp_path / "stranger.safetensors")}
    with pytest.raises(BadInput, match=r"cannot be searched: do not mix: .*stranger"):
        found(make_plan(content(ingredients)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_told_before_the_work(files: dict[str, str], small_disk: Path) -> None:
    with pytest.raises(BadInput, match="MiB left"):
        found(make_plan(content(files)), small_disk / "run")


def test_a_folder_of_something_else_or_of_another_network_is_refused(
    files: dict[str, str], whole: tuple[Path, SearchResult], tmp_path: Path
) -> None:
    asked = Measurement(ModelKey.of(["aa"], [1]), "digits/test", "cc")
    with Store(tmp_path / "evaluated" / STORE) as store:
        store.add(asked, 1, outcomes(labels=[1], clean=[1]), {"seconds": 1.0})
    with pytest.raises(RunConflict, match="holds outcomes of something else"):
        found(make_plan(content(files)), tmp_path / "evaluated")
    with Store(tmp_path / "earlier" / STORE) as store:
        store.write_note("search", {"plan": {}})
    with pytest.raises(BadInput, match="a run of another version of seasoning"):
        found(make_plan(content(files)), tmp_path / "earlier")
    network = {"architecture": "resnet_small", "mean": [0.25], "std": [0.5]}
    with pytest.raises(RunConflict, match="another network"):
        found(make_plan(content(files, network=network)), whole[0])
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "one.tex").touch()
    with pytest.raises(RunConflict, match=r"holds 'one\.tex'"):
        found(make_plan(content(files)), tmp_path / "thesis")


def test_options_of_the_network_are_the_same_in_a_file_and_in_python(files: dict[str, str], tmp_path: Path) -> None:
    for widths in ([16, 32, 32], (16, 32, 32)):
        network = {"architecture": "resnet_small", "options": {"widths": widths}}
        quick: dict[str, Any] = {"threats": [], "shifts": [], "others": 0, "strategy": "uniform"}
        found(make_plan(content(files, network=network, **quick)), tmp_path / "run")


def test_a_live_model_becomes_one_soup_after_another(files: dict[str, str]) -> None:
    states = [dict(state) for state in loaded(files)]
    live = LiveSoup(build_model("resnet_small", num_classes=10), states, list(files), "mix")
    halves = [{name: tensor.half() for name, tensor in state.items()} for state in states]
    rounded = LiveSoup(build_model("resnet_small", num_classes=10), halves, list(files), "mix")
    x = torch.rand(4, 1, 8, 8)
    for weights in ((0.5, 0.5), (1.0, 0.0), (0.25, 0.75), (0.5, 0.5)):
        for each, parts in ((live, states), (rounded, halves)):
            wanted = build_model("resnet_small", num_classes=10, state=mix(parts, weights))
            assert torch.equal(each.soup(weights)(x), wanted(x))
    half = live.soup((0.5, 0.5), "bf16")(x)
    assert half.dtype == torch.float32
    assert not torch.equal(half, live.soup((0.5, 0.5))(x))
    assert torch.allclose(half, live.soup((0.5, 0.5))(x), atol=0.2)
