"""Measuring for a run: asks the store what is known, has the rest evaluated block by block, and keeps it."""

import platform
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import nn

from seasoning.attacks import Attack, describe, suite_attack
from seasoning.data import Samples
from seasoning.evaluation import evaluate
from seasoning.outcomes import Measurement, ModelKey, Outcomes
from seasoning.store import Store
from seasoning.threat import Threat


__all__ = ["Meter", "attack_for", "measure"]

# Samples evaluated and written together: seconds of work for small images.
_BLOCK = 500


class Meter:
    """Adds up the work done and tells whoever watches.

    Args:
        watch: Called with what is being done, the work done and the work in all.
        total: Work in all, in any unit that grows like time.
    """

    def __init__(self, watch: Callable[[str, float, float], None], total: float) -> None:
        self._watch, self._total, self._done = watch, total, 0.0

    def advance(self, doing: str, work: float) -> None:
        """So much more is done."""
        self._done = min(self._done + work, self._total)
        self._watch(doing, self._done, self._total)

    def finish(self, doing: str) -> None:
        """All of it is done: the total was an estimate."""
        self.advance(doing, self._total)


def attack_for(threat: Threat, suite: str, steps: int | None) -> Attack:
    """The attack that a protocol uses for a threat, with a number of steps of its own if one is given."""
    attack = suite_attack(suite, threat.norm)
    return attack if steps is None else partial(attack, steps=steps)


def measure(
    store: Store,
    key: ModelKey,
    build: Callable[[], nn.Module],
    samples: Samples,
    *,
    threat: Threat | None,
    attack: Attack | None,
    seed: int,
    smoke: bool,
) -> Outcomes:
    """Outcomes of a model on samples, clean or under a threat; only what the store lacks is evaluated.

    Args:
        store: Where outcomes are kept.
        key: Identity of the model.
        build: Makes the model; called only if something is missing.
        samples: The data set.
        threat: What the attack is allowed, or `None` for clean accuracy.
        attack: A configured attack, with a threat.
        seed: Seed of its random starts.
        smoke: Whether the outcomes only try the machinery.

    Returns:
        One row for each sample, in the order of the ids.
    """
    asked = Measurement(
        model=key,
        data=samples.name,
        samples=samples.fingerprint(),
        threat=None if threat is None else str(threat),
        attack=None if attack is None else describe(attack),
        seed=seed,
        smoke=smoke,
    )
    known = store.outcomes(asked)
    if known is not None:
        return known
    missing = torch.from_numpy(~np.isin(samples.ids.numpy(), store.known_ids(asked)))
    model = build()
    for rows in missing.nonzero().squeeze(1).split(_BLOCK):
        begun = time.perf_counter()
        outcomes = evaluate(model, samples.take(rows, samples.name), attack=attack, threat=threat, seed=seed)
        header = _header(model) | {
            "seconds": round(time.perf_counter() - begun, 4),
            "gradients": int(outcomes.gradients.sum()),
        }
        store.add(asked, len(samples), outcomes, header)
    finished = store.outcomes(asked)
    if finished is None:
        raise RuntimeError(f"the store lost rows of {asked.to_json()}")
    return finished


def _header(model: nn.Module) -> dict[str, Any]:
    device = next(model.parameters()).device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    versions = {"python": platform.python_version(), "seasoning": version("seasoning"), "torch": torch.__version__}
    return {"device": name, "versions": versions}
