"""Stores of runs that nobody ran: random outcomes in the shape of a real one, made in a second."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seasoning.outcomes import Measurement, ModelKey, Outcomes, Status
from seasoning.report.contenders import wanted
from seasoning.report.results import CLEAN, Results
from seasoning.store.database import Store
from seasoning.strategies import simplex


__all__ = ["add", "made_run", "random_outcomes"]

_HEADER = {"device": "none", "versions": {"seasoning": "made"}, "seconds": 0.5, "gradients": 10, "forwards": 20}
_SIZES = {"train": 100, "validation": 20, "selection": 80, "test": 90}


def made_run(
    folder: Path,
    *,
    ingredients: int = 3,
    threats: Sequence[str] = ("linf:0.1", "l2:0.5", "l1:2"),
    shifts: Sequence[str] = ("noise", "blur"),
    parts: int = 4,
    tested: bool = True,
    passes: int | None = None,
    curve: Sequence[dict[str, float]] = (),
) -> Path:
    """Write the store of a run with random outcomes that depend on the weights; returns its path."""
    names = [f"m{number}" for number in range(ingredients)]
    spec = {
        "seed": 0,
        "smoke": False,
        "threats": list(threats),
        "grid_parts": parts,
        "data": {"source": "made", "shifts": list(shifts), **_SIZES},
        "training": {"architecture": "resnet_small"},
    }
    notes = {
        name: {
            "fingerprint": name * 3,
            "threat": threats[number] if number < len(threats) else None,
            "training": [1, 2],
            **({"passes": {"gradients": passes}} if passes else {}),
            **({"curve": list(curve)} if curve else {}),
        }
        for number, name in enumerate(names)
    }
    with Store(folder / "outcomes.sqlite") as store:
        # Nobody needs these numbers after a power cut.
        store._connection.execute("PRAGMA synchronous=OFF")
        store.write_note("spec", spec)
        store.write_note("attacks", {threat: f"attack {threat[:2]}" for threat in threats})
        store.write_note("confirming", {threat: f"harder {threat[:2]}" for threat in threats})
        store.write_note("network", {"classes": 3, "mean": [0.5], "std": [0.5]})
        store.write_note("ingredients", notes)
        results = Results(store)
        robust = results.robust_count
        for weights in simplex(robust, parts) if threats else ():
            for threat in threats:
                add(store, results.soup((*weights, *[0.0] * (ingredients - robust))), "selection", threat)
        for weights in simplex(ingredients, parts):
            for task in (CLEAN, *shifts):
                add(store, results.soup(weights), "selection", task)
        if tested:
            for each in wanted(Results(store)):
                add(store, each.model, "test", each.task, confirming=each.confirming)
    return folder / "outcomes.sqlite"


def add(store: Store, model: ModelKey, split: str, task: str, *, confirming: bool = False) -> None:
    """One measurement with random outcomes, the better the more even the weights are."""
    spec = store.note("spec")
    size = spec["data"][split]
    evenness = 1 - sum(weight**2 for _, weight in model.parts) / 2
    threat = task if ":" in task else None
    attack = (store.note("confirming") if confirming else store.note("attacks")).get(task)
    data = f"made/{split}/{task}" if task in spec["data"]["shifts"] else f"made/{split}"
    asked = Measurement(model, data, "samples", threat, attack)
    store.add(asked, size, random_outcomes(size, f"{model}{split}{task}", 0.3 + 0.5 * evenness, threat), _HEADER)


def random_outcomes(size: int, seed: str, share: float, threat: str | None) -> Outcomes:
    """Samples of which about a share is right: clean ones all under a threat, and as many as withstand it."""
    right = np.random.default_rng(sum(map(ord, seed))).random(size) < share
    labels = np.ones(size, dtype=np.int64)
    clean = labels if threat else right.astype(np.int64)
    zeros, ones = np.zeros(size, dtype=np.float32), np.ones(size, dtype=np.int64)
    status = np.full(size, Status.MEASURED, dtype=np.int8)
    return Outcomes(np.arange(size), labels, clean, right.astype(np.int64), zeros, zeros, zeros, ones, ones, status)
