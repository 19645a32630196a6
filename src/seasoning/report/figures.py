"""The figures of a run: each from the store alone, each with its points; what a run has no numbers for is left out."""

import re
from collections.abc import Iterator
from functools import partial
from itertools import combinations
from math import isclose

import numpy as np

from seasoning import metrics
from seasoning.outcomes import Measured
from seasoning.report.contenders import (
    UNION_SOUP,
    chosen_soups,
    contenders,
    key_of,
    known_choices,
    single_soup,
    union_soup,
)
from seasoning.report.plots import (
    Line,
    Panel,
    Spot,
    composition_figure,
    intervals_figure,
    lines_figure,
    pareto_figure,
    ternary_figure,
)
from seasoning.report.results import CLEAN, UNION, Results
from seasoning.report.style import Drawing
from seasoning.report.tables import spoken_weights, threats_table
from seasoning.selection import Candidate, SearchObjective, accuracy_on, regret_curve
from seasoning.statistics import Estimate, pareto_front
from seasoning.task import Task


__all__ = ["drawings", "numbers"]

_TOP = 5


def drawings(results: Results) -> list[Drawing]:
    """Every figure that the run has the numbers for, in the order of the page."""
    made = [*_ternaries(results), _lines(results), _pareto(results), _union_intervals(results)]
    made += [_composition(results), _ladder(results), _regret(results), _training(results)]
    known = [drawing for drawing in made if drawing is not None]
    # Names that differ in signs only would share files.
    words = [drawing.name for drawing in known]
    return [
        drawing._replace(name=f"{drawing.name}-{words[:index].count(drawing.name) + 1}")
        if drawing.name in words[:index]
        else drawing
        for index, drawing in enumerate(known)
    ]


def numbers(results: Results, outcomes: Measured) -> dict[str, Estimate]:
    """Accuracy of one soup on every column that the maps show and on the union of the threats, on selection images."""
    found = {
        label: results.objective((label,), label).estimate(outcomes)
        for label, tasks in results.columns.items()
        if all(task in outcomes for task in tasks)
    }
    before, attacked = results.before_attack, [results.columns[threat][0] for threat in results.threats[:1]]
    if before and before not in found and attacked[0] in outcomes and len(results.columns[before]) == 1:
        # Every attacked image was classified without an attack first.
        found = {before: metrics.accuracy(outcomes[attacked[0]]), **found}
    if results.union is not None and all(task in outcomes for task in results.union.tasks):
        found[UNION] = results.union.estimate(outcomes)
    return found


def _maps(results: Results) -> SearchObjective:
    """What the maps show: the columns under the threats, or without any those without attack."""
    return results.objective(results.threats or results.clean, "maps")


def _chosen(results: Results) -> tuple[float, ...] | None:
    """The weights that the maps mark."""
    choice = union_soup(results) if results.threats else single_soup(results)
    return None if choice is None else choice.weights


def _corners(results: Results) -> tuple[int, ...] | None:
    """Indices of the three ingredients of a triangle: all, or the three that an objective is about."""
    if len(results.ingredients) == 3:
        return (0, 1, 2)
    names = results.names
    groups = [objective.ingredients for objective in results.record.objectives if len(objective.ingredients) == 3]
    return tuple(map(names.index, groups[0])) if groups else None


def _ternaries(results: Results) -> Iterator[Drawing]:
    corners = _corners(results)
    if corners is None:
        return
    names = [results.ingredients[index].name for index in corners]
    inside = {
        tuple(candidate.weights[index] for index in corners): numbers(results, candidate.outcomes)
        for candidate in results.candidates(_maps(results).tasks)
        if isclose(sum(candidate.weights[index] for index in corners), 1) and min(candidate.weights) >= 0
    }
    if len(inside) < 3:
        return
    chosen = _chosen(results)
    mark = None if chosen is None else tuple(chosen[index] for index in corners)
    for column in next(iter(inside.values())):
        values = {weights: found[column].value for weights, found in inside.items()}
        yield Drawing(
            f"ternary-{_word(column)}",
            column,
            f"{column} accuracy of the soups of {', '.join(names)} on the selection images",
            (*names, "accuracy", "low", "high"),
            [(*weights, *found[column][:3]) for weights, found in inside.items()],
            partial(ternary_figure, values, names, column, mark if mark in inside else None),
        )


def _lines(results: Results) -> Drawing | None:
    """Soups of two ingredients, from the one to the other and beyond."""
    panels, points = [], []
    for one, other in combinations(range(len(results.ingredients)), 2):
        between = sorted(
            (candidate.weights[other], numbers(results, candidate.outcomes))
            for candidate in results.candidates(_maps(results).tasks)
            if isclose(candidate.weights[one] + candidate.weights[other], 1)
            and not any(weight for index, weight in enumerate(candidate.weights) if index not in (one, other))
        )
        if len(between) < 3:
            continue
        first, second = results.ingredients[one].name, results.ingredients[other].name
        weights = [weight for weight, _ in between]
        lines = [Line(column, weights, [found[column] for _, found in between]) for column in between[0][1]]
        panels.append(Panel(f"{first} to {second}", f"weight of {second}", lines))
        points += [(first, second, line.name, *row) for line in lines for row in _rows(line)]
    if not panels:
        return None
    return Drawing(
        "lines",
        "Between two ingredients",
        "Accuracy on the selection images of the soups of two ingredients against the weight of the second, 95 % bands",
        ("first", "second", "column", "weight", "accuracy", "low", "high"),
        points,
        partial(lines_figure, panels, "accuracy, %", (0.0, 1.0)),
    )


def _pareto(results: Results) -> Drawing | None:
    """Clean accuracy against that under all threats, or against the mean of the shifts."""
    clean = results.objective((CLEAN,), CLEAN)
    other = results.union or (results.objective(results.shifts, "shifts") if results.shifts else None)
    if other is None:
        return None
    candidates = results.candidates((*clean.tasks, *other.tasks))
    if len(candidates) < 3:
        return None
    # Intervals of thousands of dots would not be seen; the crowd is drawn without.
    crowd = [_bare_spot(clean, other, candidate.outcomes) for candidate in candidates]
    best = pareto_front(np.array([(dot.x.value, dot.y.value) for dot in crowd]))
    by_weights = {candidate.weights: candidate.outcomes for candidate in candidates}
    count = len(results.ingredients)
    asked = {
        note.name: tuple(float(index == own) for index in range(count)) for own, note in enumerate(results.ingredients)
    }
    if (chosen := _chosen(results)) is not None:
        asked["chosen soup"] = chosen
    named = [
        Spot(name, clean.estimate(by_weights[weights]), other.estimate(by_weights[weights]))
        for name, weights in asked.items()
        if weights in by_weights
    ]
    what = "union of the threats" if results.union else "mean of the shifts"
    return Drawing(
        "pareto",
        "Clean accuracy against robustness" if results.union else "Clean accuracy against the shifts",
        f"Every soup on the selection images: clean accuracy against the {what}; the soups that no other beats in both "
        "are joined, named models have 95 % intervals",
        ("soup", "clean", f"{what}", "undominated"),
        [
            (spoken_weights(results, candidate.weights), dot.x.value, dot.y.value, int(index in best))
            for index, (candidate, dot) in enumerate(zip(candidates, crowd, strict=True))
        ],
        partial(pareto_figure, crowd, [crowd[index] for index in best], named, "clean, %", f"{what}, %"),
    )


def _bare_spot(clean: SearchObjective, other: SearchObjective, outcomes: Measured) -> Spot:
    x, y = (objective.score(outcomes) for objective in (clean, other))
    return Spot("", Estimate(x, x, x, 0), Estimate(y, y, y, 0))


def _union_intervals(results: Results) -> Drawing | None:
    if results.union is None:
        return None
    union = {row.name: cell for row in threats_table(results).rows if (cell := row.cells[-1]) is not None}
    if not union:
        return None
    return Drawing(
        "union",
        "Union accuracy of every model",
        "Union accuracy of every model with its interval; the numbers stand in the table of threats",
        ("model", "accuracy", "low", "high"),
        [(name, *estimate[:3]) for name, estimate in union.items()],
        partial(intervals_figure, union, "union accuracy on held-out images, %, with 95 % intervals", UNION_SOUP),
    )


def _composition(results: Results) -> Drawing | None:
    """The weights of the best soups of every data set, threat, corruption and severity."""
    panels: dict[str, dict[str, list[tuple[float, ...]]]] = {}
    tasks = dict.fromkeys(task for tasks in results.columns.values() for task in tasks)
    for objective in [accuracy_on(task) for task in tasks] + ([results.union] if results.union else []):
        soups = [choice.weights for choice in chosen_soups(results, objective, _TOP)]
        if len(results.candidates(objective.tasks)) >= 2 and soups:
            title, group = _panel(results, objective)
            panels.setdefault(title, {})[group] = soups
    if not panels:
        return None
    return Drawing(
        "composition",
        "What the best soups are made of",
        f"Weights of the best soups on the selection images, {_TOP} at most, for every data set and threat",
        ("group", "task", "rank", *results.names),
        [
            (title, task, rank, *weights)
            for title, groups in panels.items()
            for task, soups in groups.items()
            for rank, weights in enumerate(soups, 1)
        ],
        partial(composition_figure, panels, results.names),
    )


def _panel(results: Results, objective: SearchObjective) -> tuple[str, str]:
    """The title of the panel that an objective's soups stand in, and the name of their group there."""
    task = Task.parse(objective.tasks[0])
    if task.threat is not None:
        return "under the threats", results.label(str(task)) if len(objective.tasks) == 1 else UNION
    if task.corruption is None:
        return "clean and under the shifts", results.label(str(task))
    damaged = {task.column for task in map(Task.parse, results.record.parts) if task.severity is not None}
    return task.corruption if len(damaged) == 1 else f"{task.column}: {task.corruption}", str(task.severity)


def _ladder(results: Results) -> Drawing | None:
    """Robust accuracy against the radius, where a norm was measured at two or more."""
    panels: dict[str, list[Line]] = {}
    for contender in contenders(results.record, known_choices(results)):
        model = key_of(results, contender)
        clean = results.outcomes(model, "test", results.source)
        steps: dict[str, dict[float, Estimate]] = {}
        for threat, outcomes in results.radii(model):
            steps.setdefault(threat.norm, {})[threat.eps] = metrics.robust_accuracy(outcomes)
        for norm, found in steps.items():
            if len(found) > 1:
                ladder = found if clean is None else {0.0: metrics.accuracy(clean)} | found
                radii = sorted(ladder)
                panels.setdefault(norm, []).append(Line(contender.name, radii, [ladder[radius] for radius in radii]))
    if not panels:
        return None
    return Drawing(
        "ladder",
        "Robust accuracy against the radius",
        "Robust accuracy on held-out images against the radius of each threat, 95 % bands; at radius 0 it is clean",
        ("norm", "model", "eps", "accuracy", "low", "high"),
        [(norm, line.name, *row) for norm, lines in panels.items() for line in lines for row in _rows(line)],
        partial(lines_figure, [Panel(norm, "radius", lines) for norm, lines in panels.items()], "robust accuracy, %"),
    )


def _regret(results: Results) -> Drawing | None:
    lines = []
    named = {UNION: results.union, "mean of clean and shifts" if results.shifts else CLEAN: results.mean}
    for name, objective in named.items():
        candidates: list[Candidate] = [] if objective is None else results.candidates(objective.tasks)
        images = min((len(rows) for candidate in candidates for rows in candidate.outcomes.values()), default=0)
        counts = [count for count in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if count < images]
        if objective is not None and counts and len(candidates) > 1:
            lines.append(Line(name, counts, regret_curve(candidates, objective, counts)))
    if not lines:
        return None
    return Drawing(
        "regret",
        "How many images a choice needs",
        "Loss of accuracy on all selection images when only N of them choose the soup: mean and middle 80 % of "
        "random choices",
        ("objective", "images", "regret", "low", "high"),
        [(line.name, *row) for line in lines for row in _rows(line)],
        partial(lines_figure, [Panel("", "images that choose", lines)], "regret, points"),
    )


def _training(results: Results) -> Drawing | None:
    panels, points = [], []
    for ingredient in results.ingredients:
        lines = []
        for name in (CLEAN, "robust"):
            known = [(step.epoch, value) for step in ingredient.curve if (value := getattr(step, name)) is not None]
            if known:
                epochs, values = zip(*known, strict=True)
                lines.append(Line(name, epochs, [Estimate(value, value, value, 0) for value in values]))
        if lines:
            panels.append(Panel(ingredient.name, "epoch", lines))
            points += [(ingredient.name, line.name, *row[:2]) for line in lines for row in _rows(line)]
    if not panels:
        return None
    return Drawing(
        "training",
        "Trainings",
        "Clean and robust accuracy on the validation split after every epoch of every training",
        ("model", "column", "epoch", "accuracy"),
        points,
        partial(lines_figure, panels, "accuracy on validation, %"),
    )


def _rows(line: Line) -> list[tuple[float, float, float, float]]:
    return [(x, *estimate[:3]) for x, estimate in zip(line.positions, line.estimates, strict=True)]


def _word(text: str) -> str:
    """A name for a file."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
