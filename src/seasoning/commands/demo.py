"""The verbs: the one place where data, ingredients, soups, measuring, selection and the report meet."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import timm
from pydantic import ValidationError
from torch import nn

from seasoning.attacks import SUITES, Attack, describe, suite_attack
from seasoning.checkpoints.load import State, fingerprint, save_state
from seasoning.checkpoints.provenance import soup_metadata
from seasoning.commands.ingredients import Prepared, network_for, prepare_ingredient, recipes
from seasoning.config.base import RunSpec
from seasoning.data import SHIFTS, SOURCES, Samples, apply_shift, load_source, split_samples
from seasoning.errors import UnknownName
from seasoning.evaluation.measure import measure
from seasoning.evaluation.progress import Meter
from seasoning.models import PixelClassifier
from seasoning.models.probe import require_takes
from seasoning.outcomes import ModelKey, Outcomes
from seasoning.report import (
    CLEAN,
    Results,
    Table,
    Wanted,
    shift_verdict,
    shifts_table,
    threats_table,
    union_soup,
    verdict,
    wanted,
    write_page,
)
from seasoning.selection import mean_over, union_over
from seasoning.soup import Ensemble, check_mixable, mix
from seasoning.store.database import Store
from seasoning.store.run_folder import PAGE, check_folder, claimed, opened
from seasoning.strategies import Proposal, grid, run_strategy, simplex
from seasoning.threat import Threat


__all__ = ["Finished", "run"]

Watch = Callable[[str, float, float], None]  # what is being done, work done, work in all

_SOUP, _INGREDIENTS = "soup.safetensors", "ingredients"
# What stands for the passes of an attack that fooled samples save; only the progress bar rests on it.
_SAVED = 0.5
# How many times the passes of the default attack the confirming one takes, as roughly.
_CONFIRMING = 3


class Finished(NamedTuple):
    """What a run came to: its tables, its answers in words, where page and soup are, and whether it was a smoke run."""

    tables: tuple[Table, ...]
    answers: tuple[str, ...]
    page: Path
    soup: Path
    smoke: bool


def run(spec: RunSpec | None, folder: Path, *, watch: Watch) -> Finished:
    """Train ingredients, mix, search, measure, choose soups, write the page.

    What the folder holds of this run is not done again, so a run that was cut off goes on where it was.

    Args:
        spec: The run; `None` goes on with the one that lies in the folder.
        folder: Where everything is written.
        watch: Told what is being done, the work done and the work in all.

    Raises:
        UnknownName: the spec names a data set, shift, architecture or protocol that is none.
        BadInput: it asks for more images than there are, or for a network that does not take them.
        RunConflict: the folder holds another run, something else, nothing to go on with, or a run that another
            process is at.
    """
    if spec is not None:
        _check_spec(spec)
    check_folder(folder, fresh=spec is not None)
    asked = None if spec is None else spec.model_dump(mode="json")
    with claimed(folder), opened(folder, asked, _readable) as store:
        spec = RunSpec.model_validate(store.note("spec"))
        kitchen = _Kitchen(spec, folder, store, watch)
        kitchen.train()
        kitchen.search()
        results = Results(store)
        kitchen.test(wanted(results))
        results = Results(store)
        soup = kitchen.write_soup(union_soup(results).weights)
        page = write_page(results, folder / PAGE)
        kitchen.meter.finish("done")
        tables = threats_table(results), shifts_table(results)
        answers = (
            f"Default attack. {verdict(results)}",
            f"With a stronger attack added. {verdict(results, confirming=True)}",
            f"Shifts. {shift_verdict(results)}",
        )
        return Finished(tables, answers, page, soup, spec.smoke)


def _readable(content: object) -> bool:
    try:
        RunSpec.model_validate(content)
    except ValidationError:
        return False
    return True


class _Kitchen:
    """The things that the steps of one run share: its spec, splits, ingredients, live model and store."""

    def __init__(self, spec: RunSpec, folder: Path, store: Store, watch: Watch) -> None:
        self._spec, self._folder, self._store = spec, folder, store
        self._parts = split_samples(load_source(spec.data.source), spec.data.sizes())
        self._tasks = _tasks(spec, self._parts)
        self._recipes = recipes(spec)
        self._model = self._architecture(None)
        self._loaded: ModelKey | None = None
        self._states: list[State] = []
        self._fingerprints: list[str] = []
        self._robust = simplex(len(spec.threats), spec.grid_parts)
        self._all = simplex(len(self._recipes), spec.grid_parts)
        self.meter = Meter(watch, self._work())

    def train(self) -> None:
        """Train every ingredient, or read those that are there, and measure each on the validation split."""
        trained: dict[str, Prepared] = {}
        for recipe in self._recipes:
            start = next(iter(trained.values())).state if trained else None
            doing = f"training {recipe.name}"

            self.meter.advance(doing, 0)
            advance = partial(self.meter.advance, doing, recipe.work)
            folder = self._folder / _INGREDIENTS
            trained[recipe.name] = prepare_ingredient(recipe, folder, self._spec, self._parts, start, advance)
        self._states = [each.state for each in trained.values()]
        self._fingerprints = [fingerprint(state) for state in self._states]
        for place, recipe in enumerate(self._recipes):
            task = CLEAN if recipe.threat is None else str(recipe.threat)
            self._measure(self._one_hot(place), "validation", task, "measuring ingredients")
        notes = {
            recipe.name: {
                "threat": None if recipe.threat is None else str(recipe.threat),
                "fingerprint": mark,
                "training": [trained[recipe.name].epoch, len(recipe.objectives)],
                "curve": [each._asdict() for each in trained[recipe.name].scores],
                "passes": {"gradients": recipe.gradients},
            }
            for recipe, mark in zip(self._recipes, self._fingerprints, strict=True)
        }
        for name, confirming in (("attacks", False), ("confirming", True)):
            attacks = {text: describe(self._attack(Threat.parse(text), confirming)) for text in self._spec.threats}
            self._store.write_note(name, attacks)
        mean, std = (each.flatten().tolist() for each in (self._model.mean, self._model.std))
        self._store.write_note("network", {"classes": self._parts["train"].classes, "mean": mean, "std": std})
        self._store.write_note("ingredients", notes)

    def search(self) -> None:
        """Measure the grid on the selection split: robust ingredients under the threats, all of them on the shifts."""
        report = check_mixable(self._states)
        if not report.mixable:
            warnings.warn(f"the ingredients will make poor soups: {report.verdict}", stacklevel=2)
        clean = len(self._recipes) - len(self._spec.threats)
        robust = [(*weights, *[0.0] * clean) for weights in self._robust]
        shots = self._spec.data.selection
        for points, objective in (
            (robust, union_over(self._spec.threats)),
            (self._all, mean_over((CLEAN, *self._spec.data.shifts))),
        ):
            run_strategy(grid(points, [objective], shots), self._answer)

    def test(self, wanted: Sequence[Wanted]) -> None:
        """Measure the chosen models on the test split."""
        for each in wanted:
            self._measure(each.model, "test", each.task, "testing the chosen models", confirming=each.confirming)

    def write_soup(self, weights: tuple[float, ...]) -> Path:
        """Mix the chosen weights and write them with their recipe."""
        path = self._folder / _SOUP
        save_state(mix(self._states, weights), path, soup_metadata(self._fingerprints, weights))
        return path

    def _answer(self, proposal: Proposal) -> dict[str, Outcomes]:
        key = ModelKey.of(self._fingerprints, proposal.weights)
        return {task: self._measure(key, "selection", task, "searching soups") for task in proposal.tasks}

    def _one_hot(self, place: int) -> ModelKey:
        return ModelKey.of([self._fingerprints[place]], [1.0])

    def _attack(self, threat: Threat, confirming: bool) -> Attack:
        spec = self._spec.evaluation
        return suite_attack(spec.confirm if confirming else spec.suite, threat.norm, steps=spec.steps)

    def _measure(self, key: ModelKey, split: str, task: str, doing: str, *, confirming: bool = False) -> Outcomes:
        samples, threat = self._tasks[split, task]
        outcomes = measure(
            self._store,
            key,
            lambda: self._build(key),
            samples,
            threat=threat,
            attack=None if threat is None else self._attack(threat, confirming),
            seed=self._spec.seed,
            smoke=self._spec.smoke,
        )
        times = (len(key.parts) if key.kind == "ensemble" else 1) * (_CONFIRMING if confirming else 1)
        self.meter.advance(doing, times * self._task_work(split, task))
        return outcomes

    def _build(self, key: ModelKey) -> nn.Module:
        states = dict(zip(self._fingerprints, self._states, strict=True))
        parts = [(states[mark], weight) for mark, weight in key.parts]
        if key.kind == "ensemble":
            return Ensemble(self._architecture(state) for state, _ in parts).eval()
        # A soup is measured on several tasks in a row: mix it once.
        if key != self._loaded:
            self._loaded = None
            self._model.load(mix([state for state, _ in parts], [weight for _, weight in parts]))
            self._loaded = key
        return self._model

    def _architecture(self, state: State | None) -> PixelClassifier:
        return network_for(self._spec, self._parts["train"], state)

    def _task_work(self, split: str, task: str) -> float:
        """Passes of a measurement, roughly."""
        samples, threat = self._tasks[split, task]
        steps = 0 if threat is None else (self._spec.evaluation.steps or 40) * _SAVED
        return len(samples) * (0.3 + steps)

    def _work(self) -> float:
        """Passes of the whole run, roughly."""
        threats, shifts = self._spec.threats, (CLEAN, *self._spec.data.shifts)
        work = sum(len(recipe.objectives) * recipe.work for recipe in self._recipes)
        work += sum(self._task_work("validation", threat) for threat in (*threats, CLEAN))
        work += len(self._robust) * sum(self._task_work("selection", threat) for threat in threats)
        work += len(self._all) * sum(self._task_work("selection", shift) for shift in shifts)
        # On the test split: the ingredients, three soups, two ensembles, and a soup for each shift.
        passes = len(self._recipes) + 3 + len(threats) + len(self._recipes)
        work += passes * sum(self._task_work("test", task) for task in (*threats, *shifts))
        # The second and third best single and shift-specific soups.
        work += 4 * sum(self._task_work("test", task) for task in shifts)
        return work + _CONFIRMING * (len(self._recipes) + 1) * sum(self._task_work("test", each) for each in threats)


def _tasks(spec: RunSpec, parts: dict[str, Samples]) -> dict[tuple[str, str], tuple[Samples, Threat | None]]:
    """Samples and threat of every task on every split."""
    tasks: dict[tuple[str, str], tuple[Samples, Threat | None]] = {}
    for split in ("validation", "selection", "test"):
        samples = parts[split]
        tasks[split, CLEAN] = samples, None
        for shift in spec.data.shifts if split != "validation" else ():
            tasks[split, shift] = apply_shift(samples, shift), None
        for threat in spec.threats:
            tasks[split, threat] = samples, Threat.parse(threat)
    return tasks


def _check_spec(spec: RunSpec) -> None:
    """Refuse names that are in no table, too many images and unfit networks, before any work."""
    for kind, given, known in (
        ("data set", [spec.data.source], SOURCES),
        ("shift", spec.data.shifts, SHIFTS),
        ("attack suite", [spec.evaluation.suite, spec.evaluation.confirm], SUITES),
    ):
        for name in given:
            if name not in known:
                raise UnknownName(kind, name, known)
    if not timm.is_model(spec.training.architecture):
        raise UnknownName("architecture", spec.training.architecture, timm.list_models())
    samples = split_samples(load_source(spec.data.source), spec.data.sizes())["train"]
    model = network_for(spec, samples, None)
    require_takes(model, samples.images(slice(1)), spec.training.architecture, "choose another, such as resnet_small")
