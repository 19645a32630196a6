"""The figures of a run: each from the store alone, each with its points; what a run has no numbers for is left out."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import combinations
from math import isclose

import numpy as np

from seasoning import metrics, statistics
from seasoning.outcomes import Outcomes
from seasoning.report.contenders import contenders, single_soup, union_soup
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
from seasoning.report.results import CLEAN, Results
from seasoning.report.style import Drawing
from seasoning.report.tables import Table, spoken_weights, threats_table
from seasoning.selection import Candidate, accuracy_on, choose, mean_over, regret_curve, union_over
from seasoning.statistics import Estimate, pareto_front
from seasoning.threat import Threat


__all__ = ["drawings", "numbers"]

_TOP = 5
_SEVERITY = re.compile(r"(?P<corruption>.+)[/:](?P<severity>[1-9])$")


def drawings(results: Results) -> list[Drawing]:
    """Every figure that the run has the numbers for, in the order of the page."""
    made = [*_ternaries(results), _lines(results), _pareto(results), _union_intervals(results)]
    made += [_composition(results), _ladder(results), _regret(results), _training(results)]
    return [each for each in made if each is not None]


def numbers(results: Results, candidate: Candidate) -> dict[str, Estimate]:
    """Clean, per-threat and union accuracy of one soup on the selection split; without threats clean and shifts."""
    attacked = [candidate.outcomes[threat] for threat in results.threats]
    if not attacked:
        return {task: metrics.accuracy(rows) for task, rows in candidate.outcomes.items()}
    found = {CLEAN: metrics.accuracy(attacked[0])}
    found |= {threat: metrics.robust_accuracy(candidate.outcomes[threat]) for threat in results.threats}
    return found | {"union": metrics.union_accuracy(*attacked)}


def _asked(results: Results) -> tuple[str, ...]:
    """The tasks that the maps show: the threats, or without any the clean set and its shifts."""
    return results.threats or (CLEAN, *results.shifts)


def _chosen(results: Results) -> tuple[float, ...] | None:
    """The weights that the maps mark."""
    if not results.candidates(_asked(results)):
        return None
    return (union_soup(results) if results.threats else single_soup(results)).weights


def _corners(results: Results) -> tuple[int, ...] | None:
    """Places of the three ingredients of a triangle: all, or the robust ones where there are three of them."""
    count, robust = len(results.ingredients), results.robust_count
    return tuple(range(3)) if count == 3 or (robust == 3 and results.threats) else None


def _ternaries(results: Results) -> Iterator[Drawing]:
    corners = _corners(results)
    if corners is None:
        return
    names = [results.ingredients[place].name for place in corners]
    inside = {
        tuple(each.weights[place] for place in corners): numbers(results, each)
        for each in results.candidates(_asked(results))
        if isclose(sum(each.weights[place] for place in corners), 1) and min(each.weights) >= 0
    }
    if len(inside) < 3:
        return
    chosen = _chosen(results)
    mark = None if chosen is None else tuple(chosen[place] for place in corners)
    for column in next(iter(inside.values())):
        values = {weights: each[column].value for weights, each in inside.items()}
        yield Drawing(
            f"ternary-{_word(column)}",
            column,
            f"{column} accuracy of the soups of {', '.join(names)} on the selection split",
            (*names, "accuracy", "low", "high"),
            [(*weights, *each[column][:3]) for weights, each in inside.items()],
            partial(ternary_figure, values, names, column, mark if mark in inside else None),
        )


def _lines(results: Results) -> Drawing | None:
    """Soups of two ingredients, from the one to the other and beyond."""
    panels, points = [], []
    for one, other in combinations(range(len(results.ingredients)), 2):
        between = sorted(
            (each.weights[other], numbers(results, each))
            for each in results.candidates(_asked(results))
            if isclose(each.weights[one] + each.weights[other], 1)
            and not any(weight for place, weight in enumerate(each.weights) if place not in (one, other))
        )
        if len(between) < 3:
            continue
        first, second = results.ingredients[one].name, results.ingredients[other].name
        shares = [share for share, _ in between]
        lines = [Line(column, shares, [each[column] for _, each in between]) for column in between[0][1]]
        panels.append(Panel(f"{first} to {second}", f"weight of {second}", lines))
        points += [(first, second, line.name, *row) for line in lines for row in _rows(line)]
    if not panels:
        return None
    return Drawing(
        "lines",
        "Between two ingredients",
        "Accuracy on the selection split of the soups of two ingredients against the weight of the second, 95 % bands",
        ("first", "second", "column", "weight", "accuracy", "low", "high"),
        points,
        partial(lines_figure, panels, "accuracy, %", (0.0, 1.0)),
    )


def _pareto(results: Results) -> Drawing | None:
    """Clean accuracy against that under all threats, or against the mean of the shifts."""
    candidates = results.candidates((CLEAN, *_asked(results)))
    if len(candidates) < 3 or not (results.threats or results.shifts):
        return None

    def spot(name: str, outcomes: Mapping[str, Outcomes]) -> Spot:
        if results.threats:
            return Spot(
                name,
                metrics.accuracy(outcomes[CLEAN]),
                metrics.union_accuracy(*[outcomes[threat] for threat in results.threats]),
            )
        # A bootstrap for each of thousands of dots would take minutes; the crowd is drawn without intervals.
        columns = [metrics.clean_column(outcomes[shift]) for shift in results.shifts]
        value = float(np.mean([right.mean() for _, right in columns]))
        mean = statistics.mean_accuracy(columns) if name else Estimate(value, value, value, len(columns[0][0]))
        return Spot(name, metrics.accuracy(outcomes[CLEAN]), mean)

    crowd = [spot("", each.outcomes) for each in candidates]
    best = pareto_front(np.array([(each.x.value, each.y.value) for each in crowd]))
    by_weights = {each.weights: each.outcomes for each in candidates}
    alone = {each.name: np.eye(len(results.ingredients))[place] for place, each in enumerate(results.ingredients)}
    asked = {name: tuple(weights.tolist()) for name, weights in alone.items()}
    if (chosen := _chosen(results)) is not None:
        asked["chosen soup"] = chosen
    named = [spot(name, by_weights[weights]) for name, weights in asked.items() if weights in by_weights]
    what = "union of the threats" if results.threats else "mean of the shifts"
    return Drawing(
        "pareto",
        "Clean accuracy against robustness" if results.threats else "Clean accuracy against the shifts",
        f"Every soup on the selection split: clean accuracy against the {what}; the soups that no other beats in both "
        "are joined, named models have 95 % intervals",
        ("soup", "clean", f"{what}", "undominated"),
        [
            (spoken_weights(results, each.weights), dot.x.value, dot.y.value, int(place in best))
            for place, (each, dot) in enumerate(zip(candidates, crowd, strict=True))
        ],
        partial(pareto_figure, crowd, [crowd[place] for place in best], named, "clean, %", f"{what}, %"),
    )


def _union_intervals(results: Results) -> Drawing | None:
    if not results.threats:
        return None
    table: Table = threats_table(results)
    union = {row.name: cell for row in table.rows if (cell := row.cells[-1]) is not None}
    if not union:
        return None
    return Drawing(
        "union",
        "Union accuracy of every model",
        "Union accuracy of every model with its interval; the numbers stand in the table of threats",
        ("model", "accuracy", "low", "high"),
        [(name, *each[:3]) for name, each in union.items()],
        partial(intervals_figure, union, "union accuracy on the test split, %, with 95 % intervals", "union soup"),
    )


def _composition(results: Results) -> Drawing | None:
    """The weights of the five best soups of every data set, threat, corruption and severity."""
    panels: dict[str, dict[str, list[tuple[float, ...]]]] = {}
    for task in results.tasks:
        candidates = results.candidates((task,))
        if len(candidates) < 2:
            continue
        objective = union_over((task,)) if task in results.threats else accuracy_on(task)
        soups = [each.weights for each in choose(candidates, objective, _TOP)]
        split = _SEVERITY.match(task) if task not in results.threats else None
        title = "under the threats" if task in results.threats else "clean and under the shifts"
        if split:
            panels.setdefault(split["corruption"], {})[split["severity"]] = soups
        else:
            panels.setdefault(title, {})[task] = soups
    if results.threats and len(candidates := results.candidates(results.threats)) > 1:
        best = choose(candidates, union_over(results.threats), _TOP)
        panels["under the threats"]["union"] = [each.weights for each in best]
    if not panels:
        return None
    names = [each.name for each in results.ingredients]
    return Drawing(
        "composition",
        "What the best soups are made of",
        f"Weights of the {_TOP} best soups on the selection split, one bar each, for every data set and threat",
        ("group", "task", "rank", *names),
        [
            (title, task, rank, *weights)
            for title, groups in panels.items()
            for task, soups in groups.items()
            for rank, weights in enumerate(soups, 1)
        ],
        partial(composition_figure, panels, names),
    )


def _ladder(results: Results) -> Drawing | None:
    """Robust accuracy against the radius, where a norm was measured at two or more."""
    panels: dict[str, list[Line]] = {}
    for each in contenders(results):
        clean = results.outcomes(each.model, "test", CLEAN)
        steps: dict[str, dict[float, Estimate]] = {}
        for text, outcomes in results.radii(each.model, "test"):
            threat = Threat.parse(text)
            steps.setdefault(threat.norm, {})[threat.eps] = metrics.robust_accuracy(outcomes)
        for norm, found in steps.items():
            if len(found) > 1:
                ladder = found if clean is None else {0.0: metrics.accuracy(clean)} | found
                places = sorted(ladder)
                panels.setdefault(norm, []).append(Line(each.name, places, [ladder[place] for place in places]))
    if not panels:
        return None
    return Drawing(
        "ladder",
        "Robust accuracy against the radius",
        "Robust accuracy on the test split against the radius of each threat, 95 % bands; at radius 0 it is clean",
        ("norm", "model", "eps", "accuracy", "low", "high"),
        [(norm, line.name, *row) for norm, lines in panels.items() for line in lines for row in _rows(line)],
        partial(lines_figure, [Panel(norm, "radius", lines) for norm, lines in panels.items()], "robust accuracy, %"),
    )


def _regret(results: Results) -> Drawing | None:
    lines = []
    clean = (CLEAN, *results.shifts)
    objectives = [union_over(results.threats)] if results.threats else []
    objectives.append(mean_over(clean, "mean of clean and shifts" if results.shifts else CLEAN))
    for objective in objectives:
        candidates = results.candidates(objective.tasks)
        images = min((len(rows) for each in candidates for rows in each.outcomes.values()), default=0)
        counts = [count for count in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if count < images]
        if counts and len(candidates) > 1:
            lines.append(Line(objective.name, counts, regret_curve(candidates, objective, counts)))
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
    for each in (*results.ingredients, *results.baselines):
        lines = []
        for name in (CLEAN, "robust"):
            known = [(step.epoch, value) for step in each.curve if (value := getattr(step, name)) is not None]
            if known:
                epochs, values = zip(*known, strict=True)
                lines.append(Line(name, epochs, [Estimate(value, value, value, 0) for value in values]))
        if lines:
            panels.append(Panel(each.name, "epoch", lines))
            points += [(each.name, line.name, *row[:2]) for line in lines for row in _rows(line)]
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
    return [(place, *each[:3]) for place, each in zip(line.places, line.estimates, strict=True)]


def _word(text: str) -> str:
    """A name for a file."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
