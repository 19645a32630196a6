"""What a checkpoint is chosen by: clean and robust accuracy on images that it was not trained on."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import nn

from seasoning import metrics
from seasoning.attacks import apgd
from seasoning.data.samples import Samples
from seasoning.evaluation.evaluator import evaluate
from seasoning.outcomes import Outcomes, concatenate
from seasoning.threat import Threat


__all__ = ["Scores", "validator"]


class Scores(NamedTuple):
    """Accuracies on the validation images: clean, and under all threats at once; `None` where nothing attacks."""

    clean: float
    robust: float | None = None

    @property
    def chosen(self) -> float:
        """What checkpoints are chosen by: robustness, or clean accuracy without a threat."""
        return self.clean if self.robust is None else self.robust


_FOR_ALL: Mapping[str, int] = {}


def validator(
    samples: Samples,
    threats: Sequence[Threat],
    steps: int,
    seed: int,
    *,
    steps_by_norm: Mapping[str, int] = _FOR_ALL,
) -> Callable[[nn.Module], Scores]:
    """From a model to its scores on validation images.

    Args:
        samples: Images that no step of the training sees.
        threats: What AutoPGD on the cross-entropy attacks under; a sample counts as robust if it withstands all.
        steps: Steps of those attacks.
        seed: Seed of their random starts.
        steps_by_norm: Steps of attacks in some norms instead, such as `{"l1": 20}`.
    """
    attacks = {threat: partial(apgd, loss="ce", steps=steps_by_norm.get(threat.norm, steps)) for threat in threats}

    def validate(model: nn.Module) -> Scores:
        if not threats:
            return Scores(metrics.accuracy(_measured(model, samples)).value)
        found = [_measured(model, samples, attack=attacks[threat], threat=threat, seed=seed) for threat in threats]
        return Scores(metrics.accuracy(found[0]).value, metrics.union_accuracy(*found).value)

    return validate


def _measured(model: nn.Module, samples: Samples, **options: Any) -> Outcomes:
    """What `evaluate` finds; where several processes train together, each takes a share of the images."""
    together = PartialState()
    if len(samples) < 2 * together.num_processes or together.num_processes == 1:
        return evaluate(model, samples, **options)
    rows = torch.arange(together.process_index, len(samples), together.num_processes)
    return concatenate(gather_object([evaluate(model, samples.take(rows, samples.name), **options)]))
