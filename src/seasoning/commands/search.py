"""The verb of a search: from a plan to chosen soups, what they are worth, and their files."""

import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seasoning.attacks import SUITES, describe
from seasoning.checkpoints.load import fingerprint
from seasoning.commands.search_data import Task, load_tasks, open_sets
from seasoning.commands.search_network import ingredients_of, model_of, resident_of
from seasoning.commands.search_soups import Price, SoupOutcomes
from seasoning.config.search import SearchPlan, objectives_of, points_of, require_front
from seasoning.errors import BadInput, RunConflict, UnknownName
from seasoning.evaluation.progress import Meter
from seasoning.outcomes import Outcomes
from seasoning.report import Results, write_page
from seasoning.selection import (
    Candidate,
    Judged,
    SearchObjective,
    best_probabilities,
    choose,
    compare,
    judge,
    pareto_front,
    regret_curve,
    scope,
)
from seasoning.selection.answers import Answer, ChosenSoup, SearchResult
from seasoning.soup import mix_files
from seasoning.statistics import Estimate
from seasoning.store.database import Store
from seasoning.store.run_folder import PAGE, STORE, check_folder, claimed
from seasoning.strategies import STRATEGIES, Proposal, Weights, all_tasks, dry_run, run_strategy, starts


__all__ = ["search"]

# Notes of the store: what a search came to, and what the last one that was started is about.
_NOTE, _BEGUN = "search", "begun"
# Bytes of a store for each sample measured, and for each block besides.
_ROW, _BLOCK = 20, 600
# Points of the regret curve, as shares of the selection points.
_CURVE = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1.0)


def search(
    plan: SearchPlan,
    folder: Path,
    *,
    watch: Callable[[str, float, float], None],
    say: Callable[[str], None],
) -> SearchResult:
    """Search the soups that are best on a few labelled images, measure them on all others, and write the page.

    What the folder knows is not measured again, so a search that was cut off goes on where it was, and another plan for
    the same ingredients uses what is there.

    Args:
        plan: The search.
        folder: Where outcomes, soups and the page are written.
        watch: Told what is being done and which soup leads, the work done and the work in all.
        say: Told the plan before the work.

    Raises:
        UnknownName: no such data set, shift, architecture, suite or file.
        BadInput: the ingredients cannot be mixed, the data have unknown classes or too few images, the plan takes more
            time or disk than there is, or no soup keeps to a limit.
        Mismatch: an ingredient does not fit the architecture.
        RunConflict: the folder is that of something else.
    """
    if plan.attack.suite not in SUITES:
        raise UnknownName("attack suite", plan.attack.suite, SUITES)
    states = ingredients_of(plan, say)
    sets = open_sets(plan)
    objectives = objectives_of(plan, sets.parts)
    require_front(plan, objectives)
    model = model_of(plan, states[0], sets)
    check_folder(folder, fresh=True)
    with claimed(folder), Store(folder / STORE) as store:
        marks = [fingerprint(state) for state in states]
        _own(store, plan)
        tasks = load_tasks(plan, sets, model, folder, watch)
        live = resident_of(plan, model, states, tasks)
        for note in sets.notes:
            say(f"note: {note}")
        soups = SoupOutcomes(plan, tasks, store, live, marks)
        work = _Search(plan, objectives, folder, store, soups, tasks, watch)
        work.note_ingredients(marks)
        work.announce(say, sum(tensor.nbytes for tensor in states[0].values()))
        work.look()
        found = work.answer()
        write_page(Results(store), folder / PAGE)
        return found


class _Search:
    """What the steps of one search share."""

    def __init__(
        self,
        plan: SearchPlan,
        objectives: list[SearchObjective],
        folder: Path,
        store: Store,
        soups: SoupOutcomes,
        tasks: dict[str, Task],
        watch: Callable[[str, float, float], None],
    ) -> None:
        self._plan, self._folder, self._store, self._soups, self._tasks = plan, folder, store, soups, tasks
        self._watch = watch
        self._points, self._objectives = points_of(plan), objectives
        self._prices: dict[tuple[str, bool], Price] = {}
        # Outcomes of soups that were measured on all selection points, and the rough ones on most of them.
        self._full: dict[Weights, dict[str, Outcomes]] = {}
        self._rough: dict[Weights, dict[str, Outcomes]] = {}
        self._meter = Meter(watch, 0.0)
        self._leader, self._highest = "searching soups", 0.0

    def announce(self, say: Callable[[str], None], soup_bytes: int) -> None:
        """Say what the search will take, and refuse what is too much.

        Raises:
            BadInput: it takes more time than the plan gives, or more than the disk has.
        """
        plan = self._plan
        asked = dry_run(STRATEGIES[plan.strategy], self._points, self._objectives, plan.shots)
        center = starts(self._points)[-1]
        self._meter = Meter(self._watch, len(asked))
        for task, rough in asked:
            self._meter.advance("warming up", 0)
            self._prices[task, rough] = self._soups.price(center, task, rough=rough)
            self._meter.advance("warming up", 1)
        final = self._final_samples()
        for task in final:
            self._prices.setdefault((task, False), self._soups.price(center, task, rough=False))
        images, others = sum(asked.values()), sum(final.values())
        passes = sum(count * self._prices[key].passes for key, count in asked.items())
        final_passes = sum(count * self._prices[task, False].passes for task, count in final.items())
        seconds = sum(count * self._prices[key].seconds for key, count in asked.items())
        more = sum(count * self._prices[task, False].seconds for task, count in final.items())
        blocks = (images + others) / max(1, plan.shots // 4)
        disk = _ROW * (images + others) + _BLOCK * blocks + soup_bytes * len(self._objectives)
        say(
            f"plan: {plan.strategy} over {len(self._points)} soups of {len(plan.ingredients)} ingredients for "
            f"{len(self._objectives)} objectives on {len(self._tasks)} tasks, {plan.shots} images each"
        )
        whole = len(self._points) * plan.shots * len(all_tasks(self._objectives))
        say(f"  to search: about {images:,} images measured ({images / whole:.3f} of the grid's), {passes:,.0f} passes")
        say(f"  final numbers of chosen soups and ingredients: at most {others:,} images, {final_passes:,.0f} passes")
        say(f"  about {_spoken_time(seconds + more)} here if nothing is known yet, {disk / 2**20:,.1f} MiB on the disk")
        if plan.time_limit is not None and seconds + more > 60 * plan.time_limit:
            raise BadInput(
                f"the search would take about {_spoken_time(seconds + more)} ({_spoken_time(seconds)} of it before the "
                f"final numbers), more than the {plan.time_limit:g} minutes given: raise time_limit, or lower shots, "
                "others or top"
            )
        free = shutil.disk_usage(self._folder).free
        if disk > free:
            raise BadInput(
                f"the search would write about {disk / 2**20:,.1f} MiB, {self._folder} has {free / 2**20:,.1f} MiB "
                "left: choose another --out, or fewer objectives"
            )
        self._meter = Meter(self._watch, seconds + more)

    def look(self) -> None:
        """Run the strategy."""
        strategy = STRATEGIES[self._plan.strategy](self._points, self._objectives, self._plan.shots)
        run_strategy(strategy, self._answer)

    def answer(self) -> SearchResult:
        """Choose soups, measure them on all images, and write them."""
        front, front_scope = self._front()
        chosen = {
            objective.name: [each.weights for each in choose(self._candidates(objective), objective, self._plan.top)]
            for objective in self._objectives
        }
        counts = Counter(self._slug(objective.name) for objective in self._objectives)
        answers = []
        for number, objective in enumerate(self._objectives, start=1):
            slug = self._slug(objective.name)
            name = f"soup-{slug}.safetensors" if counts[slug] == 1 else f"soup-{number}-{slug}.safetensors"
            answers.append(self._answered(objective, chosen[objective.name], self._folder / name))
        self._meter.finish("done")
        found = SearchResult(tuple(answers), tuple(front), front_scope, self._plan.smoke)
        more = {"space": len(self._points), "selection": self._chosen_ids().tolist()}
        self._store.write_note(_NOTE, self._store.note(_BEGUN) | more | found.plain())
        return found

    def note_ingredients(self, marks: Sequence[str]) -> None:
        """Keep what a report wants to know of the plan, its ingredients, attacks and parts of data sets.

        Another search in the folder writes its own over it, so the answers keep a copy.
        """
        names = zip(self._plan.ingredients.items(), marks, strict=True)
        about = {
            name: {"threat": None, "fingerprint": mark, "path": str(Path(path).resolve()), "training": None}
            for (name, path), mark in names
        }
        self._store.write_note("ingredients", about)
        attacks = {each.name: self._soups.attack(each.name) for each in self._tasks.values() if each.threat is not None}
        described = {task: describe(attack) for task, attack in attacks.items() if attack is not None}
        self._store.write_note("search attacks", described)
        parts = {
            name: {"selection": task.selection.fingerprint, "test": task.others and task.others.fingerprint}
            for name, task in self._tasks.items()
        }
        plan = self._plan.model_dump(mode="json")
        self._store.write_note(_BEGUN, {"plan": plan, "ingredients": about, "attacks": described, "parts": parts})

    def _answer(self, proposal: Proposal) -> dict[str, Outcomes]:
        answers = {}
        for task in proposal.tasks:
            rough = proposal.rough and self._soups.differs_when_rough(task)
            outcomes = self._soups.selection(proposal.weights, task, proposal.samples, rough=rough)
            answers[task] = outcomes
            kept = self._rough if rough else self._full
            if rough or len(outcomes) == self._plan.shots:
                known = kept.setdefault(proposal.weights, {})
                if task not in known or len(known[task]) <= len(outcomes):
                    known[task] = outcomes
            price = self._prices.get((task, proposal.rough)) or self._prices[task, False]
            self._meter.advance(self._leader, price.seconds * len(outcomes))
        if proposal.samples is None:
            self._follow(proposal.weights)
        return answers

    def _follow(self, weights: Weights) -> None:
        """See if a soup leads in the first objective, for whoever watches."""
        objective, have = self._objectives[0], self._full[weights]
        if all(task in have for task in objective.tasks) and (score := objective.score(have)) > self._highest:
            self._highest = score
            self._leader = f"{objective.name} {100 * score:.1f} %: {self._spoken(weights)}"

    def _candidates(self, objective: SearchObjective) -> list[Candidate]:
        return [
            Candidate(weights, have)
            for weights, have in self._full.items()
            if all(task in have for task in objective.tasks)
        ]

    def _front(self) -> tuple[list[tuple[str, Weights, tuple[float, ...]]], str]:
        """The Pareto front; soups that one of its objectives has met meet the others, too."""
        named = {objective.name: objective for objective in self._objectives}
        wanted = [named[name] for name in self._plan.pareto]
        if not wanted:
            return [], ""
        met = list(dict.fromkeys(each.weights for objective in wanted for each in self._candidates(objective)))
        candidates = []
        for weights in met:
            for task in all_tasks(wanted):
                self._meter.advance("the Pareto front", 0)
                self._full[weights][task] = self._soups.selection(weights, task)
            candidates.append(Candidate(weights, self._full[weights]))
        front = [
            (self._spoken(each.weights), each.weights, tuple(objective.score(each.outcomes) for objective in wanted))
            for each in pareto_front(candidates, wanted)
        ]
        return front, scope(candidates, len(self._points))

    def _answered(self, objective: SearchObjective, chosen: Sequence[Weights], path: Path) -> Answer:
        candidates, ids = self._candidates(objective), self._chosen_ids()
        probabilities = best_probabilities(candidates, objective)
        wholes = [self._whole(weights, objective) for weights in chosen]
        told = [
            ChosenSoup(
                self._spoken(weights),
                weights,
                judge(objective, whole, self._orders()),
                probabilities[weights],
                *self._roughly(weights, objective),
                self._limits(objective, whole),
            )
            for weights, whole in zip(chosen, wholes, strict=True)
        ]
        testable = len(told) > 1 and all(each.judged.complement is not None for each in told)
        count = len(self._plan.ingredients)
        alone = [tuple(float(place == each) for place in range(count)) for each in range(count)]
        plain = [self._whole(weights, objective) for weights in alone]
        ingredients = [
            ChosenSoup(name, weights, judge(objective, whole, self._orders()), limits=self._limits(objective, whole))
            for name, weights, whole in zip(self._plan.ingredients, alone, plain, strict=True)
        ]
        shots = self._plan.shots
        sizes = sorted({max(1, round(share * shots)) for share in _CURVE})
        files = list(self._plan.ingredients.values())
        mix_files(files, chosen[0], path, policy=self._plan.batch_norm, overwrite=True)
        return Answer(
            objective,
            scope(candidates, len(self._points)),
            tuple(told),
            tuple(compare(objective, wholes, ids)) if testable else (),
            tuple(ingredients),
            tuple(regret_curve(candidates, objective, sizes)),
            path,
        )

    def _limits(self, objective: SearchObjective, whole: dict[str, Outcomes]) -> tuple[Judged, ...]:
        return tuple(judge(limit.objective(), whole, self._orders()) for limit in objective.limits)

    def _whole(self, weights: Weights, objective: SearchObjective) -> dict[str, Outcomes]:
        outcomes = {}
        for task in objective.tasks:
            self._meter.advance(f"final numbers: {objective.name}", 0)
            outcomes[task] = self._soups.whole(weights, task)
            more = len(outcomes[task]) - self._plan.shots
            self._meter.advance(f"final numbers: {objective.name}", more * self._prices[task, False].seconds)
        return outcomes

    def _roughly(self, weights: Weights, objective: SearchObjective) -> tuple[Estimate | None, Estimate | None]:
        """The score by rough measuring and by full measuring on the same images, where both are known."""
        rough = {task: each for task, each in self._rough.get(weights, {}).items() if task in objective.tasks}
        if not rough:
            return None, None
        full = {task: self._full[weights][task] for task in objective.tasks}
        for task, among in rough.items():
            # Tasks of the same photographs keep to those that were looked at; other data sets have none of them.
            for other in objective.tasks:
                if np.array_equal(self._tasks[other].order, self._tasks[task].order):
                    full[other] = full[other].take(np.isin(full[other].ids, among.ids))
        same = {task: each.take(np.isin(each.ids, full[task].ids)) for task, each in rough.items()}
        return objective.estimate(full | same), objective.estimate(full)

    def _final_samples(self) -> Counter[str]:
        """Samples of each task that the final numbers take at most."""
        samples: Counter[str] = Counter()
        for objective in self._objectives:
            for task in objective.tasks:
                others = self._tasks[task].others
                left = 0 if others is None else len(others.samples)
                samples[task] += left * (self._plan.top + len(self._plan.ingredients))
        return samples

    def _chosen_ids(self) -> NDArray[np.int64]:
        return np.unique(np.concatenate(list(self._orders().values())))

    def _orders(self) -> dict[str, NDArray[np.int64]]:
        """The selection points of each task."""
        return {name: task.order for name, task in self._tasks.items()}

    def _spoken(self, weights: Weights) -> str:
        parts = zip(weights, self._plan.ingredients, strict=True)
        return " + ".join(f"{weight:.3g} {name}" for weight, name in parts if weight != 0)

    def _slug(self, name: str) -> str:
        return re.sub(r"[^\w.=-]+", "-", name).strip("-") or "objective"


def _own(store: Store, plan: SearchPlan) -> None:
    """Refuse a folder whose outcomes are those of something else, or of another network."""
    if store.note("spec") is not None:
        raise RunConflict("the folder holds a run, whose numbers others would blur: choose another --out")
    built = {
        "architecture": plan.architecture,
        "options": {name: str(value) for name, value in sorted(plan.options.items())},
        "normalization": [plan.mean and list(plan.mean), plan.std and list(plan.std)],
    }
    there = store.note("network")
    if (there is not None and there != built) or (there is None and store.measurements()):
        raise RunConflict(f"the folder holds outcomes of another network ({there}), not {built}: choose another --out")
    store.write_note("network", built)


def _spoken_time(seconds: float) -> str:
    minutes = seconds / 60
    return (
        f"{seconds:.0f} seconds"
        if seconds < 100
        else f"{minutes:.0f} minutes"
        if minutes < 100
        else (f"{minutes / 60:.1f} hours")
    )
