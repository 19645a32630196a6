"""Outcomes of the soups of a search: one live model, one store, the tasks of the plan."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from seasoning.attacks import Attack, suite_attack
from seasoning.commands.search_data import Part, Task
from seasoning.config.search import SearchPlan
from seasoning.evaluation.live_soup import LiveSoup
from seasoning.evaluation.measure import measure, measurement
from seasoning.outcomes import Measurement, ModelKey, Outcomes, concatenate
from seasoning.store.database import Store
from seasoning.strategies import Weights


__all__ = ["Price", "SoupOutcomes"]

# Selection points that a price is found on, at most.
_WARM_UP = 48


class Price(NamedTuple):
    """What one sample of a task takes, roughly: seconds, and passes with and without a gradient."""

    seconds: float
    passes: float


class SoupOutcomes:
    """Asks what a soup does; what the store lacks is measured.

    Args:
        plan: The search.
        tasks: Its tasks by name.
        store: Where outcomes are kept.
        live: The live model.
        fingerprints: Of the ingredients.
    """

    def __init__(
        self,
        plan: SearchPlan,
        tasks: dict[str, Task],
        store: Store,
        live: LiveSoup,
        fingerprints: Sequence[str],
    ) -> None:
        self._plan, self._tasks, self._store = plan, tasks, store
        self._resident, self._fingerprints = live, list(fingerprints)

    def selection(self, weights: Weights, task: str, first: int | None = None, *, rough: bool = False) -> Outcomes:
        """On the selection points of a task, or on so many of them; `rough`: with fewer steps or lower precision."""
        asked = self._tasks[task]
        return self._measured(weights, asked, asked.selection, first, rough)

    def whole(self, weights: Weights, task: str) -> Outcomes:
        """On all images of a task, the selection points among them."""
        asked = self._tasks[task]
        selection = self.selection(weights, task)
        if asked.others is None:
            return selection
        return concatenate([selection, self._measured(weights, asked, asked.others, None, False)])

    def differs_when_rough(self, task: str) -> bool:
        """Whether rough measuring is another measurement than the full one."""
        return self._asked((), self._tasks[task], True) != self._asked((), self._tasks[task], False)

    def price(self, weights: Weights, task: str, *, rough: bool) -> Price:
        """What a sample takes, from a warm-up on a few selection points, which are not measured again."""
        few = min(_WARM_UP, max(1, len(self._tasks[task].order) // 8))
        outcomes = self.selection(weights, task, few, rough=rough)
        key = self._asked(weights, self._tasks[task], rough).key
        measured = len(self._store.known_ids(self._asked(weights, self._tasks[task], rough)))
        seconds = sum(header["seconds"] for mark, header in self._store.headers() if mark == key)
        return Price(seconds / measured, float((outcomes.gradients + outcomes.forwards).mean()))

    def attack(self, task: str, *, rough: bool = False) -> Attack | None:
        """How a task's threat is attacked; `None` for clean images."""
        threat, spec = self._tasks[task].threat, self._plan.attack
        if threat is None:
            return None
        steps = spec.steps
        if rough:
            steps = spec.rough_steps * 3 // 2 if threat.norm == "l1" else spec.rough_steps
            steps = min(steps, spec.steps or steps)
        return suite_attack(spec.suite, threat.norm, loss=spec.loss, steps=steps)

    def _measured(self, weights: Weights, task: Task, part: Part, first: int | None, rough: bool) -> Outcomes:
        precision = self._precision(rough)
        return measure(
            self._store,
            self._key(weights),
            lambda: self._resident.soup(weights, precision),
            part.samples,
            threat=task.threat,
            attack=self.attack(task.name, rough=rough),
            seed=self._plan.seed,
            smoke=self._plan.smoke,
            precision=precision,
            fingerprint=part.fingerprint,
            among=None if first is None else task.order[:first],
        )

    def _asked(self, weights: Weights, task: Task, rough: bool) -> Measurement:
        return measurement(
            self._key(weights),
            task.selection.samples,
            threat=task.threat,
            attack=self.attack(task.name, rough=rough),
            seed=self._plan.seed,
            smoke=self._plan.smoke,
            precision=self._precision(rough),
            fingerprint=task.selection.fingerprint,
        )

    def _key(self, weights: Weights) -> ModelKey:
        return replace(ModelKey.of(self._fingerprints[: len(weights)], weights), policy=self._plan.batch_norm)

    def _precision(self, rough: bool) -> str:
        return self._plan.precision if rough else "full"
