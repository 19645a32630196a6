"""Checks around an attack, so that a robust accuracy means what it says."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from seasoning.attacks.base import AttackResult, Classifier
from seasoning.errors import BadInput
from seasoning.geometry import distance
from seasoning.threat import Threat


__all__ = [
    "MaskedGradients",
    "check_batch",
    "check_gradients",
    "check_logits",
    "check_result",
    "evaluation_mode",
]

# Rounding allowed beyond the ball, relative to its radius; the box is kept exactly.
_SLACK = 1e-4


class MaskedGradients(UserWarning):
    """The model gave no usable gradient at some samples: the attack is blind there and robustness is overstated."""


@contextmanager
def evaluation_mode(model: Classifier) -> Iterator[None]:
    """Run the block with every module in evaluation mode, then restore each module's own mode."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    try:
        if isinstance(model, nn.Module):
            model.eval()
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def check_batch(x: Tensor, y: Tensor) -> None:
    """Refuse images outside [0, 1] and labels that do not belong to them.

    Raises:
        BadInput: saying what was found.
    """
    if x.dim() < 2 or len(x) == 0 or not x.is_floating_point():
        raise BadInput(
            f"images of shape {tuple(x.shape)} and type {x.dtype}: expected floats (B, C, H, W), B at least 1"
        )
    low, high = float(x.min()), float(x.max())
    if not (low >= 0 and high <= 1):
        raise BadInput(
            f"images range over [{low:.3g}, {high:.3g}]: expected pixels in [0, 1]; put normalization inside the model"
        )
    if len(y) != len(x) or y.dim() not in (1, 2):
        raise BadInput(f"labels of shape {tuple(y.shape)} for {len(x)} images: expected (B,) classes or (B, K)")


def check_logits(logits: Tensor, y: Tensor) -> None:
    """Refuse outputs that are no logits of the labels' classes.

    Raises:
        BadInput: wrong shape, not finite, labels beyond the classes, or probabilities.
    """
    if logits.dim() != 2 or len(logits) != len(y):
        raise BadInput(f"the model returned shape {tuple(logits.shape)} for {len(y)} images: expected logits (B, K)")
    if not bool(torch.isfinite(logits).all()):
        raise BadInput("the model returned NaN or infinite logits: check its parameters and running statistics")
    classes = logits.shape[1]
    if y.dim() == 1 and not bool(((y >= 0) & (y < classes)).all()):
        raise BadInput(f"labels range over [{int(y.min())}, {int(y.max())}], the model has {classes} classes")
    if y.dim() == 2 and y.shape[1] != classes:
        raise BadInput(f"soft labels over {y.shape[1]} classes, the model has {classes}")
    sums = logits.sum(1)
    if bool((logits >= 0).all()) and bool(((sums - 1).abs() < 1e-4).all()):
        raise BadInput("the model returns probabilities: expected logits; remove its softmax")


def check_gradients(gradient: Tensor) -> None:
    """Warn where the first gradient of an attack is zero or not finite."""
    flat = gradient.flatten(1)
    blind = int((flat == 0).all(1).sum())
    broken = int((~torch.isfinite(flat)).any(1).sum())
    if blind or broken:
        warnings.warn(
            f"of {len(gradient)} samples {blind} have a zero and {broken} a non-finite gradient: the attack is blind "
            "there and robust accuracy may be overstated; try another loss, or look for rounding in the model",
            MaskedGradients,
            stacklevel=3,
        )


def check_result(result: AttackResult, x: Tensor, threat: Threat) -> None:
    """Refuse adversarial images outside the ball or the box.

    Raises:
        BadInput: with the largest excess found.
    """
    if not bool(((result.x_adv >= 0) & (result.x_adv <= 1)).all()):
        raise BadInput("the attack returned pixels outside [0, 1]")
    excess = float((distance(result.x_adv, x, threat.norm) - threat.eps).max())
    if excess > _SLACK * max(threat.eps, 1e-3):
        raise BadInput(f"the attack left the ball of {threat} by {excess:.3g}")
