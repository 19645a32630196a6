"""What masks, groups and several right labels do to numbers; every accuracy is typed by hand."""

import sqlite3
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seasoning.attacks import apgd
from seasoning.data import Samples
from seasoning.data.imagenet import subset, wnids
from seasoning.data.imagenet_variants import COARSE
from seasoning.data.labels import LabelMap
from seasoning.data.reading import read_samples
from seasoning.data.recognise import find_set
from seasoning.errors import BadInput, Mismatch
from seasoning.evaluation.evaluator import evaluate
from seasoning.metrics import accuracy, corruption_error, robust_accuracy, shape_bias, unmasked_accuracy
from seasoning.outcomes import Outcomes, concatenate
from seasoning.statistics import mean_of_groups
from seasoning.store.database import Store
from seasoning.threat import Threat
from tests.data.trees import oracle, save_coded, stack
from tests.make import outcomes
from tests.store.test_database import ASKED, HEADER


A_MASK = LabelMap(1000, tuple((wnids().index(wnid),) for wnid in subset("a")))


def made(answers: list[int], labels: list[int], **more: object) -> Samples:
    """Samples that `oracle` takes for these classes of the 1,000."""
    given: dict[str, object] = {"classes": 1000} | more
    ids = torch.arange(len(answers))
    return Samples("made", ids, stack(*answers), torch.tensor(labels), **given)  # type: ignore[arg-type]


def test_masked_and_unmasked_predictions_of_imagenet_a() -> None:
    # Of the 1,000 classes A has 6, 11 and 13 as its first ones. Class 5 is none of them; its nearest that is, is 6.
    samples = made([6, 5, 11, 8, 13], [0, 0, 1, 0, 1], classes=200, label_map=A_MASK)
    found = evaluate(oracle, samples)
    assert found.clean.tolist() == [0, 0, 1, 0, 2]
    assert found.unmasked is not None
    assert found.unmasked.tolist() == [0, -1, 1, -1, 2]
    # Right under the mask: 1, 2, 3, 4 of five. Among all classes: 1 and 3.
    assert accuracy(found).value == pytest.approx(4 / 5)
    assert unmasked_accuracy(found).value == pytest.approx(2 / 5)


def test_a_model_of_other_classes_is_refused() -> None:
    samples = made([6], [0], classes=200, label_map=A_MASK)
    with pytest.raises(Mismatch, match="the model has 200 classes, the data set wants 1000"):
        evaluate(lambda x: oracle(x)[:, :200], samples)


def test_several_labels_of_real_count_as_right(tmp_path: Path) -> None:
    root = tmp_path / "val"
    for number, answer in ((1, 7), (2, 3), (3, 9), (4, 0)):
        save_coded(root / "n01440764" / f"ILSVRC2012_val_{number:08d}.JPEG", answer)
    # The model says 7, 3, 9, 0: right by the second label, without a label and so not counted, wrong, right.
    (root / "real.json").write_text("[[4, 7], [], [8], [0]]")
    (part,) = find_set(root, "imagenet-real").parts
    found = evaluate(oracle, read_samples(part.open()))
    estimate = accuracy(found)
    assert estimate.n == 3
    assert estimate.value == pytest.approx(2 / 3)
    threat = Threat("linf", 0.1)
    with pytest.raises(BadInput, match="several classes are right for each image, and an attack knows one"):
        evaluate(oracle, read_samples(part.open()), attack=partial(apgd, steps=2), threat=threat)


def test_shape_bias_counts_what_disagrees_and_was_taken_for_either(tmp_path: Path) -> None:
    cat, elephant, clock, oven = 281, 385, 409, 766
    files = {
        "cat1-elephant1.png": cat,  # shape
        "cat2-elephant2.png": elephant,  # texture
        "clock1-oven1.png": clock,  # shape
        "clock2-oven2.png": elephant,  # neither: right for nobody, no bias
        "oven3-oven4.png": oven,  # both agree: right, but no bias
        "oven5-clock5.png": oven,  # shape
    }
    for name, answer in files.items():
        save_coded(tmp_path / "stimuli" / name, answer)

    def sharp(x: Tensor) -> Tensor:
        return 20 * oracle(x)

    (part,) = find_set(tmp_path / "stimuli").parts
    found = evaluate(sharp, read_samples(part.open()))
    assert accuracy(found).value == pytest.approx(4 / 6)
    bias = shape_bias(found)
    assert bias.n == 4
    assert bias.value == pytest.approx(3 / 4)


def test_the_coarse_class_is_that_of_the_mean_not_of_the_sum() -> None:
    # A dog-like spread: 0.6 over the 109 dogs, 0.4 on the one class of airplanes. The sum says dog, the mean airplane.
    logits = torch.full((1, 1000), -30.0)
    logits[0, list(COARSE["dog"])] = float(np.log(0.6 / 109))
    logits[0, COARSE["airplane"][0]] = float(np.log(0.4))
    label_map = LabelMap(1000, tuple(COARSE.values()))
    samples = made([0], [0], classes=16, label_map=label_map, texture=torch.tensor([10]))
    found = evaluate(lambda x: logits, samples, probe=False)
    assert found.clean.tolist() == [0]


class Linear(nn.Module):
    """Logits from three pixels: class 0, 1, 2."""

    def forward(self, x: Tensor) -> Tensor:
        return 10 * x.flatten(1)[:, :3]


def test_an_attack_sees_the_masked_logits() -> None:
    # Class 1 is a step away, but masked out; class 2 is far: nothing within 0.1 changes the masked answer.
    x = torch.tensor([[0.6, 0.55, 0.1]]).view(1, 1, 1, 3)
    threat, attack = Threat("linf", 0.1), partial(apgd, steps=10, loss="ce")
    masked = Samples("m", torch.arange(1), x, torch.tensor([0]), 2, label_map=LabelMap(3, ((0,), (2,))))
    every = Samples("e", torch.arange(1), x, torch.tensor([0]), 3)
    assert robust_accuracy(evaluate(Linear(), every, attack=attack, threat=threat)).value == 0
    assert robust_accuracy(evaluate(Linear(), masked, attack=attack, threat=threat)).value == 1


def full(**more: object) -> Outcomes:
    plain = outcomes(labels=[1, 2, 3], clean=[1, 5, 4])
    return Outcomes(**plain.columns(), **more)  # type: ignore[arg-type]


def test_columns_that_a_set_needs_survive_the_store(tmp_path: Path) -> None:
    valid = np.array([[1, 9], [2, 5], [3, -1]])
    kept = full(unmasked=np.array([1, -1, 3]), valid=valid, texture=np.array([0, 1, 2]))
    assert kept.correct.tolist() == [True, True, False]
    with Store(tmp_path / "a.sqlite") as store:
        store.add(ASKED, 3, kept, HEADER)
        back = store.outcomes(ASKED)
    assert back is not None
    assert list(back.columns()) == list(kept.columns())
    assert back.valid is not None
    assert back.valid.tolist() == valid.tolist()
    assert kept.take(np.array([1])).correct.tolist() == [True]


def test_a_store_without_these_columns_is_read_and_one_with_others_refused(tmp_path: Path) -> None:
    plain = outcomes(labels=[1], clean=[1])
    with Store(tmp_path / "a.sqlite") as store:
        store.add(ASKED, 1, plain, HEADER)
        back = store.outcomes(ASKED)
        assert back is not None
        assert back.unmasked is None
        buffer = tmp_path / "b.npz"
        np.savez(buffer, ids=plain.ids, labels=plain.labels)
        connection = sqlite3.connect(tmp_path / "a.sqlite")
        connection.execute("UPDATE block SET outcomes = ?", (buffer.read_bytes(),))
        connection.commit()
        connection.close()
        with pytest.raises(BadInput, match="written by another version"):
            store.outcomes(ASKED)


def test_blocks_of_different_sets_are_not_joined() -> None:
    with pytest.raises(BadInput, match="different columns"):
        concatenate([full(), full(texture=np.array([0, 1, 2]))])


def test_numbers_that_a_set_does_not_have_are_refused() -> None:
    for number in (unmasked_accuracy, shape_bias):
        with pytest.raises(BadInput, match="these samples have no"):
            number(full())


def test_a_mean_of_columns_weighs_a_column_of_many_sets_once() -> None:
    def column(
        *right: bool,
    ) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        return np.arange(len(right)), np.array(right)

    # Columns 100 % and (0 % + 50 %) / 2 = 25 %: mean 62.5 %, not the 50 % of three equal sets.
    mean = mean_of_groups([[column(True, True)], [column(False, False), column(True, False)]])
    assert mean.value == pytest.approx(0.625)
    assert mean.low <= mean.value <= mean.high
    with pytest.raises(BadInput, match="no data sets"):
        mean_of_groups([[column(True)], []])


def test_corruption_errors_are_in_units_of_the_baseline() -> None:
    # Mean error 0.4 where the baseline has 0.8.
    assert corruption_error([0.2, 0.3, 0.4, 0.5, 0.6], 0.8) == pytest.approx(0.5)
