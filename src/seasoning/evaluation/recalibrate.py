"""Batch-norm statistics of a mixed network, measured anew on clean or on attacked images."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from torch import Tensor, nn

from seasoning.attacks import apgd, evaluation_mode
from seasoning.data import Batch
from seasoning.data.labels import mapped
from seasoning.errors import BadInput
from seasoning.soup.batch_norm import recalibrate
from seasoning.threat import Threat


__all__ = ["attacked_images", "calibrate"]


def calibrate(
    model: nn.Module, batches: Iterable[Batch], threats: Sequence[Threat] = (), *, steps: int = 10, seed: int = 0
) -> None:
    """Recalibrate a model in place: on the images as they are, or under threats.

    Args:
        model: Images in [0, 1] to logits, with batch-norm layers.
        batches: Training images with their classes; none that a number is later reported on.
        threats: With some, every batch is attacked under one of them in turn.
        steps: Steps of the attacks.
        seed: Seed of their random starts.

    Raises:
        BadInput: as `recalibrate`.
    """
    if not threats:
        recalibrate(model, (batch.x for batch in batches))
        return
    # All attacks come first: they climb the network with its mixed statistics frozen.
    recalibrate(model, list(attacked_images(model, batches, threats, steps=steps, seed=seed)))


def attacked_images(
    model: nn.Module, batches: Iterable[Batch], threats: Sequence[Threat], *, steps: int, seed: int
) -> Iterator[Tensor]:
    """Images of highest cross-entropy that AutoPGD finds in evaluation mode, the threats taking turns batch by batch.

    Raises:
        BadInput: there are no threats.
    """
    if not threats:
        raise BadInput("no threats to attack under: give at least one")
    attack = partial(apgd, loss="ce", steps=steps, best_loss=True, seed=seed)
    with evaluation_mode(model):
        for number, batch in enumerate(batches):
            threat = threats[number % len(threats)]
            yield attack(mapped(model, batch.label_map), batch.x, batch.y, threat, ids=batch.ids).x_adv
