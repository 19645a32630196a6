"""AutoPGD: projected gradient ascent that sets its own step size.

Sources: Croce & Hein 2020, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks*; for l_1 Croce & Hein 2021, *Mind the box: l_1-APGD for sparse adversarial attacks*.

Every sample has a step size, a best point and counters of its own, so what happens to it does not depend on the batch
it sits in. In evaluation a fooled sample leaves at once. The loop itself is in `climb`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from seasoning import losses
from seasoning.attacks.base import AttackResult, Classifier
from seasoning.attacks.climb import Climb, Problem, Score, climb_loss
from seasoning.attacks.harness import check_batch, check_logits, evaluation_mode
from seasoning.errors import BadInput, UnknownName
from seasoning.geometry import BALLS, distance
from seasoning.noise import sample_noise
from seasoning.threat import Norm, Threat


__all__ = ["LOSSES", "apgd"]

LOSSES = ("ce", "kl", "dlr", "targeted-ce", "targeted-dlr")
_WANT_CLEAN = ("kl", "targeted-ce", "targeted-dlr")

# Decreasing radii for l_1 in evaluation: (multiple of eps, share of the steps); Mind the box, section 4.
_L1_PHASES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))

Loss = str | Callable[[Tensor, Tensor], Tensor]


def apgd(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    loss: Loss = "ce",
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
    _check_options(loss, steps, restarts, targets, y, best_loss)
    if start is not None:
        _check_start(start, x, threat, loss)
    with evaluation_mode(model) if not best_loss else nullcontext():
        labels = y if y.dim() == 1 else y.argmax(1)
        lowest = x.new_full((len(x),), -torch.inf)
        found = AttackResult(x.clone(), torch.zeros_like(labels, dtype=torch.bool), lowest, torch.zeros_like(labels))
        clean = None
        # Training saves this pass, which would also touch running statistics, where the loss does not ask for it.
        if not best_loss or loss in _WANT_CLEAN:
            with torch.no_grad():
                clean = model(x)
            check_logits(clean, y)
            if not best_loss:
                found.fooled[:] = clean.argmax(1) != labels
        for run, score in enumerate(_scores(loss, clean, y, labels, restarts, targets)):
            rows = torch.arange(len(x), device=x.device) if best_loss else (~found.fooled).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            problem = Problem(model, score, labels, threat.norm)
            eps = x.new_full((len(rows),), threat.eps)
            if start is None:
                noise = _noise(x[rows], threat.norm, None if ids is None else ids[rows], seed, run)
                _from_noise(problem, rows, x[rows], noise, eps, steps, best_loss, found)
            else:
                climb = Climb.begin(rows, x[rows], start[rows], eps, threat.norm, given=True)
                _run(problem, climb, steps, best_loss, found)
    return found


def _check_options(loss: Loss, steps: int, restarts: int, targets: int | None, y: Tensor, best_loss: bool) -> None:
    if isinstance(loss, str) and loss not in LOSSES:
        raise UnknownName("loss", loss, LOSSES)
    if steps < 1 or restarts < 1:
        raise BadInput(f"steps={steps}, restarts={restarts}: expected at least 1 of each")
    if targets is not None and (targets < 1 or loss not in ("targeted-ce", "targeted-dlr")):
        raise BadInput(f"targets={targets} with loss {loss!r}: expected at least 1, and a targeted loss")
    if y.dim() == 2 and not (best_loss and (callable(loss) or loss in ("ce", "kl"))):
        raise BadInput("soft labels (B, K) serve only best_loss=True with loss='ce' or 'kl': give classes (B,)")


def _check_start(start: Tensor, x: Tensor, threat: Threat, loss: Loss) -> None:
    if start.shape != x.shape:
        raise BadInput(f"a start of shape {tuple(start.shape)} for images of shape {tuple(x.shape)}: give the same")
    away = distance(start, x, threat.norm)
    if bool((away > threat.eps * (1 + 1e-4) + 1e-6).any() | (start < 0).any() | (start > 1).any()):
        raise BadInput(f"the start leaves {threat} or [0, 1]: project it first")
    if loss == "kl" and bool((away == 0).any()):
        raise BadInput("loss 'kl' has a zero gradient at the clean image: start elsewhere, or leave out start")


def _scores(
    loss: Loss, clean: Tensor | None, y: Tensor, labels: Tensor, restarts: int, targets: int | None
) -> Iterator[Score]:
    """One loss for each run: restarts, times the target classes where the loss has them; `clean` are logits."""
    if callable(loss):
        own = loss
        yield from [lambda logits, rows: own(logits, y[rows])] * restarts
    elif clean is None or loss in ("ce", "dlr"):
        untargeted = losses.cross_entropy if loss == "ce" else losses.dlr
        yield from [lambda logits, rows: untargeted(logits, y[rows])] * restarts
    elif loss == "kl":
        yield from [lambda logits, rows: losses.kl_divergence(logits, clean[rows])] * restarts
    else:
        targeted = losses.targeted_cross_entropy if loss == "targeted-ce" else losses.targeted_dlr
        others = clean.scatter(1, labels[:, None], -torch.inf).argsort(1, descending=True)
        most = clean.shape[1] - 1
        for restart in range(restarts):
            for rank in [restart % most] if targets is None else range(min(targets, most)):
                yield partial(_targeted_score, targeted, labels, others[:, rank])


def _targeted_score(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor], labels: Tensor, target: Tensor, logits: Tensor, rows: Tensor
) -> Tensor:
    return loss(logits, labels[rows], target[rows])


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
    problem: Problem,
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
        climb = Climb.begin(rows, center, ball.land(point, center, eps * multiple), eps * multiple, norm, given=True)
        # Points of a larger ball are no finds: nobody leaves, nothing is recorded.
        climb_loss(problem, climb, count, None, found.gradients)
        point = climb.x_best
    given = len(phases) > 1
    climb = Climb.begin(rows, center, ball.land(point, center, eps) if given else point, eps, norm, given)
    _run(problem, climb, steps if not given else phases[-1][1], best_loss, found)


def _run(problem: Problem, climb: Climb, steps: int, best_loss: bool, found: AttackResult) -> None:
    """Climb inside the threat and write what was found."""
    climb_loss(problem, climb, steps, None if best_loss else found, found.gradients)
    better = climb.loss_best > found.loss[climb.rows]
    rows = climb.rows[better]
    found.loss[rows] = climb.loss_best[better]
    if best_loss:
        found.x_adv[rows] = climb.x_best[better]
        found.fooled[rows] = climb.fools_best[better]
