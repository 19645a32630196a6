"""Checks around an attack, so that a robust accuracy means what it says."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from seasoning.attacks.base import AttackResult, Classifier
from seasoning.errors import BadInput
from seasoning.threat import Threat


__all__ = [
    "BatchDependent",
    "MaskedGradients",
    "Randomised",
    "check_batch",
    "check_result",
    "check_shape",
    "check_threat",
    "device_of",
    "evaluation_mode",
    "in_batches",
    "warn_masked_gradients",
    "warn_unsound",
]

# Rounding allowed beyond the ball, relative to its radius; the box is kept exactly.
_SLACK = 1e-4


class MaskedGradients(UserWarning):
    """The model gave no usable gradient at some samples: the attack is blind there and robustness is overstated."""


class BatchDependent(UserWarning):
    """The logits of an image change with the images beside it, so outcomes depend on how samples are batched."""


class Randomised(UserWarning):
    """The model answers differently from call to call, so an attack finds luck as well as weakness."""


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


def device_of(model: Classifier, x: Tensor) -> torch.device:
    """Where the model computes: the device of its parameters, or of the images where it has none."""
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return x.device if parameter is None else parameter.device


def in_batches(model: Classifier, x: Tensor, batch_size: int, device: torch.device) -> Tensor:
    """Logits of all images, `(B, K)` on the device, computed without gradients.

    Raises:
        BadInput: a batch whose outputs are not one row for each image.
    """
    parts = []
    with torch.no_grad():
        for part in x.split(batch_size):
            parts.append(model(part.to(device)))
            check_shape(parts[-1], len(part))
    return torch.cat(parts)


def check_shape(logits: Tensor, count: int) -> None:
    """Refuse outputs that are not one row for each of so many images.

    Raises:
        BadInput: with the shape.
    """
    if logits.dim() != 2 or len(logits) != count:
        raise BadInput(f"the model returned shape {tuple(logits.shape)} for {count} images: expected logits (B, K)")


def check_batch(x: Tensor, y: Tensor, ids: Tensor | None = None, batch_size: int = 1) -> None:
    """Refuse images outside [0, 1], labels or ids that do not belong to them, and batches of nothing.

    Raises:
        BadInput: saying what was found.
    """
    if x.dim() < 2 or len(x) == 0 or x.dtype not in (torch.float32, torch.float64):
        given = f"images of shape {tuple(x.shape)} and type {x.dtype}"
        raise BadInput(f"{given}: expected float32 or float64 (B, C, H, W), B at least 1")
    if batch_size < 1:
        raise BadInput(f"a batch size of {batch_size}: expected at least 1")
    low, high = float(x.min()), float(x.max())
    if not (low >= 0 and high <= 1):
        raise BadInput(
            f"images range over [{low:.3g}, {high:.3g}]: expected pixels in [0, 1]; put normalization inside the model"
        )
    if len(y) != len(x) or y.dim() not in (1, 2):
        raise BadInput(f"labels of shape {tuple(y.shape)} for {len(x)} images: expected (B,) classes or (B, K)")
    if y.is_floating_point() != (y.dim() == 2):
        raise BadInput(f"labels of shape {tuple(y.shape)} and type {y.dtype}: expected integers (B,) or floats (B, K)")
    if ids is not None and ids.shape != (len(x),):
        raise BadInput(f"ids of shape {tuple(ids.shape)} for {len(x)} images: give one for each")


def check_threat(threat: Threat, x: Tensor) -> None:
    """Refuse a threat that allows any image whatever, as one whose radius was meant in levels of 255.

    Args:
        threat: What an attack is allowed.
        x: Images, `(B, C, H, W)` in [0, 1].

    Raises:
        BadInput: around half of the images or more, the ball covers the whole box.
    """
    orders = {"l2": 2, "l1": 1}  # of l_inf a `Threat` itself says so
    if threat.norm not in orders:
        return
    farthest = torch.maximum(x, 1 - x).flatten(1).norm(orders[threat.norm], dim=1).median()
    if threat.eps >= float(farthest):
        raise BadInput(
            f"threat {threat}: in [0, 1] an image of shape {tuple(x.shape[1:])} is at most about {farthest:.0f} from "
            f"any other, so this radius allows everything: did you mean {threat}/255?"
        )


def warn_unsound(looks: int) -> None:
    """Warn where logits under attack were NaN or infinite, given how often."""
    if looks:
        warnings.warn(
            f"{looks} times an attacked image had NaN or infinite logits, which fools nobody here: the model breaks "
            "close to its images, look for overflow or a division by zero in it",
            MaskedGradients,
            stacklevel=4,
        )


def warn_masked_gradients(looked: int, zero: int, broken: int, unsound: int) -> None:
    """Warn where first gradients of an attack were zero or not finite, or logits not finite, given their numbers."""
    warn_unsound(unsound)
    if zero or broken:
        warnings.warn(
            f"of {looked} samples {zero} have a zero and {broken} a non-finite gradient: the attack is blind "
            "there and robust accuracy may be overstated; try another loss, or look for rounding in the model",
            MaskedGradients,
            stacklevel=4,
        )


def check_result(result: AttackResult, threat: Threat) -> None:
    """Refuse adversarial images outside the ball, by the distances given, or outside the box.

    Raises:
        BadInput: with the largest excess found.
    """
    if not bool(((result.x_adv >= 0) & (result.x_adv <= 1)).all()):
        raise BadInput("the attack returned pixels outside [0, 1]")
    excess = float((result.distance - threat.eps).max())
    # Each pixel is rounded near 1, whatever the radius.
    pixels = result.x_adv[0].numel()
    rounding = torch.finfo(result.x_adv.dtype).eps * {"linf": 1, "l2": pixels**0.5, "l1": pixels}[threat.norm]
    if not excess <= _SLACK * max(threat.eps, 1e-3) + rounding:
        raise BadInput(f"the attack left the ball of {threat} by {excess:.3g}")
