"""The losses of `check --data` are those of networks that normalize as the checkpoints say."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from seasoning.checkpoints.load import State, save_state
from seasoning.commands.check import check_checkpoints
from seasoning.commands.data import training_images
from seasoning.data import Samples
from seasoning.models import build_model
from seasoning.soup import Mixability, check_mixable
from tests.data.trees import save_coded


@pytest.mark.parametrize("how", ["metadata", "tensors", "one of them"])
def test_losses_are_those_of_the_constants(
    tmp_path: Path, nominal_state: State, robust_state: State, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {"normalize.mean": torch.tensor([0.25]), "normalize.std": torch.tensor([0.75])}
    told = {"mean": json.dumps([0.25]), "std": json.dumps([0.75])}
    for number, state in enumerate((nominal_state, robust_state)):
        carry = how == "tensors" or (how == "one of them" and number == 0)
        save_state({**state, **tensors} if carry else state, tmp_path / str(number), told if how == "metadata" else {})
    losses: list[Callable[[State], float]] = []

    def looked_at(*arguments: Any, **options: Any) -> Mixability:
        losses.append(options["loss"])
        return check_mixable(*arguments, **options)

    monkeypatch.setattr("seasoning.commands.check.check_mixable", looked_at)
    report = check_checkpoints([tmp_path / "0", tmp_path / "1"], architecture="resnet_small", data="digits")
    assert list(report.barriers) == [(0, 1)]
    samples = training_images("digits", None)
    few = samples.take(torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:200], "few")
    for number, state in enumerate((nominal_state, robust_state)):
        model = build_model("resnet_small", num_classes=10, mean=(0.25,), std=(0.75,), state=state)
        with torch.no_grad():
            expected = float(cross_entropy(model(few.images(slice(None))), few.y))
        carry = how == "tensors" or (how == "one of them" and number == 0)
        given: dict[str, Any] = {**state, **tensors} if carry else dict(state)
        assert losses[0](given) == pytest.approx(expected, rel=1e-5)


def test_checkpoints_that_see_different_images_are_not_tried(tmp_path: Path, nominal_state: State) -> None:
    for name, mean in (("a", 0.25), ("b", 0.5)):
        save_state(nominal_state, tmp_path / name, {"mean": json.dumps([mean]), "std": "[0.5]"})
    report = check_checkpoints([tmp_path / "a", tmp_path / "b"], architecture="resnet_small", data="digits")
    assert report.verdict.startswith("do not mix: ")
    assert "normalizes images with mean (0.25)" in report.verdict
    assert report.barriers == {}


def test_a_base_in_other_names_is_compared_too(tmp_path: Path, nominal_state: State, robust_state: State) -> None:
    save_state({f"backbone.{name}": tensor for name, tensor in nominal_state.items()}, tmp_path / "base", {})
    for number, state in enumerate((robust_state, nominal_state)):
        save_state(state, tmp_path / str(number), {})
    report = check_checkpoints([tmp_path / "0", tmp_path / "1"], base=tmp_path / "base")
    assert report.whole is not None
    assert report.whole.differences == {(0, 1): 0.0}


def test_labels_are_numbered_as_the_checkpoints_name_the_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("class1", "class2", "class10")):
        save_coded(tmp_path / "images" / name / "1.png", number, side=8)
    with torch.random.fork_rng():
        state = build_model("resnet_small", num_classes=3, in_chans=3).network.state_dict()
    for name in ("a.pt", "b.pt"):
        torch.save({"state_dict": state, "classes": ["class1", "class2", "class10"]}, tmp_path / name)
    seen: list[Tensor] = []

    def loss(model: nn.Module, samples: Samples, state: State) -> float:
        colour = (samples.images(slice(None))[:, 1].mean((1, 2)) * 255).round()
        seen.append(colour.long() - samples.y)
        return 0.0

    monkeypatch.setattr("seasoning.commands.check._mean_loss", loss)
    check_checkpoints(
        [tmp_path / "a.pt", tmp_path / "b.pt"], architecture="resnet_small", data=str(tmp_path / "images")
    )
    assert torch.cat(seen).tolist() == [0] * (3 * len(seen)) != []
