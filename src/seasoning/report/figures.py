"""Pictures as SVG text, colour-blind-safe and readable in grey."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import mpltern  # noqa: F401  registers the ternary projection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seasoning.metrics import Estimate


__all__ = ["intervals_figure", "ternary_figure"]

# Equal ids and no date in every rendering, so that the same run gives the same bytes.
_STYLE = {"svg.hashsalt": "seasoning", "font.size": 9, "svg.fonttype": "path", "axes.titlesize": 11}


def ternary_figure(
    values: Mapping[tuple[float, ...], float], corners: Sequence[str], title: str, chosen: tuple[float, ...]
) -> str:
    """A number over the soups of three ingredients, as a coloured triangle (Figure 10 of the paper).

    Args:
        values: Three weights to a share in [0, 1].
        corners: Names of the ingredients.
        title: What is shown.
        chosen: The weights to mark.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(3.3, 3.1), layout="constrained")
        # mpltern adds its methods to the axes at run time.
        axes: Any = figure.add_subplot(projection="ternary", ternary_sum=1.0)
        top, left, right = zip(*values, strict=True)
        percents = [100 * value for value in values.values()]
        if len(set(percents)) > 1 and len(values) > 3:
            drawn = axes.tricontourf(top, left, right, percents, levels=12, cmap="cividis")
            bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.75, pad=0.06)
            bar.locator = MaxNLocator(4)
            bar.update_ticks()
        axes.scatter(top, left, right, s=4, color="white", edgecolors="black", linewidths=0.3, clip_on=False, zorder=4)
        axes.scatter(
            *[[share] for share in chosen],
            marker="*",
            s=130,
            color="white",
            edgecolors="black",
            zorder=5,
            clip_on=False,
        )
        for corner, axis, write in zip(
            corners,
            (axes.taxis, axes.laxis, axes.raxis),
            (axes.set_tlabel, axes.set_llabel, axes.set_rlabel),
            strict=True,
        ):
            write(corner)
            axis.set_label_rotation_mode("horizontal")
        for axis in (axes.taxis, axes.laxis, axes.raxis):
            axis.set_ticks([])
        axes.set_title(f"{title}: {min(percents):.1f} to {max(percents):.1f} %")
        return _svg(figure)


def intervals_figure(estimates: Mapping[str, Estimate], title: str, marked: str) -> str:
    """Numbers with their intervals, one line each, the marked one set off."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 0.5 + 0.32 * len(estimates)), layout="constrained")
        axes = figure.add_subplot()
        for place, (name, each) in enumerate(reversed(list(estimates.items()))):
            color, marker = ("#b5460f", "D") if name == marked else ("#1f4e79", "o")
            axes.plot([100 * each.low, 100 * each.high], [place, place], color=color, linewidth=1.6)
            axes.plot([100 * each.value], [place], marker=marker, color=color, markersize=6)
        axes.set_yticks(range(len(estimates)), list(estimates)[::-1])
        axes.set_xlabel(title)
        axes.set_xlim(left=0)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
