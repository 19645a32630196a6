"""AutoPGD: projected gradient ascent that sets its own step size.

Sources: l_inf and l_2, Croce & Hein 2020, *Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks* (Algorithm 1); l_1, Croce & Hein 2021, *Mind the box: l_1-APGD for sparse adversarial attacks*.

Every sample has a step size, a best point and counters of its own, so what happens to it does not depend on the batch
it sits in. In evaluation a fooled sample leaves at once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from seasoning import losses
from seasoning.attacks.base import AttackResult, Classifier
from seasoning.attacks.harness import check_batch, check_gradients, check_logits, evaluation_mode
from seasoning.errors import BadInput, UnknownName
from seasoning.geometry import BALLS, distance, per_sample, sparse_direction
from seasoning.noise import sample_noise
from seasoning.threat import Norm, Threat


__all__ = ["LOSSES", "apgd"]

LOSSES = ("ce", "kl", "dlr", "targeted-ce", "targeted-dlr")

# Decreasing radii for l_1 in evaluation: (multiple of eps, share of the steps); Mind the box, section 4.
_L1_PHASES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
_MOMENTUM = 0.75
_ENOUGH_RISES = 0.75  # rho of Algorithm 1
_L1_START_DENSITY = 0.2
_L1_SPARSER, _L1_STEP_CUT, _L1_LEAST_STEP = 0.95, 1.5, 0.1

Score = Callable[[Tensor, Tensor], Tensor]  # (logits, rows of the batch that they belong to) -> losses


class _Problem(NamedTuple):
    """What is climbed: one loss of one model, within one norm."""

    model: Classifier
    score: Score
    labels: Tensor  # classes of the whole batch, (B,)
    norm: Norm


@dataclass(slots=True)
class _Climb:
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
    def begin(cls, rows: Tensor, center: Tensor, point: Tensor, eps: Tensor, norm: Norm, given: bool) -> "_Climb":
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
        """Go back to the best point where the mask says so."""
        self.x = torch.where(per_sample(mask, self.x), self.x_best, self.x)
        self.gradient = torch.where(per_sample(mask, self.x), self.gradient_best, self.gradient)


def apgd(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    loss: str | Callable[[Tensor, Tensor], Tensor] = "ce",
    steps: int = 40,
    restarts: int = 1,
    targets: int | None = None,
    start: Tensor | None = None,
    best_loss: bool = False,
    ids: Tensor | None = None,
    seed: int = 0,
) -> AttackResult:
    """Attack a batch with AutoPGD.

    Evaluation (the default) forces evaluation mode, attacks only the samples that are classified correctly, and stops
    at the first fooling point of each. With `best_loss=True`, for training, the model's mode is left alone, every
    sample takes all steps, and the point of highest loss comes back.

    Args:
        model: Images in [0, 1] to logits.
        x: Images, `(B, C, H, W)` in [0, 1].
        y: Classes, `(B,)`; with `best_loss` and `"ce"` or `"kl"` also soft labels, `(B, K)`.
        threat: Norm and radius.
        loss: `"ce"`, `"kl"`, `"dlr"`, `"targeted-ce"`, `"targeted-dlr"`, or a function of logits and labels that gives
            one loss for each sample.
        steps: Gradients for each restart, at least 1.
        restarts: Random starts; a start that fooled a sample ends its attack.
        targets: For targeted losses, how many of the strongest other classes every restart tries; by default restart
            r tries only the r-th strongest.
        start: Where to begin instead of at a random point, `(B, C, H, W)` inside the threat; its l_1 attack keeps the
            radius.
        best_loss: Return the point of highest loss.
        ids: Sample ids, `(B,)`, from which (with `seed`) the random starts derive; without them, as in training, one
            generator seeded with `seed` serves the batch.
        seed: Seed of the random starts.

    Returns:
        What was found for each sample. For l_2 the points of the search are scaled, then clipped: inside the threat,
        not the nearest points. For l_1 in evaluation the radius decreases over 3, 2 and 1 times eps in 30, 30 and 40 %
        of the steps.

    Raises:
        BadInput: images outside [0, 1], labels or logits that do not fit, a loss that the number of classes or soft
            labels leave undefined, or a start that does not suit.
        UnknownName: no such loss.
    """
    check_batch(x, y)
    _check_options(loss, steps, restarts, y, best_loss)
    if start is not None:
        _check_start(start, x, threat, loss)
    with evaluation_mode(model) if not best_loss else nullcontext():
        with torch.no_grad():
            logits = model(x)
        check_logits(logits, y)
        labels = y if y.dim() == 1 else y.argmax(1)
        wrong = logits.argmax(1) != labels
        lowest = logits.new_full((len(x),), -torch.inf)
        found = AttackResult(x.clone(), wrong.clone(), lowest, torch.zeros_like(labels))
        for run, score in enumerate(_scores(loss, logits, y, labels, restarts, targets)):
            rows = torch.arange(len(x), device=x.device) if best_loss else (~found.fooled).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            problem = _Problem(model, score, labels, threat.norm)
            eps = x.new_full((len(rows),), threat.eps)
            if start is None:
                noise = _noise(x[rows], threat.norm, None if ids is None else ids[rows], seed, run)
                _from_noise(problem, rows, x[rows], noise, eps, steps, best_loss, found)
            else:
                climb = _Climb.begin(rows, x[rows], start[rows], eps, threat.norm, given=True)
                _run(problem, climb, steps, best_loss, found)
    return found


def _check_options(
    loss: str | Callable[[Tensor, Tensor], Tensor], steps: int, restarts: int, y: Tensor, best_loss: bool
) -> None:
    if isinstance(loss, str) and loss not in LOSSES:
        raise UnknownName("loss", loss, LOSSES)
    if steps < 1 or restarts < 1:
        raise BadInput(f"steps={steps}, restarts={restarts}: expected at least 1 of each")
    if y.dim() == 2 and not (best_loss and (callable(loss) or loss in ("ce", "kl"))):
        raise BadInput("soft labels (B, K) serve only best_loss=True with loss='ce' or 'kl': give classes (B,)")


def _check_start(start: Tensor, x: Tensor, threat: Threat, loss: str | Callable[[Tensor, Tensor], Tensor]) -> None:
    if start.shape != x.shape:
        raise BadInput(f"a start of shape {tuple(start.shape)} for images of shape {tuple(x.shape)}: give the same")
    away = distance(start, x, threat.norm)
    if bool((away > threat.eps * (1 + 1e-4) + 1e-6).any() | (start < 0).any() | (start > 1).any()):
        raise BadInput(f"the start leaves {threat} or [0, 1]: project it first")
    if loss == "kl" and bool((away == 0).any()):
        raise BadInput("loss 'kl' has a zero gradient at the clean image: start elsewhere, or leave out start")


def _scores(
    loss: str | Callable[[Tensor, Tensor], Tensor],
    clean: Tensor,
    y: Tensor,
    labels: Tensor,
    restarts: int,
    targets: int | None,
) -> Iterator[Score]:
    """One loss for each run: restarts, times the target classes where the loss has them."""
    if callable(loss):
        own = loss
        yield from [lambda logits, rows: own(logits, y[rows])] * restarts
    elif loss == "kl":
        yield from [lambda logits, rows: losses.kl_divergence(logits, clean[rows])] * restarts
    elif loss in ("ce", "dlr"):
        untargeted = losses.cross_entropy if loss == "ce" else losses.dlr
        yield from [lambda logits, rows: untargeted(logits, y[rows])] * restarts
    else:
        targeted = losses.targeted_cross_entropy if loss == "targeted-ce" else losses.targeted_dlr
        others = clean.scatter(1, labels[:, None], -torch.inf).argsort(1, descending=True)
        most = clean.shape[1] - 1
        for restart in range(restarts):
            for rank in [restart % most] if targets is None else range(min(targets, most)):
                target = others[:, rank]
                yield lambda logits, rows, target=target: targeted(logits, labels[rows], target[rows])  # type: ignore[misc]


def _noise(x: Tensor, norm: Norm, ids: Tensor | None, seed: int, run: int) -> Tensor:
    """What the random start of a run is made from, `(B, C, H, W)`."""
    kind = BALLS[norm].noise
    if ids is not None:
        return sample_noise(
            ids, tuple(x.shape[1:]), kind=kind, seed=seed, purpose="attack start", restart=run, dtype=x.dtype
        )
    generator = torch.Generator(x.device).manual_seed((seed + run) % (1 << 63))
    if kind == "uniform":
        return torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device) * 2 - 1
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def _phases(steps: int) -> Sequence[tuple[float, int]]:
    """Multiples of eps and their numbers of steps, which sum to `steps`; phases without steps fall away."""
    early = [(multiple, int(share * steps)) for multiple, share in _L1_PHASES[:-1]]
    left = steps - sum(count for _, count in early)
    return [(multiple, count) for multiple, count in early if count] + [(1.0, left)]


def _from_noise(
    problem: _Problem,
    rows: Tensor,
    center: Tensor,
    noise: Tensor,
    eps: Tensor,
    steps: int,
    best_loss: bool,
    found: AttackResult,
) -> None:
    """One run from a random start; for l_1 in evaluation through decreasing radii."""
    ball, norm = BALLS[problem.norm], problem.norm
    phases = _phases(steps) if norm == "l1" and not best_loss else [(1.0, steps)]
    point = ball.start(noise, center, eps * phases[0][0])
    for multiple, count in phases[:-1]:
        climb = _Climb.begin(rows, center, ball.land(point, center, eps * multiple), eps * multiple, norm, given=True)
        # Points of a larger ball are no finds: nobody leaves, nothing is recorded.
        _climb(problem, climb, count, None, found.gradients)
        point = climb.x_best
    given = len(phases) > 1
    climb = _Climb.begin(rows, center, ball.land(point, center, eps) if given else point, eps, norm, given)
    _run(problem, climb, steps if not given else phases[-1][1], best_loss, found)


def _run(problem: _Problem, climb: _Climb, steps: int, best_loss: bool, found: AttackResult) -> None:
    """Climb inside the threat and write what was found."""
    _climb(problem, climb, steps, None if best_loss else found, found.gradients)
    better = climb.loss_best > found.loss[climb.rows]
    rows = climb.rows[better]
    found.loss[rows] = climb.loss_best[better]
    if best_loss:
        found.x_adv[rows] = climb.x_best[better]
        found.fooled[rows] = climb.fools_best[better]


def _climb(problem: _Problem, climb: _Climb, steps: int, leave: AttackResult | None, gradients: Tensor) -> None:
    """Take the steps; with `leave`, samples leave at their first fooling point, which is written there."""
    momentum = problem.norm != "l1"
    checks = _checkpoints(steps) if momentum else range(0, steps, max(int(0.04 * steps), 1))
    checked = 0
    for taken in range(steps + 1):
        if taken:
            climb.x_previous, climb.x = climb.x, _momentum_point(climb, problem.norm, taken) if momentum else _sparse_point(climb)
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


def _look(problem: _Problem, climb: _Climb, gradients: Tensor, *, with_gradient: bool, first: bool) -> None:
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


def _take_fooled(climb: _Climb, found: AttackResult) -> None:
    """Write the samples that `x` fools, and let them leave."""
    fooled = climb.fools
    if not bool(fooled.any()):
        return
    rows = climb.rows[fooled]
    found.x_adv[rows] = climb.x[fooled]
    found.loss[rows] = climb.loss_best[fooled]
    found.fooled[rows] = True
    climb.keep(~fooled)


def _checkpoints(steps: int) -> set[int]:
    """Steps w_j = ceil(p_j n) after which the step size is reconsidered; p_j in whole percents, so exact."""
    shares = [0, 22]
    while shares[-1] < 100:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 3, 6))
    return {-(-share * steps // 100) for share in shares[1:]}


def _momentum_point(climb: _Climb, norm: Norm, taken: int) -> Tensor:
    """z = P(x + eta s), then P(x + 0.75 (z - x) + 0.25 (x - x_previous)); Algorithm 1, lines 7-8."""
    ball = BALLS[norm]
    ahead = climb.x + per_sample(climb.step, climb.x) * ball.direction(climb.gradient)
    ahead = ball.land(ahead, climb.center, climb.eps)
    if taken == 1:
        return ahead
    moved = climb.x + _MOMENTUM * (ahead - climb.x) + (1 - _MOMENTUM) * (climb.x - climb.x_previous)
    return ball.land(moved, climb.center, climb.eps)


def _halve_stuck_steps(climb: _Climb, window: int) -> None:
    """Halve the step and go back to the best point where too few steps rose, or nothing changed; conditions 1 and 2."""
    stuck = climb.rises < _ENOUGH_RISES * window
    stuck |= ~climb.halved & (climb.loss_checked >= climb.loss_best)
    climb.step = torch.where(stuck, climb.step / 2, climb.step)
    climb.restart_from_best(stuck)
    climb.halved, climb.loss_checked = stuck, climb.loss_best
    climb.rises = torch.zeros_like(climb.rises)


def _sparse_point(climb: _Climb) -> Tensor:
    """A step of l_1 length eta along the largest gradient entries that the box leaves free, projected."""
    blocked = ((climb.x <= 0) & (climb.gradient < 0)) | ((climb.x >= 1) & (climb.gradient > 0))
    direction = sparse_direction(climb.gradient.masked_fill(blocked, 0), climb.density)
    return BALLS["l1"].land(climb.x + per_sample(climb.step, climb.x) * direction, climb.center, climb.eps)


def _adapt_sparsity(climb: _Climb) -> None:
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
