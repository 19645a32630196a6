"""AutoPGD: projected gradient ascent that sets its own step size.

The arithmetic of a step is in `ascent`, who ascends when in `active_set`; here are the options and what they mean.

Sources: Croce & Hein 2020, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks*; for l_1 Croce & Hein 2021, *Mind the box: l_1-APGD for sparse adversarial attacks*.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from seasoning.attacks.active_set import Problem, Score, climb_all
from seasoning.attacks.apgd_step import Ascent, Schedule
from seasoning.attacks.base import AttackResult, Classifier
from seasoning.attacks.checks import (
    check_batch,
    check_result,
    device_of,
    evaluation_mode,
    warn_masked_gradients,
)
from seasoning.attacks.outputs import checked_logits, in_bf16
from seasoning.errors import BadInput, UnknownName
from seasoning.geometry import BALLS, distance
from seasoning.losses import ATTACK_LOSSES, AttackLoss
from seasoning.noise import row_noise, sample_noise, use_seed
from seasoning.threat import Threat


__all__ = ["LOSSES", "PRECISIONS", "apgd"]

LOSSES = tuple(ATTACK_LOSSES)
PRECISIONS = ("full", "bf16")
_MOST_TARGETS = 9
# Far apart, so that a restart never repeats the start of another attack on the same batch.
_RESTART = 1 << 12

# Radii for l_1 in evaluation: (multiple of eps, fraction of the steps). The decreasing ones are those of Mind the box,
# section 4; before them comes a first try inside the threat, where fooled samples may leave: see docs/design/007.
_L1_PHASES = ((1.0, 0.2), (3.0, 0.2), (2.0, 0.2), (1.0, 0.4))

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
    active_set: bool = True,
    precision: Literal["full", "bf16"] = "full",
    ids: Tensor | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    clean: Tensor | None = None,
) -> AttackResult:
    """Attack images with AutoPGD.

    Evaluation (the default) forces evaluation mode, checks the model, attacks only the samples that are classified
    correctly, and stops at the first fooling point of each; one that waits replaces a fooled sample.
    With `best_loss=True`, for training, the model's mode is left alone, every sample takes all steps, and the point of
    highest loss comes back.

    Args:
        model: Images in [0, 1] to logits. Images may lie on another device than a module's parameters.
        x: Images, `(B, C, H, W)` in [0, 1].
        y: Classes, `(B,)`; with `best_loss` and `"ce"` or `"kl"` also soft labels, `(B, K)`.
        threat: Norm and radius.
        loss: `"ce"`, `"scaled-ce"`, `"kl"`, `"dlr"`, `"targeted-ce"`, `"targeted-dlr"`, or a function of logits and
            labels that gives one loss for each sample. The cross-entropy of `"ce"` is weak where logits are very small
            or very large; `"scaled-ce"` and the DLR losses do not depend on their scale.
        steps: Gradients for each restart and target, at least 1.
        restarts: Random starts; a start that fooled a sample ends its attack.
        targets: For targeted losses, how many of the strongest other classes every restart tries, 9 at most; by default
            restart r tries only the r-th strongest.
        start: Where to begin instead of at a random point, `(B, C, H, W)` inside the threat; its l_1 attack keeps the
            radius, and restarts differ only in their targets.
        best_loss: Return the point of highest loss.
        active_set: Whether a fooled sample leaves at once. Without, it takes all steps, as in the reference, which
            changes its loss and the cost, never whether it was fooled.
        precision: `"bf16"` takes the passes of the ascent in bfloat16; in evaluation a find counts only if it fools the
            model in full precision too, and its search goes on if it does not. Who is left standing was attacked with
            rounded gradients: for final numbers let an attack in full precision follow, see `strongest`.
        ids: Sample ids, `(B,)`, from which (with `seed`) the random starts derive; without them the rows of the batch
            serve, in best-loss mode by `row_noise`, which draws on the device.
        seed: Seed of the random starts.
        batch_size: Most images in the model at a time, by default all, and up to a quarter more where no gradient is
            taken; in best-loss mode always all.
        clean: Logits at `x`, `(B, K)`, where the caller has them and has checked the model; they save the clean check.

    Returns:
        What was found for each sample, on the device of `x`. For l_2 the points of the search are scaled, then
        clipped: inside the threat, not the nearest points. For l_1 in evaluation a first try at eps takes 20 % of the
        steps, then the radius decreases over 3, 2 and 1 times eps in 20, 20 and 40 %.

    Raises:
        BadInput: images outside [0, 1], labels or logits that do not fit, a loss that the number of classes or soft
            labels leave undefined, or a start that does not suit.
        UnknownName: no such loss or precision.

    Warns:
        MaskedGradients: first gradients that are zero or not finite, or logits that are not finite under attack.
        BatchDependent, Randomised: the logits of an image change with its neighbours, or from call to call.
    """
    x, start = x.detach(), None if start is None else start.detach()
    slots = len(x) if best_loss or batch_size is None else batch_size
    check_batch(x, y, ids, slots)
    _check_options(loss, steps, restarts, targets, precision, y, best_loss)
    if start is not None:
        _check_start(start, x, threat, loss, restarts)
    asked, device = _named(loss), device_of(model, x)
    y = y.to(device) if y.dim() == 2 else y.to(device).long()
    labels = y if y.dim() == 1 else y.argmax(1)
    with evaluation_mode(model) if not best_loss else nullcontext():
        checked = clean is not None
        # Training saves this pass, which would also touch running statistics, where the loss does not ask for it.
        if clean is None and (not best_loss or asked.takes != ("labels",)):
            clean = checked_logits(model, x, y, slots, probe=not best_loss)
        clean = None if clean is None else clean.detach().to(device=device, dtype=x.dtype)
        wrong = torch.zeros_like(labels, dtype=torch.bool)
        if clean is not None and not best_loss:
            wrong = clean.argmax(1) != labels
        found = _nothing_found(x, wrong, checked=clean is not None and not checked)
        score, runs = _score(asked, clean, y, labels, restarts, targets)
        phases = _phases(steps) if threat.norm == "l1" and not best_loss and start is None else [(1.0, steps)]
        problem = Problem(
            model=model if precision == "full" else partial(in_bf16, model),
            confirm=None if precision == "full" else model,
            score=score,
            labels=labels,
            norm=threat.norm,
            eps=threat.eps,
            schedule=Schedule.of(phases, threat.norm, x.new_empty(0, device=device)),
            runs=runs,
            begin=partial(_begin, x, threat, start, phases, ids, seed, best_loss, device),
            leave=active_set and not best_loss,
            best=best_loss,
            found=found,
            flat=torch.zeros(4, dtype=torch.int64, device=device),
        )
        climb_all(problem, (~wrong).nonzero().squeeze(1), slots)
    warn_masked_gradients(*problem.flat.tolist())
    result = found._replace(distance=distance(found.x_adv, x, threat.norm))
    check_result(result, threat)
    return AttackResult(*(column.to(x.device) for column in result))


def _named(loss: Loss) -> AttackLoss:
    """The loss of a name, or one of the caller's own, which may take soft labels.

    Raises:
        UnknownName: there is no such loss.
    """
    if not isinstance(loss, str):
        return AttackLoss(loss, ("labels",), soft=True)
    if loss not in ATTACK_LOSSES:
        raise UnknownName("loss", loss, LOSSES)
    return ATTACK_LOSSES[loss]


def _check_options(
    loss: Loss, steps: int, restarts: int, targets: int | None, precision: str, y: Tensor, best_loss: bool
) -> None:
    asked = _named(loss)
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    if steps < 1 or restarts < 1:
        raise BadInput(f"steps={steps}, restarts={restarts}: expected at least 1 of each")
    if targets is not None and (not 1 <= targets <= _MOST_TARGETS or "target" not in asked.takes):
        raise BadInput(f"targets={targets} with loss {loss!r}: expected 1 to {_MOST_TARGETS}, and a targeted loss")
    if y.dim() == 2 and not (best_loss and asked.soft):
        raise BadInput("soft labels (B, K) serve only best_loss=True with loss='ce' or 'kl': give classes (B,)")


def _check_start(start: Tensor, x: Tensor, threat: Threat, loss: Loss, restarts: int) -> None:
    if start.shape != x.shape or start.dtype != x.dtype:
        given, wanted = (f"{tuple(images.shape)} and type {images.dtype}" for images in (start, x))
        raise BadInput(f"a start of shape {given} for images of shape {wanted}: give the same")
    takes = _named(loss).takes
    if restarts > 1 and "target" not in takes:
        raise BadInput(f"restarts={restarts} from one start would all be the same: leave out one of the two")
    away = distance(start, x, threat.norm)
    if not bool(((away <= threat.eps * (1 + 1e-4) + 1e-6) & ((start >= 0) & (start <= 1)).flatten(1).all(1)).all()):
        raise BadInput(f"the start leaves {threat} or [0, 1]: project it first")
    # What is only compared with the clean prediction is at its minimum there.
    if takes == ("clean",) and bool((away == 0).any()):
        raise BadInput(f"loss {loss!r} has a zero gradient at the clean image: start elsewhere, or leave out start")


def _nothing_found(x: Tensor, wrong: Tensor, checked: bool) -> AttackResult:
    """The result before the first ascent: images where `x` is, columns where the model is."""
    count = torch.zeros(len(x), dtype=torch.int64, device=wrong.device)
    lowest = x.new_full((len(x),), -torch.inf, device=wrong.device)
    return AttackResult(x.clone(), wrong.clone(), lowest, torch.zeros_like(lowest), count, count + int(checked))


def _score(
    loss: AttackLoss, clean: Tensor | None, y: Tensor, labels: Tensor, restarts: int, targets: int | None
) -> tuple[Score, int]:
    """The loss to raise, and the number of runs: restarts, times the target classes; `clean` are logits."""
    if loss.takes == ("labels",):
        return lambda logits, rows, run: loss.function(logits, y[rows]), restarts
    if clean is None:
        raise RuntimeError(f"a loss of {', '.join(loss.takes)} without clean logits")
    others = clean.scatter(1, labels[:, None], -torch.inf).argsort(1, descending=True)
    most = clean.shape[1] - 1
    ranks = [
        rank
        for restart in range(restarts)
        for rank in ([restart % most] if targets is None else range(min(targets, most)))
    ]
    rank_of = torch.tensor(ranks, device=clean.device)

    def score(logits: Tensor, rows: Tensor, run: Tensor) -> Tensor:
        columns = {"labels": y[rows], "clean": clean[rows], "target": others[rows, rank_of[run]]}
        return loss.function(logits, *(columns[name] for name in loss.takes))

    return score, len(ranks)


def _phases(steps: int) -> Sequence[tuple[float, int]]:
    """Multiples of eps and their numbers of steps, which sum to `steps`; phases without steps fall away."""
    early = [(multiple, int(fraction * steps)) for multiple, fraction in _L1_PHASES[:-1]]
    left = steps - sum(count for _, count in early)
    return [(multiple, count) for multiple, count in early if count] + [(1.0, left)]


def _begin(
    x: Tensor,
    threat: Threat,
    start: Tensor | None,
    phases: Sequence[tuple[float, int]],
    ids: Tensor | None,
    seed: int,
    best_loss: bool,
    device: torch.device,
    rows: Tensor,
    run: Tensor,
) -> Ascent:
    """Samples at the start of a run, `(n,)` rows and runs."""
    ball = BALLS[threat.norm]
    own_rows = rows.to(x.device)
    center = x[own_rows].to(device)
    phase, eps = torch.zeros_like(rows), center.new_full((len(rows),), threat.eps)
    if start is not None:
        point = ball.land(start[own_rows.to(start.device)].to(device), center, eps)
        return Ascent.begin(rows, run, phase, center, point, eps, threat.norm, given=True)
    if best_loss and ids is None:
        noise = row_noise(
            own_rows.tolist(),
            tuple(x.shape[1:]),
            kind=ball.noise,
            seed=use_seed(seed, _RESTART * int(run[0])),
            dtype=x.dtype,
            device=device,
        )
    else:
        noise = _sample_noises(
            own_rows.cpu() if ids is None else ids[own_rows.to(ids.device)].cpu(), run, x, threat, seed
        )
    eps = eps * phases[0][0]
    point = ball.start(noise.to(device), center, eps)
    if len(phases) > 1:
        point = ball.land(point, center, eps)
    return Ascent.begin(rows, run, phase, center, point, eps, threat.norm, given=len(phases) > 1)


def _sample_noises(ids: Tensor, run: Tensor, x: Tensor, threat: Threat, seed: int) -> Tensor:
    """What random starts are made from, one by one from the ids; `(n, C, H, W)` on the CPU."""
    kind, noise = BALLS[threat.norm].noise, x.new_empty((len(ids), *x.shape[1:]), device="cpu")
    for number in run.unique().tolist():
        mine = (run == number).cpu()
        noise[mine] = sample_noise(
            ids[mine],
            tuple(x.shape[1:]),
            kind=kind,
            seed=seed,
            purpose="attack start",
            restart=number,
            dtype=x.dtype,
        )
    return noise
