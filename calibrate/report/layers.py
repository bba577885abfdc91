"""The charts of single layers: how much each suffers, and what values the worst ones see."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from calibrate.gate import figure as figure_of
from calibrate.report.charts import Chart, Theme, draw, rows_on

Record = dict[str, Any]

MOST = 40
"""Layers that the picture shows, the worst; `report.json` has them all."""

WORST = 6
"""Histograms at most."""


def layer_charts(record: Record) -> list[Chart]:
    """Return the sensitivity picture and the histograms, as far as layers were measured."""
    charts = [_sensitivity(record["layers"], record["layers_on"].get("count"))] if record["layers"] else []
    with_counts = [layer for layer in record["layers"] if layer["used"] is not None][:WORST]
    return [*charts, *([_histograms(with_counts)] if with_counts else [])]


def short(name: str, op: str = "") -> str:
    """Return a layer's name without what its neighbours say again.

    `/network/blocks/blocks.3/blocks.3.2/conv_dw/Conv` is `blocks.3.2/conv_dw`.
    """
    parts = [part for part in name.split("/") if part]
    if len(parts) > 1 and parts[-1] == op:
        parts = parts[:-1]
    said = [part for part, after in pairwise([*parts, ""]) if not after.startswith(f"{part}.")]
    return "/".join(said[-2:] if len(said) > 2 else said[-1:])


def _sensitivity(layers: list[Record], count: int | None) -> Chart:
    shown = layers[:MOST]
    names = [short(layer["name"], layer["op"]) for layer in shown]
    as_drop = all(layer["drop"] is not None for layer in shown)

    def paint(figure: Figure, theme: Theme) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        for row, layer in enumerate(shown):
            look: Any = {"height": 0.7, "color": theme.series[1 if layer["kept_float"] else 0], "linewidth": 0,
                         "hatch": "////" if layer["kept_float"] else None, "edgecolor": theme.paper}  # fmt: skip
            left.barh([row], [layer["sqnr_db"]], **look)
            right.barh([row], [-layer["drop"] if as_drop else 100 * layer["accuracy"]], **look)
        for axes in (left, right):
            rows_on(axes, names)
        left.tick_params(axis="y", labelsize=7, length=0)
        right.tick_params(axis="y", labelleft=False, length=0)
        left.set(xlabel="SQNR, dB")
        right.set(xlabel="dev accuracy, points" if as_drop else "dev accuracy, %")
        if as_drop:
            right.axvline(0, color=theme.ink, linewidth=1)
        else:
            right.set_xlim(100 * min(layer["accuracy"] for layer in shown) - 1, None)

    worst = shown[0]
    cost = f", {figure_of(-worst['drop'])} points" if as_drop else ""
    kept = sum(layer["kept_float"] for layer in layers)
    look = (
        f"Each layer alone made int8, judged on {f'{count:,} pictures of dev' if count else 'dev'}; those that change "
        "the answers most are on top. A short bar on the left is a noisy layer; a bar on the right that goes left "
        f"costs answers. Worst: {names[0]}, {worst['sqnr_db']:.1f} dB{cost}."
    )
    look += f" Hatched: left float in the candidate ({kept} of {len(layers)})." if kept else ""
    look += f" Shown: the {len(shown)} worst of {len(layers)}." if len(layers) > len(shown) else ""
    values = ", ".join(f"{name} {layer['sqnr_db']:.1f} dB" for name, layer in zip(names, shown, strict=True))
    return draw(
        "How much each layer suffers", paint, 1.0 + 0.145 * len(shown), look=look,
        why="Where a few layers stand out, leaving those float repairs most of the loss at little cost.",
        alt=f"Signal to quantization noise of each layer made int8 alone, worst first: {values}.",
    )  # fmt: skip


def _histograms(layers: list[Record]) -> Chart:
    names = [short(layer["name"], layer["op"]) for layer in layers]

    def paint(figure: Figure, theme: Theme) -> None:
        grid = figure.subplots(-(-len(layers) // 2), 2, squeeze=False).ravel()
        for axes, layer, name in zip(grid, layers, names, strict=False):
            edges, counts = np.array(layer["edges"]), np.array(layer["counts"])
            axes.axvspan(layer["low"], layer["high"], color=theme.series[2], alpha=0.3, linewidth=0, zorder=0)
            middles = (edges[:-1] + edges[1:]) / 2
            said = (middles >= layer["low"]) & (middles <= layer["high"])
            for chosen, colour in ((said, theme.series[0]), (~said, theme.series[1])):
                axes.stairs(np.where(chosen, counts, 0), edges, fill=True, color=colour)
            axes.set_yscale("symlog", linthresh=1)
            axes.set_ylim(0, max(10, 2 * int(counts.max())))
            axes.set_yticks([])
            axes.set_title(name, fontsize=8, fontweight="normal", loc="left")
            axes.tick_params(labelsize=8)
            axes.locator_params(axis="x", nbins=4)
        for axes in grid[len(layers) :]:
            axes.set_visible(False)

    most = max(range(len(layers)), key=lambda index: layers[index]["outside"])
    least = min(range(len(layers)), key=lambda index: layers[index]["used"])
    look = (
        f"Green is the range that int8 can say; what lies outside, orange, is cut off, most in {names[most]} "
        f"({100 * layers[most]['outside']:.3f} % of its values). Where the bulk is narrow in a wide range the steps "
        f"are coarse, most in {names[least]}: 99 % of its values use {100 * layers[least]['used']:.0f} % of the range. "
        "Heights are on a log scale."
    )
    return draw(
        "What the worst layers see", paint, 0.4 + 1.35 * -(-len(layers) // 2), look=look,
        why="It tells the two ways to lose apart: values cut off, or steps too wide. Each has its own repair.",
        alt=f"Histograms of the inputs of {', '.join(names)}.",
    )  # fmt: skip
