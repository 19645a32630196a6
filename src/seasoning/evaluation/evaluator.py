"""One model on one data set: from batches to one outcome for each sample."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seasoning.attacks.base import Attack, Classifier
from seasoning.attacks.checks import (
    check_batch,
    check_result,
    check_threat,
    device_of,
    evaluation_mode,
    in_batches,
    warn_unsound,
)
from seasoning.attacks.outputs import check_logits, checked_logits
from seasoning.data.labels import mapped
from seasoning.data.samples import Batch
from seasoning.errors import BadInput
from seasoning.geometry import distance
from seasoning.losses import margin
from seasoning.outcomes import Outcomes, Status, concatenate
from seasoning.threat import Threat


__all__ = ["evaluate"]

T = TypeVar("T", bound=np.generic)

# Images wait together for an attack, so that its batches stay full: so many bytes, and at least so many batches.
_POOL_BYTES, _POOL_BATCHES = 512 * 2**20, 8


def evaluate(
    model: Classifier,
    batches: Iterable[Batch],
    *,
    attack: Attack | None = None,
    threat: Threat | None = None,
    seed: int = 0,
    probe: bool = True,
) -> Outcomes:
    """Measure a model clean and, if given, under an attack.

    The model runs in evaluation mode, which is restored afterwards. Only correctly classified samples are attacked,
    those of many batches together: an attack that lets fooled samples leave refills its batch from the others.
    An image that an attack claims to fool the model is tried once more before it counts.

    Args:
        model: Images in [0, 1] to logits.
        batches: Ids `(B,)`, images `(B, C, H, W)` in [0, 1] and classes `(B,)`; a `Samples` gives them. The largest
            batch is the most that the model sees at a time. Where they come with a label map, the classes that it
            makes are what is measured and attacked.
        attack: A configured attack, such as `partial(apgd, steps=40)`; none for clean accuracy alone.
        threat: What the attack is allowed; needed with one.
        seed: Seed of its random starts, which also derive from the ids: batches do not matter.
        probe: Whether to look first if the model's answers change with the batch or from call to call.

    Returns:
        One row for each sample, in the order of the batches.

    Raises:
        BadInput: no samples, an attack without a threat or the reverse, images outside [0, 1], outputs that are no
            logits, labels beyond the classes, an attack on images with several right classes, or one that left the
            threat.
        Mismatch: the model has not as many logits as the label map wants.

    Warns:
        BatchDependent, Randomised: what the probe saw.
    """
    if (attack is None) != (threat is None):
        raise BadInput("attack and threat go together: give both, or neither for clean accuracy")
    blocks: list[Outcomes] = []
    with evaluation_mode(model):
        for pool in _pools(batches):
            blocks.append(_outcomes(model, pool, attack, threat, seed, probe and not blocks))
    if not blocks:
        raise BadInput("no samples to measure: give at least one batch")
    return concatenate(blocks)


class _Pool(NamedTuple):
    """The samples of several batches, and the size of the largest."""

    samples: Batch
    batch_size: int


def _pools(batches: Iterable[Batch]) -> Iterator[_Pool]:
    """Consecutive batches together, as long as their images fit."""
    waiting: list[Batch] = []
    size = 0
    for batch in batches:
        check_batch(batch.x, batch.y, batch.ids)
        if len(waiting) >= _POOL_BATCHES and size + batch.x.nbytes > _POOL_BYTES:
            yield _joined(waiting)
            waiting, size = [], 0
        waiting.append(batch)
        size += batch.x.nbytes
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[Batch]) -> _Pool:
    largest = max(len(batch.ids) for batch in batches)
    if len(batches) == 1:
        return _Pool(batches[0], largest)

    def joined(columns: Sequence[Tensor | None]) -> Tensor | None:
        parts = [column for column in columns if column is not None]
        return torch.cat(parts) if parts else None

    ids, x, y = (torch.cat(columns) for columns in zip(*[(each.ids, each.x, each.y) for each in batches], strict=True))
    valid, texture = joined([batch.valid for batch in batches]), joined([batch.texture for batch in batches])
    return _Pool(Batch(ids, x, y, valid, texture, batches[0].label_map), largest)


def _outcomes(
    model: Classifier, pool: _Pool, attack: Attack | None, threat: Threat | None, seed: int, probe: bool
) -> Outcomes:
    (ids, x, y, valid, texture, label_map), size = pool
    _require_attackable(x, valid, threat)
    y = y.long()
    unmasked = None
    if label_map is None:
        logits = checked_logits(model, x, y, size, probe=probe)
    else:
        every = checked_logits(model, x, torch.zeros_like(y), size, probe=probe)
        unmasked, logits, model = label_map.own_classes(every.argmax(1)), label_map(every), mapped(model, label_map)
        check_logits(logits, y)
    clean = logits.argmax(1)
    # Logits may be of any type, and an attack may find in float64 what is kept in float32.
    adversarial, clean_margin = clean.clone(), margin(logits, y).float()
    worst, length = clean_margin.clone(), torch.zeros_like(clean_margin)
    gradients, forwards = torch.zeros_like(y), torch.ones_like(y)
    right = (clean == y).nonzero().squeeze(1)
    if attack is not None and threat is not None and len(right):
        result = attack(
            model,
            x[right],
            y[right],
            threat,
            ids=ids[right.to(ids.device)],
            seed=seed,
            batch_size=size,
            clean=logits[right],
        )
        result = result._replace(distance=distance(result.x_adv, x[right], threat.norm))
        check_result(result, threat)
        gradients[right] = result.gradients.to(gradients.dtype)
        forwards[right] += result.forwards.to(forwards.dtype)
        fooled = right[result.fooled]
        if len(fooled):
            logits = in_batches(model, result.x_adv[result.fooled], size, device_of(model, x)).to(x.device)
            forwards[fooled] += 1
            sound = torch.isfinite(logits).all(1)
            warn_unsound(int((~sound).sum()))
            fooled, logits = fooled[sound], logits[sound]
            adversarial[fooled], worst[fooled] = logits.argmax(1), margin(logits, y[fooled]).float()
            length[fooled] = result.distance[result.fooled][sound].float()
    return Outcomes(
        ids=_column(ids, np.int64),
        labels=_column(y, np.int64),
        clean=_column(clean, np.int64),
        adversarial=_column(adversarial, np.int64),
        clean_margin=_column(clean_margin, np.float32),
        margin=_column(worst, np.float32),
        distance=_column(length, np.float32),
        gradients=_column(gradients, np.int64),
        forwards=_column(forwards, np.int64),
        status=np.full(len(ids), Status.MEASURED, dtype=np.int8),
        unmasked=None if unmasked is None else _column(unmasked, np.int64),
        valid=None if valid is None else _column(valid, np.int64),
        texture=None if texture is None else _column(texture, np.int64),
    )


def _require_attackable(x: Tensor, valid: Tensor | None, threat: Threat | None) -> None:
    """Refuse a threat that makes no sense for the images, and one for images of several right classes."""
    if threat is None:
        return
    if valid is not None:
        raise BadInput(
            "several classes are right for each image, and an attack knows one: measure this data set clean, and "
            "attack the one with a single label for each image"
        )
    check_threat(threat, x)


def _column(values: Tensor, dtype: type[T]) -> NDArray[T]:
    return values.cpu().numpy().astype(dtype)
