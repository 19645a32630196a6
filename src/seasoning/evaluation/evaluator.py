"""One model on one data set: from batches to one outcome for each sample."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

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
from seasoning.data.labels import LabelMap, mapped
from seasoning.data.samples import Batch, Samples
from seasoning.errors import BadInput, out_of_memory
from seasoning.evaluation.batch_size import POOL_BYTES, choose_batch_size, no_room, reuse_freed_memory
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
    probe: bool = True,
    batch_size: int | None = None,
    memory: int | None = None,
    on_batch_size: Callable[[int], None] = lambda size: None,
) -> Outcomes:
    """Measure a model clean and, if given, under an attack.

    The model runs in evaluation mode, which is restored afterwards. Only correctly classified samples are attacked,
    those of many batches together: an attack that lets fooled samples leave refills its batch from the others.
    An image that an attack claims to fool the model is tried once more before it counts.

    Args:
        model: Images in [0, 1] to logits.
        batches: Ids `(B,)`, images `(B, C, H, W)` in [0, 1] and classes `(B,)`; a `Samples` gives them. Where they come
            with a label map, the classes that it makes are what is measured and attacked.
        attack: A configured attack, such as `partial(apgd, steps=40)`; none for clean accuracy alone.
        threat: What the attack is allowed; needed with one.
        seed: Seed of its random starts, which also derive from the ids: batches do not matter.
        probe: Whether to look first if the model's answers change with the batch or from call to call.
        batch_size: Most images in the model at a time. By default that of the `Samples`; where that is `None`, it is
            chosen by what the model needs, see `choose_batch_size`. Of other batches the largest one.
        memory: Bytes that may be used where that number is chosen; by default half of what is free.
        on_batch_size: Given that number, and the lower one wherever memory runs out: the images are then measured
            anew, half as many at a time. In float64 outcomes do not depend on it.

    Returns:
        One row for each sample, in the order of the batches.

    Raises:
        BadInput: no samples, an attack without a threat or the reverse, images outside [0, 1], outputs that are no
            logits, labels beyond the classes, an attack on images with several right classes, or one that left the
            threat, or a single image that does not fit into the memory.
        Mismatch: the model has not as many logits as the label map wants.

    Warns:
        BatchDependent, Randomised: what the probe saw.
    """
    if (attack is None) != (threat is None):
        raise BadInput("attack and threat go together: give both, or neither for clean accuracy")
    reuse_freed_memory()
    if isinstance(batches, Samples):
        batch_size = batch_size or batches.batch_size
        few = batches.images(slice(0, 2))
        batch_size = batch_size or choose_batch_size(model, few, gradients=attack is not None, memory=memory).size
        # Which images wait together is told by their size alone: some attacks share random numbers among them.
        batches = replace(batches, batch_size=None)
    blocks: list[Outcomes] = []
    told = 0
    with evaluation_mode(model):
        for pool in _pools(batches):
            size = batch_size or pool.largest
            if size != told:
                on_batch_size(size)
            measured = partial(_outcomes, model, pool.samples, attack, threat, seed, probe and not blocks)
            outcomes, told = _halved_until_it_fits(measured, size)
            blocks.append(outcomes)
            if told < size:
                batch_size = told
                on_batch_size(told)
    if not blocks:
        raise BadInput("no samples to measure: give at least one batch")
    return concatenate(blocks)


class _Pool(NamedTuple):
    """The samples of several batches, and the size of the largest."""

    samples: Batch
    largest: int


def _pools(batches: Iterable[Batch]) -> Iterator[_Pool]:
    """Consecutive batches together, as long as their images fit."""
    waiting: list[Batch] = []
    size = 0
    for batch in batches:
        check_batch(batch.x, batch.y, batch.ids)
        if waiting and size + batch.x.nbytes > POOL_BYTES:
            yield _joined(waiting)
            waiting, size = [], 0
        waiting.append(batch)
        size += batch.x.nbytes
    if waiting:
        yield _joined(waiting)


def _halved_until_it_fits(measured: Callable[[int], Outcomes], size: int) -> tuple[Outcomes, int]:
    """Outcomes with at most so many images in the model at a time, or half of it, …; and how many they were.

    Raises:
        BadInput: a single image does not fit into the memory.
    """
    while True:
        try:
            return measured(size), size
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if size == 1:
                raise no_room() from error
        # Out of the handler the error is gone, and with it the tensors of the frames that it passed through.
        size = size // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


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
    model: Classifier,
    samples: Batch,
    attack: Attack | None,
    threat: Threat | None,
    seed: int,
    probe: bool,
    size: int,
) -> Outcomes:
    """Outcomes of samples, with at most `size` of them in the model at a time."""
    ids, x, y, valid, texture, label_map = samples
    _require_attackable(x, valid, threat)
    y = y.long()
    logits, unmasked = _clean(model, x, y, label_map, size, probe)
    model = mapped(model, label_map)
    clean = logits.argmax(1)
    # Logits may be of any type, and an attack may find in float64 what is kept in float32.
    adversarial, clean_margin = clean.clone(), margin(logits, y).float()
    worst, length = clean_margin.clone(), torch.zeros_like(clean_margin)
    gradients, forwards = torch.zeros_like(y), torch.ones_like(y)
    right = (clean == y).nonzero().squeeze(1)
    if attack is not None and threat is not None and len(right):
        at: dict[str, Any] = {"ids": ids[right.to(ids.device)], "seed": seed, "clean": logits[right]}
        result = attack(model, x[right], y[right], threat, batch_size=size, **at)
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


def _clean(
    model: Classifier, x: Tensor, y: Tensor, label_map: LabelMap | None, size: int, probe: bool
) -> tuple[Tensor, Tensor | None]:
    """Checked logits of the data set's classes, and with a label map the predictions among all of the model's."""
    if label_map is None:
        return checked_logits(model, x, y, size, probe=probe), None
    every = checked_logits(model, x, torch.zeros_like(y), size, probe=probe)
    logits = label_map(every)
    check_logits(logits, y)
    return logits, label_map.own_classes(every.argmax(1))


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
