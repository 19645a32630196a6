"""Who ascends when: an active set that fooled samples leave at once, and that is refilled from those that wait.

A fooled sample needs no further pass, so most samples of a weak model are done after a few steps; the places they leave
are taken by waiting ones, so the batch stays full. Each sample has its own step counter (see `ascent`), so what becomes
of it is the same whoever sits beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from seasoning.attacks.apgd_step import Ascent, Schedule, adapt, step
from seasoning.attacks.base import AttackResult, Classifier
from seasoning.attacks.checks import check_shape
from seasoning.errors import BadInput
from seasoning.geometry import BALLS
from seasoning.losses import misclassified
from seasoning.threat import Norm


__all__ = ["Problem", "Score", "climb_all"]

Score = Callable[[Tensor, Tensor, Tensor], Tensor]  # (logits, rows of the images, runs) -> losses


class Problem(NamedTuple):
    """What is maximized, by which rules, and where the finds are written.

    Args:
        model: Takes the passes of the ascent.
        confirm: What a find has to fool as well; `None` where `model` is the one that is measured.
        score: The loss to raise.
        labels: Classes, `(N,)`.
        norm: Norm of the threat.
        eps: Its radius.
        schedule: Steps and radii of the phases.
        runs: Restarts, times targets.
        begin: Rows and runs to samples at their starts.
        leave: Whether a fooled sample leaves at once.
        best: Whether the point of highest loss is wanted, instead of the first that fools.
        found: What is found, for all images; overwritten as the ascends go.
        flat: Number of first looks, of those with a zero gradient, of those with one that is not finite, and of looks
            whose logits are not finite, `(4,)`; added to.
    """

    model: Classifier
    confirm: Classifier | None
    score: Score
    labels: Tensor
    norm: Norm
    eps: float
    schedule: Schedule
    runs: int
    begin: Callable[[Tensor, Tensor], Ascent]
    leave: bool
    best: bool
    found: AttackResult
    flat: Tensor


@dataclass(slots=True)
class _Lines:
    """The samples that are not in the active set and not done."""

    problem: Problem
    slots: int
    rows: Tensor  # not begun
    runs: Tensor
    ready: list[Ascent] = field(default_factory=list)  # begun, or on their way
    ended: list[Ascent] = field(default_factory=list)  # took all steps of a phase and want a last look
    claims: list[tuple[Ascent, Tensor]] = field(default_factory=list)  # moved on; the images that seem to fool

    def take(self, wanted: int) -> Ascent | None:
        """Up to so many samples that can ascend."""
        lacking = wanted - sum(map(len, self.ready))
        if lacking > 0 and len(self.rows):
            # Some more than needed, since beginning a few at a time costs nearly as much as beginning many.
            count = max(lacking, self.slots // 4)
            self.ready.append(self.problem.begin(self.rows[:count], self.runs[:count]))
            self.rows, self.runs = self.rows[count:], self.runs[count:]
        if not self.ready or wanted == 0:
            return None
        ready = Ascent.join(self.ready)
        self.ready = [ready.pick(slice(wanted, None))] if len(ready) > wanted else []
        return ready if len(ready) <= wanted else ready.pick(slice(wanted))


def climb_all(problem: Problem, rows: Tensor, slots: int) -> None:
    """Attack the images at `rows`, at most `slots` of them in the model at a time with a gradient.

    Those that took all steps of a phase get their last look, which needs no gradient, in batches of their own, of up to
    a quarter more.
    """
    lines = _Lines(problem, slots, rows, torch.zeros_like(rows))
    active = lines.take(slots)
    while active is not None or lines.ended or lines.claims:
        if active is not None:
            active = _move_on(problem, active, lines)
        # Small batches are slow: wait until a quarter of the active ones ask for the same.
        few = 0 if active is None else len(active) // 4
        if lines.claims and sum(len(ascent) for ascent, _ in lines.claims) >= few:
            _confirm(problem, lines)
        if lines.ended and sum(map(len, lines.ended)) >= few:
            _last_look(problem, lines)
        active = _filled(active, lines)


def _filled(active: Ascent | None, lines: _Lines) -> Ascent | None:
    """The active set with as many of those who wait as there is room for."""
    if active is None:
        return lines.take(lines.slots)
    arrivals = lines.take(lines.slots - len(active))
    return active if arrivals is None else Ascent.join([active, arrivals])


def _move_on(problem: Problem, active: Ascent, lines: _Lines) -> Ascent | None:
    """One look and one step of everybody; who is fooled or at the end gives the place to one who waits."""
    _look(problem, active, with_gradient=True)
    finds, images = _finds(problem, active), active.x
    adapt(active, problem.schedule, problem.norm)
    step(active, problem.norm)
    end = active.taken == problem.schedule.steps[active.phase]
    new = finds & ~problem.found.fooled[active.rows]
    if problem.confirm is None:
        _record(problem.found, active.rows, finds, images, active.loss_best)
    elif bool(new.any()):
        lines.claims.append((active.pick(new), images[new]))
        if not problem.leave:
            _confirmed(problem, *lines.claims.pop())
    leaves = finds if problem.leave else torch.zeros_like(finds)
    vacant = (leaves | end).nonzero().squeeze(1)
    if len(vacant) == 0:
        return active
    looked_at_last = end & ~leaves
    if bool(looked_at_last.any()):
        lines.ended.append(active.pick(looked_at_last))
    arrivals = lines.take(len(vacant))
    if len(vacant) == len(active):
        return arrivals
    taken = 0 if arrivals is None else len(arrivals)
    if arrivals is not None:
        active.put(vacant[:taken], arrivals)
    staying = torch.ones_like(finds)
    staying[vacant[taken:]] = False
    return active.pick(staying)


def _look(problem: Problem, ascent: Ascent, *, with_gradient: bool) -> None:
    """One forward pass at `x`, and a backward pass where the gradient will be used."""
    x = ascent.x.detach().requires_grad_(with_gradient)
    gradient = ascent.gradient
    # Whoever calls may have switched gradients off.
    with torch.set_grad_enabled(with_gradient):
        logits = problem.model(x).to(x.dtype)
        check_shape(logits, len(x))
        loss = problem.score(logits, ascent.rows, ascent.run)
        if loss.shape != ascent.rows.shape:
            raise BadInput(f"the loss has shape {tuple(loss.shape)} for {len(x)} images: expected one number for each")
        if with_gradient:
            (gradient,) = torch.autograd.grad(loss.sum(), x)
    problem.found.forwards[ascent.rows] += 1
    fools, unsound = misclassified(logits.detach(), problem.labels[ascent.rows]), ~_sound(logits)
    problem.flat[3] += unsound.sum()
    if with_gradient:
        problem.found.gradients[ascent.rows] += 1
        # Where the start fools the model already, a flat loss does no harm.
        first = (ascent.taken == 0) & (ascent.phase == 0) & (ascent.run == 0) & ~fools
        if bool(first.any()):
            flat = gradient[first].flatten(1)
            zero, broken = (flat == 0).all(1).sum(), (~torch.isfinite(flat)).any(1).sum()
            problem.flat[:3] += torch.stack([first.sum(), zero, broken])
        gradient = torch.nan_to_num(gradient, nan=0.0)
    # Where the model breaks is never the point of highest loss.
    ascent.see(loss.detach().masked_fill(unsound, -torch.inf), fools, gradient)


def _sound(logits: Tensor) -> Tensor:
    return torch.isfinite(logits.detach()).all(1)


def _finds(problem: Problem, ascent: Ascent) -> Tensor:
    """Which samples are fooled at their point; points of a larger ball are no finds."""
    if problem.best:
        return torch.zeros_like(ascent.fools)
    return ascent.fools & (problem.schedule.radii[ascent.phase] <= 1)


def _record(found: AttackResult, rows: Tensor, finds: Tensor, images: Tensor, loss: Tensor) -> None:
    """Write the first fooling point of each sample."""
    new = finds & ~found.fooled[rows]
    if not bool(new.any()):
        return
    rows = rows[new]
    found.x_adv[rows.to(found.x_adv.device)] = images[new].to(found.x_adv.device)
    found.loss[rows] = torch.maximum(found.loss[rows], loss[new])
    found.fooled[rows] = True


def _confirm(problem: Problem, lines: _Lines) -> None:
    """Look at the claimed images in full precision; who does not fool there goes on."""
    ascent = Ascent.join([claimed for claimed, _ in lines.claims])
    true = _confirmed(problem, ascent, torch.cat([images for _, images in lines.claims]))
    lines.claims = []
    end = ascent.taken == problem.schedule.steps[ascent.phase]
    for line, mask in ((lines.ended, end & ~true), (lines.ready, ~end & ~true)):
        if bool(mask.any()):
            line.append(ascent.pick(mask))


def _confirmed(problem: Problem, ascent: Ascent, images: Tensor) -> Tensor:
    """Which of the images fool the measured model too; those are written."""
    if problem.confirm is None:
        raise RuntimeError("nothing to confirm with")
    with torch.no_grad():
        logits = problem.confirm(images)
    true = misclassified(logits, problem.labels[ascent.rows])
    problem.flat[3] += (~_sound(logits)).sum()
    problem.found.forwards[ascent.rows] += 1
    _record(problem.found, ascent.rows, true, images, ascent.loss_best)
    return true


def _last_look(problem: Problem, lines: _Lines) -> None:
    """End a phase: its last point is only looked at, since its gradient would lead nowhere."""
    ascent, lines.ended = Ascent.join(lines.ended), []
    _look(problem, ascent, with_gradient=False)
    finds = _finds(problem, ascent)
    if problem.confirm is not None and bool(finds.any()):
        claimed = ascent.pick(finds)
        finds[finds.nonzero().squeeze(1)[~_confirmed(problem, claimed, claimed.x)]] = False
    elif problem.confirm is None:
        _record(problem.found, ascent.rows, finds, ascent.x, ascent.loss_best)
    if not problem.best:
        # What a larger ball holds is no loss met inside the threat.
        inside = problem.schedule.radii[ascent.phase] <= 1
        rows = ascent.rows[inside]
        problem.found.loss[rows] = torch.maximum(problem.found.loss[rows], ascent.loss_best[inside])
    last = ascent.phase == len(problem.schedule.steps) - 1
    onward = ~last if not problem.leave else ~last & ~finds
    if bool(onward.any()):
        lines.ready.append(_next_phase(problem, ascent.pick(onward)))
    if bool(last.any()):
        _end_run(problem, ascent.pick(last), lines)


def _next_phase(problem: Problem, ascent: Ascent) -> Ascent:
    """From the best point so far into the ball of the next radius."""
    eps = torch.full_like(ascent.eps, problem.eps) * problem.schedule.radii[ascent.phase + 1]
    point = BALLS[problem.norm].land(ascent.x_best, ascent.center, eps)
    return Ascent.begin(ascent.rows, ascent.run, ascent.phase + 1, ascent.center, point, eps, problem.norm, given=True)


def _end_run(problem: Problem, ascent: Ascent, lines: _Lines) -> None:
    """Keep what the run came to, and queue the next one of those that it did not fool."""
    found, rows = problem.found, ascent.rows
    if problem.best:
        better = ascent.loss_best > found.loss[rows]
        found.loss[rows[better]] = ascent.loss_best[better]
        better_rows = rows[better].to(found.x_adv.device)
        found.x_adv[better_rows] = ascent.x_best[better].to(found.x_adv.device)
        found.fooled[rows[better]] = ascent.fools_best[better]
    again = ascent.run + 1 < problem.runs
    if not problem.best:
        again &= ~found.fooled[rows]
    lines.rows = torch.cat([lines.rows, rows[again]])
    lines.runs = torch.cat([lines.runs, ascent.run[again] + 1])
