"""From the logits of a model to the classes of a data set: masks, groups, and several right answers, all as data."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seasoning.errors import BadInput, Mismatch


__all__ = ["LabelMap", "Mapped", "mapped"]


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Which logits of a model stand for each class of a data set.

    One logit for each class masks the others out, as on ImageNet-A and -R. Several form a group: its score is the
    logarithm of the mean of the members' softmax, as on conflict stimuli.

    Args:
        outputs: Logits that the model must have.
        members: For each class of the data set, the logits that stand for it.
    """

    outputs: int
    members: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        flat = [logit for group in self.members for logit in group]
        if not all(self.members) or len(set(flat)) != len(flat) or not all(0 <= label < self.outputs for label in flat):
            raise BadInput(f"a label map over {self.outputs} logits: give every class logits of its own, at least one")

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits of a model, `(B, outputs)`, to scores of the data set's classes, `(B, classes)`.

        Raises:
            Mismatch: the model has another number of logits.
        """
        if logits.shape[1] != self.outputs:
            raise Mismatch(
                f"the model has {logits.shape[1]} classes, the data set wants {self.outputs}: "
                "its classes are named among those, so measure a model that tells all of them apart"
            )
        if all(len(group) == 1 for group in self.members):
            return logits[:, [group[0] for group in self.members]]
        log_fractions = logits.log_softmax(1)
        return torch.stack(
            [log_fractions[:, list(group)].logsumexp(1) - math.log(len(group)) for group in self.members], dim=1
        )

    def own_classes(self, predicted: Tensor) -> Tensor:
        """Classes of the data set that predicted logits stand for, -1 where they stand for none."""
        table = torch.full((self.outputs,), -1, dtype=torch.int64, device=predicted.device)
        for index, group in enumerate(self.members):
            table[list(group)] = index
        return table[predicted]


class Mapped(nn.Module):
    """A model behind a label map: what is measured, and so what is attacked.

    Args:
        model: Images in [0, 1] to logits.
        label_map: Takes them to the classes of the data set.
    """

    def __init__(self, model: Callable[[Tensor], Tensor], label_map: LabelMap) -> None:
        super().__init__()
        self.model: Any = model
        self.label_map = label_map

    def forward(self, x: Tensor) -> Tensor:
        """Images `(B, C, H, W)` in [0, 1] to scores `(B, classes of the data set)`."""
        return self.label_map(self.model(x))


def mapped(model: Callable[[Tensor], Tensor], label_map: LabelMap | None) -> Callable[[Tensor], Tensor]:
    """The model as it is measured on a data set: behind the label map, where there is one."""
    return model if label_map is None else Mapped(model, label_map)
