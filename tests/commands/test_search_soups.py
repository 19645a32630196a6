"""What a search measures is normalized as its ingredients say, in whatever way and type they say it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seasoning.checkpoints.load import State, load_ingredient, save_state
from seasoning.checkpoints.provenance import constants_of
from seasoning.commands.data import view_of
from seasoning.commands.search import run_plan
from seasoning.commands.search_data import load_tasks, open_sets
from seasoning.commands.search_soups import live_model, network_of, read_ingredients
from seasoning.config.search import SearchPlan, make_plan
from seasoning.errors import BadInput, Mismatch, RunConflict
from seasoning.models import build_model


MEAN, STD = 0.25, 0.75


def written(folder: Path, name: str, state: State, how: str, dtype: torch.dtype, mean: float = MEAN) -> str:
    """An ingredient that says by tensors, by metadata or not at all how it normalizes images."""
    tensors: dict[str, Tensor] = {
        key: each.to(dtype) if each.is_floating_point() else each for key, each in state.items()
    }
    metadata = {}
    if how == "tensors":
        tensors = {f"net.{key}": each for key, each in tensors.items()}
        tensors |= {"mu": torch.full((1, 1, 1), mean).to(dtype), "sigma": torch.full((1, 1, 1), STD).to(dtype)}
    elif how == "metadata":
        metadata = {"mean": json.dumps([mean]), "std": json.dumps([STD])}
    save_state(tensors, folder / f"{name}.safetensors", metadata)
    return str(folder / f"{name}.safetensors")


def plan_of(files: dict[str, str], **changes: Any) -> SearchPlan:
    plain = {
        "architecture": "resnet_small",
        "ingredients": files,
        "data": {"digits": "digits"},
        "shots": 40,
        "others": 60,
        "strategy": "uniform",
        "space": {"step": 0.5},
        "objectives": [{"best": "digits"}],
    }
    return make_plan(plain | changes)


def live(plan: SearchPlan, folder: Path) -> Any:
    states, sets = read_ingredients(plan, print), open_sets(plan)
    model = network_of(plan, sets, states[0])
    return live_model(plan, model, states, load_tasks(plan, sets, view_of(model), folder))


@pytest.mark.parametrize(
    ("hows", "dtypes"),
    [
        (("metadata", "metadata"), (torch.float32, torch.float32)),
        (("tensors", "tensors"), (torch.float32, torch.float32)),
        (("tensors", "metadata"), (torch.float16, torch.float16)),
        (("tensors", "none"), (torch.float16, torch.float16)),
        (("none", "metadata"), (torch.float32, torch.float16)),
        (("tensors", "none"), (torch.bfloat16, torch.float32)),
    ],
)
def test_equal_constants_reach_every_soup(
    tmp_path: Path,
    nominal_state: State,
    robust_state: State,
    hows: tuple[str, str],
    dtypes: tuple[torch.dtype, torch.dtype],
) -> None:
    files = {
        name: written(tmp_path, name, state, how, dtype)
        for name, state, how, dtype in zip("ab", (nominal_state, robust_state), hows, dtypes, strict=True)
    }
    soups = live(plan_of(files), tmp_path)
    x = torch.rand(4, 1, 8, 8)
    for number, state in enumerate((nominal_state, robust_state)):
        rounded = {name: each.to(dtypes[number]) if each.dim() else each for name, each in state.items()}
        alone = build_model("resnet_small", num_classes=10, mean=(MEAN,), std=(STD,), state=rounded)
        with torch.no_grad():
            torch.testing.assert_close(soups.soup((1.0 - number, float(number)))(x), alone(x), rtol=0, atol=2e-3)


def test_numbers_and_soup_of_a_search_are_those_of_the_constants(
    tmp_path: Path, nominal_state: State, robust_state: State
) -> None:
    files = {
        "a": written(tmp_path, "a", nominal_state, "tensors", torch.float32),
        "b": written(tmp_path, "b", robust_state, "metadata", torch.float32),
    }
    plan = plan_of(files)
    (answer,) = run_plan(plan, tmp_path / "run").answers
    (task,) = load_tasks(plan, open_sets(plan), view_of(build_model("resnet_small", num_classes=10)), tmp_path).values()
    assert task.others is not None
    parts = (task.selection.samples, task.others.samples)
    for told, state in zip(answer.ingredients, (nominal_state, robust_state), strict=True):
        right, other = (
            sum(int((model(part.images(slice(None))).argmax(1) == part.y).sum()) for part in parts) / 100
            for model in (
                build_model("resnet_small", num_classes=10, mean=(MEAN,), std=(STD,), state=state),
                build_model("resnet_small", num_classes=10, state=state),
            )
        )
        assert told.judged.whole.value == pytest.approx(right)
        assert right != other
    assert constants_of([answer.soup]) == ((MEAN,), (STD,))
    assert set(load_ingredient(answer.soup)) == set(nominal_state)


@pytest.mark.parametrize("hows", [("tensors", "tensors"), ("metadata", "tensors"), ("metadata", "metadata")])
def test_differing_constants_are_refused_before_any_work(
    tmp_path: Path, nominal_state: State, robust_state: State, hows: tuple[str, str]
) -> None:
    files = {
        "a": written(tmp_path, "a", nominal_state, hows[0], torch.float32),
        "b": written(tmp_path, "b", robust_state, hows[1], torch.float32, mean=0.5),
    }
    with pytest.raises(BadInput, match=r"do not mix: a normalizes images with .*0\.25.* and b with .*0\.5"):
        read_ingredients(plan_of(files), print)


@pytest.mark.parametrize("how", ["tensors", "metadata"])
def test_a_plan_that_normalizes_otherwise_is_refused(
    tmp_path: Path, nominal_state: State, robust_state: State, how: str
) -> None:
    files = {
        name: written(tmp_path, name, state, how, torch.float32)
        for name, state in (("a", nominal_state), ("b", robust_state))
    }
    plan = plan_of(files, mean=[0.5], std=[0.5])
    with pytest.raises(Mismatch, match=r"0\.25.*0\.5"):
        network_of(plan, open_sets(plan), read_ingredients(plan, print)[0])
    agreeing = plan_of(files, mean=[MEAN], std=[STD])
    assert network_of(agreeing, open_sets(agreeing), read_ingredients(agreeing, print)[0]).constants == (
        (MEAN,),
        (STD,),
    )


def test_equal_ingredients_have_a_place_each_on_the_page(tmp_path: Path, nominal_state: State) -> None:
    files = {name: written(tmp_path, name, nominal_state, "tensors", torch.float32) for name in "ab"}
    (answer,) = run_plan(plan_of(files), tmp_path / "run").answers
    assert {each.judged.whole for each in (*answer.chosen, *answer.ingredients)} == {answer.chosen[0].judged.whole}
    assert (tmp_path / "run" / "report.html").is_file()


def test_outcomes_of_other_code_or_constants_are_not_taken_over(
    tmp_path: Path, nominal_state: State, robust_state: State
) -> None:
    def run(files: dict[str, str], architecture: str) -> None:
        run_plan(plan_of(files, architecture=architecture), tmp_path / "run")

    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sizes.py").write_text("SCALE = 1")
    (tmp_path / "own" / "net.py").write_text(
        "import sizes\nfrom seasoning.models.resnet import resnet_small\n"
        "def build(num_classes):\n    net = resnet_small(num_classes=num_classes)\n"
        "    net.scale = sizes.SCALE\n    return net\n"
    )
    states, name = {"a": nominal_state, "b": robust_state}, f"{tmp_path / 'own' / 'net.py'}:build"
    files = {key: written(tmp_path, key, state, "metadata", torch.float32) for key, state in states.items()}
    run(files, name)
    run(files, name)
    (tmp_path / "own" / "sizes.py").write_text("SCALE = 2")
    with pytest.raises(RunConflict, match="holds outcomes of another network"):
        run(files, name)
    (tmp_path / "own" / "sizes.py").write_text("SCALE = 1")
    moved = {key: written(tmp_path, key, state, "metadata", torch.float32, mean=0.5) for key, state in states.items()}
    with pytest.raises(RunConflict, match="holds outcomes of another network"):
        run(moved, name)
