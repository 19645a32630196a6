"""The balls of the three norms, as pure maps on batches of images.

Every map takes images `(B, C, H, W)` and radii `(B,)` and treats each sample on its own. `project` is the Euclidean
projection onto the ball intersected with the box [0, 1]; the `land` map that the attack uses is the same for l_inf and
l_1, and for l_2 the cheaper scale-then-clip: inside, but not the nearest point.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from seasoning.errors import BadInput, Mismatch
from seasoning.noise import Kind
from seasoning.threat import Norm, Threat


__all__ = ["BALLS", "Ball", "distance", "per_sample", "project", "sparse_direction"]

# Halvings of the bracket around the multiplier of the l_1 projection before the closing linear step: for points
# anywhere, and for those of an attack, which are never far outside.
_HALVINGS_ANYWHERE, _HALVINGS_NEAR = 64, 24


class Ball(NamedTuple):
    """What the attack needs to know about one norm."""

    project: Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, center, eps) -> nearest point of ball ∩ box
    land: Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, center, eps) -> a point of ball ∩ box
    start: Callable[[Tensor, Tensor, Tensor], Tensor]  # (noise, center, eps) -> random point of ball ∩ box
    noise: Kind  # what `start` wants
    direction: Callable[[Tensor], Tensor]  # gradient -> steepest ascent direction of unit norm
    norm: Callable[[Tensor], Tensor]  # (B, ...) -> (B,)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """`(B,)` values shaped to broadcast over a batch such as `like`."""
    return values.view(-1, *[1] * (like.dim() - 1))


def project(x: Tensor, center: Tensor, threat: Threat) -> Tensor:
    """Nearest point to `x` among the images that the threat allows around `center`.

    Solves min ||z - x||_2 subject to ||z - center|| <= eps in the threat's norm and z in [0, 1], in double precision
    and exact up to its rounding.

    Args:
        x: Points to project, `(B, C, H, W)`, any range.
        center: Images, `(B, C, H, W)`, in [0, 1].
        threat: Norm and radius.

    Raises:
        Mismatch: the two batches differ in shape.
        BadInput: `center` leaves [0, 1].

    Source: l_1, Croce & Hein 2021, *Mind the box*, section 3; l_2 by the same argument on the multiplier.
    """
    if x.shape != center.shape:
        raise Mismatch(f"points of shape {tuple(x.shape)} around centers of shape {tuple(center.shape)}: give the same")
    if bool((center < 0).any() | (center > 1).any()):
        raise BadInput("center leaves [0, 1]: give images with pixels in [0, 1]")
    eps = torch.full((len(x),), threat.eps, dtype=torch.float64, device=x.device)
    return BALLS[threat.norm].project(x.double(), center.double(), eps).to(x.dtype)


def distance(x: Tensor, center: Tensor, norm: Norm) -> Tensor:
    """Norm of `x - center` for each sample, `(B,)`."""
    return BALLS[norm].norm(x - center)


def _project_linf(x: Tensor, center: Tensor, eps: Tensor) -> Tensor:
    radius = per_sample(eps, x)
    return torch.clamp(x, (center - radius).clamp_min_(0), (center + radius).clamp_max_(1))


def _room(delta: Tensor, center: Tensor) -> Tensor:
    """How far each entry may move in the direction of `delta` before it leaves the box, (B, n)."""
    return torch.where(delta > 0, 1 - center, center)


def _project_l2(x: Tensor, center: Tensor, eps: Tensor) -> Tensor:
    """The multiplier shrinks the step to `s * delta`, s in (0, 1], before the box clips it.

    Sorted by the scale at which the box starts to clip, the squared length is a quadratic in s on each piece, so the
    scale of length eps has a closed form.
    """
    delta, origin = (x - center).flatten(1), center.flatten(1)
    room = _room(delta, origin)
    size = delta.abs()
    clipped = torch.minimum(size, room)
    outside = clipped.norm(dim=1) > eps
    # Entry i is clipped at every scale above knots_i; on piece j the first j entries are.
    knots, order = (room / size.clamp_min(torch.finfo(x.dtype).tiny)).sort(dim=1)
    full = torch.nn.functional.pad(room.gather(1, order).square().cumsum(1), (1, 0))
    squares = torch.nn.functional.pad(size.gather(1, order).square().flip(1).cumsum(1).flip(1), (0, 1))
    length = full[:, :-1] + knots.square() * squares[:, :-1]
    piece = (length < eps[:, None].square()).sum(1, keepdim=True)
    left = (eps[:, None].square() - full.gather(1, piece)).clamp_min(0)
    scale = (left / squares.gather(1, piece).clamp_min(torch.finfo(x.dtype).tiny)).sqrt()
    shrunk = torch.minimum(size * scale, room)
    return _moved(center, torch.where(outside[:, None], shrunk, clipped), delta)


def _project_l1(x: Tensor, center: Tensor, eps: Tensor, halvings: int) -> Tensor:
    """Soft-threshold, then clip: entry i moves by clamp(|delta_i| - multiplier, 0, room_i).

    The length is piecewise linear and falling in the multiplier; bisection brackets the root, one linear step inside
    the bracket ends it, and the upper end of the bracket guards the ball.
    """
    delta, origin = (x - center).flatten(1), center.flatten(1)
    room, size = _room(delta, origin), delta.abs()
    # One buffer for all trials: fresh memory for each would cost more than the arithmetic. A graph needs them apart.
    tried = None if delta.requires_grad or eps.requires_grad else torch.empty_like(size)

    def moves(multiplier: Tensor) -> Tensor:
        return torch.minimum(torch.sub(size, multiplier[:, None], out=tried).clamp_min_(0), room, out=tried)

    low, high = torch.zeros_like(eps), size.amax(1)
    for _ in range(halvings):
        middle = (low + high) / 2
        longer = moves(middle).sum(1) > eps
        low, high = torch.where(longer, middle, low), torch.where(longer, high, middle)
    # Between low and high the length is all but linear: interpolate, and stay on the inner side, up to the rounding of
    # a sum, without which a point on the sphere would be pushed in by the width of the bracket.
    allowed = eps * (1 + 4 * torch.finfo(x.dtype).eps)
    at_low, at_high = moves(low).sum(1), moves(high).sum(1)
    fraction = ((at_low - eps) / (at_low - at_high).clamp_min(torch.finfo(x.dtype).tiny)).clamp(0, 1)
    root = low + fraction * (high - low)
    root = torch.where(moves(root).sum(1) > allowed, high, root)
    inside = torch.minimum(size, room).sum(1) <= allowed
    return _moved(center, moves(torch.where(inside, torch.zeros_like(root), root)), delta)


def _moved(center: Tensor, size: Tensor, delta: Tensor) -> Tensor:
    return (center + (size * delta.sign()).view_as(center)).clamp_(0, 1)


def _land_l2(x: Tensor, center: Tensor, eps: Tensor) -> Tensor:
    delta = x - center
    length = _norm_l2(delta)
    scale = eps / torch.maximum(length, eps).clamp_min(torch.finfo(x.dtype).tiny)
    return delta.mul_(per_sample(scale, x)).add_(center).clamp_(0, 1)


def _start_linf(noise: Tensor, center: Tensor, eps: Tensor) -> Tensor:
    peak = noise.abs().flatten(1).amax(1).clamp_min(torch.finfo(noise.dtype).tiny)
    return (center + noise * per_sample(eps / peak, noise)).clamp_(0, 1)


def _start_l2(noise: Tensor, center: Tensor, eps: Tensor) -> Tensor:
    return (center + _direction_l2(noise) * per_sample(eps, noise)).clamp_(0, 1)


def _start_l1(noise: Tensor, center: Tensor, eps: Tensor) -> Tensor:
    return _project_l1(center + noise, center, eps, _HALVINGS_NEAR)


def _direction_l2(gradient: Tensor) -> Tensor:
    return gradient / per_sample(_norm_l2(gradient).clamp_min(torch.finfo(gradient.dtype).tiny), gradient)


def _direction_l1(gradient: Tensor) -> Tensor:
    return sparse_direction(gradient, gradient.new_full((len(gradient),), 1 / gradient[0].numel()))


def sparse_direction(gradient: Tensor, density: Tensor) -> Tensor:
    """The signs of the largest gradient entries, scaled to l_1 norm 1.

    Args:
        gradient: `(B, C, H, W)`; an entry of 0 is never moved.
        density: Fraction of the entries to move, `(B,)` in [0, 1]; at least one is.

    Source: Croce & Hein 2021, *Mind the box*, section 4.
    """
    size = gradient.flatten(1).abs()
    count = (density * size.shape[1]).long().clamp_(1, size.shape[1])
    largest = size.topk(int(count.max()), dim=1).values
    threshold = largest.gather(1, count[:, None] - 1)
    signs = torch.where(size >= threshold, gradient.flatten(1).sign(), torch.zeros_like(size))
    return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)


def _norm_linf(delta: Tensor) -> Tensor:
    return delta.flatten(1).abs().amax(1)


def _norm_l2(delta: Tensor) -> Tensor:
    length: Tensor = delta.flatten(1).norm(dim=1)
    return length


def _norm_l1(delta: Tensor) -> Tensor:
    return delta.flatten(1).abs().sum(1)


BALLS: dict[Norm, Ball] = {
    "linf": Ball(_project_linf, _project_linf, _start_linf, "uniform", torch.sign, _norm_linf),
    "l2": Ball(_project_l2, _land_l2, _start_l2, "normal", _direction_l2, _norm_l2),
    "l1": Ball(
        partial(_project_l1, halvings=_HALVINGS_ANYWHERE),
        partial(_project_l1, halvings=_HALVINGS_NEAR),
        _start_l1,
        "normal",
        _direction_l1,
        _norm_l1,
    ),
}
