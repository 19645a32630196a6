"""Per-sample losses on logits `(B, K) -> (B,)`: what an attack raises and training lowers.

Sources: DLR and targeted DLR, Croce & Hein 2020, *Reliable evaluation of adversarial robustness*, equations 6 and 7.
"""

import torch
from torch import Tensor
from torch.nn import functional

from seasoning.errors import BadInput


__all__ = [
    "cross_entropy",
    "dlr",
    "kl_divergence",
    "margin",
    "misclassified",
    "require_classes",
    "targeted_cross_entropy",
    "targeted_dlr",
]

# Keeps a ratio of logits finite where the logits in its denominator are all equal.
_TINY = 1e-12


def require_classes(loss: str, least: int, classes: int, instead: str) -> None:
    """Refuse a loss that the number of classes leaves undefined, naming the loss to use.

    Raises:
        BadInput: there are fewer than `least` classes.
    """
    if classes < least:
        raise BadInput(f"loss {loss!r} needs at least {least} classes, the model has {classes}: use loss={instead!r}")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats, of classes `(B,)` or soft labels `(B, K)`."""
    return functional.cross_entropy(logits, labels, reduction="none")


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
    require_classes("dlr", 3, logits.shape[1], "ce")
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
