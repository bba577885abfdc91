"""How the report's charts are drawn: PNG bytes, once for light pages and once for dark, with words beside each.

The look is that of the training side's reports; colours that people of any sight tell apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.report.charts import DARK, DPI, LIGHT, LINES, WIDTH, Theme, png

__all__ = ["LINES", "MARKERS", "Chart", "Theme", "draw", "legend_below", "rows_on"]

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


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
    light, dark = (png(paint, theme, WIDTH, height) for theme in (LIGHT, DARK))
    return Chart(title, look, why, alt, light, dark, round(WIDTH * DPI), round(height * DPI))


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
