"""What a checkpoint is chosen by: clean and robust accuracy on images that it was not trained on."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import nn

from seasoning import metrics
from seasoning.attacks import apgd
from seasoning.data.samples import Samples
from seasoning.evaluation.evaluator import evaluate
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


def validator(samples: Samples, threats: Sequence[Threat], steps: int, seed: int) -> Callable[[nn.Module], Scores]:
    """From a model to its scores on validation images.

    Args:
        samples: Images that no step of the training sees.
        threats: What AutoPGD on the cross-entropy attacks under; a sample counts as robust if it withstands all.
        steps: Steps of those attacks.
        seed: Seed of their random starts.
    """
    attack = partial(apgd, loss="ce", steps=steps)

    def validate(model: nn.Module) -> Scores:
        if not threats:
            return Scores(metrics.accuracy(evaluate(model, samples)).value)
        found = [evaluate(model, samples, attack=attack, threat=threat, seed=seed) for threat in threats]
        return Scores(metrics.accuracy(found[0]).value, metrics.union_accuracy(*found).value)

    return validate
