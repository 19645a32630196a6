"""Pictures of numbers that are given: nothing here knows of a run."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seasoning.report.style import DASHES, HATCHES, INK, MAP, MARKERS, PALETTE
from seasoning.statistics import Estimate


__all__ = [
    "Line",
    "Panel",
    "Spot",
    "composition_figure",
    "intervals_figure",
    "lines_figure",
    "pareto_figure",
    "ternary_figure",
]

# More dots than this are drawn as one picture inside the figure.
_DOTS = 600


class Line(NamedTuple):
    """A curve: its name, where it was measured, and what was measured there."""

    name: str
    positions: Sequence[float]
    estimates: Sequence[Estimate]


class Panel(NamedTuple):
    """A part of a figure with curves: its title, the name of its horizontal axis, its curves."""

    title: str
    axis: str
    lines: Sequence[Line]


class Spot(NamedTuple):
    """A model in a scatter: its name, empty for one of many, and two numbers."""

    name: str
    x: Estimate
    y: Estimate


def ternary_figure(
    values: Mapping[tuple[float, ...], float], corners: Sequence[str], title: str, chosen: tuple[float, ...] | None
) -> Figure:
    """A number over the soups of three ingredients, as a coloured triangle (Figure 10 of the paper).

    Args:
        values: Three weights to a fraction in [0, 1].
        corners: Names of the ingredients.
        title: What is shown.
        chosen: The weights to mark.
    """
    figure = Figure(figsize=(3.3, 3.2), layout="constrained")
    # mpltern adds its methods to the axes at run time.
    axes: Any = figure.add_subplot(projection="ternary", ternary_sum=1.0)
    top, left, right = zip(*values, strict=True)
    percents = [100 * value for value in values.values()]
    if len(set(percents)) > 1 and len(values) > 3:
        drawn = axes.tricontourf(top, left, right, percents, levels=12, cmap=MAP)
        bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.75, pad=0.06)
        bar.locator = MaxNLocator(4)
        bar.update_ticks()
        bar.outline.set_visible(False)
    axes.scatter(
        top,
        left,
        right,
        s=4,
        color="white",
        edgecolors="black",
        linewidths=0.3,
        clip_on=False,
        zorder=4,
        rasterized=len(values) > _DOTS,
    )
    if chosen is not None:
        weights = [[weight] for weight in chosen]
        axes.scatter(*weights, marker="*", s=130, color="white", edgecolors="black", zorder=5, clip_on=False)
    for corner, axis, write in zip(
        corners,
        (axes.taxis, axes.laxis, axes.raxis),
        (axes.set_tlabel, axes.set_llabel, axes.set_rlabel),
        strict=True,
    ):
        write(corner)
        axis.set_label_rotation_mode("horizontal")
        axis.set_ticks([])
    axes.set_title(f"{title}: {min(percents):.1f} to {max(percents):.1f} %", loc="center")
    return figure


def intervals_figure(estimates: Mapping[str, Estimate], title: str, marked: str) -> Figure:
    """Numbers with their intervals, one line each, the marked one set off."""
    figure = Figure(figsize=(6.4, 0.6 + 0.3 * len(estimates)), layout="constrained")
    axes = figure.add_subplot()
    for index, (name, estimate) in enumerate(reversed(list(estimates.items()))):
        color, marker = (PALETTE[1], "D") if name == marked else (PALETTE[0], "o")
        axes.plot([100 * estimate.low, 100 * estimate.high], [index, index], color=color, linewidth=1.6)
        axes.plot([100 * estimate.value], [index], marker=marker, color=color, markersize=6)
    axes.set_yticks(range(len(estimates)), list(estimates)[::-1])
    axes.set_xlabel(title)
    axes.set_xlim(left=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    return figure


def lines_figure(panels: Sequence[Panel], vertical: str, marks: Sequence[float] = ()) -> Figure:
    """Curves with their 95 % intervals as bands, panels side by side; `marks` are positions on the horizontal axis."""
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    figure = Figure(figsize=(max(2.6 * across, 4.2), 2.5 * down + 0.5), layout="constrained")
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    handles: dict[str, Any] = {}
    for axes, panel in zip(grid.flat, panels, strict=False):
        for line in panel.lines:
            number = names.index(line.name) % len(PALETTE)
            low, value, high = (
                [100 * getattr(estimate, name) for estimate in line.estimates] for name in ("low", "value", "high")
            )
            axes.fill_between(line.positions, low, high, color=PALETTE[number], alpha=0.15, linewidth=0)
            (handles[line.name],) = axes.plot(
                line.positions,
                value,
                color=PALETTE[number],
                linestyle=DASHES[number],
                marker=MARKERS[number],
                markersize=3.5 if len(value) < 20 else 0,
                label=line.name,
            )
        for mark in marks:
            axes.axvline(mark, color=INK, linewidth=0.8, alpha=0.5)
        axes.set_title(panel.title)
        axes.set_xlabel(panel.axis)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel(vertical)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=min(len(names), 4), handlelength=2.6
    )
    return figure


def composition_figure(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, ...]]]], ingredients: Sequence[str]
) -> Figure:
    """Weights of the best soups as stacked bars (Figure 11 of the paper).

    Args:
        panels: Title of a panel to its groups; a group's name (a data set, or a severity) to its best soups.
        ingredients: Names of the weights.
    """
    across = 1 if len(panels) <= 2 else 3
    down = -(-len(panels) // across)
    figure = Figure(figsize=(7.6, 2.1 * down + 0.8), layout="constrained")
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes, (title, groups) in zip(grid.flat, panels.items(), strict=False):
        step = max(map(len, groups.values())) + 1
        positions = [number * step + np.arange(len(soups)) for number, soups in enumerate(groups.values())]
        _bars(axes, np.concatenate(positions), np.concatenate([np.array(soups) for soups in groups.values()]))
        axes.set_xticks([float(own.mean()) for own in positions], list(groups))
        axes.tick_params(bottom=False)
        axes.set_title(title)
        axes.grid(visible=False, axis="x")
        axes.set_axisbelow(True)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("weight")
    handles = grid[0, 0].containers[: len(ingredients)]
    figure.legend(list(handles), list(ingredients), loc="outside lower center", ncols=min(len(ingredients), 6))
    return figure


def _bars(axes: Any, positions: Any, soups: Any) -> None:
    """One bar for each soup; negative weights hang below zero."""
    up, down = np.zeros(len(positions)), np.zeros(len(positions))
    for number, weights in enumerate(soups.T):
        number %= len(PALETTE)
        axes.bar(
            positions,
            weights,
            0.86,
            bottom=np.where(weights >= 0, up, down),
            color=PALETTE[number],
            hatch=HATCHES[number],
            edgecolor="white",
            linewidth=0,
        )
        up, down = up + np.maximum(weights, 0), down + np.minimum(weights, 0)


def pareto_figure(
    crowd: Sequence[Spot], front: Sequence[Spot], named: Sequence[Spot], horizontal: str, vertical: str
) -> Figure:
    """All soups by two numbers, the ones that no other beats in both joined, named models with their intervals."""
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(
        [100 * dot.x.value for dot in crowd],
        [100 * dot.y.value for dot in crowd],
        s=14,
        color=PALETTE[5],
        alpha=0.65,
        linewidths=0,
        rasterized=len(crowd) > _DOTS,
        label="soups",
    )
    edge = sorted(front, key=lambda each: each.x.value)
    axes.plot(
        [100 * dot.x.value for dot in edge],
        [100 * dot.y.value for dot in edge],
        color=PALETTE[0],
        marker="o",
        markersize=3.5,
        label="no soup is better in both",
    )
    for index, dot in enumerate(named):
        x, y = 100 * dot.x.value, 100 * dot.y.value
        axes.errorbar(
            [x],
            [y],
            xerr=[[max(x - 100 * dot.x.low, 0)], [max(100 * dot.x.high - x, 0)]],
            yerr=[[max(y - 100 * dot.y.low, 0)], [max(100 * dot.y.high - y, 0)]],
            fmt=MARKERS[(index + 1) % len(MARKERS)],
            color=PALETTE[1] if index == len(named) - 1 else INK,
            markersize=6,
            linewidth=0.8,
            label=dot.name,
        )
    axes.set_xlabel(horizontal)
    axes.set_ylabel(vertical)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure
