"""Searches as their users start them, on a few digits and two small networks."""

import html
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seasoning.checkpoints.load import State, fingerprint, load_ingredient, save_state
from seasoning.cli.search import _print_answer
from seasoning.commands.search import search
from seasoning.commands.search_data import Task, load_tasks, open_sets, selection_order
from seasoning.config.search import SearchPlan, make_plan
from seasoning.data import Samples
from seasoning.errors import BadInput, RunConflict, SeasoningError
from seasoning.evaluation import measure as measuring
from seasoning.evaluation.evaluator import evaluate
from seasoning.evaluation.live_soup import LiveSoup
from seasoning.models import build_model
from seasoning.selection import accuracy_on
from seasoning.selection.answers import SearchResult
from seasoning.soup import mix, verify_soup
from seasoning.store.database import Store


MakePlan = Callable[..., SearchPlan]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, nominal_state: State, robust_state: State) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("ingredients")
    for name, state in (("nominal", nominal_state), ("linf", robust_state)):
        save_state(state, folder / f"{name}.safetensors", {})
    return {name: str(folder / f"{name}.safetensors") for name in ("nominal", "linf")}


def content(files: dict[str, str], **changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "architecture": "resnet_small",
        "ingredients": files,
        "data": {"digits": "digits"},
        "shifts": ["noise"],
        "threats": ["linf:0.1"],
        "shots": 40,
        "others": 30,
        "attack": {"steps": 4, "rough_steps": 2},
        "space": {"step": 0.25},
    }
    return plain | changes


def found(plan: SearchPlan, folder: Path, said: list[str] | None = None) -> SearchResult:
    return search(plan, folder, watch=lambda doing, done, total: None, say=(said if said is not None else []).append)


def tasks_of(plan: SearchPlan, folder: Path = Path()) -> dict[str, Task]:
    """What a search measures its soups on."""
    sets = open_sets(plan)
    model = build_model(plan.architecture, num_classes=len(sets.classes), in_chans=sets.channels)
    return load_tasks(plan, sets, model, folder)


@pytest.fixture(scope="session")
def whole(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult, list[str]]:
    """A search that nothing interrupted."""
    folder, said = tmp_path_factory.mktemp("search") / "run", list[str]()
    return folder, found(make_plan(content(files)), folder, said), said


def test_every_objective_gets_soups_with_honest_numbers(whole: tuple[Path, SearchResult, list[str]]) -> None:
    _, answer, _ = whole
    assert [each.objective.name for each in answer.answers] == ["mean", "digits", "digits/noise", "digits@linf:0.1"]
    for each in answer.answers:
        assert "soups measured on identical images, of 5 in the space" in each.scope or "all 5 soups" in each.scope
        for soup in (*each.chosen, *each.ingredients):
            assert soup.judged.complement is not None
            assert (soup.judged.selection.n, soup.judged.complement.n, soup.judged.whole.n) == (40, 30, 70)
        assert each.regret[-1].value == 0
        assert len(each.comparisons) == len(each.chosen) * (len(each.chosen) - 1) / 2
    attacked = answer.answers[-1].chosen[0]
    assert attacked.rough is not None
    assert attacked.same is not None
    assert attacked.rough.value >= attacked.same.value
    assert attacked.rough.n == attacked.same.n < 40


def test_the_plan_is_said_before_the_work(whole: tuple[Path, SearchResult, list[str]]) -> None:
    _, _, said = whole
    assert "climb over 5 soups of 2 ingredients for 4 objectives on 3 tasks, 40 images each" in said[0]
    assert "of the grid's" in said[1]
    assert any("MiB on the disk" in line for line in said)


def test_written_soups_are_what_their_recipes_say(
    whole: tuple[Path, SearchResult, list[str]], files: dict[str, str]
) -> None:
    folder, answer, _ = whole
    names = {each.soup.name for each in answer.answers}
    assert names == {path.name for path in folder.glob("*.safetensors")}
    assert "soup-digits-linf-0.1.safetensors" in names
    for each in answer.answers:
        assert not verify_soup(each.soup, [Path(path) for path in files.values()]).problems


def test_the_store_tells_a_report_what_was_found(
    whole: tuple[Path, SearchResult, list[str]], files: dict[str, str]
) -> None:
    folder, answer, _ = whole
    with Store(folder / "outcomes.sqlite") as store:
        note, ingredients = store.note("search"), store.note("ingredients")
        assert note["plan"]["shots"] == 40
        assert [each["objective"] for each in note["answers"]] == [each.objective.name for each in answer.answers]
        best = answer.answers[0].chosen[0]
        assert note["answers"][0]["chosen"][0]["complement"] == pytest.approx(list(best.judged.complement or ()))
        assert ingredients["linf"]["fingerprint"] == fingerprint(load_ingredient(files["linf"]))
        assert {each.data for each in store.measurements()} == {
            f"digits/{part}" for part in ("selection", "test", "selection/noise", "test/noise")
        }


def test_answers_keep_their_ingredients_when_another_search_is_begun(
    whole: tuple[Path, SearchResult, list[str]], files: dict[str, str], tmp_path: Path
) -> None:
    folder = shutil.copytree(whole[0], tmp_path / "run")

    def stop(doing: str, done: float, total: float) -> None:
        if doing == "warming up":
            raise KeyboardInterrupt

    renamed = {"one": files["linf"], "other": files["nominal"]}
    with pytest.raises(KeyboardInterrupt):
        search(make_plan(content(renamed, shifts=[], others=0)), folder, watch=stop, say=lambda line: None)
    with Store(folder / "outcomes.sqlite") as store:
        answered, begun, data = store.note("search"), store.note("begun"), {}
        for each in store.measurements():
            data[each.samples] = each.data
    marks = {name: fingerprint(load_ingredient(path)) for name, path in files.items()}
    assert {name: each["fingerprint"] for name, each in answered["ingredients"].items()} == marks
    assert answered["plan"]["ingredients"] == files
    assert list(answered["attacks"]) == ["digits@linf:0.1"]
    told = {task: [data[part["selection"]], data[part["test"]]] for task, part in answered["parts"].items()}
    assert told == {
        "digits": ["digits/selection", "digits/test"],
        "digits/noise": ["digits/selection/noise", "digits/test/noise"],
        "digits@linf:0.1": ["digits/selection", "digits/test"],
    }
    assert list(begun["ingredients"]) == ["one", "other"] == list(begun["plan"]["ingredients"])
    assert [part["test"] for part in begun["parts"].values()] == [None, None]


def test_what_is_known_is_never_measured_again(
    whole: tuple[Path, SearchResult, list[str]], files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(measuring, "evaluate", refuse)
    _, answer, _ = whole
    folder = shutil.copytree(whole[0], tmp_path / "run")
    again = found(make_plan(content(files)), folder)
    assert [each.chosen for each in again.answers] == [each.chosen for each in answer.answers]
    # Another objective over the same outcomes needs no model either.
    changed = content(files, objectives=[{"best": "digits"}], shifts=[])
    assert found(make_plan(changed), folder).answers[0].objective == accuracy_on("digits")


def test_a_grid_finds_what_brute_force_finds(files: dict[str, str], tmp_path: Path) -> None:
    plan = make_plan(content(files, threats=[], shifts=[], strategy="grid", others=0))
    (answer,) = found(plan, tmp_path / "run").answers
    tasks = tasks_of(plan)
    samples = tasks["digits"].selection.samples
    states = [load_ingredient(path) for path in files.values()]
    scores = {}
    for share in (1, 0.75, 0.5, 0.25, 0):
        state = mix(states, (share, 1 - share))
        scores[share, 1 - share] = float(
            evaluate(build_model("resnet_small", num_classes=10, state=state), samples).correct.mean()
        )
    assert answer.scope == "among all 5 soups of the space"
    assert answer.chosen[0].judged.selection.value == pytest.approx(max(scores.values()))
    assert answer.chosen[0].judged.complement is None
    assert scores[answer.chosen[0].weights] == max(scores.values())  # type: ignore[index]


_KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from seasoning.config.search import read_plan
from seasoning.commands.search import search
left = int(sys.argv[3])
def watch(doing, done, total):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
search(read_plan(Path(sys.argv[1])), Path(sys.argv[2]), watch=watch, say=lambda line: None)
"""


def test_a_search_killed_three_times_ends_with_the_same_soup(
    whole: tuple[Path, SearchResult, list[str]], files: dict[str, str], tmp_path: Path
) -> None:
    folder, answer, _ = whole
    plan, out = tmp_path / "plan.toml", tmp_path / "run"
    plan.write_text(
        'architecture = "resnet_small"\nshifts = ["noise"]\nthreats = ["linf:0.1"]\nshots = 40\nothers = 30\n'
        f'[ingredients]\nnominal = "{files["nominal"]}"\nlinf = "{files["linf"]}"\n[data]\ndigits = "digits"\n'
        "[attack]\nsteps = 4\nrough_steps = 2\n[space]\nstep = 0.25\n"
    )
    command = [sys.executable, "-c", _KILLED, str(plan), str(out)]
    known = []
    for left in (6, 25, 45):
        done = subprocess.run([*command, str(left)], check=False)
        assert done.returncode == -signal.SIGKILL
        with Store(out / "outcomes.sqlite") as store:
            known.append(sum(1 for _ in store.headers()))
    assert known == sorted(set(known)), "each start goes on where the last one was killed"
    assert subprocess.run([*command, "-1"], check=False).returncode == 0
    for each in answer.answers:
        assert (out / each.soup.name).read_bytes() == each.soup.read_bytes()
    with Store(folder / "outcomes.sqlite") as one, Store(out / "outcomes.sqlite") as other:
        assert one.note("search")["answers"] == other.note("search")["answers"]
        assert {each.key for each in one.measurements()} >= {each.key for each in other.measurements()}
        for asked in other.measurements():
            mine, theirs = one.known(asked), other.known(asked)
            assert mine is not None
            assert theirs is not None
            assert mine.ids.tolist() == theirs.ids.tolist()
            assert mine.adversarial.tolist() == theirs.adversarial.tolist()


def test_bfloat16_looks_around_and_full_precision_decides(files: dict[str, str], tmp_path: Path) -> None:
    plan = make_plan(content(files, precision="bf16", threats=[], shifts=[]))
    (answer,) = found(plan, tmp_path / "run").answers
    with Store(tmp_path / "run" / "outcomes.sqlite") as store:
        assert {each.precision for each in store.measurements()} == {"full", "bf16"}
    best = answer.chosen[0]
    assert best.rough is not None
    samples = tasks_of(plan)["digits"].selection.samples
    state = mix([load_ingredient(path) for path in files.values()], best.weights)
    full = evaluate(build_model("resnet_small", num_classes=10, state=state), samples)
    assert best.judged.selection.value == full.correct.mean()


def test_the_pareto_front_measures_what_one_objective_alone_has_met(files: dict[str, str], tmp_path: Path) -> None:
    objectives = [{"best": "digits@linf:0.1"}, {"best": "digits"}]
    plan = make_plan(content(files, shifts=[], objectives=objectives, pareto=["digits", "digits@linf:0.1"]))
    answer = found(plan, tmp_path / "run")
    scores = [each for _, _, each in answer.front]
    assert scores
    assert [clean for clean, _ in scores] == sorted((clean for clean, _ in scores), reverse=True)
    assert [robust for _, robust in scores] == sorted(robust for _, robust in scores)
    assert "of 5 in the space" in answer.front_scope or "all 5" in answer.front_scope


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


def test_ingredients_that_miss_a_limit_are_marked(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limited = [{"best": "digits", "at_least": {"digits@linf:0.1": 0.7}}]
    plan = make_plan(content(files, shifts=[], objectives=limited))
    (answer,) = found(plan, tmp_path / "run").answers
    nominal, linf = answer.ingredients
    assert nominal.limits[0].selection.value < 0.7 <= linf.limits[0].selection.value
    assert nominal.limits[0].selection.n == 40
    with Store(tmp_path / "run" / "outcomes.sqlite") as store:
        kept = store.note("search")["answers"][0]["ingredients"]
    assert [each["limits"][0][0] for each in kept] == [list(each.limits[0].selection) for each in (nominal, linf)]
    _print_answer(plan, answer)
    marked = [line for line in capsys.readouterr().out.splitlines() if line.endswith("misses the limit")]
    assert [line.split()[0] for line in marked] == ["nominal"]


def picture_folder(root: Path, classes: list[str], each: int) -> str:
    random = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(each):
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / name / f"{number}.png")
    return str(root)


def in_color(files: dict[str, str], folder: Path) -> dict[str, str]:
    """The same networks for images of three channels."""
    for name, path in files.items():
        state = dict(load_ingredient(path))
        state["stem.weight"] = state["stem.weight"].repeat(1, 3, 1, 1) / 3
        save_state(state, folder / f"{name}.safetensors", {})
    return {name: str(folder / f"{name}.safetensors") for name in files}


def test_an_attacked_set_is_weighed_against_clean_photographs_of_another(files: dict[str, str], tmp_path: Path) -> None:
    classes = [str(number) for number in range(10)]
    data = {
        "photos": picture_folder(tmp_path / "a", classes, 3),
        "sketches": picture_folder(tmp_path / "b", classes, 3),
    }
    for path in (tmp_path / "b").rglob("*.png"):
        path.rename(path.with_stem(f"sketch-{path.stem}"))
    mixed = {"best": "weighted", "weights": {"sketches": 0.5, "union": 0.5}}
    changes: dict[str, Any] = {"data": data, "shifts": [], "threats": ["linf:0.01"], "shots": 16, "others": 0}
    plan = make_plan(content(in_color(files, tmp_path), objectives=[mixed], **changes))
    (answer,) = found(plan, tmp_path / "run").answers
    best = answer.chosen[0]
    assert best.rough is not None
    assert best.same is not None
    # All 16 sketches, and those of the attacked photographs that were looked at.
    assert 16 < best.same.n == best.rough.n < 32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shots": 5000}, "data 'digits' has 697 labelled images, 5000 are to choose"),
        ({"data": {"d": "digit"}}, "unknown data set or folder 'digit': did you mean 'digits'"),
        ({"shifts": ["fogg"]}, "unknown shift 'fogg'"),
        ({"architecture": "resnet_smal"}, "unknown architecture 'resnet_smal': did you mean 'resnet_small'"),
        ({"attack": {"suite": "defalt"}}, "unknown attack suite 'defalt': did you mean 'default'"),
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


def test_a_folder_with_unknown_classes_is_told(files: dict[str, str], tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "cartoons", ["0", "1", "seven"], 2)
    data = {"digits": "digits", "cartoons": folder}
    with pytest.raises(BadInput, match="data 'cartoons' has 1 classes that the model does not know, such as 'seven'"):
        found(make_plan(content(files, data=data)), tmp_path / "run")


def test_a_folder_with_some_of_the_classes_is_numbered_as_the_model_does(files: dict[str, str], tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "cartoons", ["3", "7"], 3)
    plan = make_plan(content(files, data={"cartoons": folder}, classes=[str(n) for n in range(10)], shots=4))
    tasks = tasks_of(plan.model_copy(update={"others": None}))
    task = tasks["cartoons"]
    assert task.others is not None
    labels = torch.cat([task.selection.samples.y, task.others.samples.y])
    assert sorted(labels.tolist()) == [3, 3, 3, 7, 7, 7]
    assert len(task.selection.samples) == 4


def test_folders_are_looked_for_beside_the_plan_and_known_names_first(files: dict[str, str], tmp_path: Path) -> None:
    picture_folder(tmp_path / "cartoons", ["3", "7"], 3)
    (tmp_path / "digits").mkdir()
    here = {"folder": str(tmp_path), "shots": 4, "shifts": [], "threats": []}
    tasks = tasks_of(make_plan(content(files, data={"cartoons": "cartoons"}, **here)))
    assert tasks["cartoons"].selection.samples.x.shape[1:] == (3, 8, 8)
    assert tasks_of(make_plan(content(files, **here)))["digits"].selection.samples.x.shape[1:] == (1, 8, 8)


def test_a_full_disk_is_told_before_the_work(files: dict[str, str], small_disk: Path) -> None:
    with pytest.raises(BadInput, match="MiB left"):
        found(make_plan(content(files)), small_disk / "run")


def test_a_folder_of_a_run_or_another_network_is_refused(
    files: dict[str, str], whole: tuple[Path, SearchResult, list[str]], finished: Path
) -> None:
    with pytest.raises(RunConflict, match="holds a run"):
        found(make_plan(content(files)), finished)
    with pytest.raises(RunConflict, match="another network"):
        found(make_plan(content(files, mean=[0.5], std=[0.5])), whole[0])


def test_the_same_photographs_choose_in_every_derived_set(files: dict[str, str]) -> None:
    tasks = tasks_of(make_plan(content(files)))
    assert tasks["digits"].order.tolist() == tasks["digits/noise"].order.tolist()
    first = selection_order(range(100))[:10].tolist()
    assert [each for each in selection_order(range(50, 1000)) if each in first] == [each for each in first if each > 49]


def test_a_live_model_becomes_one_soup_after_another(files: dict[str, str]) -> None:
    states = [dict(load_ingredient(path)) for path in files.values()]
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


def test_the_command_prints_what_it_found(files: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [str(Path(sys.executable).with_name("seasoning")), "search", "--arch", "resnet_small", "--data", "digits"]
    command += [part for name, path in files.items() for part in ("--ingredient", f"{name}={path}")]
    command += ["--threat", "linf:0.1", "--shots", "40", "--set", "others=30", "--set", "attack.steps=3"]
    command += ["--set", "space.step=0.5", "--objective", "digits@linf:0.1", "--at-least", "digits=0.5"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}

    def run(*more: str) -> tuple[int, str]:
        done = subprocess.run(
            [*command, *more, "--out", str(out)], capture_output=True, text=True, env=environment, check=False
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    code, printed = run()
    assert code == 0, printed
    assert printed.index("plan: climb over 3 soups") < printed.index("digits@linf:0.1, digits at least 50 %: among")
    assert re.search(r"1\. .*\[\d+\.\d, \d+\.\d\] +\d+\.\d \[.*\] +\d+\.\d \[.*\] +\d\.\d\d", printed)
    assert "where 50 % are asked for" in printed
    assert "points lost by choosing on fewer images: 2:" in printed
    assert f"soup: {out / 'soup-digits-linf-0.1.safetensors'}" in printed
    assert f"page: {out / 'report.html'}" in printed
    # The page tells of the same soup, with the same number on images that did not choose it.
    best, interval = re.findall(r"1\. (.*?) {2,}\S+ \[.*?\] +(\S+ \[.*?\])", printed)[0]
    page = html.unescape((out / "report.html").read_text())
    assert best in page
    assert interval in page
    code, printed = run("--objective", "digits@l1:9")
    assert code == 2
    assert "measure it: add its data, shift or threat" in printed
    code, printed = run("--at-least", "digits")
    assert code == 2
    assert "expected name=value, as in cartoons=0.8" in printed
