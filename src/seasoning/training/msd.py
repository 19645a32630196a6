"""Multi steepest descent: one attack for several threats, which chooses anew at every step under which to move on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seasoning.geometry import BALLS, per_sample, sparse_direction
from seasoning.losses import cross_entropy
from seasoning.noise import row_noise
from seasoning.threat import Threat


__all__ = ["multi_steepest"]

# All steps together reach so many radii far, as the paper's 50 steps on CIFAR-10 do (0.05 * 50 / 0.5 for l_2).
_REACH = 5.0
# An l_1 step moves between so many entries, drawn anew for every image and step; the paper's numbers.
_FEWEST, _MOST = 5, 20


def multi_steepest(
    model: nn.Module, x: Tensor, y: Tensor, threats: Sequence[Threat], *, steps: int, seed: int
) -> Tensor:
    """Images of high cross-entropy within the union of several threats.

    From the clean image on, every step tries the steepest one of each norm, projected into the ball of that norm, and
    goes on from the one of highest loss; the best point of all steps comes back.

    Args:
        model: Images in [0, 1] to logits.
        x: Images, `(B, C, H, W)` in [0, 1].
        y: Classes, `(B,)`.
        threats: At least one.
        steps: Gradients taken; for each there is one forward pass for every threat more.
        seed: Seed of the sparsity of the l_1 steps.

    Source: Maini, Wong & Kolter 2020, *Adversarial robustness against the union of multiple perturbation models*,
    Algorithm 1, and its settings for CIFAR-10, with step sizes for the number of steps that is given.
    """
    draws = row_noise(range(len(x)), (steps,), kind="uniform", seed=seed, dtype=x.dtype, device=x.device)
    counts = (_FEWEST + (draws + 1) / 2 * (_MOST + 1 - _FEWEST)).floor().clamp_max(_MOST)
    point, best = x.detach(), x.detach()
    highest = x.new_full((len(x),), -torch.inf)
    for count in counts.unbind(1):
        gradient = _gradient(model, point, y)
        with torch.no_grad():
            tried = [_moved(point, x, gradient, threat, _REACH / steps, count) for threat in threats]
            losses = torch.stack([cross_entropy(model(points).to(x.dtype), y) for points in tried])
            chosen = losses.argmax(0)
            point = torch.stack(tried)[chosen, torch.arange(len(x), device=x.device)]
            loss = losses.amax(0)
            best = torch.where(per_sample(loss > highest, x), point, best)
            highest = torch.maximum(highest, loss)
    return best


def _gradient(model: nn.Module, point: Tensor, y: Tensor) -> Tensor:
    leaf = point.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(cross_entropy(model(leaf).to(leaf.dtype), y).sum(), leaf)
    return torch.nan_to_num(gradient, nan=0.0)


def _moved(point: Tensor, center: Tensor, gradient: Tensor, threat: Threat, fraction: float, count: Tensor) -> Tensor:
    """One step of a fraction of the radius along the steepest direction of the norm, landed in the threat's ball.

    Under l_1 it moves `count` entries of each image, `(B,)`.
    """
    ball, eps = BALLS[threat.norm], center.new_full((len(center),), threat.eps)
    if threat.norm == "l1":
        blocked = ((point <= 0) & (gradient < 0)) | ((point >= 1) & (gradient > 0))
        density = (count / center[0].numel()).clamp_max(1)
        direction = sparse_direction(gradient.masked_fill(blocked, 0), density)
    else:
        direction = ball.direction(gradient)
    return ball.land(point + fraction * threat.eps * direction, center, eps)
