"""Charts as PNG bytes, each drawn twice: for light and for dark pages. Colours that people of any sight tell apart."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from train.report.curves import Curve

DPI = 180
WIDTH = 4.4
"""Inches: a phone shows it at about 330 of its pixels, where 10 points are still 10 pixels high."""

NARROWEST = 1.0
"""Points of accuracy that the field's chart shows at the least, so that next to nothing does not look like much."""

LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Theme:
    """Colours of a page: its paper, its ink, what recedes, and the series' own."""

    paper: str
    ink: str
    faint: str
    series: tuple[str, ...]


LIGHT = Theme("#ffffff", "#1b2430", "#b9c2cc", (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b6570",
))  # fmt: skip
DARK = Theme("#1c232c", "#e6ebf0", "#4b5663", (
    "#5aaef0", "#ff8a4c", "#34c99c", "#e6a3c8", "#f5bd3d", "#a5dcfa", "#aab4bf",
))  # fmt: skip
"""Okabe and Ito's colours, and the same hues lighter for dark paper; line styles and markers tell them apart again."""


@dataclass(frozen=True)
class Chart:
    """A drawn chart.

    Attributes:
        title: what it shows.
        alt: the same in words, for who does not see it.
        light, dark: PNG bytes.
        width, height: pixels of both.
    """

    title: str
    alt: str
    light: bytes
    dark: bytes
    width: int
    height: int


def draw(title: str, alt: str, paint: Callable[[Figure, Theme], None], height: float, width: float = WIDTH) -> Chart:
    """Draw a chart in both themes.

    Args:
        title, alt: as `Chart`.
        paint: draws into an empty figure.
        height, width: inches.
    """
    light, dark = (png(paint, theme, width, height) for theme in (LIGHT, DARK))
    return Chart(title, alt, light, dark, round(width * DPI), round(height * DPI))


def png(paint: Callable[[Figure, Theme], None], theme: Theme, width: float, height: float) -> bytes:
    """Draw a figure of so many inches in a theme; return PNG bytes."""
    settings: Any = {
        "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11, "axes.titleweight": "bold",
        "legend.fontsize": 9, "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.linewidth": 0.5, "grid.alpha": 0.6, "lines.linewidth": 1.6,
        "hatch.linewidth": 0.8, "axes.axisbelow": True,
        "figure.facecolor": theme.paper, "axes.facecolor": theme.paper, "savefig.facecolor": theme.paper,
        "text.color": theme.ink, "axes.labelcolor": theme.ink, "axes.edgecolor": theme.faint,
        "xtick.color": theme.ink, "ytick.color": theme.ink, "grid.color": theme.faint,
    }  # fmt: skip
    with mpl.rc_context(settings):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        paint(figure, theme)
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def history_chart(epochs: Sequence[dict[str, str]], best: int) -> Chart:
    """Draw a run's loss and dev accuracy by epoch.

    Args:
        epochs: rows of `metrics.csv`.
        best: number of the epoch whose weights were kept.
    """
    number = [int(row["epoch"]) for row in epochs]

    def paint(figure: Figure, theme: Theme) -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        above.plot(number, [float(row["loss"]) for row in epochs], color=theme.series[1], marker=".")
        above.set(ylabel="loss")
        above.set_title("Training loss")
        below.plot(number, [float(row["dev_accuracy"]) for row in epochs], color=theme.series[0], marker=".",
                   label="accuracy")  # fmt: skip
        if all(row.get("dev_macro_f1") for row in epochs):
            below.plot(number, [float(row["dev_macro_f1"]) for row in epochs], color=theme.series[2], marker=".",
                       linestyle="--", label="macro F1")  # fmt: skip
        below.axvline(best, color=theme.ink, linewidth=1, linestyle=":", label=f"kept: epoch {best}")
        below.set(xlabel="epoch", ylabel="share")
        below.set_title("On dev")
        below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        below.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        below.legend(loc="lower right")

    alt = f"Loss and dev accuracy over {len(number)} epochs; the weights of epoch {best} were kept."
    return draw("Loss and dev accuracy", alt, paint, 4.6)


def curves_chart(title: str, curves: Sequence[Curve], x: str, y: str, area: str, diagonal: bool) -> Chart:
    """Draw a curve a class, with its area in the legend; classes without a case have no curve.

    Args:
        title: of the chart.
        curves: as `train.report.curves` gives them.
        x, y: what the axes hold.
        area: what the area is called.
        diagonal: whether to draw the line of guessing.
    """

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        if diagonal:
            axes.plot([0, 1], [0, 1], color=theme.faint, linewidth=1)
        for curve, colour, line in zip(curves, cycle(theme.series), cycle(LINES), strict=False):
            if curve.area is not None:
                axes.plot(curve.x, curve.y, color=colour, linestyle=line, label=f"{curve.label} {curve.area:.3f}")
        axes.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
        axes.set_title(title)
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside lower center", ncols=2, title=area, handlelength=3)

    values = ", ".join(f"{curve.label} {curve.area:.3f}" for curve in curves if curve.area is not None)
    return draw(title, f"{title}; {area}: {values or 'no class has a case'}.", paint, 5.8)


def reliability_chart(bins: tuple[np.ndarray, np.ndarray, np.ndarray], error: float | None) -> Chart:
    """Draw accuracy over confidence.

    Args:
        bins: as `train.report.curves.reliability`.
        error: the scorer's expected calibration error.
    """
    confidence, accuracy, count = bins
    said = "none" if error is None else f"{100 * error:.1f} points"

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=theme.faint, linewidth=1.2, label="honest")
        axes.vlines(confidence, confidence, accuracy, color=theme.series[1], linewidth=2, alpha=0.7, label="gap")
        axes.plot(confidence, accuracy, color=theme.series[0], marker="o", markersize=4, label="measured")
        axes.set(xlabel="mean confidence of the bin", ylabel="accuracy in the bin", xlim=(0, 1), ylim=(0, 1.01),
                 aspect="equal")  # fmt: skip
        axes.set_title(f"Calibration error: {said}")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="upper left")

    size = (
        f"{count.min()}"
        if len(count) and count.min() == count.max()
        else f"{count.min(initial=0)} to {count.max(initial=0)}"
    )
    alt = f"Reliability: accuracy over confidence in {len(count)} bins of {size} pictures; calibration error {said}."
    return draw(f"Reliability, {len(count)} bins of equal mass", alt, paint, 4.4)


@dataclass(frozen=True)
class Spot:
    """One model in the field's chart.

    Attributes:
        name: of the model.
        x: latency in ms, or bytes.
        accuracy, low, high: mean and range over seeds; the three are equal for one seed.
        f1: F1 by class, None without a case.
    """

    name: str
    x: float
    accuracy: float
    low: float
    high: float
    f1: dict[str, float | None]


def field_chart(spots: Sequence[Spot], x: str) -> Chart:
    """Draw accuracy against what a model costs; bars are the range over seeds."""
    rows = -(-len(spots) // 2)
    alt = "; ".join(f"{spot.name}: {100 * spot.accuracy:.1f} % at {spot.x:g}" for spot in spots)
    return draw(
        "Accuracy against cost", f"Accuracy against {x}. {alt}.",
        lambda figure, theme: _paint_field(figure, figure.subplots(), theme, spots, x), 3.6 + 0.22 * rows,
    )  # fmt: skip


def classes_chart(spots: Sequence[Spot]) -> Chart:
    """Draw each class's F1 as a bar a model."""
    height = 1.3 + 0.2 * len(spots[0].f1) * (len(spots) + 1) + 0.22 * -(-len(spots) // 2)
    return draw(
        "F1 by class", "F1 of each class, a bar a model; the figures are in the table.",
        lambda figure, theme: _paint_classes(figure, figure.subplots(), theme, spots, legend=True), height,
    )  # fmt: skip


def comparison_picture(spots: Sequence[Spot], x: str) -> bytes:
    """Draw both charts beside each other, on light paper, as one PNG."""
    height = max(4.2, 1.3 + 0.2 * len(spots[0].f1) * (len(spots) + 1)) + 0.25 * -(-len(spots) // 4)

    def paint(figure: Figure, theme: Theme) -> None:
        left, right = figure.subplots(1, 2)
        _paint_field(figure, left, theme, spots, x, columns=4)
        _paint_classes(figure, right, theme, spots, legend=False)

    return png(paint, LIGHT, 2 * WIDTH + 0.6, height)


def _paint_field(figure: Figure, axes: Axes, theme: Theme, spots: Sequence[Spot], x: str, columns: int = 2) -> None:
    for spot, colour, marker in zip(spots, cycle(theme.series), cycle(MARKERS), strict=False):
        reach = [[100 * (spot.accuracy - spot.low)], [100 * (spot.high - spot.accuracy)]]
        axes.errorbar([spot.x], [100 * spot.accuracy], yerr=reach, color=colour, marker=marker, markersize=7,
                      capsize=4, linestyle="none", label=spot.name)  # fmt: skip
    axes.set(xlabel=x, ylabel="accuracy, %")
    axes.set_title("Accuracy against cost")
    low, high = 100 * min(spot.low for spot in spots), 100 * max(spot.high for spot in spots)
    room = max(0.15 * (high - low), NARROWEST / 2)
    axes.set_ylim(low - room, high + room)
    axes.set_xlim(0, 1.15 * max(spot.x for spot in spots))
    figure.legend(loc="outside lower center", ncols=columns, handles=axes.get_legend_handles_labels()[0])


def _paint_classes(figure: Figure, axes: Axes, theme: Theme, spots: Sequence[Spot], *, legend: bool) -> None:
    labels = list(spots[0].f1)
    thick = 0.8 / len(spots)
    for index, (spot, colour) in enumerate(zip(spots, cycle(theme.series), strict=False)):
        places = [row - 0.4 + thick * (index + 0.5) for row in range(len(labels))]
        lengths = [100 * (spot.f1[label] or 0) for label in labels]
        axes.barh(places, lengths, thick * 0.9, color=colour, label=spot.name)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set(xlabel="F1, %", xlim=(0, 100))
    axes.set_title("F1 by class")
    if legend:
        figure.legend(loc="outside lower center", ncols=2, handles=axes.get_legend_handles_labels()[0])
