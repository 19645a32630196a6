"""One look for every figure: colours that the colour-blind and a grey printer tell apart, and files of equal bytes."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import mpltern  # noqa: F401  registers the ternary projection
from matplotlib.figure import Figure

from seasoning.atomic import replacing


__all__ = ["DASHES", "FIGURE_FORMATS", "HATCHES", "INK", "MAP", "MARKERS", "PALETTE", "Drawing", "inline_svg", "save"]

# Okabe and Ito 2008; ordered so that neighbours differ in grey, too.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
MARKERS = ("o", "D", "s", "^", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
HATCHES = ("", "////", "....", "xx", "\\\\\\\\", "++", "oo")
INK = "#24292f"
MAP = "cividis"
FIGURE_FORMATS = ("png", "svg", "pdf")

# Equal ids and no date in every rendering, so that the same run gives the same bytes.
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "seasoning",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.color": INK,
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "savefig.transparent": True,
    "text.color": INK,
    # Names are text, dollar signs and all.
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}
_NO_DATE: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
_DOTS = 200


class Drawing(NamedTuple):
    """A figure that is not drawn yet.

    Args:
        name: A word for its files.
        title: What it shows.
        words: The same for whoever cannot see it.
        columns: Headings of its points.
        points: What it is drawn from, one row for each point.
        draw: Draws it.
    """

    name: str
    title: str
    words: str
    columns: tuple[str, ...]
    points: Sequence[tuple[object, ...]]
    draw: Callable[[], Figure]


def save(drawing: Drawing, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write a figure in every format, and its points as CSV; each file completely or not at all."""
    written = []
    with matplotlib.rc_context(_STYLE):
        figure = drawing.draw()
        for form in formats:
            path = folder / f"{drawing.name}.{form}"
            with replacing(path) as temporary:
                # On white: a transparent picture in a dark viewer is ink on ink.
                figure.savefig(
                    temporary, format=form, dpi=_DOTS, metadata=_NO_DATE[form], transparent=False, facecolor="white"
                )
            written.append(path)
    path = folder / f"{drawing.name}.csv"
    with replacing(path) as temporary:
        temporary.write_text(points_csv(drawing), encoding="utf-8")
    return [*written, path]


def points_csv(drawing: Drawing) -> str:
    """What the figure is drawn from."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(drawing.columns)
    writer.writerows(drawing.points)
    return buffer.getvalue()


def inline_svg(drawing: Drawing) -> str:
    """The figure as an element of a page: its text is text, its ink that of the page, its ids its own."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.fonttype": "none"}):
        drawing.draw().savefig(buffer, format="svg", metadata=_NO_DATE["svg"])
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"font: ([^;\"]*?)px [^;\"]*", r"font: \1px system-ui, sans-serif", text)
    text = re.sub(r'\bid="', f'id="{drawing.name}-', text)
    text = re.sub(r"url\(#", f"url(#{drawing.name}-", text)
    text = re.sub(r'href="#', f'href="#{drawing.name}-', text)
    width = float(re.search(r'width="([\d.]+)pt"', text)[1])  # type: ignore[index]
    text = re.sub(r'(<svg[^>]*?) width="[\d.]+pt"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[\d.]+pt"', rf'\1 style="max-width: {1.35 * width:.0f}px"', text, count=1)
    return text.replace(INK, "currentColor").strip()
