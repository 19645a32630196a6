"""The climb of AutoPGD: a loop that steps, looks, remembers the best point and adapts the step size.

Sources: l_inf and l_2, Croce & Hein 2020, *Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks* (Algorithm 1); l_1, Croce & Hein 2021, *Mind the box: l_1-APGD for sparse adversarial attacks*.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from seasoning.attacks.base import AttackResult, Classifier
from seasoning.attacks.harness import check_gradients
from seasoning.geometry import BALLS, per_sample, sparse_direction
from seasoning.threat import Norm


__all__ = ["Climb", "Problem", "Score", "climb_loss"]

_MOMENTUM = 0.75
_ENOUGH_RISES = 0.75  # rho of Algorithm 1
_L1_START_DENSITY = 0.2
_L1_SPARSER, _L1_STEP_CUT, _L1_LEAST_STEP = 0.95, 1.5, 0.1

Score = Callable[[Tensor, Tensor], Tensor]  # (logits, rows of the batch that they belong to) -> losses


class Problem(NamedTuple):
    """What is climbed: one loss of one model, within one norm."""

    model: Classifier
    score: Score
    labels: Tensor  # classes of the whole batch, (B,)
    norm: Norm


@dataclass(slots=True)
class Climb:
    """The samples still climbing: each field has one entry (or image) for each of them."""

    rows: Tensor  # their places in the batch
    center: Tensor
    eps: Tensor
    x: Tensor
    x_previous: Tensor
    loss: Tensor
    gradient: Tensor
    x_best: Tensor
    loss_best: Tensor
    gradient_best: Tensor
    fools: Tensor  # whether `x` is misclassified
    fools_best: Tensor
    step: Tensor
    # l_inf and l_2: rises since the last checkpoint, whether it halved the step, and the best loss it saw
    rises: Tensor
    halved: Tensor
    loss_checked: Tensor
    # l_1: share of the entries that a step moves, and share moved by the best perturbation at the last check
    density: Tensor
    support: Tensor

    @classmethod
    def begin(cls, rows: Tensor, center: Tensor, point: Tensor, eps: Tensor, norm: Norm, given: bool) -> "Climb":
        """Before the first look; `given` says that the start was not drawn for this climb."""
        yes, low = torch.ones_like(rows, dtype=torch.bool), torch.full_like(eps, -torch.inf)
        moved = _share_moved(point, center) if given else torch.ones_like(eps)
        return cls(
            rows=rows,
            center=center,
            eps=eps,
            x=point,
            x_previous=point,
            loss=-low,
            gradient=torch.zeros_like(point),
            x_best=point,
            loss_best=low,
            gradient_best=torch.zeros_like(point),
            fools=~yes,
            fools_best=~yes,
            step=eps if norm == "l1" else 2 * eps,
            rises=torch.zeros_like(eps),
            halved=yes,
            loss_checked=low,
            density=moved / _L1_STEP_CUT if given else torch.full_like(eps, _L1_START_DENSITY),
            support=moved,
        )

    def keep(self, mask: Tensor) -> None:
        """Drop the samples outside the mask."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[mask])

    def see(self, loss: Tensor, fools: Tensor, gradient: Tensor) -> None:
        """Take in the loss and the gradient at `x`."""
        better = loss > self.loss_best
        self.rises += loss > self.loss
        self.x_best = torch.where(per_sample(better, self.x), self.x, self.x_best)
        self.gradient_best = torch.where(per_sample(better, self.x), gradient, self.gradient_best)
        self.loss_best = torch.where(better, loss, self.loss_best)
        self.fools_best = torch.where(better, fools, self.fools_best)
        self.loss, self.fools, self.gradient = loss, fools, gradient

    def restart_from_best(self, mask: Tensor) -> None:
        """Go back to the best point where the mask says so; as in the reference, the last loss is still to beat."""
        self.x = torch.where(per_sample(mask, self.x), self.x_best, self.x)
        self.gradient = torch.where(per_sample(mask, self.x), self.gradient_best, self.gradient)


def climb_loss(problem: Problem, climb: Climb, steps: int, leave: AttackResult | None, gradients: Tensor) -> None:
    """Take the steps; with `leave`, samples leave at their first fooling point, which is written there."""
    momentum = problem.norm != "l1"
    checks = _checkpoints(steps) if momentum else range(0, steps, max(int(0.04 * steps), 1))
    checked = 0
    for taken in range(steps + 1):
        if taken:
            climb.x_previous, climb.x = (
                climb.x,
                _momentum_point(climb, problem.norm, taken) if momentum else _sparse_point(climb),
            )
        # The last point is only looked at: its gradient would lead nowhere.
        _look(problem, climb, gradients, with_gradient=taken < steps, first=taken == 0)
        if leave is not None:
            _take_fooled(climb, leave)
            if len(climb.rows) == 0:
                return
        if taken in checks and 0 < taken < steps:
            if momentum:
                _halve_stuck_steps(climb, window=taken - checked)
            else:
                _adapt_sparsity(climb)
            checked = taken


def _look(problem: Problem, climb: Climb, gradients: Tensor, *, with_gradient: bool, first: bool) -> None:
    """One forward pass at `x`, and a backward pass where the gradient will be used."""
    x = climb.x.detach().requires_grad_(with_gradient)
    with torch.set_grad_enabled(with_gradient):
        logits = problem.model(x)
        loss = problem.score(logits, climb.rows)
    fools = logits.detach().argmax(1) != problem.labels[climb.rows]
    gradient = climb.gradient
    if with_gradient:
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        gradients[climb.rows] += 1
        if first:
            # Where the start fools the model already, a flat loss does no harm.
            check_gradients(gradient[~fools])
        gradient = torch.nan_to_num(gradient, nan=0.0)
    climb.see(loss.detach(), fools, gradient)


def _take_fooled(climb: Climb, found: AttackResult) -> None:
    """Write the samples that `x` fools, and let them leave."""
    fooled = climb.fools
    if not bool(fooled.any()):
        return
    rows = climb.rows[fooled]
    found.x_adv[rows] = climb.x[fooled]
    found.loss[rows] = torch.maximum(found.loss[rows], climb.loss_best[fooled])
    found.fooled[rows] = True
    climb.keep(~fooled)


def _checkpoints(steps: int) -> set[int]:
    """Steps w_j = ceil(p_j n) after which the step size is reconsidered; p_j in whole percents, so exact."""
    shares = [0, 22]
    while shares[-1] < 100:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 3, 6))
    return {-(-share * steps // 100) for share in shares[1:]}


def _momentum_point(climb: Climb, norm: Norm, taken: int) -> Tensor:
    """Z = P(x + eta s), then P(x + 0.75 (z - x) + 0.25 (x - x_previous)); Algorithm 1, lines 7-8."""
    ball = BALLS[norm]
    ahead = climb.x + per_sample(climb.step, climb.x) * ball.direction(climb.gradient)
    ahead = ball.land(ahead, climb.center, climb.eps)
    if taken == 1:
        return ahead
    moved = climb.x + _MOMENTUM * (ahead - climb.x) + (1 - _MOMENTUM) * (climb.x - climb.x_previous)
    return ball.land(moved, climb.center, climb.eps)


def _halve_stuck_steps(climb: Climb, window: int) -> None:
    """Halve the step and go back to the best point where too few steps rose, or nothing changed; conditions 1 and 2."""
    stuck = climb.rises < _ENOUGH_RISES * window
    stuck |= ~climb.halved & (climb.loss_checked >= climb.loss_best)
    climb.step = torch.where(stuck, climb.step / 2, climb.step)
    climb.restart_from_best(stuck)
    climb.halved, climb.loss_checked = stuck, climb.loss_best
    climb.rises = torch.zeros_like(climb.rises)


def _sparse_point(climb: Climb) -> Tensor:
    """A step of l_1 length eta along the largest gradient entries that the box leaves free, projected."""
    blocked = ((climb.x <= 0) & (climb.gradient < 0)) | ((climb.x >= 1) & (climb.gradient > 0))
    direction = sparse_direction(climb.gradient.masked_fill(blocked, 0), climb.density)
    return BALLS["l1"].land(climb.x + per_sample(climb.step, climb.x) * direction, climb.center, climb.eps)


def _adapt_sparsity(climb: Climb) -> None:
    """Follow the sparsity of the best perturbation: on a clear fall start again with large steps, else refine."""
    support = _share_moved(climb.x_best, climb.center)
    sparser = support < _L1_SPARSER * climb.support
    refined = torch.maximum(climb.step / _L1_STEP_CUT, climb.eps * _L1_LEAST_STEP)
    climb.step = torch.where(sparser, climb.eps, refined)
    climb.restart_from_best(sparser)
    climb.density, climb.support = support / _L1_STEP_CUT, support


def _share_moved(x: Tensor, center: Tensor) -> Tensor:
    """Share of the entries that differ, (B,)."""
    return (x != center).flatten(1).to(x.dtype).mean(1)
