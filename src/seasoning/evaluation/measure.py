"""Measuring for a run: asks the store what is known, has the rest evaluated block by block, and keeps it."""

import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seasoning.attacks import Attack, describe, device_of
from seasoning.data import Samples
from seasoning.errors import BadInput
from seasoning.evaluation.evaluator import evaluate
from seasoning.outcomes import Measurement, ModelKey, Outcomes, concatenate
from seasoning.store.database import Store
from seasoning.threat import Threat


__all__ = ["measure", "measurement"]

# Samples evaluated and written together: enough that an attack's batch stays full, about a minute of a small network.
_BLOCK = 2000


def measurement(
    key: ModelKey,
    samples: Samples,
    *,
    threat: Threat | None,
    attack: Attack | None,
    seed: int,
    smoke: bool,
    precision: str = "full",
    fingerprint: str | None = None,
) -> Measurement:
    """What is asked of the store: a model on samples, clean or under a configured attack.

    `fingerprint` is that of the samples where the caller has it: to compute it, every pixel is read.
    """
    return Measurement(
        model=key,
        data=samples.name,
        samples=samples.fingerprint() if fingerprint is None else fingerprint,
        threat=None if threat is None else str(threat),
        attack=None if attack is None else describe(attack),
        seed=seed,
        smoke=smoke,
        precision=precision,
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
    precision: str = "full",
    fingerprint: str | None = None,
    among: NDArray[np.int64] | None = None,
    on_block: Callable[[float], None] = lambda fraction: None,
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
        precision: What the model that `build` makes computes in, `"full"` or `"bf16"`.
        fingerprint: That of the samples, where the caller has it.
        among: Ids of the samples to answer for; by default all. The others stay to be measured another time, and what
            is measured now is not measured then.
        on_block: Given the fraction of the samples asked for that is measured, after each block.

    Returns:
        One row for each sample asked for, in the order of the ids.

    Raises:
        BadInput: `among` names an id that no sample has.
    """
    asked = measurement(
        key,
        samples,
        threat=threat,
        attack=attack,
        seed=seed,
        smoke=smoke,
        precision=precision,
        fingerprint=fingerprint,
    )
    ids = samples.ids.numpy()
    wanted = np.sort(ids) if among is None else np.unique(among)
    known = store.known(asked)
    have = [] if known is None else [known.take(np.isin(known.ids, wanted))]
    missing = np.setdiff1d(wanted, have[0].ids, assume_unique=True) if have else wanted
    if len(missing):
        order = np.argsort(ids)
        positions = np.searchsorted(ids, missing, sorter=order).clip(max=len(ids) - 1)
        if not np.array_equal(ids[order[positions]], missing):
            raise BadInput(f"{samples.name} has no sample of some id that was asked for: ask for ids that it has")
        model = build()
        device = device_of(model, samples.x)
        done = len(wanted) - len(missing)
        for number, rows in enumerate(_blocks(wanted, missing, order[positions])):
            begun = time.perf_counter()
            few = samples.take(torch.from_numpy(rows), samples.name)
            outcomes = evaluate(model, few, attack=attack, threat=threat, seed=seed, probe=number == 0)
            store.add(asked, len(samples), outcomes, _header(device, outcomes, time.perf_counter() - begun))
            have.append(outcomes)
            done += len(rows)
            on_block(done / len(wanted))
    whole = concatenate(have)
    return whole.take(np.argsort(whole.ids))


def _blocks(
    wanted: NDArray[np.int64], missing: NDArray[np.int64], rows: NDArray[np.int64]
) -> Iterator[NDArray[np.int64]]:
    """Rows of the missing samples, block by block.

    The blocks of one request are always the same, of sorted ids, whatever is known of them already: what shares random
    numbers in an attack then does so after a resume too.
    """
    blocks = np.searchsorted(wanted, missing) // _BLOCK
    for number in np.unique(blocks):
        yield rows[blocks == number]


def _header(device: torch.device, outcomes: Outcomes, seconds: float) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    versions = {"python": platform.python_version(), "seasoning": version("seasoning"), "torch": torch.__version__}
    passes = {"gradients": int(outcomes.gradients.sum()), "forwards": int(outcomes.forwards.sum())}
    return {"device": name, "versions": versions, "seconds": round(seconds, 4), **passes}
