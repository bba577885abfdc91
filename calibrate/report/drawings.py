"""The charts of answers, trials, rungs and costs, each from the report's record."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter, StrMethodFormatter

from calibrate.evidence import FP32_ONNX, FP32_TFLITE, MODEL_FILES
from calibrate.gate import figure as two_digits
from calibrate.report.charts import LINES, MARKERS, Chart, Theme, draw, legend_below, rows_on

Record = dict[str, Any]


def class_charts(record: Record) -> list[Chart]:
    """Return what changed class by class; nothing where nothing was judged."""
    judged = [name for name, each in record["verdict"]["files"].items() if each["overall"]["support"]]
    return [_classes(record)] if set(judged) - {FP32_TFLITE} else []


def coverage_charts(record: Record) -> list[Chart]:
    """Return accuracy against coverage; nothing where no labelled picture was answered."""
    return [_coverage(record)] if record["uncertain"] else []


def search_charts(record: Record) -> list[Chart]:
    """Return the ladder, the ways to take ranges and the count of calibration pictures, as far as they were tried."""
    charts = [_ladder(record, kind) for kind in ("onnx", "tflite") if _rungs(record, kind)]
    if record["sweep"]:
        charts.append(_sweep(record))
    if len(record["curve"]) > 1:
        charts.append(_counts(record))
    return charts


def cost_charts(record: Record) -> list[Chart]:
    """Return latency side by side; nothing where it was not measured."""
    return [_latency(record)] if record["costs"] else []


def _classes(record: Record) -> Chart:
    judged = {
        name: each for name, each in record["verdict"]["files"].items()
        if each["overall"]["support"] and (name != FP32_TFLITE or not each["passes"])
    }  # fmt: skip
    rows = ["all", *record["labels"]]
    offsets = {name: 0.22 * (index - (len(judged) - 1) / 2) for index, name in enumerate(judged)}
    support = {change["label"]: change["support"] for each in judged.values() for change in _changes(each)}

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        axes.axvline(0, color=theme.ink, linewidth=1)
        for index, (name, each) in enumerate(judged.items()):
            for row, change in enumerate(_changes(each)):
                if change["drop"] is None:
                    continue
                low, high = change["interval"]["low"], change["interval"]["high"]
                place = row + offsets[name]
                axes.plot([low, high], [place, place], color=theme.series[index], linewidth=2)
                axes.plot([change["drop"]], [place], color=theme.series[index], marker=MARKERS[index], markersize=5,
                          linestyle="none", label=name if row == 0 else None)  # fmt: skip
                if index == 0:
                    limit = 100 * change["allowed"] / change["support"]
                    axes.plot([limit] * 2, [row - 0.4, row + 0.4], color=theme.ink, linewidth=1.2, linestyle=":",
                              label="allowed" if row == 0 else None)  # fmt: skip
        rows_on(axes, [f"{row} ({support[row]:,})" for row in rows])
        axes.set(xlabel="points of recall lost (left: won)")
        legend_below(figure, axes)

    name, worst = max(
        ((name, change) for name, each in judged.items() for change in each["classes"] if change["support"]),
        key=lambda found: (found[1]["lost"] - found[1]["won"]) / found[1]["allowed"],
    )
    look = (
        f"A mark right of its dotted line fails the gate. Nearest to it is {worst['label']} in {name}: "
        f"{two_digits(worst['drop'])} points, {worst['lost']} pictures lost and {worst['won']} won of "
        f"{worst['support']:,}. Long bars are classes with few pictures, not bad ones."
    )
    why = "An average can hide one emotion that the small model has stopped seeing."
    alt = "; ".join(
        f"{name}: " + ", ".join(
            f"{change['label']} {two_digits(change['drop'])}" for change in _changes(each) if change["drop"] is not None
        ) for name, each in judged.items()
    )  # fmt: skip
    return draw(
        "What changed, class by class", paint, 1.3 + 0.42 * len(rows), look=look, why=why,
        alt=f"Points of recall lost by class. {alt}.",
    )  # fmt: skip


def _changes(verdict: Record) -> list[Record]:
    return [verdict["overall"], *verdict["classes"]]


def _coverage(record: Record) -> Chart:
    found = {name: record["uncertain"][name] for name in MODEL_FILES if name in record["uncertain"]}

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        for index, (name, each) in enumerate(found.items()):
            x, y = zip(*each["curve"], strict=True)
            axes.plot(x, y, color=theme.series[index], linestyle=LINES[index], label=name)
            if each["accuracy"] is not None:
                axes.plot([each["coverage"]], [each["accuracy"]], color=theme.series[index], marker=MARKERS[index],
                          markersize=7, linestyle="none")  # fmt: skip
        axes.set(xlabel="faces that get an answer", ylabel="of those answers, right", xlim=(0, 1.01))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=None))
        legend_below(figure, axes)

    name, each = next((pair for pair in found.items() if pair[0] != FP32_ONNX), next(iter(found.items())))
    at = f"Marks: the threshold {record['threshold']:g} that the files carry. "
    if each["accuracy"] is None:
        at += f"{name} answers no face at it."
    else:
        at += (
            f"{name} answers {100 * each['coverage']:.1f} % of the faces there and is right on "
            f"{100 * each['accuracy']:.1f} % of those"
        )
        rest = each["accuracy_of_rest"]
        at += "." if rest is None else f"; of those it calls uncertain it would have had {100 * rest:.1f} % right."
    return draw(
        "Saying less, and being right more often", paint, 3.7,
        look=f"{at} The small model's line should lie on the float one's.",
        why="A lower line means that the small model's confidence no longer tells good answers from bad ones.",
        alt=f"Accuracy of the answers over the share of faces that get one, for {', '.join(found)}.",
    )  # fmt: skip


def _rungs(record: Record, kind: str) -> list[Record]:
    return [rung for rung in record["ladder"] if rung["format"] == kind and rung["drop"] is not None]


def _ladder(record: Record, kind: str) -> Chart:
    rungs = _rungs(record, kind)
    changes = [-rung["drop"] for rung in rungs]
    limit = record["verdict"]["limits"]["max_drop"] / 2

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        axes.axvline(0, color=theme.ink, linewidth=1, label="float")
        axes.axvline(-limit, color=theme.ink, linewidth=1.2, linestyle=":", label="half of what the gate allows")
        for row, (rung, change) in enumerate(zip(rungs, changes, strict=True)):
            axes.barh([row], [change], 0.55, color=theme.series[0] if rung["kept"] else theme.paper,
                      edgecolor=theme.series[0], hatch=None if rung["kept"] else "////")  # fmt: skip
        rows_on(axes, [rung["name"] for rung in rungs])
        axes.set(xlabel="points of dev accuracy against float")
        legend_below(figure, axes)

    met = next((rung["name"] for rung in rungs if rung["met"]), None)
    taken = next((rung["name"] for rung in rungs if rung["taken"]), None)
    look = "Filled bars were kept, hatched ones given up. "
    look += f"First good enough on dev: {met}" if met else "No rung is good enough on dev"
    look += f"; the candidate is {taken}." if taken else "; none was kept."
    alt = ", ".join(f"{rung['name']} {two_digits(change)}" for rung, change in zip(rungs, changes, strict=True))
    return draw(
        f"The ladder, {kind}", paint, 1.4 + 0.3 * len(rungs), look=look,
        why="It shows what each repair gave back, and that no more was done than was needed.",
        alt=f"Points of dev accuracy against the float file: {alt}.",
    )  # fmt: skip


def _sweep(record: Record) -> Chart:
    trials = sorted(record["sweep"], key=lambda trial: -trial["accuracy"])
    parent = _float_on_dev(record)

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        if parent is not None:
            axes.axvline(100 * parent, color=theme.ink, linewidth=1, label="float")
        for row, trial in enumerate(trials):
            inside = theme.series[0] if trial["chosen"] else theme.paper
            axes.plot([100 * trial["accuracy"]], [row], color=theme.series[0], marker="o", markersize=7,
                      markerfacecolor=inside, linestyle="none")  # fmt: skip
        rows_on(axes, [trial_name(trial) for trial in trials])
        axes.set(xlabel="dev accuracy, % (filled: taken)")
        legend_below(figure, axes)

    best = trials[0]
    chosen = next((trial for trial in trials if trial["chosen"]), None)
    look = f"Best on dev: {trial_name(best)}, {100 * best['accuracy']:.2f} %"
    look += "." if chosen is None else f"; taken: {trial_name(chosen)}, {100 * chosen['accuracy']:.2f} %."
    return draw(
        "Ways to take ranges", paint, 1.3 + 0.24 * len(trials), look=look,
        why="int8 has 256 steps between the least and the greatest value it knows; where these lie is what costs.",
        alt="Dev accuracy: " + ", ".join(f"{trial_name(t)} {100 * t['accuracy']:.2f} %" for t in trials) + ".",
    )  # fmt: skip


def trial_name(trial: Record) -> str:
    """Return a trial's settings in short."""
    return f"{trial['method']}, {trial['activation']}, {'per channel' if trial['per_channel'] else 'per tensor'}"


def _float_on_dev(record: Record) -> float | None:
    found = record["figures"].get("dev", {}).get(FP32_ONNX)
    return None if found is None else float(found["accuracy"])


def _counts(record: Record) -> Chart:
    trials = sorted(record["curve"], key=lambda trial: trial["count"])
    counts = [trial["count"] for trial in trials]
    parent = _float_on_dev(record)

    def paint(figure: Figure, theme: Theme) -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        if parent is not None:
            above.axhline(100 * parent, color=theme.ink, linewidth=1, label="float")
        above.plot(counts, [100 * trial["accuracy"] for trial in trials], color=theme.series[0], marker="o",
                   label="int8")  # fmt: skip
        above.set(ylabel="dev accuracy, %")
        below.plot(counts, [trial["kl"] for trial in trials], color=theme.series[1], marker="s")
        below.set(ylabel="KL to float, nats", xlabel="calibration pictures", ylim=(0, None))
        for trial in trials:
            if trial["chosen"]:
                for axes in (above, below):
                    axes.axvline(trial["count"], color=theme.series[2], linestyle=":", label="taken")
        below.set_xscale("log")
        below.xaxis.set_major_locator(FixedLocator(counts))
        below.xaxis.set_minor_locator(NullLocator())
        below.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
        legend_below(figure, above, 3)

    least, most = trials[0], trials[-1]
    chosen = next((trial for trial in trials if trial["chosen"]), None)
    look = (
        f"From {least['count']:,} to {most['count']:,} pictures accuracy goes from {100 * least['accuracy']:.2f} to "
        f"{100 * most['accuracy']:.2f} %, divergence from {least['kl']:.4f} to {most['kl']:.4f}."
    )
    look += "" if chosen is None else f" Taken: {chosen['count']:,}."
    return draw(
        "How many calibration pictures", paint, 4.2, look=look,
        why="Where the lines are flat more pictures change nothing; where they are not, too few were taken.",
        alt="Dev accuracy and divergence by calibration pictures: "
        + ", ".join(f"{t['count']}: {100 * t['accuracy']:.2f} %, {t['kl']:.4f}" for t in trials) + ".",
    )  # fmt: skip


def _latency(record: Record) -> Chart:
    costs = sorted(record["costs"], key=lambda c: (c["threads"], MODEL_FILES.index(c["file"]), c["runtime"]))
    names = [f"{cost['file']}, {cost['threads']} thr." for cost in costs]

    def paint(figure: Figure, theme: Theme) -> None:
        axes: Axes = figure.subplots()
        for row, cost in enumerate(costs):
            plain = cost["file"] in (FP32_ONNX, FP32_TFLITE)
            axes.barh([row], [cost["p50_ms"]], 0.6, color=theme.faint if plain else theme.series[0])
            axes.plot([cost["p50_ms"], cost["p95_ms"]], [row, row], color=theme.ink, linewidth=1)
        rows_on(axes, names)
        axes.set(xlabel="ms a face", xlim=(0, None))

    fastest = min(costs, key=lambda cost: cost["p50_ms"])
    slower = [c for c in costs if c["ratio"] is not None and c["ratio"] > 1]
    look = (
        "Bars are medians, lines go on to the 95th percentile. "
        f"Fastest here: {fastest['file']}, {fastest['threads']} thr., {fastest['p50_ms']:.2f} ms."
    )
    look += f" Slower than its float file: {_listed(slower)}." if slower else ""
    return draw(
        "Time for one face", paint, 1.0 + 0.26 * len(costs), look=look,
        why="int8 is not faster everywhere: the figures hold for this machine; edge bench measures another one.",
        alt="Median ms a face: " + ", ".join(f"{n} {c['p50_ms']:.2f}" for n, c in zip(names, costs, strict=True)) + ".",
    )  # fmt: skip


def _listed(costs: list[Record]) -> str:
    return ", ".join(f"{cost['file']} with {cost['threads']} thr. ({cost['ratio']:.2f} times)" for cost in costs)
