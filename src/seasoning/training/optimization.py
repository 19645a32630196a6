"""How a training goes, apart from its objective: batches, learning rate, augmentation and averages."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from seasoning.errors import BadInput


__all__ = ["Settings", "batch_sizes", "cosine_rate", "rate_fraction", "require_images", "step_rate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Stochastic gradient descent with momentum, and what goes with it.

    Args:
        rate: Peak learning rate.
        batch_size: Images in a step.
        momentum: Momentum, at least 0 and below 1.
        nesterov: Whether momentum is Nesterov's.
        weight_decay: Weight decay of all parameters.
        schedule: `"cosine"`, or `"step"`: the rate falls at the milestones.
        warmup: Fraction of the steps over which the learning rate rises linearly to its peak.
        milestones: Epochs after which a stepped learning rate falls.
        factor: Factor of each such fall.
        clip: Largest norm of the gradient; longer ones are clipped to it. `None`: no limit.
        accumulate: Parts in which a batch goes through the model; each is attacked on its own.
        precision: `"bf16"` computes in bfloat16 where that is safe, attacks included; parameters stay as they are.
        crop: Pixels of black border of which random crops are taken; 0 for none.
        flips: Whether half of the images are mirrored.
        ema: Decay of an exponential moving average of the parameters; `None`: no average.
        ingredient: Whether the `"raw"` parameters or their average, `"ema"`, are validated and returned.

    Raises:
        BadInput: an impossible value; the setting is named.
    """

    rate: float
    batch_size: int
    momentum: float
    nesterov: bool
    weight_decay: float
    schedule: Literal["cosine", "step"]
    warmup: float
    milestones: Sequence[float] = ()
    factor: float = 0.1
    clip: float | None = None
    accumulate: int = 1
    precision: Literal["full", "bf16"] = "full"
    crop: int = 0
    flips: bool = False
    ema: float | None = None
    ingredient: Literal["raw", "ema"] = "raw"

    def __post_init__(self) -> None:
        checks = {
            "rate": self.rate >= 0 and math.isfinite(self.rate),
            "batch_size": self.batch_size >= 1,
            "accumulate": 1 <= self.accumulate <= self.batch_size,
            "momentum": 0 <= self.momentum < 1 and (self.momentum > 0 or not self.nesterov),
            "weight_decay": self.weight_decay >= 0,
            "warmup": 0 <= self.warmup <= 1,
            "ema": self.ema is None or 0 < self.ema < 1,
            "ingredient": self.ingredient == "raw" or self.ema is not None,
            "milestones": list(self.milestones) == sorted(self.milestones),
            "schedule": (self.schedule == "step") == bool(self.milestones),
        }
        wrong = [f"{name}={getattr(self, name)!r}" for name, holds in checks.items() if not holds]
        if wrong:
            raise BadInput(
                f"impossible settings {', '.join(wrong)}: accumulate goes up to batch_size, ingredient 'ema' wants a "
                "decay ema below 1, nesterov a momentum, schedule 'step' rising milestones and 'cosine' none"
            )


def require_images(settings: Settings, images: int) -> None:
    """Refuse a batch larger than the data set.

    Raises:
        BadInput: saying what to set.
    """
    if settings.batch_size > images:
        raise BadInput(
            f"batch_size={settings.batch_size} with {images} training images: set batch_size to {images} or less"
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
