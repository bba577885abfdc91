"""How the report's charts are drawn: PNG bytes, once for light pages and once for dark, with words beside each.

The look is that of the training side's reports; colours that people of any sight tell apart.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DPI = 180
WIDTH = 4.4
"""Inches: a phone shows it at about 330 of its pixels, where 10 points are still 10 pixels high."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Theme:
    """Colours of a page: its paper, its ink, what recedes, and the series' own."""

    paper: str
    ink: str
    faint: str
    series: tuple[str, ...]


LIGHT = Theme("#ffffff", "#1b2430", "#b9c2cc", ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"))
DARK = Theme("#1c232c", "#e6ebf0", "#4b5663", ("#5aaef0", "#ff8a4c", "#34c99c", "#e6a3c8", "#f5bd3d"))
"""Okabe and Ito's colours, and the same hues lighter for dark paper."""


@dataclass(frozen=True)
class Chart:
    """A drawn chart and the words beside it.

    Attributes:
        title: what it shows.
        look: what to look at, and what is there.
        why: why it matters.
        alt: the picture in words, for who does not see it.
        light, dark: PNG bytes.
        width, height: pixels of both.
    """

    title: str
    look: str
    why: str
    alt: str
    light: bytes
    dark: bytes
    width: int
    height: int


def draw(title: str, paint: Callable[[Figure, Theme], None], height: float, *, look: str, why: str, alt: str) -> Chart:
    """Draw a chart in both themes.

    Args:
        title, look, why, alt: as `Chart`.
        paint: draws into an empty figure.
        height: inches.
    """
    light, dark = (_png(paint, theme, height) for theme in (LIGHT, DARK))
    return Chart(title, look, why, alt, light, dark, round(WIDTH * DPI), round(height * DPI))


def _png(paint: Callable[[Figure, Theme], None], theme: Theme, height: float) -> bytes:
    settings: Any = {
        "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 10, "axes.titleweight": "bold",
        "legend.fontsize": 9, "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.linewidth": 0.5, "grid.alpha": 0.6, "lines.linewidth": 1.6, "hatch.linewidth": 0.8,
        "figure.facecolor": theme.paper, "axes.facecolor": theme.paper, "savefig.facecolor": theme.paper,
        "text.color": theme.ink, "axes.labelcolor": theme.ink, "axes.edgecolor": theme.faint,
        "xtick.color": theme.ink, "ytick.color": theme.ink, "grid.color": theme.faint, "axes.axisbelow": True,
    }  # fmt: skip
    with mpl.rc_context(settings):
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
        paint(figure, theme)
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def legend_below(figure: Figure, axes: Axes, columns: int = 2) -> None:
    """Put the series' names under the chart, where they cover nothing."""
    handles, names = axes.get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="outside lower center", ncols=columns)


def rows_on(axes: Axes, names: list[str]) -> None:
    """Give a chart of horizontal rows its names, the first one on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(False, axis="y")
