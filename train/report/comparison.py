"""`edge train compare`: what runs cost and what they are worth, side by side, from their evaluations."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import edge
from edge.errors import InputError
from edge.files import check_writable, write_whole
from edge.machine import cores
from edge.model.onnx import OnnxClassifier
from train.report.arms import OVERALL, Arm, Evaluated, Range, differing, judge, make_arms
from train.report.charts import Spot, classes_chart, comparison_picture, field_chart
from train.report.cost import latencies, machine, multiply_adds, waiting
from train.report.evaluated import costed, read_evaluated
from train.report.page import render
from train.report.tables import VIEWS, as_markdown, measured, notes, span
from train.stages import Stages

ROUNDS = 200

AXES = {"latency": "ms a crop", "size": "MB of the float ONNX"}


@dataclass(frozen=True)
class Row:
    """One arm of the table.

    Attributes:
        arm: the runs.
        parameters, multiply_adds, bytes: of its first run's network; the others' are the same.
        ms, ratio: median latency of one crop, and as a ratio to the first arm's.
    """

    arm: Arm
    parameters: int
    multiply_adds: int
    bytes: int
    ms: float
    ratio: float


def compare(names: Sequence[str], out: Path, by: str, rounds: int, command: str, stages: Stages) -> tuple[Path, ...]:
    """Write `comparison.md`, `.json`, `.png` and `.html`; return their paths.

    Args:
        names: of runs that have been evaluated, or paths of their `metrics.json` that were kept; runs that have not
            been are named in what is written, and left out.
        out: the folder.
        by: `latency` or `size`: what accuracy is drawn against.
        rounds: how often each model's latency is measured.
        command: the command line, as the reports show it.
        stages: shows what is being done.

    Raises:
        InputError: no run has been evaluated, one has been trained on since or is unknown, two were evaluated on
            different pictures, or the folder cannot be written.
    """
    check_writable(out)
    stages.stage("reading the evaluations")
    found = {name: read_evaluated(name) for name in dict.fromkeys(names)}
    evaluated = as_trained([run for run in found.values() if run is not None])
    missing = [name for name, run in found.items() if run is None]
    if not evaluated:
        raise InputError(f"not evaluated: {', '.join(missing)}; run edge train evaluate for each first")
    _check_same_pictures(evaluated)
    load = waiting()
    rows = _rows(make_arms(evaluated), rounds, stages)
    stages.stage("writing the comparison")
    record = as_record(rows, missing, by, rounds, load, command)
    spots = [_spot(row, by) for row in rows]
    page = render(
        "comparison.html", record=record, overall=OVERALL, views=[each for each in VIEWS if measured(record, each[1])],
        notes=notes(record), span=span, charts=[field_chart(spots, AXES[by]), classes_chart(spots)],
    )  # fmt: skip
    paths = tuple(out / f"comparison.{suffix}" for suffix in ("json", "md", "png", "html"))
    contents = (
        (json.dumps(record, indent=1) + "\n").encode(), as_markdown(record).encode(),
        comparison_picture(spots, AXES[by]), page.encode(),
    )  # fmt: skip
    for path, content in zip(paths, contents, strict=True):
        write_whole(path, content)
    return paths


def as_trained(runs: list[Evaluated]) -> list[Evaluated]:
    """Return runs with a view of each as it was trained, where some learned from aligned faces and others did not.

    A run that learned from aligned faces is measured on aligned ones, those without a found face through the fallback.
    """
    aligned = [run.config["aligned"] is not None and run.config["aligned_share"] == 1 for run in runs]
    if len(set(aligned)) < 2:
        return runs
    own = [run.figures("after_alignment" if turned else "figures") for run, turned in zip(runs, aligned, strict=True)]
    return [
        replace(run, metrics={**run.metrics, "as_trained": view} if view else run.metrics)
        for run, view in zip(runs, own, strict=True)
    ]


def _check_same_pictures(runs: Sequence[Evaluated]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if any(run.metrics[key] != first.metrics[key] for key in ("data_sha256", "split", "labels")):
            raise InputError(
                f"runs {first.name} and {run.name} were evaluated on different pictures "
                f"({first.metrics['data']} {first.metrics['split']}, {run.metrics['data']} {run.metrics['split']}): "
                "evaluate both on the same --data and --split"
            )


def _rows(arms: list[Arm], rounds: int, stages: Stages) -> list[Row]:
    """Measure what each arm's network costs, on the file of its first run."""
    subjects = [costed(arm.runs[0]) for arm in arms]
    moved = stages.stage("measuring latency", rounds)
    models = [OnnxClassifier.from_bytes(each.graph, arm.name) for each, arm in zip(subjects, arms, strict=True)]
    times = latencies(models, rounds, moved, time.perf_counter)
    return [
        Row(arm, each.parameters, multiply_adds(each.graph), each.bytes, ms, ratio)
        for arm, each, (ms, ratio) in zip(arms, subjects, times, strict=True)
    ]


def _spot(row: Row, by: str) -> Spot:
    accuracy = row.arm.over_seeds("figures", "accuracy")
    assert accuracy is not None, "a split without pictures is not evaluated"
    labels = row.arm.runs[0].metrics["labels"]
    f1 = {label: _mean(row.arm.over_seeds("figures", "f1", label)) for label in labels}
    x = row.ms if by == "latency" else row.bytes / 1e6
    return Spot(row.arm.name, round(x, 3), accuracy.mean, accuracy.low, accuracy.high, f1)


def _mean(reach: Range | None) -> float | None:
    return None if reach is None else reach.mean


def as_record(
    rows: Sequence[Row], missing: list[str], by: str, rounds: int, load: float | None, command: str
) -> dict[str, Any]:
    """Return what goes into `comparison.json`, and what the other files are made from."""
    arms = [row.arm for row in rows]
    first = arms[0].runs[0].metrics
    keys = differing(arms)
    return {
        "command": command, "kit": edge.__version__, "machine": machine(), "cores": cores(), "processes_waiting": load,
        "latency": f"median of {rounds} single crops, one thread, the models in turn in one process",
        "data": first["data"], "data_sha256": first["data_sha256"], "split": first["split"], "n": first["n"],
        "labels": first["labels"], "by": by, "not_evaluated": missing, "keys": list(keys),
        "arms": [
            {
                "name": row.arm.name, "network": row.arm.runs[0].metrics["network"], "seeds": row.arm.seeds,
                "runs": [
                    {"name": run.name, "model": run.metrics["model"], "command": run.metrics["command"],
                     "kept": run.kept}
                    for run in row.arm.runs
                ],
                "parameters": row.parameters, "multiply_adds": row.multiply_adds, "bytes": row.bytes,
                "ms": round(row.ms, 4), "ms_to_first": round(row.ratio, 4),
                "settings": {key: values[index] for key, values in keys.items()},
                **{view: _view(row.arm, view, first["labels"]) for _, view in VIEWS},
            }
            for index, row in enumerate(rows)
        ],
        "verdicts": {view: [asdict(verdict) for verdict in judge(arms, view)] for _, view in VIEWS},
    }  # fmt: skip


def _view(arm: Arm, view: str, labels: list[str]) -> dict[str, Any] | None:
    """Return an arm's ranges of every figure in one way of framing, None where it was not measured."""
    if any(run.figures(view) is None for run in arm.runs):
        return None
    overall = {key: arm.over_seeds(view, key) for _, key in OVERALL}
    f1 = {label: arm.over_seeds(view, "f1", label) for label in labels}
    found = [run.metrics[view].get("found") for run in arm.runs]
    return {
        **{key: None if reach is None else asdict(reach) for key, reach in overall.items()},
        "f1": {label: None if reach is None else asdict(reach) for label, reach in f1.items()},
        "found": found[0] if len(set(found)) == 1 else found,
    }
