"""A run as its store knows it: its record, and the outcomes of every model on every task.

A *column* of the tables is one data set or shift, clean or under one threat, by a short label: `"clean"` for the main
data set, the name of a shift of it, the name of another data set, or the text of a threat on the attacked data set. A
data set of many parts, such as ImageNet-C, is one column with a task for each part; its number is their plain mean.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from seasoning import metrics
from seasoning.config.run_record import IngredientNote, read_record, read_request
from seasoning.errors import BadInput
from seasoning.outcomes import Measurement, ModelKey, Outcomes
from seasoning.selection import Candidate, Choice, Entry, SearchObjective, Term, accuracy_on
from seasoning.statistics import Column
from seasoning.store.database import Store
from seasoning.task import Task
from seasoning.threat import Threat


__all__ = ["CLEAN", "MEAN", "UNION", "Results"]

CLEAN, UNION, MEAN = "clean", "union", "mean"
_NOBODY = ModelKey("soup", ())
# What is read of an outcome; no table needs the rest.
_READ = ("ids", "labels", "clean", "adversarial", "status", "valid")


class Results:
    """The measurements of a run, found by model, split and task.

    Args:
        store: The open store of a search that was begun.

    Raises:
        BadInput: the store holds no search, one of another version, or one that has measured nothing yet.
    """

    def __init__(self, store: Store) -> None:
        record = read_record(store)
        if record is None:
            raise BadInput("the store holds no search: give the folder of one, such as runs/demo")
        self.record, self.plan = record, record.plan
        # Whether `seasoning demo` made the run.
        self.is_demo = read_request(store) is not None
        self._store = store
        self._finished = {
            asked: None
            for asked in store.finished()
            if asked.smoke == self.plan.smoke and asked.seed == self.plan.seed and asked.precision == "full"
        }
        if not self._finished:
            raise BadInput("the search has measured nothing yet: the same command as before goes on with it")
        self._asked: dict[tuple[str, str, bool], Measurement | None] = {}
        self._known: dict[tuple[ModelKey, str, str, bool], Outcomes | None] = {}
        self._shared: dict[tuple[str, tuple[int, ...], bytes], Any] = {}
        self._candidates: dict[tuple[str, ...], list[Candidate]] = {}
        # What was chosen for objectives, best first: kept here, since every table and figure asks again.
        self.choices: dict[SearchObjective, list[Choice]] = {}

    @property
    def ingredients(self) -> tuple[IngredientNote, ...]:
        """In the order of the weights."""
        return self.record.ingredients

    @property
    def names(self) -> list[str]:
        """Of the ingredients, in the order of the weights."""
        return [note.name for note in self.ingredients]

    @property
    def smoke(self) -> bool:
        """Whether the run only tried the machinery."""
        return self.plan.smoke

    @property
    def source(self) -> str:
        """The main data set."""
        return self.plan.main

    @cached_property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """The texts of the tasks of every column, by label: clean ones, then those under the threats."""
        return {label: self.record.columns[name] for name, label in self._labels.items()}

    @cached_property
    def clean(self) -> tuple[str, ...]:
        """Labels of the columns without attack, the main one first."""
        return tuple(label for name, label in self._labels.items() if "@" not in name)

    @cached_property
    def shifts(self) -> tuple[str, ...]:
        """Labels of the columns without attack beside the main one."""
        return self.clean[1:]

    @cached_property
    def threats(self) -> tuple[str, ...]:
        """Labels of the columns under attack that a union is over: those of the main data set, if it was attacked."""
        return tuple(label for name, label in self._labels.items() if "@" in name and _without(name) == self._victim)

    @cached_property
    def elsewhere(self) -> tuple[str, ...]:
        """Labels of the columns under attack of other data sets."""
        return tuple(label for label in self.columns if label not in (*self.clean, *self.threats))

    @cached_property
    def before_attack(self) -> str | None:
        """Label of the attacked data set without attack; `None` where it is no column of its own."""
        return self._labels.get(self._victim) if self._victim else None

    @cached_property
    def union(self) -> SearchObjective | None:
        """Accuracy under all threats at once, as an objective; `None` with fewer than two threats."""
        if len(self.threats) < 2:
            return None
        parts = list(zip(*[self.columns[threat] for threat in self.threats], strict=True))
        return SearchObjective(UNION, tuple(Term(tasks, 1 / len(parts)) for tasks in parts))

    @cached_property
    def mean(self) -> SearchObjective:
        """The plain mean over the columns without attack, as an objective."""
        return self.objective(self.clean, MEAN)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Images of the main data set by what they were used for."""
        name, part = next(iter(self.record.parts.items()))
        sizes = {"selection": 0, "test": 0}
        for split, samples in (("selection", part.selection), ("test", part.test)):
            for asked in self._finished:
                task = name if asked.threat is None else f"{name}@{asked.threat}"
                if asked.samples == samples and (rows := self.outcomes(asked.model, split, task)) is not None:
                    sizes[split] = len(rows)
                    break
        return sizes

    def objective(self, labels: Sequence[str], name: str) -> SearchObjective:
        """The plain mean over some columns, each the plain mean over its tasks."""
        terms = [
            Term((task,), 1 / len(labels) / len(self.columns[label]))
            for label in labels
            for task in self.columns[label]
        ]
        return SearchObjective(name, tuple(terms))

    def label(self, task: str) -> str:
        """What this report calls a task: the label of its column, or, of a data set of parts, its own text."""
        return next((label for label, tasks in self.columns.items() if tasks == (task,)), task)

    def soup(self, weights: Sequence[float]) -> ModelKey:
        """Key of a soup of this run's ingredients."""
        return self.key(weights, ensemble=False)

    def alone(self, name: str) -> ModelKey:
        """Key of an ingredient."""
        return self.soup([float(own == name) for own in self.names])

    def key(self, weights: Sequence[float], *, ensemble: bool) -> ModelKey:
        """Key of a soup, or of the ensemble of the ingredients whose weights are not 0."""
        marks = [note.fingerprint for note in self.ingredients]
        kind = "ensemble" if ensemble else "soup"
        return replace(ModelKey.of(marks, weights, kind), policy=self.plan.batch_norm)

    def outcomes(self, model: ModelKey, split: str, task: str, *, confirming: bool = False) -> Outcomes | None:
        """What became of a model on a task of a split; `None` where it is not (wholly) measured.

        Args:
            model: Its key.
            split: `"selection"` or `"test"`: held-out images, without those that chose in another data set.
            task: The text of a task.
            confirming: Whether it is meant under the stronger attack.

        Returns:
            Ids, labels, predictions and status; what else the store keeps of a sample no table needs, and is 0 here.
        """
        key = model, split, task, confirming
        if key not in self._known:
            on_task = self._asked_on(split, task, confirming)
            asked = None if on_task is None else replace(on_task, model=model)
            self._known[key] = None if asked is None or asked not in self._finished else self._read(asked, split)
        rows = self._known[key]
        return rows if rows is not None and len(rows) else None

    def entry(self, model: ModelKey, labels: Sequence[str]) -> Entry | None:
        """A model in the column of a table, or in the mean of several columns, on held-out images."""
        return self._entry(model, self.objective(labels, MEAN), (False,))

    def task_entry(self, model: ModelKey, task: str) -> Entry | None:
        """A model on one task on held-out images, such as one part of a column."""
        return self._entry(model, accuracy_on(task), (False,))

    def union_entry(self, model: ModelKey, *, confirming: bool = False) -> Entry | None:
        """A model's union over the threats on held-out images; confirming: under the stronger attack as well."""
        return None if self.union is None else self._entry(model, self.union, (False, True) if confirming else (False,))

    def candidates(self, tasks: Sequence[str]) -> list[Candidate]:
        """Every soup that was measured on all these tasks of the selection split."""
        wanted = tuple(tasks)
        if wanted not in self._candidates:
            found = []
            for weights, model in self.soups:
                known = self.measured(model, "selection", wanted)
                if known is not None:
                    found.append(Candidate(weights, known))
            self._candidates[wanted] = found
        return self._candidates[wanted]

    def measured(self, model: ModelKey, split: str, tasks: Sequence[str]) -> Mapping[str, Outcomes] | None:
        """What became of a model on some tasks of a split; `None` where one of them is not (wholly) measured."""
        known = {}
        for task in tasks:
            rows = self.outcomes(model, split, task)
            if rows is None:
                return None
            known[task] = rows
        return known

    @cached_property
    def soups(self) -> list[tuple[tuple[float, ...], ModelKey]]:
        """Weights and key of every soup of this run's ingredients that anything is known of."""
        marks, found = [note.fingerprint for note in self.ingredients], []
        for model in dict.fromkeys(asked.model for asked in self._finished):
            lacking = Counter(mark for mark, _ in model.parts) - Counter(marks)
            if model.kind != "soup" or lacking or model.policy != self.plan.batch_norm:
                continue
            weights = [0.0] * len(marks)
            for mark, weight in model.parts:
                # Equal ingredients have one fingerprint: the first of them that has no weight yet.
                free = (index for index, own in enumerate(marks) if own == mark and weights[index] == 0)
                weights[next(free)] = weight
            found.append((tuple(weights), model))
        return found

    def radii(self, model: ModelKey) -> Iterator[tuple[Threat, Outcomes]]:
        """Every threat of the union that a model met on held-out images, with its outcomes."""
        for task, *more in (self.columns[label] for label in self.threats):
            threat = Task.parse(task).threat
            outcomes = None if more else self.outcomes(model, "test", task)
            if threat is not None and outcomes is not None:
                yield threat, outcomes

    @cached_property
    def blocks(self) -> list[tuple[Measurement, dict[str, Any]]]:
        """Every block of this run's models on its images, screening among them: what was asked, and its header."""
        samples = {mark for part in self.record.parts.values() for mark in (part.selection, part.test)}
        marks = {note.fingerprint for notes in (self.ingredients, self.record.candidates) for note in notes}
        own = {
            asked: asked.samples in samples
            and (asked.smoke, asked.seed) == (self.plan.smoke, self.plan.seed)
            and marks.issuperset(mark for mark, _ in asked.model.parts)
            for asked in self._store.measurements()
        }
        return [(asked, header) for asked, header in self._store.blocks() if own[asked]]

    @cached_property
    def _labels(self) -> dict[str, str]:
        """What the columns of the record are called here, each by another label."""
        found: dict[str, str] = {}
        clean = [name for name in self.record.columns if "@" not in name]
        for name in [*clean, *(name for name in self.record.columns if "@" in name)]:
            label = CLEAN if name == self.source else name.removeprefix(f"{self.source}/")
            if "@" in name and _without(name) == self._victim:
                label = name.partition("@")[2]
            # A shift may be called as another data set is.
            found[name] = name if label in found.values() else label
        return found

    @cached_property
    def _victim(self) -> str | None:
        """The data set whose threats a union is over: the main one, if it was attacked."""
        attacked = [_without(name) for name in self.record.columns if "@" in name]
        return self.source if self.source in attacked else next(iter(attacked), None)

    def _entry(self, model: ModelKey, objective: SearchObjective, attacks: Sequence[bool]) -> Entry | None:
        """A model in the column of an objective, right where it is right under all these attacks."""
        columns: list[Column] = []
        for term in objective.terms:
            rows = [self.outcomes(model, "test", task, confirming=attack) for task in term.tasks for attack in attacks]
            known = [outcomes for outcomes in rows if outcomes is not None]
            if len(known) < len(rows):
                return None
            columns.append(metrics.union_column(*known))
        return Entry(model, tuple(columns), tuple(term.weight for term in objective.terms))

    def _asked_on(self, split: str, task: str, confirming: bool) -> Measurement | None:
        """What is asked on a task of a split, without the model; `None` where nothing is."""
        key = split, task, confirming
        if key not in self._asked:
            self._asked[key] = self._measurement(split, Task.parse(task), confirming)
        return self._asked[key]

    def _measurement(self, split: str, task: Task, confirming: bool) -> Measurement | None:
        part = self.record.parts.get(str(task.clean))
        samples = None if part is None else part.selection if split == "selection" else part.test
        attack = (self.record.confirming if confirming else self.record.attacks).get(str(task))
        if samples is None or (task.threat is not None and attack is None):
            return None
        return Measurement(
            model=_NOBODY,
            data=str(task.clean.on(split)),
            samples=samples,
            threat=None if task.threat is None else str(task.threat),
            attack=attack,
            seed=self.plan.seed,
            smoke=self.plan.smoke,
        )

    def _read(self, asked: Measurement, split: str) -> Outcomes:
        """Outcomes from the store; of held-out images without those that chose in any data set."""
        rows = self._store.columns(asked, _READ)
        if rows is None:
            raise BadInput(f"outcomes on {asked.data} are gone from the store: copy it again, or search again")
        if split == "test":
            held_out = ~np.isin(rows["ids"], self._chosen_on)
            rows = rows if held_out.all() else {name: column[held_out] for name, column in rows.items()}
        return self._slim(rows)

    @cached_property
    def _chosen_on(self) -> Any:
        return np.array(self.record.selection, dtype=np.int64)

    def _slim(self, rows: dict[str, Any]) -> Outcomes:
        """The rows in a fraction of the memory: a large search has half a million measurements."""
        count = len(rows["ids"])
        most = max((int(rows[name].max()) for name in ("clean", "adversarial") if count), default=0)
        small = {name: rows[name].astype(np.int16 if most < 2**15 else np.int64) for name in ("clean", "adversarial")}
        nothing: Any = np.broadcast_to(np.int64(0), count)
        return Outcomes(
            **{name: self._share(column) for name, column in (rows | small).items()},
            **dict.fromkeys(("clean_margin", "margin", "distance", "gradients", "forwards"), nothing),
        )

    def _share(self, column: Any) -> Any:
        """One copy of columns that are equal."""
        return self._shared.setdefault((column.dtype.char, column.shape, column.tobytes()), column)


def _without(name: str) -> str:
    """The name of a column without its threat."""
    return name.partition("@")[0]
