from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seasoning.attacks import apgd
from seasoning.data import Samples
from seasoning.evaluation.evaluator import evaluate
from seasoning.metrics import accuracy, robust_accuracy
from seasoning.threat import NORMS, Norm, Threat


RADII: dict[Norm, float] = {"linf": 0.1, "l2": 0.5, "l1": 2.0}


def test_clean_outcomes_are_those_of_the_model(robust_model: nn.Module, few: Samples) -> None:
    outcomes = evaluate(robust_model, few)
    with torch.no_grad():
        logits = robust_model(few.x)
    assert outcomes.clean.tolist() == logits.argmax(1).tolist()
    assert outcomes.ids.tolist() == few.ids.tolist()
    assert accuracy(outcomes).value == float((logits.argmax(1) == few.y).double().mean())
    assert np.array_equal(outcomes.clean_margin > 0, outcomes.correct)
    assert np.array_equal(outcomes.adversarial, outcomes.clean)


@pytest.mark.parametrize("norm", NORMS)
def test_columns_of_an_attack_agree_with_each_other(robust_model: nn.Module, few: Samples, norm: Norm) -> None:
    outcomes = evaluate(robust_model, few, attack=partial(apgd, steps=10), threat=Threat(norm, RADII[norm]))
    fooled = outcomes.correct & ~outcomes.robust
    assert fooled.any()
    assert outcomes.robust.any()
    assert (outcomes.margin[fooled] < 0).all()
    assert (outcomes.distance[fooled] > 0).all()
    assert (outcomes.distance <= RADII[norm] * (1 + 1e-4)).all()
    assert (outcomes.distance[~fooled] == 0).all()
    assert (outcomes.gradients[~outcomes.correct] == 0).all()
    assert (outcomes.gradients[outcomes.robust] == 10).all()
    assert robust_accuracy(outcomes).value < accuracy(outcomes).value


@pytest.mark.parametrize("norm", NORMS)
def test_in_double_precision_batches_and_order_do_not_matter(robust_model: nn.Module, few: Samples, norm: Norm) -> None:
    model = robust_model.double()
    samples = replace(few, x=few.x.double())
    threat = Threat(norm, RADII[norm])
    measure = partial(evaluate, model, attack=partial(apgd, steps=15, loss="dlr"), threat=threat, seed=2)
    try:
        whole = measure(samples)
        for size in (1, 7, 16):
            parts = measure(replace(samples, batch_size=size))
            assert np.array_equal(parts.adversarial, whole.adversarial)
            assert np.array_equal(parts.gradients, whole.gradients)
        order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))
        shuffled = measure(samples.take(order, "shuffled"))
        assert np.array_equal(shuffled.adversarial, whole.adversarial[order.numpy()])
    finally:
        robust_model.float()


def test_seeds_matter(robust_model: nn.Module, few: Samples) -> None:
    def found(seed: int) -> Tensor:
        attack = partial(apgd, steps=3)
        return torch.from_numpy(
            evaluate(robust_model, few, attack=attack, threat=Threat("linf", 0.1), seed=seed).margin
        )

    assert torch.equal(found(0), found(0))
    assert not torch.equal(found(0), found(1))
