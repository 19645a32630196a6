"""Per-sample losses on logits `(B, K) -> (B,)`: what an attack raises and training lowers.

Sources: DLR and targeted DLR, Croce & Hein 2020, *Reliable evaluation of adversarial robustness*, equations 6 and 7.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from seasoning.errors import BadInput


__all__ = [
    "ATTACK_LOSSES",
    "AttackLoss",
    "cross_entropy",
    "dlr",
    "kl_divergence",
    "margin",
    "misclassified",
    "require_classes",
    "scaled_cross_entropy",
    "targeted_cross_entropy",
    "targeted_dlr",
]

# Keeps a ratio of logits finite where the logits in its denominator are all equal.
_TINY = 1e-12
# Standard deviation of the scaled logits of a clean image: about that of networks trained with the cross-entropy.
_SPREAD = 3.0


def require_classes(loss: str, least: int, classes: int, *instead: str) -> None:
    """Refuse a loss that the number of classes leaves undefined, naming the losses to use.

    Raises:
        BadInput: there are fewer than `least` classes.
    """
    if classes < least:
        others = " or ".join(f"loss={name!r}" for name in instead)
        raise BadInput(f"loss {loss!r} needs at least {least} classes, the model has {classes}: use {others}")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats, of classes `(B,)` or soft labels `(B, K)`."""
    return functional.cross_entropy(logits, labels, reduction="none")


def scaled_cross_entropy(logits: Tensor, labels: Tensor, clean: Tensor) -> Tensor:
    """Cross-entropy of logits scaled so that those of the clean image, `clean`, `(B, K)`, have a fixed spread.

    Any positive multiple of a model gives the same loss: neither does a softmax of large logits leave no gradient, nor
    one of small logits weigh all classes alike. The scale is that of the clean image and not that of the image itself,
    so that an attack raises one and the same function from step to step, with two classes, too.
    """
    spread = clean.std(1, keepdim=True).clamp_min(torch.finfo(clean.dtype).tiny)
    return cross_entropy(logits * (_SPREAD / spread), labels)


def targeted_cross_entropy(logits: Tensor, labels: Tensor, target: Tensor) -> Tensor:
    """How much likelier the target class is: minus the cross-entropy of `target`, `(B,)`; `labels` are not used."""
    return -functional.cross_entropy(logits, target, reduction="none")


def kl_divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(reference || softmax(logits)) in nats; `reference` are the logits at the clean point, `(B, K)`.

    Its gradient is zero where the two agree, so an attack on it must not start at the clean point.
    """
    log_reference = functional.log_softmax(reference, dim=1)
    return (log_reference.exp() * (log_reference - functional.log_softmax(logits, dim=1))).sum(1)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the label minus the largest other logit: positive where the prediction is right."""
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own - others.amax(1)


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Which rows predict another class, `(B,)`; a row with a NaN or infinite logit predicts none, so it is not one."""
    return (logits.argmax(1) != labels) & torch.isfinite(logits).all(1)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio, -(z_y - max_{i != y} z_i) / (z_(1) - z_(3)); invariant to shift and scale.

    Raises:
        BadInput: fewer than 3 classes.
    """
    require_classes("dlr", 3, logits.shape[1], "ce", "scaled-ce")
    largest = logits.topk(3, dim=1).values
    return -margin(logits, labels) / (largest[:, 0] - largest[:, 2] + _TINY)


def targeted_dlr(logits: Tensor, labels: Tensor, target: Tensor) -> Tensor:
    """Targeted difference of logits ratio, -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2).

    Raises:
        BadInput: fewer than 4 classes.
    """
    require_classes("targeted-dlr", 4, logits.shape[1], "targeted-ce")
    largest = logits.topk(4, dim=1).values
    gap = logits.gather(1, labels[:, None]) - logits.gather(1, target[:, None])
    return -gap.squeeze(1) / (largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2 + _TINY)


class AttackLoss(NamedTuple):
    """A loss that an attack may raise.

    Args:
        function: Gives `(B,)` from logits `(B, K)` and what it takes besides.
        takes: That, in its order: `"labels"`, `(B,)` or soft ones `(B, K)`; `"clean"`, the logits at the clean images,
            `(B, K)`; `"target"`, classes to end in, `(B,)`.
        soft: Whether labels may be soft.
    """

    function: Callable[..., Tensor]
    takes: tuple[Literal["labels", "clean", "target"], ...]
    soft: bool = False


# The losses of AutoPGD by name; a new one is one more line.
ATTACK_LOSSES: dict[str, AttackLoss] = {
    "ce": AttackLoss(cross_entropy, ("labels",), soft=True),
    "scaled-ce": AttackLoss(scaled_cross_entropy, ("labels", "clean")),
    "kl": AttackLoss(kl_divergence, ("clean",), soft=True),
    "dlr": AttackLoss(dlr, ("labels",)),
    "targeted-ce": AttackLoss(targeted_cross_entropy, ("labels", "target")),
    "targeted-dlr": AttackLoss(targeted_dlr, ("labels", "target")),
}
