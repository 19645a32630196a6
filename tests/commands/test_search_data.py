"""The images of a search: which choose, which only measure, and that none of them trained an ingredient."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import seasoning
from seasoning.checkpoints.load import State
from seasoning.commands.search_data import OpenTask, open_sets, selection_order
from seasoning.config.search import make_plan
from seasoning.data import load_source, split_samples
from seasoning.data.sources import drawing_order
from seasoning.errors import BadInput
from tests.commands.searches import content, found, measured, saved, tasks_of


USUAL = {"train": 900, "validation": 200, "selection": 300, "test": 397}


def parts(**sizes: int) -> dict[str, set[int]]:
    """Ids of parts of the digits."""
    return {name: set(part.ids.tolist()) for name, part in split_samples(load_source("digits"), sizes).items()}


def ids(task: OpenTask) -> tuple[set[int], set[int]]:
    """Of the images that choose, and of those that only measure."""
    others = set() if task.others is None else set(task.others.samples.ids.tolist())
    return set(task.selection.samples.ids.tolist()), others


def with_images(folder: Path, states: list[State], used: list[dict[str, Any] | None]) -> dict[str, str]:
    """Files of ingredients that say on which images they were trained."""
    files = {}
    for number, (state, images) in enumerate(zip(states, used, strict=True)):
        told: dict[str, Any] = {} if images is None else {"images": images}
        files[f"i{number}"] = saved(state, folder / f"i{number}.safetensors", **told)
    return files


# ---- known data sets


def test_the_images_of_a_known_data_set_are_those_of_its_usual_parts(files: dict[str, str]) -> None:
    usual = parts(**USUAL)
    whole = content(files, shots=300, others=None, shifts=["noise"])
    tasks = tasks_of(make_plan(whole))
    for name in ("digits", "digits/noise", "digits@linf:0.1"):
        assert ids(tasks[name]) == (usual["selection"], usual["test"]), name
    # Fewer images are the first of them, in the order in which parts are filled.
    few = tasks_of(make_plan(whole | {"shots": 20, "others": 30}))["digits"]
    order = drawing_order(load_source("digits"))[1100:]
    assert few.order.tolist() == order[:20]
    assert ids(few) == (set(order[:20]), set(order[20:50]))
    # Under whatever name the plan has it.
    named = tasks_of(make_plan(whole | {"data": {"mine": "digits"}}))["mine"]
    assert ids(named) == (usual["selection"], usual["test"])
    assert named.selection.samples.name == "mine/selection"


USED = {"source": "digits", "train": 1200, "validation": 200}


@pytest.mark.parametrize("which", [[USED, None], [None, USED], [{**USED, "train": 300}, USED]])
def test_images_that_any_ingredient_was_trained_or_validated_on_are_left_out(
    tmp_path: Path, nominal_state: State, robust_state: State, which: list[dict[str, Any] | None]
) -> None:
    files = with_images(tmp_path, [nominal_state, robust_state], which)
    leaked = set.union(*parts(train=1200, validation=200).values())
    assert len(leaked) == 1400
    answers = seasoning.search(
        ingredients=files, data={"digits": "digits"}, out=tmp_path / "run", shifts=["noise"], shots=300, strategy="grid"
    )
    there = measured(tmp_path / "run")
    assert set(there) == {"digits/selection", "digits/test", "digits/selection/noise", "digits/test/noise"}
    for name, own in there.items():
        assert not own & leaked, name
    assert len(there["digits/selection"]) == 300
    assert len(there["digits/test"]) == 1797 - 1400 - 300
    assert not there["digits/selection"] & there["digits/test"]
    complement = answers[0].chosen[0].judged.complement
    assert complement is not None
    assert complement.n == 97


@pytest.mark.parametrize("used", [{"source": "digits", "train": 300, "validation": 100}, {**USED, "source": "letters"}])
def test_what_others_or_fewer_images_trained_leaves_the_usual_parts(
    tmp_path: Path, nominal_state: State, robust_state: State, used: dict[str, Any]
) -> None:
    files = with_images(tmp_path, [nominal_state, robust_state], [used, None])
    usual = parts(**USUAL)
    task = tasks_of(make_plan(content(files, shots=300, others=None)))["digits"]
    assert ids(task) == (usual["selection"], usual["test"])


def test_too_few_images_that_trained_nothing_are_told(
    tmp_path: Path, nominal_state: State, robust_state: State
) -> None:
    files = with_images(tmp_path, [nominal_state, robust_state], [{**USED, "train": 1500}, None])
    words = "'digits' has 97 images that no ingredient or candidate was trained or validated on, .* --shots 97"
    with pytest.raises(BadInput, match=words):
        open_sets(make_plan(content(files, shots=300)))


def test_the_same_photographs_choose_in_every_derived_set(files: dict[str, str]) -> None:
    tasks = tasks_of(make_plan(content(files)))
    assert tasks["digits"].order.tolist() == tasks["digits/noise"].order.tolist()
    first = selection_order(range(100))[:10].tolist()
    assert [each for each in selection_order(range(50, 1000)) if each in first] == [each for each in first if each > 49]


# ---- folders


def picture_folder(root: Path, classes: list[str], each: int) -> str:
    random = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(each):
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / name / f"{number}.png")
    return str(root)


def test_a_folder_with_unknown_classes_is_told(files: dict[str, str], tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "cartoons", ["0", "1", "seven"], 2)
    data = {"digits": "digits", "cartoons": folder}
    with pytest.raises(BadInput, match="data 'cartoons' has 1 classes that the model does not know, such as 'seven'"):
        found(make_plan(content(files, data=data)), tmp_path / "run")


def test_a_folder_with_some_of_the_classes_is_numbered_as_the_model_does(files: dict[str, str], tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "cartoons", ["3", "7"], 3)
    reading = {"classes": [str(number) for number in range(10)]}
    plan = make_plan(content(files, data={"cartoons": folder}, reading=reading, shots=4, others=None))
    task = tasks_of(plan)["cartoons"]
    assert task.others is not None
    labels = torch.cat([task.selection.samples.y, task.others.samples.y])
    assert sorted(labels.tolist()) == [3, 3, 3, 7, 7, 7]
    assert len(task.selection.samples) == 4
    # The first ones by the hash of their ids choose, whatever else there is.
    every = sorted([*task.selection.samples.ids.tolist(), *task.others.samples.ids.tolist()])
    assert task.order.tolist() == selection_order(every)[:4].tolist()


def test_folders_of_too_few_images_are_told(files: dict[str, str], tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "cartoons", ["3", "7"], 3)
    with pytest.raises(BadInput, match=r"'cartoons' has 6 labelled images, 40 are to choose: .* at most --shots 6"):
        open_sets(make_plan(content(files, data={"cartoons": folder})))


def test_folders_are_looked_for_beside_the_plan_and_known_names_first(files: dict[str, str], tmp_path: Path) -> None:
    picture_folder(tmp_path / "cartoons", ["3", "7"], 3)
    (tmp_path / "digits").mkdir()
    here = {"folder": str(tmp_path), "shots": 4, "shifts": [], "threats": []}
    tasks = tasks_of(make_plan(content(files, data={"cartoons": "cartoons"}, **here)))
    assert tasks["cartoons"].selection.samples.x.shape[1:] == (3, 8, 8)
    assert tasks_of(make_plan(content(files, **here)))["digits"].selection.samples.x.shape[1:] == (1, 8, 8)
