"""A run as its store knows it: what it was, and the outcomes of every model on every task.

A task is a data set or a threat: `"clean"`, the name of a shift, or the text of a threat.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from seasoning.outcomes import Measurement, ModelKey, Outcomes
from seasoning.report.reading import read_setting
from seasoning.report.setting import CLEAN, Ingredient, Setting, TaskSamples
from seasoning.selection import Candidate
from seasoning.store.database import Store


__all__ = ["CLEAN", "Ingredient", "Results"]


class Results:
    """The measurements of a run, found by model, split and task.

    Args:
        store: The open store of a run that has at least its ingredients.
        setting: What the run was; by default as the store's notes say.

    Raises:
        BadInput: the store holds no run, or a run without ingredients yet.
    """

    def __init__(self, store: Store, setting: Setting | None = None) -> None:
        self.setting = setting = read_setting(store) if setting is None else setting
        self.seed, self.smoke, self.source = setting.seed, setting.smoke, setting.source
        self.sizes, self.threats, self.shifts = setting.sizes, setting.threats, setting.shifts
        self.attacks, self.confirming = setting.attacks, setting.confirming
        self.ingredients, self.baselines = setting.ingredients, setting.baselines
        self._asked: dict[tuple[ModelKey, str, str | None, str | None], Measurement] = {}
        self._by_key: dict[str, Measurement] = {}
        # A search looks around in lower precision; such outcomes are no numbers of a report.
        relevant = [
            each
            for each in store.measurements()
            if getattr(each, "precision", "full") == "full" and each.smoke == self.smoke and each.seed == self.seed
        ]
        # Searches with other numbers of images leave samples of one name and two contents: its own count, or the last.
        latest = {each.data: each.samples for each in relevant}
        for each in relevant:
            if each.samples in (setting.samples or (latest[each.data],)):
                self._asked[each.model, each.data, each.threat, each.attack] = each
                self._by_key[each.key] = each
        self._known: dict[tuple[Measurement, bytes], Outcomes] = {}
        self._shared: dict[bytes, Any] = {}
        self._store = store
        self._headers = list(store.headers())

    @property
    def headers(self) -> list[dict[str, Any]]:
        """The header of every block."""
        return [header for _, header in self._headers]

    @property
    def robust_count(self) -> int:
        """How many ingredients were trained for a threat; they come first."""
        return sum(each.threat is not None for each in self.ingredients)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task: clean, shifts, threats."""
        return (CLEAN, *self.shifts, *self.threats)

    def soup(self, weights: Sequence[float]) -> ModelKey:
        """Key of a soup of this run's ingredients."""
        return self._key([each.fingerprint for each in self.ingredients], weights, "soup")

    def alone(self, name: str) -> ModelKey:
        """Key of an ingredient, or of a baseline."""
        mark = next(each.fingerprint for each in (*self.ingredients, *self.baselines) if each.name == name)
        return self._key([mark], [1.0], "soup")

    def ensemble(self, count: int) -> ModelKey:
        """Key of the ensemble of the first ingredients."""
        return self._key([each.fingerprint for each in self.ingredients[:count]], [1 / count] * count, "ensemble")

    def outcomes(self, model: ModelKey, split: str, task: str, *, confirming: bool = False) -> Outcomes | None:
        """What became of a model on a task of a split; `None` where it is not (wholly) measured.

        Args:
            model: Its key.
            split: Part of the data set.
            task: Clean, a shift or a threat.
            confirming: Whether a threat is meant under the stronger attack.

        Returns:
            Ids, labels, predictions and status; what else the store keeps of a sample no table needs, and is 0 here.
        """
        place = self.setting.places.get((split, task))
        if place is None:
            return None
        attack = self.confirming.get(task) if confirming else place.attack
        asked = self._asked.get((model, place.data, place.threat, attack))
        return None if asked is None else self._rows(asked, place)

    def radii(self, model: ModelKey, split: str) -> Iterator[tuple[str, Outcomes]]:
        """Every threat, of the run or beside it, that a model met on a split, with its outcomes."""
        met: dict[str, Outcomes] = {}
        place = self.setting.places.get((split, CLEAN))
        for (key, name, threat, attack), asked in self._asked.items():
            if (
                key != model
                or place is None
                or name != place.data
                or threat is None
                or attack not in self.attacks.values()
            ):
                continue
            rows = self._rows(asked, place)
            if rows is not None:
                met[threat] = rows
        yield from met.items()

    def candidates(self, tasks: Sequence[str]) -> list[Candidate]:
        """Every soup that was measured on all these tasks of the selection split."""
        found = []
        for weights, model in self.soups():
            answers = {task: self.outcomes(model, "selection", task) for task in tasks}
            known = {task: answer for task, answer in answers.items() if answer is not None}
            if len(known) == len(answers):
                found.append(Candidate(weights, known))
        return found

    def soups(self) -> Iterator[tuple[tuple[float, ...], ModelKey]]:
        """Weights and key of every soup of this run's ingredients that anything was asked about."""
        places = {each.fingerprint: place for place, each in enumerate(self.ingredients)}
        for model in dict.fromkeys(model for model, *_ in self._asked):
            if model.kind != "soup" or any(fingerprint not in places for fingerprint, _ in model.parts):
                continue
            weights = [0.0] * len(places)
            for fingerprint, weight in model.parts:
                weights[places[fingerprint]] = weight
            yield tuple(weights), model

    def costs(self) -> Iterator[tuple[Measurement, dict[str, Any]]]:
        """Every block of this run: what was asked and its header."""
        for key, header in self._headers:
            if key in self._by_key:
                yield self._by_key[key], header

    def _key(self, marks: Sequence[str], weights: Sequence[float], kind: str) -> ModelKey:
        return replace(ModelKey.of(marks, weights, kind), policy=self.setting.policy)

    def _rows(self, asked: Measurement, place: TaskSamples) -> Outcomes | None:
        """The rows of a part; `None` while any is missing."""
        whole = place.ids is None
        known = (asked, b"" if place.ids is None else place.ids.tobytes())
        if known not in self._known:
            rows = self._store.outcomes(asked) if whole else self._store.known(asked)
            if rows is not None and place.ids is not None:
                rows = rows.take(np.isin(rows.ids, place.ids))
                rows = rows if len(rows) == len(place.ids) else None
            if rows is None:
                return None
            self._known[known] = self._slim(rows)
        return self._known[known]

    def _slim(self, rows: Outcomes) -> Outcomes:
        """The same rows in a fraction of the memory: a large search has half a million measurements."""
        clean: Any = self._share(rows.clean.astype(np.int16 if len(rows) and rows.clean.max() < 2**15 else np.int64))
        adversarial: Any = self._share(rows.adversarial.astype(clean.dtype))
        none: Any = np.broadcast_to(np.float32(0), len(rows))
        passes: Any = np.broadcast_to(np.int64(0), len(rows))
        return replace(
            rows,
            ids=self._share(rows.ids),
            labels=self._share(rows.labels),
            clean=clean,
            adversarial=adversarial,
            clean_margin=none,
            margin=none,
            distance=none,
            gradients=passes,
            forwards=passes,
            status=self._share(rows.status),
        )

    def _share(self, column: Any) -> Any:
        """One copy of columns that are equal."""
        return self._shared.setdefault(column.tobytes() + str(column.dtype).encode(), column)
