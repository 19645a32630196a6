"""Masks and groups of logits, against numbers worked out by hand."""

import pytest
import torch

from seasoning.data.labels import LabelMap, Mapped
from seasoning.errors import BadInput, Mismatch


def test_a_mask_leaves_only_its_logits() -> None:
    mask = LabelMap(4, ((3,), (1,)))
    logits = torch.tensor([[9.0, 2.0, 8.0, 1.0], [0.0, -3.0, 5.0, -2.0]])
    assert mask(logits).tolist() == [[1.0, 2.0], [-2.0, -3.0]]
    # Class 0 of the whole wins the first image: it stands for no class of the set. Class 2 neither.
    assert mask.own_classes(logits.argmax(1)).tolist() == [-1, -1]
    assert mask.own_classes(torch.tensor([3, 1])).tolist() == [0, 1]


def test_a_group_scores_the_mean_of_its_softmax() -> None:
    groups = LabelMap(4, ((0, 1, 2), (3,)))
    # Softmax 0.3, 0.3, 0.3, 0.1: means 0.3 and 0.1. A sum of the three would say 0.9, their maximum 0.3.
    scores = groups(torch.tensor([[0.3, 0.3, 0.3, 0.1]]).log())
    torch.testing.assert_close(scores.exp(), torch.tensor([[0.3, 0.1]]))
    # 0.25, 0.05, 0.3, 0.4: means 0.2 and 0.4, though the group holds 0.6 of the whole.
    assert groups(torch.tensor([[0.25, 0.05, 0.3, 0.4]]).log()).argmax(1).item() == 1


def test_gradients_of_a_masked_model_touch_only_its_logits() -> None:
    weight = torch.eye(4, requires_grad=True)
    masked = Mapped(lambda x: x @ weight, LabelMap(4, ((3,), (1,))))
    masked(torch.ones(1, 4)).log_softmax(1)[0, 0].backward()
    assert weight.grad is not None
    assert weight.grad.abs().sum(0)[[0, 2]].tolist() == [0, 0]
    assert bool((weight.grad.abs().sum(0)[[1, 3]] > 0).all())


def test_a_model_of_other_classes_is_refused() -> None:
    with pytest.raises(Mismatch, match="the model has 10 classes, the data set wants 1000"):
        LabelMap(1000, ((6,), (11,)))(torch.zeros(1, 10))


@pytest.mark.parametrize("members", [((0,), (0,)), ((0,), ()), ((4,),), ((-1,),)])
def test_impossible_maps_are_refused(members: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(BadInput, match="give every class logits of its own"):
        LabelMap(4, members)
