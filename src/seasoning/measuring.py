"""Measuring for a run: asks the store what is known, has the rest evaluated block by block, and keeps it."""

import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from seasoning.attacks import Attack, describe, device_of
from seasoning.data import Samples
from seasoning.evaluation import evaluate
from seasoning.outcomes import Measurement, ModelKey, Outcomes
from seasoning.store import Store
from seasoning.threat import Threat


__all__ = ["Meter", "measure", "measurement"]

# Samples evaluated and written together: enough that an attack's batch stays full, about a minute of a small network.
_BLOCK = 2000


class Meter:
    """Adds up the work done and tells whoever watches.

    Args:
        watch: Called with what is being done, the work done and the work in all.
        total: Work in all, in any unit that grows like time.
    """

    def __init__(self, watch: Callable[[str, float, float], None], total: float) -> None:
        self._watch, self._total, self.done = watch, total, 0.0

    def advance(self, doing: str, work: float) -> None:
        """So much more is done."""
        self.done = min(self.done + work, self._total)
        self._watch(doing, self.done, self._total)

    def finish(self, doing: str) -> None:
        """All of it is done: the total was an estimate."""
        self.advance(doing, self._total)


def measurement(
    key: ModelKey, samples: Samples, *, threat: Threat | None, attack: Attack | None, seed: int, smoke: bool
) -> Measurement:
    """What is asked of the store: a model on samples, clean or under a configured attack."""
    return Measurement(
        model=key,
        data=samples.name,
        samples=samples.fingerprint(),
        threat=None if threat is None else str(threat),
        attack=None if attack is None else describe(attack),
        seed=seed,
        smoke=smoke,
    )


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
    on_block: Callable[[float], None] = lambda share: None,
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
        on_block: Told the share of the samples that is measured, after each block.

    Returns:
        One row for each sample, in the order of the ids.
    """
    asked = measurement(key, samples, threat=threat, attack=attack, seed=seed, smoke=smoke)
    known = store.outcomes(asked)
    if known is not None:
        return known
    known_ids = torch.from_numpy(store.known_ids(asked))
    model = build()
    device = device_of(model, samples.x)
    probe, done = True, len(known_ids)
    # Always the same blocks, of sorted ids: what shares random numbers in an attack then does so after a resume too.
    for rows in samples.ids.argsort().split(_BLOCK):
        rows = rows[~torch.isin(samples.ids[rows], known_ids)]
        if len(rows) == 0:
            continue
        begun = time.perf_counter()
        outcomes = evaluate(
            model, samples.take(rows, samples.name), attack=attack, threat=threat, seed=seed, probe=probe
        )
        store.add(asked, len(samples), outcomes, _header(device, outcomes, time.perf_counter() - begun))
        probe, done = False, done + len(rows)
        on_block(done / len(samples))
    finished = store.outcomes(asked)
    if finished is None:
        raise RuntimeError(f"the store lost rows of {asked.to_json()}")
    return finished


def _header(device: torch.device, outcomes: Outcomes, seconds: float) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    versions = {"python": platform.python_version(), "seasoning": version("seasoning"), "torch": torch.__version__}
    passes = {"gradients": int(outcomes.gradients.sum()), "forwards": int(outcomes.forwards.sum())}
    return {"device": name, "versions": versions, "seconds": round(seconds, 4), **passes}
