"""The soups of a search: its ingredients, looked at; one live model; and outcomes of these and of other models."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from seasoning.attacks import Attack, suite_attack
from seasoning.checkpoints.constants import Constants, agreed, settled
from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.ingredients import load_ingredients
from seasoning.checkpoints.load import State, is_there
from seasoning.commands.batch_sizes import BatchSizes
from seasoning.commands.data import build_for, speaks_of
from seasoning.commands.search_data import OpenTask, Part, Sets
from seasoning.config.search import SearchPlan, points_of
from seasoning.config.sections import AttackSection
from seasoning.errors import BadInput
from seasoning.evaluation.live_soup import LiveSoup
from seasoning.evaluation.measure import measure, measurement
from seasoning.models import PixelClassifier, require_architecture
from seasoning.models.probe import pick_device, require_takes
from seasoning.outcomes import Measurement, ModelKey, Outcomes, concatenate
from seasoning.soup import Ensemble, check_mixable
from seasoning.soup.fit import is_variance
from seasoning.store.database import Store
from seasoning.strategies import Weights
from seasoning.threat import Threat


__all__ = ["Price", "SoupOutcomes", "fingerprints_of", "live_model", "network_of", "read_ingredients"]

# Selection points that a price is found on, at most.
_WARM_UP = 48


class Price(NamedTuple):
    """What one sample of a task takes, roughly: seconds, and passes with and without a gradient."""

    seconds: float
    passes: float


def read_ingredients(plan: SearchPlan, say: Callable[[str], None]) -> list[State]:
    """The parameters of the ingredients, after a look at whether they can be mixed at all.

    Raises:
        BadInput: a file is not there, the ingredients do not mix, or weights below 0 spoil running variances.
    """
    require_architecture(plan.network.architecture, plan.network.options)
    paths, names = list(plan.ingredients.values()), list(plan.ingredients)
    for path in paths:
        if not is_there(path):
            raise BadInput(f"ingredient {path} is not there: give the file of a checkpoint")
    ingredients = load_ingredients(paths, names)
    states: list[State] = [dict(state) for state in ingredients.states]
    report = check_mixable(states, names=names, constants=ingredients.constants, classes=ingredients.classes)
    if not report.mixable:
        raise BadInput(f"these ingredients cannot be searched: {report.verdict}")
    if report.verdict != "mix":
        say(f"warning: {report.verdict}")
    negative = any(weight < 0 for weights in points_of(plan) for weight in weights)
    if negative and plan.batch_norm == "mix" and any(is_variance(name) for name in states[0]):
        raise BadInput(
            "the space has weights below 0, which can make a running variance negative: set batch_norm = 'geometric'"
        )
    return states


def network_of(plan: SearchPlan, sets: Sets, state: State) -> PixelClassifier:
    """The network for the data of a search, with some parameters; it normalizes images as the ingredients say.

    Raises:
        UnknownName: no such architecture.
        Mismatch: the parameters do not fit it, or were trained with another normalization than the plan's.
    """
    network = plan.network
    given = None if network.mean is None or network.std is None else Constants(network.mean, network.std)
    ingredients = load_ingredients(list(plan.ingredients.values()), list(plan.ingredients))
    said = agreed(
        (name, constants if speaks_of(path, network.architecture) else None)
        for (name, path), constants in zip(plan.ingredients.items(), ingredients.outside, strict=True)
    )
    return build_for(
        network.architecture,
        network.options,
        outputs=len(sets.classes),
        channels=sets.channels,
        state=state,
        constants=settled(said, given, "an ingredient"),
    )


def live_model(
    plan: SearchPlan, model: PixelClassifier, states: Sequence[State], tasks: Mapping[str, OpenTask]
) -> LiveSoup:
    """The model that becomes one soup after another, on the device that there is.

    Raises:
        BadInput: it does not take the images.
        Mismatch: an ingredient does not fit it.
    """
    by_shape = {task.selection.samples.x.shape[1:]: task.selection.samples for task in tasks.values()}
    for samples in by_shape.values():
        name = f"architecture {plan.network.architecture!r}"
        require_takes(model, samples.images(slice(0, 1)), name, "bring the images to its size")
    live = LiveSoup(model, states, list(plan.ingredients), plan.batch_norm)
    model.to(pick_device(None))
    return live


class SoupOutcomes:
    """Outcomes of soups, ensembles and candidates; what the store lacks is measured.

    Args:
        store: Where outcomes are kept.
        live: The model that becomes one soup after another.
        joint: Makes the ensemble of the ingredients whose weights are not 0; called when one is measured.
        candidates: Make the candidates, by what tells them apart; called when one is measured.
        fingerprints: Of the ingredients.
        tasks: With their samples, by their texts.
        sizes: How many images the live model is given at a time.
        attack: How threats are attacked.
        precision: Of screening: `"full"` or `"bf16"`.
        policy: How running variances are mixed.
        seed: Seed of the attacks' random starts.
        smoke: Whether outcomes only try the machinery.
    """

    def __init__(
        self,
        store: Store,
        live: LiveSoup,
        joint: Callable[[Weights], Ensemble],
        candidates: Mapping[str, Callable[[], nn.Module]],
        fingerprints: Sequence[str],
        tasks: Mapping[str, OpenTask],
        sizes: BatchSizes,
        *,
        attack: AttackSection,
        precision: str,
        policy: str,
        seed: int,
        smoke: bool,
    ) -> None:
        self._store, self._live, self._tasks = store, live, tasks
        self._joint, self._candidates = joint, candidates
        self._fingerprints, self._sizes, self._attack = list(fingerprints), sizes, attack
        self._precision, self._policy, self._seed, self._smoke = precision, policy, seed, smoke
        self._other: tuple[Weights | str, nn.Module] | None = None

    def selection(self, weights: Weights, task: str, first: int | None = None, *, screening: bool = False) -> Outcomes:
        """On the selection points of a task, or the first so many; screening takes fewer steps or lower precision."""
        asked = self._tasks[task]
        among = None if first is None else asked.order[:first]
        precision = self._precision if screening else "full"
        return measure(
            self._store,
            self._key(weights),
            lambda: self._live.soup(weights, precision),
            asked.selection.samples,
            threat=asked.threat,
            attack=self.attack(asked.threat, screening=screening),
            seed=self._seed,
            smoke=self._smoke,
            precision=precision,
            fingerprint=asked.selection.fingerprint,
            among=among,
            batch_size=self._sizes.of(asked.selection.samples),
            on_batch_size=partial(self._sizes.keep, asked.selection.samples),
        )

    def held_out(self, weights: Weights, task: str, *, confirm: bool = False) -> Outcomes | None:
        """On the images that only measure, also under the stronger attack; `None` where there are none."""
        others = self._tasks[task].others
        if others is None:
            return None
        build = partial(self._live.soup, weights)
        size, keep = self._sizes.of(others.samples), partial(self._sizes.keep, others.samples)
        return self._on_others(self._key(weights), build, task, confirm, batch_size=size, on_batch_size=keep)

    def whole(self, weights: Weights, task: str) -> Outcomes:
        """On all images of a task, the selection points among them."""
        others, selection = self.held_out(weights, task), self.selection(weights, task)
        return selection if others is None else concatenate([selection, others])

    def ensemble(self, weights: Weights, task: str) -> Outcomes | None:
        """Of the mean probabilities of the ingredients whose weights are not 0, on the images that only measure.

        Args:
            weights: Equal for these ingredients.
            task: What to measure it on.
        """
        key = replace(ModelKey.of(self._fingerprints, weights, "ensemble"), policy=self._policy)
        build = partial(self._one, weights, partial(self._joint, weights))
        # Its members pass side by side, so it has a number of its own.
        return self._on_others(key, build, task, False, memory=self._sizes.memory)

    def candidate(self, mark: str, task: str, *, confirm: bool = False) -> Outcomes | None:
        """Of a candidate on the images that only measure, as `held_out`."""
        key, memory = ModelKey.of([mark], [1.0]), self._sizes.memory
        return self._on_others(key, self._candidate(mark), task, confirm, memory=memory)

    def candidate_selection(self, mark: str, task: str, first: int | None = None) -> Outcomes:
        """Of a candidate on the selection points of a task, or the first so many; it cannot be chosen by them."""
        asked = self._tasks[task]
        return measure(
            self._store,
            ModelKey.of([mark], [1.0]),
            self._candidate(mark),
            asked.selection.samples,
            threat=asked.threat,
            attack=self.attack(asked.threat),
            seed=self._seed,
            smoke=self._smoke,
            fingerprint=asked.selection.fingerprint,
            among=None if first is None else asked.order[:first],
            memory=self._sizes.memory,
        )

    def candidate_whole(self, mark: str, task: str) -> Outcomes:
        """Of a candidate on all images of a task, the selection points among them."""
        others, selection = self.candidate(mark, task), self.candidate_selection(mark, task)
        return selection if others is None else concatenate([selection, others])

    def live_state(self) -> Mapping[str, Tensor]:
        """The tensors of one soup."""
        return self._live.state()

    def screens(self, task: str) -> bool:
        """Whether screening measures differently from the full measurement."""
        return self._asked(self._key(()), task, True) != self._asked(self._key(()), task, False)

    def price(self, weights: Weights, task: str, *, screening: bool) -> Price:
        """What a sample takes, from a warm-up on a few selection points, which are not measured again."""
        outcomes = self.selection(weights, task, self._few(task), screening=screening)
        return self._price(self._asked(self._key(weights), task, screening), outcomes)

    def candidate_price(self, mark: str, task: str) -> Price:
        """The same of a candidate."""
        outcomes = self.candidate_selection(mark, task, self._few(task))
        return self._price(self._asked(ModelKey.of([mark], [1.0]), task, False), outcomes)

    def attack(self, threat: Threat | None, *, screening: bool = False, confirm: bool = False) -> Attack | None:
        """How a threat is attacked; `None` for clean images."""
        if threat is None:
            return None
        given = self._attack
        if confirm:
            return suite_attack(given.confirm or given.suite, threat.norm, loss=given.loss, steps=given.steps)
        steps = given.steps
        if screening:
            steps = given.screening_steps * 3 // 2 if threat.norm == "l1" else given.screening_steps
            steps = min(steps, given.steps or steps)
        return suite_attack(given.suite, threat.norm, loss=given.loss, steps=steps)

    def _on_others(
        self, key: ModelKey, build: Callable[[], nn.Module], task: str, confirm: bool, **at: Any
    ) -> Outcomes | None:
        asked = self._tasks[task]
        if asked.others is None:
            return None
        return measure(
            self._store,
            key,
            build,
            asked.others.samples,
            threat=asked.threat,
            attack=self.attack(asked.threat, confirm=confirm),
            seed=self._seed,
            smoke=self._smoke,
            fingerprint=asked.others.fingerprint,
            **at,
        )

    def _candidate(self, mark: str) -> Callable[[], nn.Module]:
        return lambda: self._one(mark, self._candidates[mark])

    def _one(self, which: Weights | str, make: Callable[[], nn.Module]) -> nn.Module:
        """A model that is no soup; one at a time in the memory."""
        if self._other is None or self._other[0] != which:
            self._other = None
            self._other = which, make()
        return self._other[1]

    def _few(self, task: str) -> int:
        return min(_WARM_UP, max(1, len(self._tasks[task].order) // 8))

    def _price(self, asked: Measurement, outcomes: Outcomes) -> Price:
        measured = len(self._store.known_ids(asked))
        seconds = sum(header["seconds"] for mark, header in self._store.headers() if mark == asked.key)
        return Price(seconds / measured, float((outcomes.gradients + outcomes.forwards).mean()))

    def _asked(self, key: ModelKey, task: str, screening: bool) -> Measurement:
        asked = self._tasks[task]
        part: Part = asked.selection
        return measurement(
            key,
            part.samples,
            threat=asked.threat,
            attack=self.attack(asked.threat, screening=screening),
            seed=self._seed,
            smoke=self._smoke,
            precision=self._precision if screening else "full",
            fingerprint=part.fingerprint,
        )

    def _key(self, weights: Weights) -> ModelKey:
        return replace(ModelKey.of(self._fingerprints[: len(weights)], weights), policy=self._policy)


def fingerprints_of(states: Sequence[State]) -> list[str]:
    """The fingerprint of each ingredient."""
    return [fingerprint(state) for state in states]
