"""The comparison in words and Markdown tables. Pure."""

from __future__ import annotations

from typing import Any

from train.report.arms import ABOVE, BELOW, OVERALL, SAME, UNDECIDED

VIEWS = (("whole picture", "figures"), ("aligned", "after_alignment"), ("as each was trained", "as_trained"))
"""Ways to frame the pictures, by their titles. The last is there where only some learned from aligned faces."""

TOLD = {ABOVE: "above", BELOW: "below", SAME: "not distinguishable from", UNDECIDED: "undecided against"}
"""A verdict in a sentence."""


def span(reach: dict[str, Any] | None) -> str:
    """Return a range in percent: mean (least–most of so many seeds), or the one value."""
    if reach is None:
        return "–"
    mean = f"{100 * reach['mean']:.1f}"
    return mean if reach["seeds"] == 1 else f"{mean} ({100 * reach['low']:.1f}–{100 * reach['high']:.1f})"


def notes(record: dict[str, Any]) -> list[str]:
    """Return in words what the figures do not say by themselves."""
    said = []
    if record["not_evaluated"]:
        names = record["not_evaluated"]
        said.append(f"Not evaluated, and so not here: {', '.join(names)} (edge train evaluate {names[0]}).")
    single = [arm["name"] for arm in record["arms"] if len(arm["seeds"]) == 1]
    if single:
        said.append(f"One seed, so no range: {', '.join(single)}. Train more seeds before believing a difference.")
    for title, view in VIEWS:
        for name, relations in _relations(record, view, single).items():
            told = "; ".join(f"{TOLD[says]} {', '.join(others)}" for says, others in relations.items())
            said.append(f"Accuracy, {title}: {name} is {told}.")
    kept = [arm["name"] for arm in record["arms"] if any(run["kept"] for run in arm["runs"])]
    if kept:
        said.append(
            f"Evaluated earlier, figures as they were kept: {', '.join(kept)}. Time is of the same network untrained, "
            "which takes as long."
        )
    load = record["processes_waiting"]
    said.append(f"Latency: {record['latency']}, on {record['machine']}. The ratio is the figure to trust.")
    if load is not None and load > 0.5 * record["cores"]:
        said.append(
            f"The machine was busy ({load:g} processes wanted to run over the minute before): measure latency again "
            "when it is not."
        )
    return said


def _relations(record: dict[str, Any], view: str, single: list[str]) -> dict[str, dict[str, list[str]]]:
    """Return how each arm stands to those behind it; two of one seed each are not worth a word."""
    found: dict[str, dict[str, list[str]]] = {}
    for verdict in record["verdicts"][view]:
        if verdict["first"] not in single or verdict["second"] not in single or verdict["says"] == SAME:
            found.setdefault(verdict["first"], {}).setdefault(verdict["says"], []).append(verdict["second"])
    return found


def as_markdown(record: dict[str, Any]) -> str:
    """Return the comparison as Markdown."""
    labels, keys, arms = record["labels"], record["keys"], record["arms"]
    lines = [
        f"# {len(arms)} models on {record['data']}, {record['split']} split, {record['n']} pictures", "",
        f"`{record['command']}`", "",
        "Percent; where a model was trained with several seeds the mean (least–most). Whole picture: as a ready crop.",
    ]  # fmt: skip
    for title, view in VIEWS:
        if not measured(record, view):
            continue
        rows = [["model", "seeds", *(name for name, _ in OVERALL), *(f"F1 {label}" for label in labels)]]
        for arm in arms:
            figures = arm[view] or {"f1": {}}
            values = [*(figures.get(key) for _, key in OVERALL), *(figures["f1"].get(label) for label in labels)]
            rows.append([arm["name"], ", ".join(map(str, arm["seeds"])), *map(span, values)])
        lines += ["", f"## Figures, {title}", "", *_table(rows)]
    if keys:
        rows = [["model", *keys], *([arm["name"], *arm["settings"].values()] for arm in arms)]
        lines += ["", "## What differs in their training", "", *_table(rows)]
    cost = [["model", "network", "parameters", "multiply-adds", "bytes (float ONNX)", "ms a crop", "to the first"]]
    for arm in arms:
        counts = [f"{arm[key]:,}" for key in ("parameters", "multiply_adds", "bytes")]
        cost.append([arm["name"], arm["network"], *counts, f"{arm['ms']:.2f}", f"{arm['ms_to_first']:.2f}"])
    lines += ["", "## Cost", "", *_table(cost)]
    lines += ["", "## Notes", "", *(f"- {note}" for note in notes(record)), "", "![charts](comparison.png)", ""]
    return "\n".join(lines)


def measured(record: dict[str, Any], view: str) -> bool:
    """Return whether an arm was measured in this way of framing."""
    return any(arm[view] is not None for arm in record["arms"])


def _table(rows: list[list[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in [cells[0], ["---"] * len(cells[0]), *cells[1:]]]
