"""How a training goes, apart from its objective: optimizer, batches, learning rate, augmentation and averages."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from timm.optim import param_groups_weight_decay
from torch import nn
from torch.optim import Optimizer

from seasoning.errors import BadInput
from seasoning.training.augment import Mixture, PhotoView


__all__ = [
    "Settings",
    "batch_sizes",
    "cosine_rate",
    "make_optimizer",
    "rate_fraction",
    "require_images",
    "require_parts",
    "set_options",
    "step_rate",
]


_UNMIXED = Mixture()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """An optimizer, and what goes with it.

    Args:
        rate: Peak learning rate.
        batch_size: Images in a step.
        optimizer: `"sgd"`, stochastic gradient descent with momentum, or `"adamw"`, Adam with decoupled weight decay.
        momentum: Of `"sgd"`, at least 0 and below 1.
        nesterov: Of `"sgd"`, whether momentum is Nesterov's.
        betas: Of `"adamw"`, decay of the averages of gradients and of their squares, each at least 0 and below 1.
        weight_decay: Weight decay.
        spare_norms: Whether only matrices and filters decay: not biases, the parameters of normalization layers, or
            what a network of timm says of itself, such as its position embedding.
        schedule: `"cosine"`, or `"step"`: the rate falls at the milestones.
        warmup: Fraction of the steps over which the learning rate rises linearly to its peak.
        milestones: Epochs after which a stepped learning rate falls.
        factor: Factor of each such fall.
        clip: Largest norm of the gradient; longer ones are clipped to it. `None`: no limit.
        accumulate: Parts in which a batch goes through the model; each is attacked on its own.
        precision: `"bf16"` computes in bfloat16 where that is safe, attacks included; parameters stay as they are.
        crop: Pixels of black border of which random crops are taken; 0 for none.
        flips: Whether half of the images are mirrored.
        view: The random view that is taken of every image instead, such as of photographs on a disk.
        mixture: How the images of a part of a batch are mixed, and their labels softened.
        workers: Processes that take the views; by default none for images in memory, else as many as there are
            processors, 16 at most.
        ema: Decay of an exponential moving average of the parameters; `None`: no average.
        ingredient: Whether the `"raw"` parameters or their average, `"ema"`, are validated and returned.

    Raises:
        BadInput: an impossible value; the setting is named.
    """

    rate: float
    batch_size: int
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float
    spare_norms: bool = False
    schedule: Literal["cosine", "step"]
    warmup: float
    milestones: Sequence[float] = ()
    factor: float = 0.1
    clip: float | None = None
    accumulate: int = 1
    precision: Literal["full", "bf16"] = "full"
    crop: int = 0
    flips: bool = False
    view: PhotoView | None = None
    mixture: Mixture = _UNMIXED
    workers: int | None = None
    ema: float | None = None
    ingredient: Literal["raw", "ema"] = "raw"

    def __post_init__(self) -> None:
        checks = {
            "rate": self.rate >= 0 and math.isfinite(self.rate),
            "batch_size": self.batch_size >= 1,
            "accumulate": 1 <= self.accumulate <= self.batch_size,
            "optimizer": self.optimizer in ("sgd", "adamw"),
            "betas": all(0 <= beta < 1 for beta in self.betas),
            "momentum": 0 <= self.momentum < 1 and (self.momentum > 0 or not self.nesterov),
            "weight_decay": self.weight_decay >= 0,
            "warmup": 0 <= self.warmup <= 1,
            "ema": self.ema is None or 0 < self.ema < 1,
            "ingredient": self.ingredient == "raw" or self.ema is not None,
            "view": self.view is None or not (self.crop or self.flips),
            "mixture": min(self.mixture) >= 0 and self.mixture.smoothing < 1,
            "milestones": list(self.milestones) == sorted(self.milestones),
            "schedule": (self.schedule == "step") == bool(self.milestones),
        }
        wrong = [f"{name}={getattr(self, name)!r}" for name, holds in checks.items() if not holds]
        if wrong:
            raise BadInput(
                f"impossible settings {', '.join(wrong)}: accumulate goes up to batch_size, ingredient 'ema' wants a "
                "decay ema below 1, nesterov a momentum, a view neither crop nor flips, smoothing a number below 1, "
                "schedule 'step' rising milestones and 'cosine' none"
            )


def make_optimizer(network: nn.Module, settings: Settings) -> Optimizer:
    """The optimizer of a network's parameters.

    Source: Sutskever et al. 2013, *On the importance of initialization and momentum in deep learning*; Loshchilov &
    Hutter 2019, *Decoupled weight decay regularization*.
    """
    groups: list[dict[str, Any]] = [{"params": list(network.parameters()), "weight_decay": settings.weight_decay}]
    if settings.spare_norms:
        named: Collection[str] = getattr(network, "no_weight_decay", tuple)()
        groups = param_groups_weight_decay(network, settings.weight_decay, no_weight_decay_list=named)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.rate, betas=settings.betas)
    return torch.optim.SGD(groups, lr=settings.rate, momentum=settings.momentum, nesterov=settings.nesterov)


def set_options(optimizer: Optimizer, like: Optimizer) -> None:
    """Give every group of parameters the options of another optimizer of the same network; what it carries stays."""
    for group, other in zip(optimizer.param_groups, like.param_groups, strict=True):
        group |= {name: value for name, value in other.items() if name != "params"}


def require_images(settings: Settings, images: int) -> None:
    """Refuse a batch larger than the data set.

    Raises:
        BadInput: saying what to set.
    """
    if settings.batch_size > images:
        raise BadInput(
            f"batch_size={settings.batch_size} with {images} training images: set batch_size to {images} or less"
        )


def require_parts(settings: Settings, processes: int = 1) -> None:
    """Refuse a batch that its parts do not divide: each would count for another share of the gradient.

    Args:
        settings: With batch and parts.
        processes: How many share the batch.

    Raises:
        BadInput: saying what to set.
    """
    size, parts = settings.batch_size, processes * settings.accumulate
    if size % parts:
        fewer = next(each for each in range(settings.accumulate, 0, -1) if size % (processes * each) == 0 or each == 1)
        below, above = size // parts * parts, -(-size // parts) * parts
        sizes = f"{below} or {above}" if below else str(above)
        raise BadInput(
            f"batch_size={size} in {processes} processes x accumulate={settings.accumulate}: {parts} parts do not "
            f"divide it; set batch_size to {sizes}"
            + ("" if size % (processes * fewer) else f", or accumulate to {fewer}")
        )


def batch_sizes(images: int, size: int) -> list[int]:
    """Sizes of the batches of so many images; a last one of a single image joins the one before it.

    Batch norm has no variance over one image, and no image is left out.
    """
    whole, rest = divmod(images, size)
    if rest == 1 < size and whole:
        return [size] * (whole - 1) + [size + 1]
    return [size] * whole + [rest] * (rest > 0)


def rate_fraction(settings: Settings, step: int, per_epoch: int, epochs: int) -> float:
    """Fraction of the peak learning rate at a step.

    Args:
        settings: With the schedule.
        step: Steps taken, from 0.
        per_epoch: Steps of an epoch.
        epochs: Epochs in all.
    """
    if settings.schedule == "cosine":
        return cosine_rate(step, epochs * per_epoch, settings.warmup)
    milestones = [epoch * per_epoch for epoch in settings.milestones]
    return step_rate(step, epochs * per_epoch, settings.warmup, milestones, settings.factor)


def cosine_rate(step: int, steps: int, warmup: float) -> float:
    """A linear ramp over the first fraction of the steps, then half a cosine to zero.

    Source: Loshchilov & Hutter 2017, *SGDR*; Croce et al. 2023, appendix B.1, for the ramp over a tenth.
    """
    ramp = warmup * steps
    if step < ramp:
        return (step + 1) / (ramp + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(steps - ramp, 1)))


def step_rate(step: int, steps: int, warmup: float, milestones: Sequence[float], factor: float) -> float:
    """A linear ramp over the first fraction of the steps, and a fall by a factor at each milestone, in steps."""
    ramp = warmup * steps
    risen = min((step + 1) / (ramp + 1), 1.0) if ramp else 1.0
    return risen * math.prod(factor for milestone in milestones if step >= milestone)
