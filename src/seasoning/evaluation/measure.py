"""Measuring for a run: asks the store what is known, has the rest evaluated block by block, and keeps it."""

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seasoning.attacks import Attack, describe, device_of
from seasoning.data import Samples
from seasoning.errors import BadInput
from seasoning.evaluation.batch_size import POOL_BYTES, BatchSize, choose_batch_size
from seasoning.evaluation.evaluator import evaluate
from seasoning.outcomes import Measurement, ModelKey, Outcomes, concatenate
from seasoning.store.database import Store
from seasoning.threat import Threat


__all__ = ["measure", "measurement"]

# Most samples evaluated and written together: so that an attack's batch stays full, a minute of a small network.
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
    batch_size: BatchSize | None = None,
    memory: int | None = None,
    on_batch_size: Callable[[BatchSize], None] = lambda size: None,
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
        batch_size: Most images in the model at a time. By default that of the samples; where there is none, the number
            that the store holds for this measurement, and at first one chosen by what the model needs. The header of
            every block keeps it, and the larger number that was wanted where memory had no room for it.
        memory: Bytes that may be used where the number is chosen; by default half of what is free.
        on_batch_size: Given the number where memory ran out and made it smaller.
        on_block: Given the fraction of the samples asked for that is measured, after each block.

    Returns:
        One row for each sample asked for, in the order of the ids.

    Raises:
        BadInput: `among` names an id that no sample has, or a single image does not fit into the memory.
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
        size = batch_size or _asked_or_kept(samples, store.header(asked))
        size = size or choose_batch_size(model, samples.images(slice(2)), gradients=attack is not None, memory=memory)
        done = len(wanted) - len(missing)
        for number, rows in enumerate(_blocks(samples, wanted, missing, order[positions])):
            begun, sizes = time.perf_counter(), [size.size]
            few = samples.take(torch.from_numpy(rows), samples.name)
            evaluated = partial(evaluate, model, few, attack=attack, threat=threat, seed=seed, probe=number == 0)
            outcomes = evaluated(batch_size=size.size, on_batch_size=sizes.append)
            if sizes[-1] < size.size:
                size = size._replace(size=sizes[-1])
                on_batch_size(size)
            store.add(asked, len(samples), outcomes, _header(device, outcomes, size, time.perf_counter() - begun))
            have.append(outcomes)
            done += len(rows)
            on_block(done / len(wanted))
    whole = concatenate(have)
    return whole.take(np.argsort(whole.ids))


def _asked_or_kept(samples: Samples, header: Mapping[str, Any]) -> BatchSize | None:
    """The number that the samples ask for, or that the last block of a measurement was made with."""
    return BatchSize.kept(header) if samples.batch_size is None else BatchSize.given(samples.batch_size)


def _blocks(
    samples: Samples, wanted: NDArray[np.int64], missing: NDArray[np.int64], rows: NDArray[np.int64]
) -> Iterator[NDArray[np.int64]]:
    """Rows of the missing samples, block by block.

    The blocks of one request are always the same, of sorted ids, whatever is known of them already and however many go
    into the model at a time: what shares random numbers in an attack then does so after a resume too. A block's images
    all wait together, so large ones make small blocks.
    """
    most = max(1, min(_BLOCK, POOL_BYTES // (4 * samples.x[0].numel())))
    blocks = np.searchsorted(wanted, missing) // most
    for number in np.unique(blocks):
        yield rows[blocks == number]


def _header(device: torch.device, outcomes: Outcomes, size: BatchSize, seconds: float) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    versions = {"python": platform.python_version(), "seasoning": version("seasoning"), "torch": torch.__version__}
    passes = {"gradients": int(outcomes.gradients.sum()), "forwards": int(outcomes.forwards.sum())}
    return {"device": name, "versions": versions, "seconds": round(seconds, 4), **size.header(), **passes}
