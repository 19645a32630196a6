"""Records, specs and settings that several tests make."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seasoning.config.base import read_spec
from seasoning.config.evaluate import EvaluateSpec
from seasoning.config.train import find_recipe, read_recipe_file
from seasoning.outcomes import Outcomes, Status


if TYPE_CHECKING:
    from seasoning.training import Settings


__all__ = ["evaluate_spec", "outcomes", "training_settings"]


def outcomes(
    *,
    labels: Sequence[int],
    clean: Sequence[int],
    adversarial: Sequence[int] | None = None,
    ids: Sequence[int] | None = None,
    missing: Sequence[int] = (),
) -> Outcomes:
    """Outcomes with the given predictions; `missing` are rows that were not measured."""
    count = len(labels)
    status = np.full(count, Status.MEASURED, dtype=np.int8)
    status[list(missing)] = Status.MISSING
    return Outcomes(
        ids=np.array(range(count) if ids is None else ids, dtype=np.int64),
        labels=np.array(labels, dtype=np.int64),
        clean=np.array(clean, dtype=np.int64),
        adversarial=np.array(clean if adversarial is None else adversarial, dtype=np.int64),
        clean_margin=np.ones(count, dtype=np.float32),
        margin=np.ones(count, dtype=np.float32),
        distance=np.zeros(count, dtype=np.float32),
        gradients=np.full(count, 7, dtype=np.int64),
        forwards=np.full(count, 9, dtype=np.int64),
        status=status,
    )


def evaluate_spec(
    *,
    architecture: str,
    options: dict[str, Any] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    suite: str = "default",
    steps: int | None = None,
    loss: str | None = None,
    **more: Any,
) -> EvaluateSpec:
    """What `evaluate` is asked, from flat settings."""
    network = {"architecture": architecture, "options": options or {}, "mean": mean, "std": std}
    attack = {"suite": suite, "steps": steps, "loss": loss}
    return read_spec({"network": network, "attack": attack, **more}, EvaluateSpec)


def training_settings(rate: float) -> "Settings":
    """How the ingredients of the digits are trained, at another learning rate."""
    from seasoning.commands.train_recipe import settings_from

    return replace(settings_from(read_recipe_file(find_recipe("digits/linf")[1])), rate=rate)
