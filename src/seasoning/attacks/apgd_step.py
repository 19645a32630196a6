"""The ascent of AutoPGD: what each sample carries with it, and the arithmetic of one step.

Every sample has its own step counter, step size, best point and counters, so nothing here depends on the other samples
of a batch. Who ascends when is decided in `active_set`.

Sources: l_inf and l_2, Croce & Hein 2020, *Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks* (Algorithm 1); l_1, Croce & Hein 2021, *Mind the box: l_1-APGD for sparse adversarial attacks*.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from seasoning.geometry import BALLS, per_sample, sparse_direction
from seasoning.threat import Norm


__all__ = ["Ascent", "Schedule", "adapt", "step"]

_MOMENTUM = 0.75
_ENOUGH_RISES = 0.75  # rho of Algorithm 1
_L1_START_DENSITY = 0.2
_L1_SPARSER, _L1_STEP_CUT, _L1_LEAST_STEP = 0.95, 1.5, 0.1


class Schedule(NamedTuple):
    """When an ascent ends and when its step size is reconsidered: tables indexed by phase and by steps taken."""

    radii: Tensor  # multiple of eps of each phase, (P,)
    steps: Tensor  # number of steps of each phase, (P,)
    due: Tensor  # whether to reconsider the step size after so many steps, (P, most + 1)
    window: Tensor  # steps since it was last reconsidered, (P, most + 1)

    @classmethod
    def of(cls, phases: Sequence[tuple[float, int]], norm: Norm, like: Tensor) -> "Schedule":
        """Tables for phases of (multiple of eps, steps), with the type and on the device of `like`."""
        most = max(count for _, count in phases)
        due = torch.zeros(len(phases), most + 1, dtype=torch.bool)
        window = torch.zeros(len(phases), most + 1)
        for phase, (_, count) in enumerate(phases):
            checks = range(0, count, max(int(0.04 * count), 1)) if norm == "l1" else _checkpoints(count)
            last = 0
            for taken in sorted(each for each in checks if 0 < each < count):
                due[phase, taken], window[phase, taken] = True, taken - last
                last = taken
        device = like.device
        return cls(
            radii=torch.tensor([multiple for multiple, _ in phases], dtype=like.dtype, device=device),
            steps=torch.tensor([count for _, count in phases], device=device),
            due=due.to(device),
            window=window.to(device=device, dtype=like.dtype),
        )


def _checkpoints(steps: int) -> set[int]:
    """Steps w_j = ceil(p_j n) after which the step size is reconsidered; p_j in whole percents, so exact."""
    percents = [0, 22]
    while percents[-1] < 100:
        percents.append(percents[-1] + max(percents[-1] - percents[-2] - 3, 6))
    return {-(-percent * steps // 100) for percent in percents[1:]}


@dataclass(slots=True)
class Ascent:
    """Samples on their way up: each field has one entry (or image) for each of them."""

    rows: Tensor  # their rows among the attacked images
    run: Tensor  # which restart or target they are at
    phase: Tensor
    taken: Tensor  # steps taken in this phase
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
    # l_1: fraction of the entries that a step moves, and fraction moved by the best perturbation at the last check
    density: Tensor
    support: Tensor

    @classmethod
    def begin(
        cls,
        rows: Tensor,
        run: Tensor,
        phase: Tensor,
        center: Tensor,
        point: Tensor,
        eps: Tensor,
        norm: Norm,
        given: bool,
    ) -> "Ascent":
        """Before the first look; `given` says that the start was not drawn for this ascent."""
        yes, low = torch.ones_like(rows, dtype=torch.bool), torch.full_like(eps, -torch.inf)
        moved = _share_moved(point, center) if given else torch.ones_like(eps)
        # Entries are overwritten in place when their sample leaves: no two fields may share memory.
        return cls(
            rows=rows,
            run=run,
            phase=phase,
            taken=torch.zeros_like(rows),
            center=center,
            eps=eps.clone(),
            x=point,
            x_previous=point.clone(),
            loss=-low,
            gradient=torch.zeros_like(point),
            x_best=point.clone(),
            loss_best=low,
            gradient_best=torch.zeros_like(point),
            fools=~yes,
            fools_best=~yes,
            step=eps.clone() if norm == "l1" else 2 * eps,
            rises=torch.zeros_like(eps),
            halved=yes,
            loss_checked=low.clone(),
            density=moved / _L1_STEP_CUT if given else torch.full_like(eps, _L1_START_DENSITY),
            support=moved,
        )

    @classmethod
    def join(cls, parts: Sequence["Ascent"]) -> "Ascent":
        """The samples of several ascends in their order."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, rows: Tensor | slice) -> "Ascent":
        """The samples that a mask, an index or a slice picks; the ascent itself where a mask picks all."""
        if isinstance(rows, Tensor) and rows.dtype == torch.bool and bool(rows.all()):
            return self
        return Ascent(*(getattr(self, field.name)[rows] for field in fields(self)))

    def put(self, rows: Tensor, other: "Ascent") -> None:
        """Overwrite the samples at an index."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)

    def see(self, loss: Tensor, fools: Tensor, gradient: Tensor) -> None:
        """Take in the loss and the gradient at `x`."""
        better = loss > self.loss_best
        self.rises += loss > self.loss
        # In place: fresh memory for each step would cost more than the arithmetic.
        torch.where(per_sample(better, self.x), self.x, self.x_best, out=self.x_best)
        torch.where(per_sample(better, self.x), gradient, self.gradient_best, out=self.gradient_best)
        self.loss_best = torch.where(better, loss, self.loss_best)
        self.fools_best = torch.where(better, fools, self.fools_best)
        self.loss, self.fools, self.gradient = loss, fools, gradient

    def restart_from_best(self, mask: Tensor) -> None:
        """Go back to the best point where the mask says so; as in the reference, the last loss is still to beat."""
        self.x = torch.where(per_sample(mask, self.x), self.x_best, self.x)
        self.gradient = torch.where(per_sample(mask, self.x), self.gradient_best, self.gradient)


def adapt(ascent: Ascent, schedule: Schedule, norm: Norm) -> None:
    """Reconsider the step size of the samples for which it is due."""
    due = schedule.due[ascent.phase, ascent.taken]
    if not bool(due.any()):
        return
    if norm == "l1":
        _adapt_sparsity(ascent, due)
    else:
        _halve_stuck_steps(ascent, due, schedule.window[ascent.phase, ascent.taken])


def _halve_stuck_steps(ascent: Ascent, due: Tensor, window: Tensor) -> None:
    """Halve the step and go back to the best point where too few steps rose, or nothing changed; conditions 1 and 2."""
    stuck = ascent.rises < _ENOUGH_RISES * window
    stuck |= ~ascent.halved & (ascent.loss_checked >= ascent.loss_best)
    stuck &= due
    ascent.step = torch.where(stuck, ascent.step / 2, ascent.step)
    ascent.restart_from_best(stuck)
    ascent.halved = torch.where(due, stuck, ascent.halved)
    ascent.loss_checked = torch.where(due, ascent.loss_best, ascent.loss_checked)
    ascent.rises = ascent.rises.masked_fill(due, 0)


def _adapt_sparsity(ascent: Ascent, due: Tensor) -> None:
    """Follow the sparsity of the best perturbation: on a clear fall start again with large steps, else refine."""
    support = _share_moved(ascent.x_best, ascent.center)
    sparser = support < _L1_SPARSER * ascent.support
    refined = torch.maximum(ascent.step / _L1_STEP_CUT, ascent.eps * _L1_LEAST_STEP)
    ascent.step = torch.where(due, torch.where(sparser, ascent.eps, refined), ascent.step)
    ascent.restart_from_best(due & sparser)
    ascent.density = torch.where(due, support / _L1_STEP_CUT, ascent.density)
    ascent.support = torch.where(due, support, ascent.support)


def step(ascent: Ascent, norm: Norm) -> None:
    """Move every sample on, along the gradient at its point."""
    ascent.taken = ascent.taken + 1
    ascent.x_previous, ascent.x = ascent.x, _sparse_point(ascent) if norm == "l1" else _momentum_point(ascent, norm)


def _momentum_point(ascent: Ascent, norm: Norm) -> Tensor:
    """Z = P(x + eta s), then P(x + 0.75 (z - x) + 0.25 (x - x_previous)); Algorithm 1, lines 7-8."""
    ball = BALLS[norm]
    ahead = ball.direction(ascent.gradient).mul_(per_sample(ascent.step, ascent.x)).add_(ascent.x)
    ahead = ball.land(ahead, ascent.center, ascent.eps)
    first = ascent.taken == 1
    if bool(first.all()):
        return ahead
    last = (ascent.x - ascent.x_previous).mul_(1 - _MOMENTUM)
    moved = ball.land((ahead - ascent.x).mul_(_MOMENTUM).add_(ascent.x).add_(last), ascent.center, ascent.eps)
    return torch.where(per_sample(first, ahead), ahead, moved) if bool(first.any()) else moved


def _sparse_point(ascent: Ascent) -> Tensor:
    """A step of l_1 length eta along the largest gradient entries that the box leaves free, projected."""
    blocked = ((ascent.x <= 0) & (ascent.gradient < 0)) | ((ascent.x >= 1) & (ascent.gradient > 0))
    direction = sparse_direction(ascent.gradient.masked_fill(blocked, 0), ascent.density)
    return BALLS["l1"].land(ascent.x + per_sample(ascent.step, ascent.x) * direction, ascent.center, ascent.eps)


def _share_moved(x: Tensor, center: Tensor) -> Tensor:
    """Share of the entries that differ, (B,)."""
    return (x != center).flatten(1).to(x.dtype).mean(1)
