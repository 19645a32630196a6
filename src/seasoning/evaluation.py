"""One model on one data set: from batches to one outcome for each sample."""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seasoning.attacks.base import Attack, Classifier
from seasoning.attacks.harness import check_batch, check_logits, check_result, evaluation_mode
from seasoning.data.samples import Batch
from seasoning.errors import BadInput
from seasoning.geometry import distance
from seasoning.losses import margin
from seasoning.outcomes import Outcomes, Status, concatenate
from seasoning.threat import Threat


__all__ = ["evaluate"]

T = TypeVar("T", bound=np.generic)


def evaluate(
    model: Classifier,
    batches: Iterable[Batch],
    *,
    attack: Attack | None = None,
    threat: Threat | None = None,
    seed: int = 0,
) -> Outcomes:
    """Measure a model clean and, if given, under an attack.

    The model runs in evaluation mode, which is restored afterwards. Only correctly classified samples are attacked.
    An image that an attack claims to fool the model is tried once more before it counts.

    Args:
        model: Images in [0, 1] to logits.
        batches: Ids `(B,)`, images `(B, C, H, W)` in [0, 1] and classes `(B,)`; a `Samples` gives them.
        attack: A configured attack, such as `partial(apgd, steps=40)`; none for clean accuracy alone.
        threat: What the attack is allowed; needed with one.
        seed: Seed of its random starts, which also derive from the ids: batches do not matter.

    Returns:
        One row for each sample, in the order of the batches.

    Raises:
        BadInput: an attack without a threat or the reverse, images outside [0, 1], outputs that are no logits, labels
            beyond the classes, or an attack that left the threat.
    """
    if (attack is None) != (threat is None):
        raise BadInput("attack and threat go together: give both, or neither for clean accuracy")
    with evaluation_mode(model):
        return concatenate([_outcomes(model, batch, attack, threat, seed) for batch in batches])


def _outcomes(model: Classifier, batch: Batch, attack: Attack | None, threat: Threat | None, seed: int) -> Outcomes:
    ids, x, y = _on_device_of(model, batch)
    check_batch(x, y)
    with torch.no_grad():
        logits = model(x)
    check_logits(logits, y)
    clean = logits.argmax(1)
    adversarial, clean_margin = clean.clone(), margin(logits, y)
    worst, size, gradients = clean_margin.clone(), torch.zeros_like(clean_margin), torch.zeros_like(y)
    right = (clean == y).nonzero().squeeze(1)
    if attack is not None and threat is not None and len(right):
        result = attack(model, x[right], y[right], threat, ids=ids[right], seed=seed)
        check_result(result, x[right], threat)
        gradients[right] = result.gradients.to(gradients.dtype)
        fooled = right[result.fooled]
        if len(fooled):
            images = result.x_adv[result.fooled]
            with torch.no_grad():
                logits = model(images)
            adversarial[fooled], worst[fooled] = logits.argmax(1), margin(logits, y[fooled])
            size[fooled] = distance(images, x[fooled], threat.norm)
    return Outcomes(
        ids=_column(ids, np.int64),
        labels=_column(y, np.int64),
        clean=_column(clean, np.int64),
        adversarial=_column(adversarial, np.int64),
        clean_margin=_column(clean_margin, np.float32),
        margin=_column(worst, np.float32),
        distance=_column(size, np.float32),
        gradients=_column(gradients, np.int64),
        status=np.full(len(ids), Status.MEASURED, dtype=np.int8),
    )


def _on_device_of(model: Classifier, batch: Batch) -> Batch:
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    if parameter is None:
        return batch
    return Batch(*(column.to(parameter.device) for column in batch))


def _column(values: Tensor, dtype: type[T]) -> NDArray[T]:
    return values.cpu().numpy().astype(dtype)
