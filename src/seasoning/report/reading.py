"""The setting of a run, read from the notes in its store."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seasoning.errors import BadInput
from seasoning.outcomes import Measurement
from seasoning.report.setting import CLEAN, Epoch, Ingredient, Setting, TaskSamples
from seasoning.store.database import Store


__all__ = ["read_setting"]

_DATA = re.compile(r"(?P<name>.+?)/(?P<part>selection|test)(?:/(?P<shift>.+))?$")


def read_setting(store: Store) -> Setting:
    """The setting of a run that has at least its ingredients.

    Raises:
        BadInput: the store holds no run, or one without ingredients yet.
    """
    spec = store.note("spec")
    if spec is None and store.note("search attacks") is not None:
        return _search(store)
    if spec is None:
        raise BadInput("the store holds no run with trained ingredients: give the folder of one, such as runs/demo")
    return _demo(store, spec)


def _demo(store: Store, spec: dict[str, Any]) -> Setting:
    """The setting of `seasoning demo`."""
    command = "seasoning demo --resume --out {folder}"
    ingredients = store.note("ingredients")
    if ingredients is None:
        raise BadInput(f"the run has no trained ingredients yet, so nothing to report: {command} goes on with it")
    source, shifts, threats = spec["data"]["source"], tuple(spec["data"]["shifts"]), tuple(spec["threats"])
    parts = ("train", "validation", "selection", "test")
    network, attacks = store.note("network"), store.note("attacks")
    return Setting(
        source=source,
        seed=spec["seed"],
        smoke=spec["smoke"],
        ingredients=tuple(_ingredient(name, each) for name, each in ingredients.items()),
        baselines=tuple(_ingredient(name, each) for name, each in (store.note("baselines") or {}).items()),
        threats=threats,
        shifts=shifts,
        sizes={part: spec["data"][part] for part in parts},
        places={
            (part, task): TaskSamples(
                f"{source}/{part}/{task}" if task in shifts else f"{source}/{part}",
                task if task in threats else None,
                attacks.get(task),
                None,
            )
            for part in parts
            for task in (CLEAN, *shifts, *threats)
        },
        attacks=attacks,
        confirming=store.note("confirming"),
        classes=network["classes"],
        normalization=(network["mean"], network["std"]),
        architecture=spec["training"]["architecture"],
        grid_parts=spec["grid_parts"],
        policy="mix",
        command=command,
    )


def _ingredient(name: str, note: Mapping[str, Any]) -> Ingredient:
    """An ingredient from its note; what a note lacks is not known."""
    epoch, epochs = note.get("training") or (None, None)
    curve = [
        Epoch(place, each.get("loss"), each.get("clean"), each.get("robust"))
        for place, each in enumerate(note.get("curve") or (), 1)
    ]
    return Ingredient(
        name,
        note.get("threat"),
        note["fingerprint"],
        note.get("path") or f"ingredients/{name}.safetensors",
        epoch,
        epochs,
        (note.get("passes") or {}).get("gradients"),
        tuple(curve),
    )


def _search(store: Store) -> Setting:
    """The setting of `seasoning search`: its notes, and, while it has not ended, what was asked of the store so far."""
    ended, begun, network = (store.note(name) or {} for name in ("search", "begun", "network"))
    # Where another search was begun since, what the last one came to is not its answer.
    note = ended if ended and all(ended.get(name) == content for name, content in begun.items()) else begun
    plan, parts = note.get("plan") or {}, note.get("parts")
    attacks = note.get("attacks", store.note("search attacks"))
    counted = None if parts is None else frozenset(mark for each in parts.values() for mark in each.values() if mark)
    asked = [
        each for each in store.measurements() if _DATA.match(each.data) and (counted is None or each.samples in counted)
    ]
    if not asked:
        raise BadInput("the search has measured nothing yet: the same command as before goes on with it")
    sets = [name for name in _data_sets(asked) if parts is None or name in parts]
    main = next(iter(plan.get("data") or sets))
    attacked = list(dict.fromkeys(task.rpartition("@")[0] for task in attacks))
    # The union of threats is one of one data set: the main one's, if it was attacked.
    victim = main if main in attacked else next(iter(attacked), main)
    threats = {task.rpartition("@")[2]: task for task in attacks if task.rpartition("@")[0] == victim}
    clean = {CLEAN: main} | {name.removeprefix(f"{main}/"): name for name in sets if name != main}
    ids = _ids(store, asked, dict.fromkeys((*clean.values(), victim)), main, note.get("selection"))
    tasks = {label: (name, None, None) for label, name in clean.items()} | {
        threat: (victim, threat, attacks[task]) for threat, task in threats.items()
    }
    mean, std = network.get("normalization") or (None, None)
    left = [task for task in attacks if task not in threats.values()]
    missing = [] if "answers" in note else ["the end of the search: the choice and its final numbers"]
    return Setting(
        source=main,
        seed=plan.get("seed", asked[0].seed),
        smoke=plan.get("smoke", asked[0].smoke),
        ingredients=tuple(
            _ingredient(name, each) for name, each in note.get("ingredients", store.note("ingredients")).items()
        ),
        baselines=(),
        threats=tuple(threats),
        shifts=tuple(label for label in clean if label != CLEAN),
        sizes={part: len(known.get(main, ())) for part, known in ids.items()},
        places={
            (part, label): TaskSamples(_samples(name, part, main), threat, attack, known[name])
            for part, known in ids.items()
            for label, (name, threat, attack) in tasks.items()
            if name in known
        },
        attacks={threat: attacks[task] for threat, task in threats.items()} | {task: attacks[task] for task in left},
        confirming={},
        classes=None,
        normalization=(mean, std) if mean and std else None,
        architecture=network.get("architecture"),
        grid_parts=None,
        policy=plan.get("batch_norm", asked[0].model.policy),
        command="seasoning search … --out {folder}  # with the plan or the options that it began with",
        unfinished=tuple(missing),
        answers=tuple(note.get("answers", ())),
        labels={name: label for label, name in clean.items()} | {task: threat for threat, task in threats.items()},
        samples=counted,
    )


def _data_sets(asked: list[Measurement]) -> list[str]:
    """Names of the data sets of a search in the order of asking; a shift is `main/shift`."""
    found: dict[str, None] = {}
    for each in asked:
        match = _DATA.match(each.data)
        if match:
            found[match["name"]] = None
            if match["shift"]:
                found[f"{match['name']}/{match['shift']}"] = None
    return list(found)


def _samples(name: str, part: str, main: str) -> str:
    """What the store calls the samples of a part of a data set."""
    shifted = name.startswith(f"{main}/")
    return f"{main}/{part}/{name.removeprefix(f'{main}/')}" if shifted else f"{name}/{part}"


def _ids(
    store: Store, asked: list[Measurement], names: Iterable[str], main: str, chosen: list[int] | None
) -> dict[str, dict[str, NDArray[np.int64]]]:
    """For each part the ids of every data set that has a finished measurement; of the test parts without what chose.

    Sets that were made of the same photographs share ids, so those that chose on one may be test images of another.
    """
    found: dict[str, dict[str, NDArray[np.int64]]] = {}
    for part in ("selection", "test"):
        known = {name: _finished(store, asked, _samples(name, part, main)) for name in names}
        found[part] = {name: ids for name, ids in known.items() if len(ids)}
    if chosen is None:
        chosen = np.concatenate([*found["selection"].values(), np.empty(0, dtype=np.int64)]).tolist()
    held_out = {name: ids[~np.isin(ids, chosen)] for name, ids in found["test"].items()}
    return found | {"test": {name: ids for name, ids in held_out.items() if len(ids)}}


def _finished(store: Store, asked: list[Measurement], data: str) -> NDArray[np.int64]:
    """Ids of the last finished measurement of a part; none while there is none."""
    for each in reversed(asked):
        if each.data == data and (outcomes := store.outcomes(each)) is not None:
            return outcomes.ids
    return np.empty(0, dtype=np.int64)
