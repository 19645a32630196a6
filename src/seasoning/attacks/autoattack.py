"""FAB-T and Square through `pyautoattack`, the package of their authors; an optional extra.

Both draw from torch's global generator for a whole batch at a time. So that an outcome can be repeated, the images are
sorted by id and attacked in blocks of a fixed size, each from the same forked state: the order of the images does not
matter, but which of them are given together does.

Sources: Croce & Hein 2020, *Minimally distorted adversarial examples with a fast adaptive boundary attack*;
Andriushchenko et al. 2020, *Square attack*.
"""

from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from seasoning.attacks.base import AttackResult, Classifier
from seasoning.attacks.checks import check_batch, device_of, evaluation_mode, warn_unsound
from seasoning.attacks.outputs import checked_logits
from seasoning.errors import BadInput
from seasoning.geometry import distance
from seasoning.losses import margin, misclassified
from seasoning.threat import Norm, Threat


__all__ = ["fab", "require_package", "square"]

_NORMS: dict[Norm, str] = {"linf": "Linf", "l2": "L2", "l1": "L1"}
# Rounding allowed beyond the ball, relative to its radius.
_SLACK = 1e-5


def fab(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    steps: int = 100,
    restarts: int = 1,
    targets: int = 9,
    block: int = 100,
    ids: Tensor | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    clean: Tensor | None = None,
) -> AttackResult:
    """Targeted fast adaptive boundary attack: looks for the nearest point of each target class.

    Args:
        model: Images in [0, 1] to logits.
        x: Images, `(B, C, H, W)` in [0, 1].
        y: Classes, `(B,)`.
        threat: Norm and radius; what lies beyond the radius is no find.
        steps: Steps for each restart and target.
        restarts: Starts for each target; the first is the clean image.
        targets: How many of the strongest other classes are tried; fewer where there are fewer.
        block: Images attacked together; part of what the attack is, since they share random numbers.
        ids: Sample ids, `(B,)`, that order the images; without them their indices do.
        seed: Seed of each block.
        batch_size: Most images in the model at a time; a block of more is passed once more for its gradients.
        clean: Logits at `x`, `(B, K)`, where the caller has them and has checked the model.

    Returns:
        What was found; the loss is minus the margin at the returned image, and the passes of a block are shared evenly
        among its images.

    Raises:
        BadInput: as for `apgd`, or `pyautoattack` is not installed.
    """
    options = {"n_iter": steps, "n_restarts": restarts, "targeted": True}
    make = ("fab_pt", "FABAttack_PT", options | {"n_target_classes": targets})
    return _in_blocks(make, model, x, y, threat, block, ids, seed, batch_size, clean)


def square(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    queries: int = 5000,
    restarts: int = 1,
    block: int = 100,
    ids: Tensor | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    clean: Tensor | None = None,
) -> AttackResult:
    """Square attack: random search over squares of pixels, without gradients, on the margin.

    Args:
        model: Images in [0, 1] to logits.
        x: Images, `(B, C, H, W)` in [0, 1].
        y: Classes, `(B,)`.
        threat: Norm and radius.
        queries: Forward passes for each restart.
        restarts: Random starts.
        block: Images attacked together; part of what the attack is, since they share random numbers.
        ids: Sample ids, `(B,)`, that order the images; without them their indices do.
        seed: Seed of each block.
        batch_size: Most images in the model at a time.
        clean: Logits at `x`, `(B, K)`, where the caller has them and has checked the model.

    Returns:
        As for `fab`.

    Raises:
        BadInput: as for `apgd`, or `pyautoattack` is not installed.
    """
    options = {"n_queries": queries, "n_restarts": restarts, "p_init": 0.8, "resc_schedule": False}
    make = ("square", "SquareAttack", options)
    return _in_blocks(make, model, x, y, threat, block, ids, seed, batch_size, clean)


class _Counted:
    """Counts the images that go through a model, those whose gradient is taken, and NaN or infinite answers.

    Args:
        model: Images in [0, 1] to logits.
        batch_size: Most images in the model at a time.
    """

    def __init__(self, model: Classifier, batch_size: int) -> None:
        self._model, self._batch_size = model, batch_size
        self.forwards, self.gradients, self.unsound = 0, 0, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        parts = x.split(self._batch_size)
        # The graph of several parts would keep what all of them need, so each is computed again on the way back.
        passed = (
            partial(checkpoint, self._model, use_reentrant=False) if x.requires_grad and len(parts) > 1 else self._model
        )
        logits = torch.cat([passed(part) for part in parts])
        self.unsound += int((~torch.isfinite(logits.detach()).all(1)).sum())
        if logits.requires_grad:
            logits.register_hook(self._count)
        # The attacks write into what they get, which `cat` of one part may not have copied.
        return logits.clone()

    def _count(self, gradient: Tensor) -> None:
        self.gradients += len(gradient)


def _in_blocks(
    make: tuple[str, str, dict[str, Any]],
    model: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    block: int,
    ids: Tensor | None,
    seed: int,
    batch_size: int | None,
    clean: Tensor | None,
) -> AttackResult:
    """Run the class `make[1]` of module `make[0]` with options `make[2]` on blocks of sorted ids."""
    size = len(x) if batch_size is None else batch_size
    check_batch(x, y, ids, size)
    if x.dim() != 4 or x.dtype != torch.float32 or y.dim() != 1:
        raise BadInput(f"images of shape {tuple(x.shape)} and type {x.dtype}: FAB and Square want float32 (B, C, H, W)")
    module, name, options = make
    attack_class = getattr(require_package(module), name)
    forwards = torch.zeros_like(y)
    with evaluation_mode(model):
        if clean is None:
            clean = checked_logits(model, x, y, size, probe=True)
            forwards += 1
        if "n_target_classes" in options:
            options = options | {"n_target_classes": min(options["n_target_classes"], clean.shape[1] - 1)}
        found = AttackResult(
            x_adv=x.clone(),
            fooled=clean.argmax(1) != y,
            loss=-margin(clean, y),
            distance=x.new_zeros(len(x)),
            gradients=torch.zeros_like(y),
            forwards=forwards,
        )
        order = (torch.arange(len(x)) if ids is None else ids.cpu()).argsort().to(x.device)
        unsound = 0
        for rows in order[~found.fooled[order]].split(block):
            counted = _Counted(model, size)
            attack = attack_class(counted, norm=_NORMS[threat.norm], eps=threat.eps, seed=seed, **options)
            _attack_block(attack, counted, x, y, threat, rows, found, device_of(model, x))
            unsound += counted.unsound
    warn_unsound(unsound)
    return found


def _attack_block(
    attack: Any,
    counted: _Counted,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    rows: Tensor,
    found: AttackResult,
    device: torch.device,
) -> None:
    """Attack the images at `rows` and write what holds: inside the ball and the box, and misclassified."""
    images, labels = x[rows].to(device), y[rows].to(device)
    attack.device = device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        tried = attack.perturb(images, labels).detach().clamp(0, 1)
    with torch.no_grad():
        logits = counted(tried)
    away = distance(tried, images, threat.norm)
    holds = misclassified(logits, labels) & (away <= threat.eps * (1 + _SLACK))
    won = rows[holds.to(rows.device)]
    found.x_adv[won] = tried[holds].to(x.device)
    found.fooled[won] = True
    found.loss[won] = -margin(logits, labels)[holds].to(x.device)
    found.distance[won] = away[holds].to(x.device)
    for column, total in ((found.forwards, counted.forwards), (found.gradients, counted.gradients)):
        calls = torch.full_like(rows, total // len(rows))
        calls[: total % len(rows)] += 1
        column[rows] += calls


def require_package(module: str = "square") -> Any:
    """A module of the package that the attacks come from.

    Raises:
        BadInput: it is not installed.
    """
    try:
        return import_module(f"pyautoattack.{module}")
    except ModuleNotFoundError as error:
        raise BadInput(
            "FAB-T and Square come from the package pyautoattack, which is not installed: "
            "pip install 'seasoning[standard]'"
        ) from error
