"""Whole trainings by recipe: all of the package's, cut off and gone on with, and refused."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from seasoning.checkpoints.class_names import carried_names
from seasoning.checkpoints.images import read_used_images
from seasoning.checkpoints.load import load_ingredient, read_metadata, save_state
from seasoning.checkpoints.provenance import constants_of
from seasoning.commands.train import _with_ingredient, check_images, run_recipe
from seasoning.commands.train_recipe import gradients
from seasoning.config.base import resolve
from seasoning.config.train import read_recipe_file, recipe_files
from seasoning.data import Samples
from seasoning.data.pixels import pixel_hashes
from seasoning.data.sources import Used, source_parts
from seasoning.errors import BadInput, RunConflict, Stopped
from seasoning.models import PixelClassifier, build_model
from seasoning.training import TrainingProgress
from tests.command_line import program, seasoning, terminal


RECIPES = recipe_files()
OTHER = {"raw": "ema", "ema": "raw", None: ""}
# A training of seconds whose state has everything: errors so far, an average, momentum, crops.
TEXT = """# Digits: a small network robust to two threats
threats = ["linf:0.1", "l1:1"]

[network]
architecture = "resnet_small"

[data]
source = "digits"
classes = 10
shape = [1, 8, 8]
validation = 60
crop = 1

[objective]
name = "eat"

[attack]
steps = 2

[optimizer]
rate = 0.05
batch_size = 32
momentum = 0.9
weight_decay = 5e-4
ema = 0.98
ingredient = "ema"

[schedule]
epochs = 3
kind = "cosine"
warmup = 0.1
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "digits-eat.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "digits-eat.toml").write_text(TEXT)
    run_recipe("digits-eat", read_recipe_file(folder / "digits-eat.toml"), folder / "run", device="cpu")
    return folder / "run"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_in_small(tmp_path: Path, name: str) -> None:
    spec = read_recipe_file(RECIPES[name]).shrunk()
    best = run_recipe(name, spec, tmp_path / "run", device="cpu", trackers=())
    told = json.loads(read_metadata(best)["seasoning.ingredient"])
    assert told["name"] == name
    assert told["smoke"] is True
    assert told["threats"] == ([] if spec.objective.name == "advprop" else list(spec.threats))
    assert told["epochs"] == spec.schedule.epochs
    assert 1 <= told["epoch"] <= told["epochs"]
    beside = {path.name for path in (tmp_path / "run").glob("last-*.safetensors")}
    assert beside == (set() if spec.optimizer.ema is None else {f"last-{OTHER[spec.optimizer.ingredient]}.safetensors"})
    state = load_ingredient(tmp_path / "run" / "last.safetensors")
    assert all(bool(torch.isfinite(tensor.float()).all()) for tensor in state.values())


def test_a_training_leaves_what_it_says(whole: Path) -> None:
    assert {path.name for path in whole.iterdir()} == {
        *("best.safetensors", "last.safetensors", "last-raw.safetensors", "state.pt", "recipe.json", "logs", ".lock")
    }
    assert list((whole / "logs").rglob("events.out.tfevents.*"))
    written = json.loads((whole / "recipe.json").read_text())
    assert written["recipe"] == "digits-eat"
    assert written["settings"]["attack"]["steps"] == 2
    assert constants_of([whole / "best.safetensors"]) == ((0.5,), (0.5,))


def test_the_average_and_the_raw_parameters_lie_side_by_side(whole: Path) -> None:
    def told(path: Path) -> Any:
        return json.loads(read_metadata(path)["seasoning.ingredient"])

    names = ["best.safetensors", "last.safetensors", "last-raw.safetensors"]
    assert [told(whole / name)["parameters"] for name in names] == ["ema", "ema", "raw"]
    assert {told(whole / name)["ema"] for name in names} == {0.98}
    state = torch.load(whole / "state.pt", weights_only=True)
    for name, part in (("last.safetensors", "average"), ("last-raw.safetensors", "network")):
        there = load_ingredient(whole / name)
        assert all(torch.equal(there[key], state[part][key]) for key in there)


def test_an_average_is_the_ingredient_once_it_has_left_its_start(
    recipe: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Three epochs of 29 steps: that is 3 / (1 - 0.9655).
    for ema, named in ((None, "raw"), (0.96, "ema"), (0.98, "raw")):
        spec = read_recipe_file(recipe)
        optimizer = spec.optimizer.model_copy(update={"ema": ema, "ingredient": None})
        found = _with_ingredient(spec.model_copy(update={"optimizer": optimizer}), 900)
        assert found.optimizer.ingredient == named
    assert not caplog.records
    asked = _with_ingredient(resolve(["optimizer.ema=0.999"], read_recipe_file(recipe)), 900)
    assert asked.optimizer.ingredient == "ema"
    assert "after 87 steps the average of optimizer.ema=0.999 is still 92 % of its start" in caplog.text


def launch(recipe: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        program("train", recipe, "--out", folder, *options, "--device", "cpu", "--tracker", "none"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=terminal(),
        text=True,
    )


def wait_for(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.002)


def place(folder: Path) -> tuple[int, int]:
    """Epoch and step of the state in a folder."""
    if not (folder / "state.pt").exists():
        return 0, 0
    progress = torch.load(folder / "state.pt", weights_only=True)["progress"]
    return progress["epoch"], progress["step"]


def came_to(folder: Path, wanted: tuple[int, int]) -> bool:
    return place(folder) >= wanted


def assert_same_ingredients(one: Path, other: Path) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("kills", [[(1, 3)], pytest.param([(0, 5), (1, 3)], marks=pytest.mark.slow)])
def test_a_killed_training_goes_on_and_ends_with_the_same_parameters(
    whole: Path, recipe: Path, tmp_path: Path, kills: list[tuple[int, int]]
) -> None:
    folder = tmp_path / "run"
    for wanted in kills:
        process = launch(recipe, folder, "--resume", "--save-seconds", "0")
        wait_for(process, partial(came_to, folder, wanted))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        epoch, step = place(folder)
        assert wanted <= (epoch, step) < (3, 0)
    run_recipe("digits-eat", read_recipe_file(recipe), folder, resume=True, device="cpu", trackers=())
    assert_same_ingredients(whole, folder)


def test_sigterm_saves_in_mid_epoch_and_exits_with_75(whole: Path, recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = launch(recipe, folder)
    wait_for(process, (folder / "recipe.json").exists)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 75, printed
    assert "give the same command with --resume" in printed
    assert "Traceback" not in printed
    epoch, step = place(folder)
    assert epoch == 0
    assert step >= 1
    printed = seasoning("train", recipe, "--out", folder, "--resume", "--device", "cpu", "--tracker", "none")
    assert f"ingredient: {folder / 'best.safetensors'}" in printed
    assert_same_ingredients(whole, folder)


def test_ctrl_c_saves_too_and_exits_with_130(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = launch(recipe, folder)
    wait_for(process, (folder / "recipe.json").exists)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert place(folder) >= (0, 1)
    # Without being told so, nothing goes on and nothing starts over.
    assert "holds a training: go on with it by --resume" in seasoning("train", recipe, "--out", folder, expect=2)


def test_a_changed_recipe_is_refused_with_what_changed(whole: Path, recipe: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}
    more = ["--set", "optimizer.rate=0.01", "--set", "schedule.epochs=4"]
    printed = seasoning("train", recipe, "--out", whole, "--resume", *more, expect=2)
    assert "settings.optimizer.rate is 0.05 there and 0.01 here" in printed
    assert "settings.schedule.epochs is 3 there and 4 here" in printed
    assert "--accept-changes" in printed
    assert {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()} == before
    other = tmp_path / "copy"
    other.mkdir()
    for name in ("state.pt", "recipe.json"):
        (other / name).write_bytes(before[name])
    printed = seasoning("train", recipe, "--out", other, "--resume", "--accept-changes", "--tracker", "none", *more)
    assert "epoch 4; loss" in printed
    assert "epoch 3; validation" in printed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "threats=['linf:0.1', 'l2:1']",
            "settings.threats is ['linf:0.1', 'l1:1'] there and ['linf:0.1', 'l2:1'] here",
        ),
        ("attack.steps=3", "settings.attack.steps is 2 there and 3 here"),
        ("data.validation=61", "images.validation is"),
    ],
)
def test_what_scores_rest_on_never_changes(whole: Path, recipe: Path, change: str, words: str) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}
    more = ["--resume", "--accept-changes", "--tracker", "none", "--set", "schedule.epochs=4"]
    printed = seasoning("train", recipe, "--out", whole, *more, "--set", change, expect=2)
    assert words in printed
    assert "epochs" not in printed
    assert "start in another folder" in printed
    assert {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()} == before


def test_ingredients_mix_and_are_measured(whole: Path, tmp_path: Path) -> None:
    soup = tmp_path / "soup.safetensors"
    files = [whole / "best.safetensors", whole / "last.safetensors"]
    seasoning("mix", *files, "--weights", "0.5,0.5", "--out", soup)
    assert constants_of([soup]) == ((0.5,), (0.5,))
    printed = seasoning(
        "evaluate", soup, "--arch", "resnet_small", "--threat", "linf:0.1", "--out", tmp_path / "measured"
    )
    assert "linf:0.1" in printed


FINE_TUNE = TEXT.replace('threats = ["linf:0.1", "l1:1"]', 'starts = ["mine"]\nthreats = ["linf:0.1", "l1:1"]').replace(
    "epochs = 3", "epochs = 1"
)


def listed(path: Path) -> dict[str, set[int]]:
    """Hashes of the images that a checkpoint's file lists, by kind."""
    used = read_used_images(path)
    assert used is not None
    return {kind: set(own.tolist()) for kind, own in used.hashes.items()}


def hashes(samples: Samples) -> set[int]:
    return set(pixel_hashes(samples.x).tolist())


def test_an_ingredient_lists_its_images(whole: Path) -> None:
    parts = source_parts("digits", Used(900, 60))
    for file in ("best.safetensors", "last.safetensors"):
        assert listed(whole / file) == {
            "training": hashes(parts["train"]),
            "validation": hashes(parts["validation"]),
            "selection": set(),
        }
    used = read_used_images(whole / "best.safetensors")
    assert used is not None
    assert {name: mark for name, mark in used.sets} == {
        f"digits/{part}": parts[part].fingerprint() for part in ("train", "validation")
    }
    assert (used.one_in, used.complete) == (1, True)


def pictures(root: Path, samples: Samples) -> Path:
    """Digits as a folder of images."""
    for row, label in enumerate(samples.y.tolist()):
        folder = root / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((samples.x[row, 0] * 255).round().to(torch.uint8).numpy()).save(folder / f"{row}.png")
    return root


def test_a_fine_tune_lists_the_images_of_its_start_too(whole: Path, tmp_path: Path) -> None:
    recipe, other = tmp_path / "tune.toml", source_parts("digits")["test"].take(torch.arange(120), "new")
    text = FINE_TUNE.replace('source = "digits"', f'source = "{pictures(tmp_path / "new", other)}"')
    recipe.write_text(text.replace("shape = [1, 8, 8]", "shape = [3, 8, 8]") + "\n")
    spec = read_recipe_file(recipe)
    start = tmp_path / "start.safetensors"
    state = load_ingredient(whole / "best.safetensors")
    wide = dict(state) | {"stem.weight": state["stem.weight"].repeat(1, 3, 1, 1)}
    known = {key: text for key, text in read_metadata(whole / "best.safetensors").items() if key == "seasoning.images"}
    save_state(wide, start, known)
    before, new = listed(start), hashes(other)
    best = run_recipe("tune", spec, tmp_path / "run", init=start, device="cpu", trackers=())
    after = listed(best)
    assert after["training"] | after["validation"] == before["training"] | before["validation"] | new
    assert len(after["training"]) == 900 + 60
    assert len(after["validation"]) == 60 + 60
    used = read_used_images(best)
    assert used is not None
    # By the folder's name, not by where it lies on this machine.
    assert [name for name, _ in used.sets] == ["new/validation", "new/train", "digits/validation", "digits/train"]
    assert used.complete
    # A start that says nothing leaves its fine-tune's list incomplete, and that is said there.
    save_state(wide, start, {})
    used = read_used_images(run_recipe("tune", spec, tmp_path / "b", init=start, device="cpu", trackers=()))
    assert used is not None
    assert not used.complete


def test_a_fine_tune_keeps_the_constants_of_its_start(tmp_path: Path) -> None:
    recipe, init = tmp_path / "tune.toml", tmp_path / "init.safetensors"
    recipe.write_text(FINE_TUNE)
    with torch.random.fork_rng():
        state = build_model("resnet_small", num_classes=10).network.state_dict()
    save_state(state, init, {"seasoning.ingredient": json.dumps({"mean": [0.0], "std": [1.0]})})
    seen: list[PixelClassifier] = []

    def watched(*given: Any, **options: Any) -> PixelClassifier:
        seen.append(build_model(*given, **options))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seasoning.commands.data.build_model", watched)
        run_recipe("tune", read_recipe_file(recipe), tmp_path / "run", init=init, device="cpu", trackers=())
    assert (seen[0].mean.item(), seen[0].std.item()) == (0.0, 1.0)
    best = tmp_path / "run" / "best.safetensors"
    assert constants_of([best]) == ((0.0,), (1.0,))
    # What measures it sees the images as training did, without being told.
    options: list[str | Path] = ["--arch", "resnet_small", "--out", tmp_path / "measured"]
    told = seasoning("evaluate", best, *options, "--mean", "0", "--std", "1")
    assert told == seasoning("evaluate", best, *options)
    wrong = seasoning("evaluate", best, *options, "--mean", "0.5", "--std", "0.5", expect=2)
    assert "was trained with normalization mean [0.0] and std [1.0]" in wrong


@pytest.mark.parametrize(("made_by", "warns"), [("cifar10/mine", False), ("other", True)])
def test_a_start_of_another_recipe_is_warned_of(tmp_path: Path, made_by: str, warns: bool) -> None:
    tune, init = tmp_path / "tune.toml", tmp_path / "init.safetensors"
    tune.write_text(FINE_TUNE)
    with torch.random.fork_rng():
        state = build_model("resnet_small", num_classes=10).network.state_dict()
    save_state(state, init, {"seasoning.ingredient": json.dumps({"name": made_by})})
    printed = seasoning("train", tune, "--init", init, "--out", tmp_path / "run", "--tracker", "none")
    assert ("init.safetensors was made by other; recipe tune fine-tunes mine" in printed) == warns


def test_gradients_are_those_of_the_steps_of_each_threat(recipe: Path) -> None:
    def told(*settings: str) -> int:
        spec = resolve(["attack.steps=2", "attack.steps_by_norm={l1 = 20}", *settings], read_recipe_file(recipe))
        return gradients(spec, 100)

    assert told() == 100 * 3 * (1 + 11)  # three epochs, under one threat or the other
    assert told('objective.name="max"') == 100 * 3 * (1 + 22)
    assert told('objective.name="avg"') == 100 * 3 * (2 + 22)
    assert told('objective.name="adversarial"', 'threats=["l1:1"]') == 100 * 3 * (1 + 20)
    assert told("attack.steps_by_norm={}") == 100 * 3 * (1 + 2)


def test_a_start_is_wanted_by_fine_tunes_alone(recipe: Path, tmp_path: Path) -> None:
    tune = tmp_path / "tune.toml"
    tune.write_text(FINE_TUNE)
    printed = seasoning("train", tune, "--out", tmp_path / "run", expect=2)
    assert "recipe tune fine-tunes what mine makes: give the checkpoint with --init" in printed
    printed = seasoning("train", recipe, "--init", recipe, "--out", tmp_path / "run", expect=2)
    assert "starts from random parameters: leave out --init" in printed
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["linf-scrath"], "unknown recipe 'linf-scrath': did you mean 'linf-scratch'"),
        (["RECIPE", "--set", "optimizer.rte=1"], "unknown setting 'optimizer.rte': did you mean 'optimizer.rate'"),
        (["RECIPE", "--set", "threats=[]"], "objective 'eat' with 0 threats: give at least two"),
        (["RECIPE", "--set", "objective.name=nominal"], "objective 'nominal' with linf:0.1, l1:1: it attacks nothing"),
        (["RECIPE", "--set", "objective.name=eet"], "unknown objective 'eet': did you mean 'eat'"),
        (["RECIPE", "--set", "attack.steps=0"], "setting attack.steps=0"),
        (["RECIPE", "--set", "optimizer.batch_size=2000"], "set batch_size to 900 or less"),
        (
            ["RECIPE", "--set", "data.validation=900"],
            "digits: data.train=900 and data.validation=900 ask for more than its 1797 samples: set them lower",
        ),
        (
            ["RECIPE", "--set", "schedule.kind=step", "--set", "schedule.milestones=[2, 3, 5]"],
            "schedule.milestones 3, 5 with schedule.epochs=3",
        ),
        (["RECIPE", "--data", "no'where"], """no training images at "no'where\""""),
        (["RECIPE", "--data", "nowhere"], "no training images at 'nowhere': name a folder"),
        (["RECIPE", "--set", "data.classes=7"], "digits has 10 classes of images of 1 x 8 x 8, the recipe wants 7"),
        (["RECIPE", "--set", "network.architecture=resnet_smal"], "did you mean 'resnet_small'"),
        (["RECIPE", "--set", "network.architecture=vit_tiny_patch16_224"], "does not take images of shape (1, 8, 8)"),
        (["RECIPE", "--tracker", "tensorbord"], "unknown tracker 'tensorbord': did you mean 'tensorboard'"),
        (["RECIPE", "--tracker", "clearml"], "tracker 'clearml' is not installed here: pip install clearml"),
        (["RECIPE", "--device", "tpu"], "--device tpu: expected cpu"),
        (["RECIPE", "--set", "optimizer.ema=1.5"], "ema=1.5"),
    ],
)
def test_bad_input_is_told_before_any_work(recipe: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    folder = tmp_path / "run"
    given = [str(recipe) if each == "RECIPE" else each for each in arguments]
    assert words in seasoning("train", *given, "--out", folder, expect=2)
    assert not folder.exists()


def test_options_that_repeat_what_the_images_say_are_taken_and_others_told(recipe: Path) -> None:
    spec = read_recipe_file(recipe)
    check_images(resolve(["network.options={num_classes=10, in_chans=1}"], spec))
    with pytest.raises(BadInput, match="num_classes=7 of the architecture, and the data have 10 classes"):
        check_images(resolve(["network.options={num_classes=7}"], spec))
    with pytest.raises(BadInput, match="in_chans=3 of the architecture, and the images have 1"):
        check_images(resolve(["network.options={in_chans=3}"], spec))


def test_a_grey_network_is_trained_on_images_in_colour(recipe: Path, tmp_path: Path) -> None:
    for label in range(2):
        (tmp_path / "images" / f"{label}").mkdir(parents=True)
        for number in range(12):
            colour = (200 * label + number, 30 + number, 40)
            Image.new("RGB", (8, 8), colour).save(tmp_path / "images" / f"{label}" / f"{number}.png")
    data = ["data.classes=2", "data.shape=[3, 8, 8]", "data.validation=8", "optimizer.batch_size=8"]
    spec = resolve([*data, "schedule.epochs=1", "network.options={in_chans=1}"], read_recipe_file(recipe))
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"source": str(tmp_path / "images")})})
    best = run_recipe("x", spec, tmp_path / "run", device="cpu", trackers=())
    assert {each.shape[1] for name, each in load_ingredient(best).items() if "stem" in name and each.dim() == 4} == {1}
    assert carried_names(best) == ("0", "1")


def test_a_fine_tune_numbers_the_classes_as_its_start_names_them(tmp_path: Path) -> None:
    for name in ("class1", "class2", "class10"):
        for number in range(8):
            colour = (10 * int(name[5:]), number, 40)
            (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), colour).save(tmp_path / "images" / name / f"{number}.png")
    recipe, init, names = tmp_path / "tune.toml", tmp_path / "init.pt", ["class1", "class2", "class10"]
    recipe.write_text(FINE_TUNE)
    with torch.random.fork_rng():
        state = build_model("resnet_small", num_classes=3, in_chans=3).network.state_dict()
    torch.save({"state_dict": state, "class_to_idx": {name: label for label, name in enumerate(names)}}, init)
    data = ["data.classes=3", "data.shape=[3, 8, 8]", "data.validation=8", "optimizer.batch_size=8"]
    spec = resolve(data, read_recipe_file(recipe))
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"source": str(tmp_path / "images")})})
    best = run_recipe("x", spec, tmp_path / "run", init=init, device="cpu", trackers=())
    assert carried_names(best) == tuple(names)


def test_the_code_of_a_network_from_a_file_belongs_to_its_training(recipe: Path, tmp_path: Path) -> None:
    code = (
        "from seasoning.models import build_model\n\ndef make(num_classes, in_chans):\n"
        "    return build_model('resnet_small', num_classes=num_classes, in_chans=in_chans, widths=(8, 8)).network\n"
    )
    (tmp_path / "net.py").write_text(code)
    network = f'network.architecture="{tmp_path / "net.py"}:make"'
    options: list[str | Path] = ["--set", network, "--set", "schedule.epochs=1", "--out", tmp_path / "run"]
    seasoning("train", recipe, *options, "--tracker", "none")
    seasoning("train", recipe, *options, "--tracker", "none", "--resume")
    (tmp_path / "net.py").write_text(code.replace(".network", ".network.double().float()"))
    printed = seasoning("train", recipe, *options, "--tracker", "none", "--resume", expect=2)
    assert "belongs to another training (code is " in printed
    seasoning("train", recipe, *options, "--tracker", "none", "--resume", "--accept-changes")


def test_constants_of_a_recipe_that_its_start_contradicts_are_told(tmp_path: Path) -> None:
    recipe, init = tmp_path / "tune.toml", tmp_path / "init.safetensors"
    recipe.write_text(FINE_TUNE)
    with torch.random.fork_rng():
        state = build_model("resnet_small", num_classes=10).network.state_dict()
    save_state(state, init, {"seasoning.ingredient": json.dumps({"mean": [0.0], "std": [1.0]})})
    setting = ["network.mean=[0.5]", "network.std=[0.5]"]
    options = [part for each in setting for part in ("--set", each)]
    printed = seasoning("train", recipe, "--init", init, *options, "--out", tmp_path / "run", expect=2)
    assert "init.safetensors was trained with normalization mean [0.0] and std [1.0], not [0.5] and [0.5]" in printed
    assert not (tmp_path / "run").exists()


def test_a_folder_that_does_not_fit_is_told(recipe: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "images" / name / "1.png")
    printed = seasoning("train", recipe, "--data", tmp_path / "images", "--out", tmp_path / "run", expect=2)
    assert "has 2 classes of images of 3 x 4 x 4, the recipe wants 10 classes of images of 1 x 8 x 8" in printed


def test_a_folder_whose_images_would_all_validate_is_told(recipe: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / name / "1.png")
    size = [part for each in ("data.classes=2", "data.shape=[3, 8, 8]") for part in ("--set", each)]
    options = ["--data", str(tmp_path / "images"), *size, "--set", "data.validation=2"]
    printed = seasoning("train", recipe, *options, "--out", tmp_path / "run", expect=2)
    assert "has 2 images, data.validation=2 of them would leave none to train on: set it lower" in printed
    assert not (tmp_path / "run").exists()


def test_images_that_validate_do_not_depend_on_how_the_folder_is_named(recipe: Path, tmp_path: Path) -> None:
    for place in range(40):
        path = tmp_path / "images" / str(place % 2) / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (6 * place,) * 3).save(path)
    shutil.copytree(tmp_path / "images", tmp_path / "renamed")
    said: list[dict[str, str]] = []
    for folder in (tmp_path / "images", tmp_path / "renamed"):
        size = ["data.classes=2", "data.shape=[3, 8, 8]", "data.validation=10", "optimizer.batch_size=10"]
        spec = resolve([f"data.source='{folder}'", *size, "schedule.epochs=1"], read_recipe_file(recipe))
        run_recipe("x", spec, tmp_path / f"{folder.name}-run", device="cpu", trackers=())
        said.append(json.loads((tmp_path / f"{folder.name}-run" / "recipe.json").read_text())["images"])
    assert said[0] == said[1]


def test_folders_of_something_else_are_refused_and_kept(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    for folder, words in ((tmp_path, "of no training"), (tmp_path / "thesis.tex", "is a file")):
        with pytest.raises(RunConflict, match=words):
            run_recipe("digits-eat", read_recipe_file(recipe), folder, device="cpu", trackers=())
    assert (tmp_path / "thesis.tex").read_text() == "precious"


@pytest.mark.filterwarnings("ignore::seasoning.attacks.checks.MaskedGradients")
def test_a_loss_of_nan_names_step_and_state(tmp_path: Path) -> None:
    recipe = tmp_path / "hot.toml"
    recipe.write_text(TEXT.replace("rate = 0.05", "rate = 1e30"))
    printed = seasoning(
        "train", recipe, "--out", tmp_path / "run", "--tracker", "none", "--save-seconds", "0", expect=2
    )
    assert "became" in printed
    assert "in epoch 1, step" in printed
    assert f"{tmp_path / 'run' / 'state.pt'} holds the last saved state, epoch 1, step " in printed


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
def test_ingredients_without_a_state_are_not_overwritten(recipe: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_bytes(b"precious")
    with pytest.raises(RunConflict, match=f"holds '{name}' of a training whose state is gone"):
        run_recipe("digits-eat", read_recipe_file(recipe), tmp_path / "run", device="cpu", trackers=())
    assert (tmp_path / "run" / name).read_bytes() == b"precious"


def test_validation_takes_no_more_images_at_a_time_than_a_part_of_a_batch(recipe: Path, tmp_path: Path) -> None:
    sizes: list[int] = []

    def watched(*given: Any, **options: Any) -> PixelClassifier:
        model = build_model(*given, **options)
        model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
        return model

    spec = resolve(["optimizer.accumulate=2", "schedule.epochs=1"], read_recipe_file(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seasoning.commands.data.build_model", watched)
        run_recipe("x", spec, tmp_path / "run", device="cpu", trackers=())
    # AutoPGD takes up to a quarter more where no gradient is.
    assert 16 <= max(sizes) <= 20


def photographs(folder: Path) -> list[str]:
    """A tree of tiny photographs of several sizes, and the settings that train on it."""
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            colour = (20 * number, 255 - 20 * number, 128 * (name == "cat"))
            Image.new("RGB", (12 + number, 16), colour).save(folder / name / f"{number}.png")
    size = ["data.classes=2", "data.shape=[3, 8, 8]", "data.validation=8", "data.crop=0", "data.flips=true"]
    view = ["augment.resized_crop=[0.3, 1.0]", "augment.randaugment={layers=2, magnitude=9, probability=0.5}"]
    mixture = ["augment.mixup=0.8", "augment.cutmix=1.0", "augment.smoothing=0.1"]
    return [*size, *view, *mixture, "optimizer.batch_size=8", "data.workers=0", f'data.source="{folder}"']


def test_photographs_are_trained_on_from_the_disk_cut_off_or_not(recipe: Path, tmp_path: Path) -> None:
    spec = resolve(photographs(tmp_path / "images"), read_recipe_file(recipe))
    train = partial(run_recipe, "mine", device="cpu", trackers=())
    train(spec, tmp_path / "whole")
    steps = iter(range(10))
    with pytest.raises(Stopped, match="epoch 2, step 1"):
        train(spec, tmp_path / "cut", stop=lambda: next(steps) == 3)
    # The number of processes that decode is no part of what a training is.
    train(resolve(["data.workers=1"], spec), tmp_path / "cut", resume=True)
    assert_same_ingredients(tmp_path / "whole", tmp_path / "cut")
    assert load_ingredient(tmp_path / "whole" / "last.safetensors")["fc.weight"].shape[0] == 2


def test_missing_photographs_are_told_with_their_layout(recipe: Path, tmp_path: Path) -> None:
    options = [part for each in photographs(tmp_path / "images") for part in ("--set", each)]
    printed = seasoning("train", recipe, *options, "--set", "data.source=nowhere", "--out", tmp_path / "run", expect=2)
    words = " ".join(printed.split())
    assert "no training images at 'nowhere': name with --data the folder that has 2 folders in it" in words
    assert "n01440764/n01440764_10026.JPEG" in words
    printed = seasoning("train", recipe, *options, "--set", "data.classes=3", "--out", tmp_path / "run", expect=2)
    assert "has 2 classes, the recipe wants 3: name another folder with --data" in " ".join(printed.split())
    assert not (tmp_path / "run").exists()


def test_a_damaged_state_is_named(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "state.pt").write_bytes(b"PK not a state")
    with pytest.raises(BadInput, match=r"state\.pt is damaged .*: remove it"):
        run_recipe("digits-eat", read_recipe_file(recipe), folder, resume=True, device="cpu", trackers=())


def test_progress_is_reported(recipe: Path, tmp_path: Path) -> None:
    seen: list[TrainingProgress] = []
    run_recipe("x", read_recipe_file(recipe), tmp_path / "run", device="cpu", trackers=(), on_step=seen.append)
    assert [report.fraction for report in seen] == sorted(report.fraction for report in seen)
    assert seen[-1].fraction == 1.0
    assert seen[-1].scores is not None


def test_recipes_are_listed_shown_copied_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = seasoning("recipes", "list")
    assert all(name in listed for name in RECIPES)
    assert seasoning("recipes", "show", "max-finetune") == RECIPES["cifar10/max-finetune"].read_text()
    monkeypatch.chdir(tmp_path)
    assert seasoning("recipes", "copy", "max-finetune") == "max-finetune.toml\n"
    assert (tmp_path / "max-finetune.toml").read_bytes() == RECIPES["cifar10/max-finetune"].read_bytes()
    assert "max-finetune.toml exists" in seasoning("recipes", "copy", "max-finetune", expect=2)
    checked = seasoning("recipes", "check")
    assert checked.count("can be trained") == len(RECIPES)
    text = (tmp_path / "max-finetune.toml").read_text()
    (tmp_path / "max-finetune.toml").write_text(text.replace('"l2:0.5", "l1:12"', "").replace('/255", ', '/255"'))
    assert "objective 'max' with 1 threats" in seasoning("recipes", "check", "max-finetune.toml", expect=1)
