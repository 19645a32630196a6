"""The answers of a search: soups are chosen, measured on held-out images, judged and written."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seasoning.checkpoints.images import ImageSet, UsedImages, used_images
from seasoning.commands.search_cost import Prices
from seasoning.commands.search_data import OpenTask
from seasoning.commands.search_soups import SoupOutcomes
from seasoning.config.run_record import RunRecord
from seasoning.config.search import points_of, shared_ingredients
from seasoning.evaluation.progress import Meter
from seasoning.outcomes import Measured, Outcomes
from seasoning.report import wanted
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
from seasoning.selection.answers import Answer, ChosenSoup, FrontSoup, Rival, SearchResult, weights_in_words
from seasoning.selection.judge import among
from seasoning.soup import mix_files
from seasoning.statistics import EQUAL, Estimate
from seasoning.strategies import Weights, all_tasks, starts


__all__ = ["KnownSoups", "answer_search", "chosen_ids"]

# Points of the regret curve, as fractions of the selection points.
_CURVE = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1.0)


class KnownSoups:
    """Outcomes of soups on all selection points, and on some of them while they were screened."""

    def __init__(self) -> None:
        self.full: dict[Weights, dict[str, Outcomes]] = {}
        self.screened: dict[Weights, dict[str, Outcomes]] = {}

    def keep(self, weights: Weights, task: str, outcomes: Outcomes, *, screening: bool, whole: bool) -> None:
        """Remember outcomes, the more of a task the better."""
        if screening or whole:
            kept = (self.screened if screening else self.full).setdefault(weights, {})
            if task not in kept or len(kept[task]) <= len(outcomes):
                kept[task] = outcomes

    def candidates(self, objective: SearchObjective, names: Sequence[str]) -> list[Candidate]:
        """The soups that an objective may choose from; `names` are those of the ingredients."""
        return [
            Candidate(weights, have)
            for weights, have in self.full.items()
            if all(task in have for task in objective.tasks) and objective.allows(weights, names)
        ]


def answer_search(
    record: RunRecord,
    soups: SoupOutcomes,
    tasks: Mapping[str, OpenTask],
    known: KnownSoups,
    prices: Prices,
    meter: Meter,
    folder: Path,
) -> SearchResult:
    """Choose soups, measure them on held-out images, judge and write them.

    Args:
        record: The search.
        soups: What measures.
        tasks: With their samples.
        known: What the strategy has measured.
        prices: What a sample takes.
        meter: Counts the work.
        folder: Of the run, where soups are written.

    Raises:
        BadInput: no soup keeps to an objective's limits.
    """
    plan, names = record.plan, list(record.plan.ingredients)
    front, front_scope = _front(record, soups, known, meter)
    chosen = {
        objective.name: [each.weights for each in choose(known.candidates(objective, names), objective, plan.top)]
        for objective in record.objectives
    }
    _measure_held_out(record, chosen, soups, prices, meter)
    answers = []
    for objective, file in zip(record.objectives, _file_names(record.objectives), strict=True):
        meter.advance(f"judging {objective.name}", 0)
        answers.append(_judged(record, objective, chosen[objective.name], soups, tasks, known, folder / file))
    return SearchResult(tuple(answers), tuple(front), front_scope, plan.smoke, record.columns)


def chosen_ids(tasks: Mapping[str, OpenTask]) -> NDArray[np.int64]:
    """Ids of the selection points of all tasks."""
    return np.unique(np.concatenate([task.order for task in tasks.values()]))


def _measure_held_out(
    record: RunRecord, chosen: Mapping[str, Sequence[Weights]], soups: SoupOutcomes, prices: Prices, meter: Meter
) -> None:
    """Measure on held-out images what the tables want, and every chosen soup on the tasks of its objective.

    Candidates are measured on the selection points, too.
    """
    leaders = {name: weights[0] for name, weights in chosen.items()}
    for contender, task, confirm in wanted(record, leaders):
        meter.advance("final numbers", 0)
        if contender.mark:
            outcomes = soups.candidate(contender.mark, task, confirm=confirm)
        elif contender.ensemble:
            outcomes = soups.ensemble(contender.weights, task)
        else:
            outcomes = soups.held_out(contender.weights, task, confirm=confirm)
        count = 0 if outcomes is None else contender.passes * len(outcomes)
        meter.advance("final numbers", count * prices.seconds(task, confirming=confirm, mark=contender.mark))
    for note in record.candidates:
        for task in dict.fromkeys(task for tasks in record.columns.values() for task in tasks):
            count = len(soups.candidate_selection(note.fingerprint, task))
            meter.advance("final numbers", count * prices.seconds(task, mark=note.fingerprint))
    for objective in record.objectives:
        for weights in chosen[objective.name]:
            for task in objective.tasks:
                meter.advance("final numbers", 0)
                outcomes = soups.held_out(weights, task)
                meter.advance("final numbers", (0 if outcomes is None else len(outcomes)) * prices.seconds(task))


def _judged(
    record: RunRecord,
    objective: SearchObjective,
    chosen: Sequence[Weights],
    soups: SoupOutcomes,
    tasks: Mapping[str, OpenTask],
    known: KnownSoups,
    path: Path,
) -> Answer:
    """The answer to one objective, and the file of its best soup."""
    plan, names = record.plan, list(record.plan.ingredients)
    candidates, ids = known.candidates(objective, names), chosen_ids(tasks)
    orders = {name: task.order for name, task in tasks.items()}

    def whole(weights: Weights) -> Measured:
        return {task: soups.whole(weights, task) for task in objective.tasks}

    def limits(outcomes: Measured) -> tuple[Judged, ...]:
        return tuple(judge(limit.objective(), outcomes, orders) for limit in objective.limits)

    outcomes = [whole(weights) for weights in chosen]
    probabilities = best_probabilities(candidates, objective)
    best = [
        ChosenSoup(
            weights_in_words(weights, names),
            weights,
            judge(objective, own, orders),
            probabilities[weights],
            *_screened(objective, weights, tasks, known),
            limits(own),
        )
        for weights, own in zip(chosen, outcomes, strict=True)
    ]

    def unchosen(name: str, weights: Weights, own: Measured) -> ChosenSoup:
        return ChosenSoup(name, weights, judge(objective, own, orders), limits=limits(own))

    alone = [tuple(float(index == own) for index in range(len(names))) for own in range(len(names))]
    plain = [whole(weights) for weights in alone]
    ingredients = list(map(unchosen, names, alone, plain))
    marks = [note.fingerprint for note in record.candidates]
    beside = [{task: soups.candidate_whole(mark, task) for task in objective.tasks} for mark in marks]
    others = [unchosen(note.name, (), own) for note, own in zip(record.candidates, beside, strict=True)]
    testable = len(best) + len(others) > 1 and all(soup.judged.complement is not None for soup in best)
    scores = [objective.score(soup.outcomes) for soup in candidates]
    sizes = sorted({max(1, round(fraction * plan.shots)) for fraction in _CURVE})
    files = list(plan.ingredients.values())
    mix_files(
        files, chosen[0], path, policy=plan.batch_norm, overwrite=True, chosen_on=_chosen_on(objective.tasks, tasks)
    )
    return Answer(
        objective=objective,
        scope=scope(candidates, len(points_of(plan, objective.ingredients))),
        chosen=tuple(best),
        tied=sum(score >= max(scores) - EQUAL for score in scores),
        comparisons=tuple(compare(objective, outcomes, ids, beside)) if testable else (),
        ingredients=tuple(ingredients),
        rival=_rival(objective, best[0], outcomes[0], ingredients, plain, ids),
        regret=tuple(regret_curve(candidates, objective, sizes)),
        soup=path,
        candidates=tuple(others),
    )


def _rival(
    objective: SearchObjective,
    best: ChosenSoup,
    outcomes: Measured,
    ingredients: Sequence[ChosenSoup],
    plain: Sequence[Measured],
    chosen_on: NDArray[np.int64],
) -> Rival | None:
    """The best ingredient on the selection points, and how the best soup compares with it on held-out images."""
    allowed = [index for index, each in enumerate(ingredients) if not each.misses(objective.limits)]
    if not allowed:
        return None
    index = max(allowed, key=lambda each: ingredients[each].judged.selection.value)
    rival = ingredients[index]
    if rival.judged.complement is None or rival.weights == best.weights:
        return Rival(rival.name, None)
    mine, theirs = (among(each, chosen_on, False) for each in (outcomes, plain[index]))
    return Rival(rival.name, objective.difference(mine, theirs))


def _chosen_on(names: Sequence[str], tasks: Mapping[str, OpenTask]) -> UsedImages:
    """The images that choose by some tasks."""
    parts = [tasks[name].selection for name in names]
    sets = [ImageSet(part.samples.name, part.fingerprint) for part in parts]
    return used_images({"selection": np.concatenate([part.hashes for part in parts])}, sets)


def _screened(
    objective: SearchObjective, weights: Weights, tasks: Mapping[str, OpenTask], known: KnownSoups
) -> tuple[Estimate | None, Estimate | None]:
    """The score by screening and by full measuring on the same images, where both are known."""
    there = known.screened.get(weights, {})
    screened = {task: outcomes for task, outcomes in there.items() if task in objective.tasks}
    if not screened:
        return None, None
    full = {task: known.full[weights][task] for task in objective.tasks}
    for task, looked_at in screened.items():
        # Tasks of the same photographs keep to those that were looked at; other data sets have none of them.
        for other in objective.tasks:
            if np.array_equal(tasks[other].order, tasks[task].order):
                full[other] = full[other].take(np.isin(full[other].ids, looked_at.ids))
    same = {task: each.take(np.isin(each.ids, full[task].ids)) for task, each in screened.items()}
    return objective.estimate(full | same), objective.estimate(full)


def _front(record: RunRecord, soups: SoupOutcomes, known: KnownSoups, meter: Meter) -> tuple[list[FrontSoup], str]:
    """The Pareto front of soups that all its objectives may choose; what one has met, the others meet, too."""
    plan, names = record.plan, list(record.plan.ingredients)
    named = {objective.name: objective for objective in record.objectives}
    asked = [named[name] for name in plan.pareto]
    if not asked:
        return [], ""
    points = points_of(plan, shared_ingredients(plan, asked))
    met = dict.fromkeys(
        each.weights
        for objective in asked
        for each in known.candidates(objective, names)
        if all(other.allows(each.weights, names) for other in asked)
    )
    candidates = []
    for weights in met or starts(points):
        have = known.full.setdefault(weights, {})
        for task in all_tasks(asked):
            meter.advance("the Pareto front", 0)
            have[task] = soups.selection(weights, task)
        candidates.append(Candidate(weights, have))
    front = [
        FrontSoup(
            weights_in_words(each.weights, names),
            each.weights,
            tuple(objective.score(each.outcomes) for objective in asked),
        )
        for each in pareto_front(candidates, asked)
    ]
    return front, scope(candidates, len(points))


def _file_names(objectives: Sequence[SearchObjective]) -> list[str]:
    """Names of the soups' files: those of the objectives, numbered where two would be one."""
    slugs = [re.sub(r"[^\w.=-]+", "-", objective.name).strip("-") or "objective" for objective in objectives]
    counts = Counter(slugs)
    return [
        f"soup-{slug}.safetensors" if counts[slug] == 1 else f"soup-{number}-{slug}.safetensors"
        for number, slug in enumerate(slugs, 1)
    ]
