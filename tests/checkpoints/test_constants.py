"""Constants of normalization: which names they have, and in which units they are."""

from pathlib import Path
from typing import Any

import pytest
import torch

from seasoning.checkpoints.constants import Constants, alike, carried, kind_of, said_in, settled, sound
from seasoning.checkpoints.load import save_state
from seasoning.commands.evaluate import evaluate_sets
from seasoning.config.evaluate import EvaluateSpec
from seasoning.config.sections import NetworkSection
from seasoning.errors import BadInput, Mismatch
from seasoning.models import build_model


BYTES = Constants((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
UNITS = Constants((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
WORDS = r"is for pixels of 0 to 255, and here they lie in \[0, 1\]: if that is meant, say mean 0.485,0.456,0.406"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mean", "mean"),
        ("normalize.std", "std"),
        ("module.0.mean", "mean"),
        ("mu", "mean"),
        ("sigma", "std"),
        ("attacker.normalize.new_mean", "mean"),
        ("pixel_mean", "mean"),
        ("net.image_std", "std"),
        ("norm_mean", "mean"),
        ("_std", "std"),
        ("bn.running_mean", None),
        ("bn.moving_mean", None),
        ("mean.weight", None),
        ("meaning", None),
        ("blocks.mean_pool.weight", None),
    ],
)
def test_names_of_constants(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


def test_one_number_serves_every_channel_and_rounding_is_no_difference() -> None:
    assert alike((0.5,), (0.5, 0.5, 0.5))
    assert alike((0.4914, 0.4822, 0.4465), (0.491, 0.482, 0.447))
    assert not alike((0.5, 0.5), (0.5, 0.5, 0.5))
    assert not alike((0.2435,), (0.1994,))


def test_a_mean_without_a_standard_deviation_beside_it_says_nothing() -> None:
    assert carried({"normalize.mean": torch.zeros(3), "other.std": torch.ones(3)}) is None
    assert carried({"normalize.mean": torch.zeros(3), "normalize.std": torch.zeros(3)}) is None
    assert carried({"normalize.mean": torch.zeros(64), "normalize.std": torch.ones(64)}) is None
    found = carried({"a.mean": torch.tensor([[0.5]]), "a.std": torch.tensor(0.25)})
    assert found == ((0.5,), (0.25,))


@pytest.mark.parametrize(
    ("constants", "words"),
    [
        (BYTES, WORDS + r",? and std 0.229,0.224,0.225"),
        (Constants((103.939, 116.779, 123.68), (1.0, 1.0, 1.0)), "say mean 0.4076,0.458,0.485 and std 0.003922"),
        (Constants((0.0,), (255.0,)), r"say mean 0 and std 1 \(--mean and --std, or network.mean"),
        (Constants((0.5,), (0.0,)), "is impossible"),
        (Constants((float("nan"),), (1.0,)), "is impossible"),
    ],
)
def test_units_of_255_are_refused_with_the_likely_meaning(constants: Constants, words: str) -> None:
    with pytest.raises(Mismatch, match=words):
        sound(constants, "it")


@pytest.mark.parametrize("constants", [UNITS, Constants((0.0,), (1.0,)), Constants((-0.1,), (1 / 255,))])
def test_others_are_taken(constants: Constants) -> None:
    assert sound(constants, "it") is constants


@pytest.mark.parametrize("where", ["config.data", "cfg.dataset.transform", "hyper_parameters.model", "args.transforms"])
def test_constants_in_a_nested_configuration_are_found(where: str) -> None:
    entries: dict[str, Any] = {"mean": list(UNITS.mean), "std": list(UNITS.std)}
    for key in reversed(where.split(".")):
        entries = {key: entries}
    assert said_in(entries) == UNITS
    assert said_in({"scores": entries}) is None


def test_who_says_units_of_255_is_taken_at_the_callers_word() -> None:
    assert settled(BYTES, UNITS, "it") == UNITS
    assert settled(None, UNITS, "it") == settled(UNITS, None, "it") == settled(UNITS, UNITS, "it") == UNITS
    assert settled(None, None, "it") is None
    with pytest.raises(Mismatch, match=WORDS):
        settled(BYTES, None, "it")
    with pytest.raises(Mismatch, match=WORDS):
        settled(None, BYTES, "it")
    with pytest.raises(Mismatch, match=r"it was trained with normalization mean .*: leave mean and std out"):
        settled(UNITS, Constants((0.5,), (0.5,)), "it")


def test_units_of_255_are_refused_wherever_they_are_said(tmp_path: Path) -> None:
    network = build_model("resnet10t", num_classes=3).network.state_dict()
    tensors = {"pixel_mean": torch.tensor(BYTES.mean), "pixel_std": torch.tensor(BYTES.std)}
    with pytest.raises(BadInput, match=WORDS):
        build_model("resnet10t", num_classes=3, mean=BYTES.mean, std=BYTES.std)
    with pytest.raises(BadInput, match="for pixels of 0 to 255"):
        build_model("resnet10t", num_classes=3, mean=(2.0,))
    with pytest.raises(Mismatch, match=WORDS):
        build_model("resnet10t", num_classes=3, state=network | tensors)
    model = build_model("resnet10t", num_classes=3, state=network | tensors, mean=UNITS.mean, std=UNITS.std)
    assert model.constants.mean == pytest.approx(UNITS.mean)
    # Also when it becomes another soup of such ingredients.
    model.load(network | tensors)
    assert model.constants.std == pytest.approx(UNITS.std)
    save_state(network, tmp_path / "a", {"mean": str(list(BYTES.mean)), "std": str(list(BYTES.std))})
    spec = EvaluateSpec(network=NetworkSection(architecture="resnet10t"))
    with pytest.raises(Mismatch, match=r"the normalization of .*a, mean \[123.675"):
        evaluate_sets(tmp_path / "a", spec, tmp_path / "out", watch=lambda doing, done, total: None)
