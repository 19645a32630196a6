"""A run as its store knows it: what it was, and the outcomes of every model on every task.

A task is a data set or a threat: `"clean"`, the name of a shift, or the text of a threat.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from seasoning.errors import BadInput
from seasoning.outcomes import Measurement, ModelKey, Outcomes
from seasoning.selection import Candidate
from seasoning.store import Store


__all__ = ["CLEAN", "Ingredient", "Results"]

CLEAN = "clean"


class Ingredient(NamedTuple):
    """One trained network: its name, its threat (`None`: none), its fingerprint, and its epoch of how many."""

    name: str
    threat: str | None
    fingerprint: str
    epoch: int
    epochs: int


class Results:
    """The measurements of a run, found by model, split and task.

    Args:
        store: The open store of a run that has at least its ingredients.

    Raises:
        BadInput: the store holds no run, or a run without ingredients yet.
    """

    def __init__(self, store: Store) -> None:
        spec, ingredients = store.note("spec"), store.note("ingredients")
        if spec is None or ingredients is None:
            raise BadInput("the store holds no run with trained ingredients yet: finish the run first")
        self.seed: int = spec["seed"]
        self.smoke: bool = spec["smoke"]
        self.source: str = spec["data"]["source"]
        self.sizes: dict[str, int] = {part: spec["data"][part] for part in ("train", "validation", "selection", "test")}
        self.architecture: str = spec["training"]["architecture"]
        self.threats: tuple[str, ...] = tuple(spec["threats"])
        self.shifts: tuple[str, ...] = tuple(spec["data"]["shifts"])
        self.grid_parts: int = spec["grid_parts"]
        self.attacks: dict[str, str] = store.note("attacks")
        self.confirming: dict[str, str] = store.note("confirming")
        self.network: dict[str, Any] = store.note("network")
        self.ingredients = [
            Ingredient(name, each["threat"], each["fingerprint"], *each["training"])
            for name, each in ingredients.items()
        ]
        relevant = [each for each in store.measurements() if each.smoke == self.smoke and each.seed == self.seed]
        self._asked = {(each.model, each.data, each.threat, each.attack): each for each in relevant}
        self._known: dict[Measurement, Outcomes] = {}
        self._store = store
        self.headers = [header for _, header in store.headers()]

    @property
    def robust_count(self) -> int:
        """How many ingredients were trained for a threat; they come first."""
        return sum(each.threat is not None for each in self.ingredients)

    def soup(self, weights: Sequence[float]) -> ModelKey:
        """Key of a soup of this run's ingredients."""
        return ModelKey.of([each.fingerprint for each in self.ingredients], weights)

    def alone(self, name: str) -> ModelKey:
        """Key of an ingredient."""
        return self.soup([float(each.name == name) for each in self.ingredients])

    def ensemble(self, count: int) -> ModelKey:
        """Key of the ensemble of the first ingredients."""
        return ModelKey.of([each.fingerprint for each in self.ingredients[:count]], [1 / count] * count, "ensemble")

    def outcomes(self, model: ModelKey, split: str, task: str, *, confirming: bool = False) -> Outcomes | None:
        """What became of a model on a task of a split; `None` where it is not (wholly) measured.

        Args:
            model: Its key.
            split: Part of the data set.
            task: Clean, a shift or a threat.
            confirming: Whether a threat is meant under the stronger attack.
        """
        data = f"{self.source}/{split}/{task}" if task in self.shifts else f"{self.source}/{split}"
        threat = task if task in self.threats else None
        attack = None if threat is None else (self.confirming if confirming else self.attacks)[threat]
        asked = self._asked.get((model, data, threat, attack))
        if asked is None:
            return None
        if asked not in self._known:
            outcomes = self._store.outcomes(asked)
            if outcomes is None:
                return None
            self._known[asked] = outcomes
        return self._known[asked]

    def candidates(self, tasks: Sequence[str]) -> list[Candidate]:
        """Every soup that was measured on all these tasks of the selection split."""
        places = {each.fingerprint: place for place, each in enumerate(self.ingredients)}
        found = []
        for model in dict.fromkeys(model for model, *_ in self._asked):
            if model.kind != "soup" or any(fingerprint not in places for fingerprint, _ in model.parts):
                continue
            answers = {task: self.outcomes(model, "selection", task) for task in tasks}
            known = {task: answer for task, answer in answers.items() if answer is not None}
            if len(known) == len(tasks):
                weights = [0.0] * len(places)
                for fingerprint, weight in model.parts:
                    weights[places[fingerprint]] = weight
                found.append(Candidate(tuple(weights), known))
        return found
