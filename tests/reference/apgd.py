"""AutoPGD for one image at a time, with Python numbers where the package has tensors; slow and obvious.

The maps onto the balls and the losses are the package's own, which have references and closed forms of their own.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seasoning import losses
from seasoning.geometry import BALLS
from seasoning.noise import sample_noise
from seasoning.threat import Threat


@dataclass
class Found:
    """What became of one image."""

    x_adv: Tensor
    fooled: bool = False
    loss: float = -math.inf
    gradients: int = 0
    forwards: int = 0


class Fooled(Exception):
    """Ends an attack at its first find."""


@dataclass
class Asked:
    """One image under one attack."""

    model: nn.Module
    image: Tensor
    label: int
    threat: Threat
    loss: str
    steps: int
    restarts: int = 1
    targets: int | None = None
    start: Tensor | None = None
    best_loss: bool = False
    leave: bool = True
    sample: int = 0
    seed: int = 0


def attack_one(asked: Asked) -> Found:
    """All runs against one image, `(C, H, W)`; forwards without the clean check."""
    found = Found(asked.image)
    clean = asked.model(asked.image[None]).detach()
    if not asked.best_loss and int(clean.argmax()) != asked.label:
        found.fooled = True
        return found
    others = [each for each in clean[0].argsort(descending=True).tolist() if each != asked.label]
    tried: list[int] = []
    for restart in range(asked.restarts):
        tried += [others[restart % len(others)]] if asked.targets is None else others[: asked.targets]
    targeted = asked.loss.startswith("targeted")
    try:
        for run in range(len(tried) if targeted else asked.restarts):
            run_once(asked, found, clean, run, tried[run] if targeted else None)
            if found.fooled and not asked.best_loss:
                break
    except Fooled:
        pass
    return found


def run_once(asked: Asked, found: Found, clean: Tensor, run: int, target: int | None) -> None:
    """One restart, through all radii."""
    norm, eps, image = asked.threat.norm, asked.threat.eps, asked.image
    phases = [(1.0, asked.steps)]
    if norm == "l1" and not asked.best_loss and asked.start is None:
        fifth = int(0.2 * asked.steps)
        phases = [(multiple, fifth) for multiple in (1.0, 3.0, 2.0) if fifth] + [(1.0, asked.steps - 3 * fifth)]
    point = asked.start
    if point is None:
        kind = BALLS[norm].noise
        noise = sample_noise(
            torch.tensor([asked.sample]),
            tuple(image.shape),
            kind=kind,
            seed=asked.seed,
            purpose="attack start",
            restart=run,
            dtype=image.dtype,
        )
        point = BALLS[norm].start(noise, image[None], torch.tensor([eps * phases[0][0]], dtype=image.dtype))[0]
    for multiple, steps in phases:
        if len(phases) > 1:
            point = land(point, image, eps * multiple, norm)
        given = asked.start is not None or len(phases) > 1
        climb = Climb(asked, found, clean, target, multiple, given)
        point = climb.run(point, steps)


def land(point: Tensor, center: Tensor, eps: float, norm: str) -> Tensor:
    """The package's map, for one image."""
    return BALLS[norm].land(point[None], center[None], torch.tensor([eps], dtype=center.dtype))[0]  # type: ignore[index]


class Climb:
    """One phase."""

    def __init__(
        self, asked: Asked, found: Found, clean: Tensor, target: int | None, multiple: float, given: bool
    ) -> None:
        self.asked, self.found, self.clean, self.target = asked, found, clean, target
        self.multiple, self.given, self.eps = multiple, given, asked.threat.eps * multiple

    def look(self, point: Tensor, with_gradient: bool) -> tuple[float, Tensor, bool]:
        """Loss and gradient at a point, and whether it fools; finds are written."""
        asked, found = self.asked, self.found
        x = point[None].clone().requires_grad_(True)
        logits, label = asked.model(x), torch.tensor([asked.label])
        if asked.loss == "ce":
            loss = losses.cross_entropy(logits, label)
        elif asked.loss == "scaled-ce":
            loss = losses.cross_entropy(3 * logits / self.clean.std(), label)
        elif asked.loss == "dlr":
            loss = losses.dlr(logits, label)
        elif asked.loss == "kl":
            loss = losses.kl_divergence(logits, self.clean)
        elif asked.loss == "targeted-ce":
            loss = losses.targeted_cross_entropy(logits, label, torch.tensor([self.target]))
        else:
            loss = losses.targeted_dlr(logits, label, torch.tensor([self.target]))
        found.forwards += 1
        gradient = torch.zeros_like(point)
        if with_gradient:
            gradient = torch.autograd.grad(loss.sum(), x)[0][0]
            found.gradients += 1
        fools = int(logits.argmax()) != asked.label
        if self.multiple <= 1 and not asked.best_loss:
            found.loss = max(found.loss, float(loss.detach())) if asked.leave or not found.fooled else found.loss
            if fools and not found.fooled:
                found.fooled, found.x_adv = True, point
                if asked.leave:
                    raise Fooled
        return float(loss.detach()), gradient, fools

    def run(self, point: Tensor, steps: int) -> Tensor:
        """All steps of the phase; returns the best point."""
        norm, eps, center = self.asked.threat.norm, self.eps, self.asked.image
        x = previous = best = point
        best_gradient, best_loss, best_fools = torch.zeros_like(x), -math.inf, False
        last_loss, rises, size = math.inf, 0, eps if norm == "l1" else 2 * eps
        halved, checked_loss, checked_at = True, -math.inf, 0
        support = share_moved(point, center) if self.given else 1.0
        density = support / 1.5 if self.given else 0.2
        checks = checkpoints(steps) if norm != "l1" else set(range(0, steps, max(int(0.04 * steps), 1)))
        for taken in range(steps + 1):
            loss, gradient, fools = self.look(x, with_gradient=taken < steps)
            rises += loss > last_loss
            last_loss = loss
            if loss > best_loss:
                best_loss, best, best_gradient, best_fools = loss, x, gradient, fools
            if taken == steps:
                break
            if taken in checks and taken:
                if norm == "l1":
                    now = share_moved(best, center)
                    fell = now < 0.95 * support
                    size = eps if fell else max(size / 1.5, eps / 10)
                    density, support = now / 1.5, now
                else:
                    fell = rises < 0.75 * (taken - checked_at) or (not halved and checked_loss >= best_loss)
                    size = size / 2 if fell else size
                    halved, checked_loss, checked_at, rises = fell, best_loss, taken, 0
                if fell:
                    x, gradient = best, best_gradient
            if norm == "l1":
                ahead = land(x + size * sparse(gradient, x, density), center, eps, norm)
            else:
                direction = gradient.sign() if norm == "linf" else gradient / max(float(gradient.norm()), 1e-300)
                ahead = land(x + size * direction, center, eps, norm)
                if taken:
                    ahead = land(x + 0.75 * (ahead - x) + 0.25 * (x - previous), center, eps, norm)
            previous, x = x, ahead
        if self.asked.best_loss and best_loss > self.found.loss:
            self.found.loss, self.found.x_adv, self.found.fooled = best_loss, best, best_fools
        return best


def checkpoints(steps: int) -> set[int]:
    """Steps after which the step size of l_inf and l_2 is reconsidered."""
    shares = [0, 22]
    while shares[-1] < 100:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 3, 6))
    return {math.ceil(share * steps / 100) for share in shares[1:]}


def share_moved(point: Tensor, center: Tensor) -> float:
    """Share of the entries that differ."""
    return float((point != center).double().mean())


def sparse(gradient: Tensor, x: Tensor, density: float) -> Tensor:
    """Signs of the largest entries that the box leaves free, of l_1 norm 1."""
    free = gradient.clone()
    free[((x <= 0) & (gradient < 0)) | ((x >= 1) & (gradient > 0))] = 0
    count = min(max(int(density * free.numel()), 1), free.numel())
    smallest = free.abs().flatten().sort(descending=True).values[count - 1]
    signs = torch.where(free.abs() >= smallest, free.sign(), torch.zeros_like(free))
    return signs / max(float(signs.abs().sum()), 1)
