"""Stores of searches that nobody ran: random outcomes in the shape of a real one, made in a second."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from seasoning.commands import search_answers
from seasoning.commands.search_answers import KnownSoups, answer_search
from seasoning.config.run_record import EpochNote, IngredientNote, NetworkNote, PartsNote, RunRecord, write_record
from seasoning.config.search import SearchPlan, make_plan, objectives_of, points_of
from seasoning.outcomes import Measurement, ModelKey, Outcomes, Status, concatenate
from seasoning.selection.answers import SearchResult
from seasoning.store import database
from seasoning.store.database import Store
from seasoning.strategies import Weights, all_tasks
from seasoning.task import Task


__all__ = ["Made", "add", "ids_of", "made_plan", "made_record", "made_run", "random_right"]

_HEADER = {"device": "none", "versions": {"seasoning": "made"}, "seconds": 0.5, "gradients": 10, "forwards": 20}
# Photographs of a data set are numbered from its own start.
_APART = 10_000

# Weights, the text of a task and ids, to whether the soup is right on each.
Right = Callable[[Weights, str, NDArray[np.int64]], NDArray[np.bool_]]


def made_plan(
    *,
    ingredients: int | Sequence[str] = 3,
    threats: Sequence[str] = ("linf:0.1", "l2:0.5", "l1:2"),
    shifts: Sequence[str] = ("noise", "blur"),
    data: Sequence[str] = ("made",),
    grid: int = 4,
    **settings: Any,
) -> SearchPlan:
    """A plan as that of `seasoning demo`: a union of the robust ingredients, a mean, and each data set."""
    names = [f"m{number}" for number in range(ingredients)] if isinstance(ingredients, int) else list(ingredients)
    robust = names[: len(threats)]
    union = [{"best": "union", "ingredients": robust}] if len(threats) > 1 and len(robust) > 1 else []
    clean = [*data, *(f"{data[0]}/{shift}" for shift in shifts)]
    content = {
        "ingredients": {name: f"{name}.safetensors" for name in names},
        "network": {"architecture": "resnet_small"},
        "data": {name: name for name in data},
        "shifts": list(shifts),
        "threats": list(threats),
        "strategy": "grid",
        "space": {"step": 1 / grid},
        "shots": 80,
        "others": 90,
        "ensemble": True,
        "attack": {"confirm": "thorough"},
        "objectives": [*union, *([{"best": "mean"}] if len(clean) > 1 else []), {"best": "each", "tasks": clean}],
    }
    return make_plan(content | settings)


def made_record(
    plan: SearchPlan,
    parts: Mapping[str, Sequence[str]] | None = None,
    *,
    gradients: int | None = None,
    curve: Sequence[tuple[float, float | None]] = (),
) -> RunRecord:
    """The record of a search that has just begun.

    Args:
        plan: Of the search.
        parts: Of data sets of many parts, the names of the parts.
        gradients: What the training of each ingredient took.
        curve: Accuracies after each epoch of each training, clean and robust.
    """
    asked, threats = plan.asked(parts or {}), list(plan.threats)
    clean = [name for name, task in asked.tasks.items() if task.threat is None]
    attacks = {name: f"attack {task.threat.norm}" for name, task in asked.tasks.items() if task.threat is not None}
    return RunRecord(
        plan=plan,
        network=NetworkNote(architecture="resnet_small", options={}, classes=3, mean=(0.5,), std=(0.25,)),
        ingredients=tuple(
            IngredientNote(
                name=name,
                path=path,
                fingerprint=name * 3,
                threat=threats[number] if number < len(threats) else None,
                epoch=1,
                epochs=2,
                gradients=gradients,
                curve=tuple(EpochNote(epoch=n, clean=each[0], robust=each[1]) for n, each in enumerate(curve, 1)),
            )
            for number, (name, path) in enumerate(plan.ingredients.items())
        ),
        columns=asked.columns,
        objectives=tuple(objectives_of(plan, parts or {})),
        attacks=attacks,
        confirming={name: f"harder {words}" for name, words in attacks.items()} if plan.attack.confirm else {},
        parts={
            name: PartsNote(selection=f"{name} selection", test=f"{name} test" if plan.others != 0 else None)
            for name in clean
        },
        selection=tuple(sorted({int(each) for name in clean for each in ids_of(plan, name, "selection")})),
        space=len(points_of(plan)),
    )


def made_run(
    folder: Path,
    plan: SearchPlan | None = None,
    parts: Mapping[str, Sequence[str]] | None = None,
    *,
    ended: bool = True,
    right: Right | None = None,
    whole: Callable[[Weights], bool] = lambda weights: True,
    blocks: int = 1,
    gradients: int | None = None,
    curve: Sequence[tuple[float, float | None]] = (),
    **settings: Any,
) -> Path:
    """Write the store of a search with made outcomes; returns its path.

    Args:
        folder: Where.
        plan: By default `made_plan` with the settings.
        parts: As for `made_record`; parts of a data set are made of the photographs of the main one.
        ended: Whether it has its answers, judged as `seasoning search` does.
        right: Which images a soup is right on; by default at random, the more the more even its weights are.
        whole: Which soups are measured on all selection images; of the others only the first quarter is there.
        blocks: In how many blocks a measurement was written.
        gradients: As for `made_record`.
        curve: As for `made_record`.
        settings: Of `made_plan`.
    """
    plan = made_plan(**settings) if plan is None else plan
    record = made_record(plan, parts, gradients=gradients, curve=curve)
    with _quick(Store(folder / "outcomes.sqlite")) as store:
        write_record(store, record)
        made = Made(store, record, right or random_right, blocks)
        known = KnownSoups()
        for group in dict.fromkeys(objective.ingredients for objective in record.objectives):
            tasks = all_tasks([each for each in record.objectives if each.ingredients == group])
            for weights in points_of(plan, group):
                for task in tasks:
                    first = None if whole(weights) else plan.shots // 4
                    rows = made.selection(weights, task, first)
                    known.keep(weights, task, rows, screening=False, whole=first is None)
        if ended:
            result = made.answers(known, folder)
            update = {"answers": result.answers, "front": result.front, "front_scope": result.front_scope}
            write_record(store, record.model_copy(update=update))
    return folder / "outcomes.sqlite"


class Made(NamedTuple):
    """In place of the models of a search: what they are right on is made up, and written as if measured."""

    store: Store
    record: RunRecord
    right: Right
    blocks: int = 1

    def selection(self, weights: Weights, task: str, first: int | None = None) -> Outcomes:
        """Outcomes of a soup on the selection points of a task, or the first so many."""
        return add(self, weights, "selection", task, rows=first)

    def held_out(self, weights: Weights, task: str, *, confirm: bool = False) -> Outcomes | None:
        """Outcomes on held-out images; `None` where there are none."""
        return add(self, weights, "test", task, confirm=confirm) if self.record.plan.others != 0 else None

    def ensemble(self, weights: Weights, task: str) -> Outcomes | None:
        """Outcomes of an ensemble on held-out images."""
        return add(self, weights, "test", task, ensemble=True) if self.record.plan.others != 0 else None

    def whole(self, weights: Weights, task: str) -> Outcomes:
        """Outcomes of a soup on all images of a task."""
        others, selection = self.held_out(weights, task), self.selection(weights, task)
        return selection if others is None else concatenate([selection, others])

    def answers(self, known: KnownSoups, folder: Path) -> SearchResult:
        """What `seasoning search` answers; soups are not written."""
        plan = self.record.plan
        tasks: Any = {
            task: SimpleNamespace(order=ids_of(plan, task, "selection"))
            for tasks in self.record.columns.values()
            for task in tasks
        }
        soups: Any = self
        prices, meter = mock.MagicMock(), mock.MagicMock()
        prices.seconds.return_value = 0.0
        with mock.patch.object(search_answers, "mix_files"), mock.patch.object(search_answers, "_chosen_on"):
            return answer_search(self.record, soups, tasks, known, prices, meter, folder)


def add(
    made: Made,
    weights: Weights,
    split: str,
    task: str,
    *,
    confirm: bool = False,
    ensemble: bool = False,
    rows: int | None = None,
    **changes: Any,
) -> Outcomes:
    """Write one measurement, unless it is there; of a part of it only the first rows.

    Args:
        made: The store and the rest.
        weights: Of the soup, or of the ensemble.
        split: `"selection"` or `"test"`.
        task: Its text.
        confirm: Whether under the stronger attack.
        ensemble: Whether it is of the ensemble.
        rows: How many of the samples; by default all.
        changes: Of the `Measurement`.
    """
    record, parsed = made.record, Task.parse(task)
    clean = str(parsed.clean)
    marks = [note.fingerprint for note in record.ingredients]
    key = replace(ModelKey.of(marks, weights, "ensemble" if ensemble else "soup"), policy=record.plan.batch_norm)
    asked = Measurement(
        model=key,
        data=str(parsed.clean.on(split)),
        samples=getattr(record.parts[clean], split),
        threat=None if parsed.threat is None else str(parsed.threat),
        attack=(record.confirming if confirm else record.attacks).get(task),
        seed=record.plan.seed,
        smoke=record.plan.smoke,
    )
    asked = replace(asked, **changes)
    ids = ids_of(record.plan, task, split)
    seed = f"{task} harder" if confirm else f"{task} together" if ensemble else task
    right = made.right(weights, seed, ids)
    if confirm:
        right &= made.right(weights, task, ids)
    outcomes = _outcomes(ids, right, attacked=parsed.threat is not None)
    if not len(made.store.known_ids(asked)):
        for block in np.array_split(np.arange(len(ids))[:rows], made.blocks):
            made.store.add(asked, len(ids), outcomes.take(block), _HEADER)
    return outcomes.take(np.arange(len(ids))[:rows])


def ids_of(plan: SearchPlan, task: str, split: str) -> NDArray[np.int64]:
    """Ids of the samples of a task; parts of a data set, and shifts, are made of the photographs of the main one."""
    parsed = Task.parse(task)
    start = 0 if parsed.severity is not None else _APART * list(plan.data).index(parsed.data)
    first, count = (0, plan.shots) if split == "selection" else (plan.shots, plan.others or 0)
    return start + first + np.arange(count)


def random_right(weights: Weights, task: str, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """At random, the more often the more even the weights are."""
    random = np.random.default_rng(zlib.crc32(f"{weights}{task}{ids[:1]}".encode()))
    return random.random(len(ids)) < 0.8 - sum(weight**2 for weight in weights) / 4


def _outcomes(ids: NDArray[np.int64], right: NDArray[np.bool_], *, attacked: bool) -> Outcomes:
    """Clean images are all right under a threat, and as many as withstand it."""
    labels = np.ones(len(ids), dtype=np.int64)
    zeros = np.zeros(len(ids), dtype=np.float32)
    predicted = right.astype(np.int64)
    status = np.full(len(ids), Status.MEASURED, dtype=np.int8)
    clean = labels if attacked else predicted
    return Outcomes(ids, labels, clean, predicted, zeros, zeros, zeros, labels, labels, status)


@contextmanager
def _quick(store: Store) -> Iterator[Store]:
    """A store that packs equal blocks once; nobody needs these numbers after a power cut."""
    pack, packed = database._pack, dict[bytes, bytes]()

    def once(outcomes: Outcomes) -> bytes:
        key = b"".join(column.tobytes() for column in outcomes.columns().values())
        if key not in packed:
            packed[key] = pack(outcomes)
        return packed[key]

    with store, mock.patch.object(database, "_pack", once):
        store._connection.execute("PRAGMA synchronous=OFF")
        yield store
