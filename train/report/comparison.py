"""`edge train compare`: what runs cost and what they are worth, side by side, from their evaluations."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import edge
from edge.errors import InputError
from edge.files import check_writable, write_whole
from edge.machine import cores
from edge.model import load_model
from train.config import FitConfig
from train.export import sha256_of
from train.report.arms import OVERALL, Arm, Evaluated, Range, differing, judge, make_arms
from train.report.charts import Spot, classes_chart, comparison_picture, field_chart
from train.report.command import without_paths
from train.report.cost import latencies, machine, multiply_adds, parameters, waiting
from train.report.page import render
from train.report.subject import cached_file
from train.report.tables import VIEWS, as_markdown, measured, notes, span
from train.runs import Run, home
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
        names: of runs that have been evaluated; those that have not are named in what is written, and left out.
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
    evaluated = [run for run in found.values() if run is not None]
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


def read_evaluated(name: str) -> Evaluated | None:
    """Return a run with its evaluation; None where it has none.

    Raises:
        InputError: there is no such run, the evaluation is damaged, or of other weights than the run has now.
    """
    run = Run(home() / "runs" / name)
    if not run.best.exists():
        raise run.missing()
    path = run.folder / "evaluation" / "metrics.json"
    if not path.exists():
        return None
    again = f"evaluate it again with edge train evaluate {name}"
    try:
        metrics = json.loads(path.read_text(), parse_constant=_refuse)
        sha = metrics["run"]["weights_sha256"]
        shown = _complete(metrics["run"]["config"])
        evaluated = Evaluated(name, shown, _identity(shown, (name,)), int(shown["seed"]), metrics)
        _check_figures(metrics)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: it is no evaluation of a run; {again}") from None
    if sha != sha256_of(run.best.read_bytes()) or not cached_file(run, sha).is_file():
        raise InputError(f"run {name}: its weights are not those that were evaluated; {again}")
    return evaluated


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no figure")


def _check_figures(metrics: dict[str, Any]) -> None:
    """Raise ValueError, KeyError or TypeError where an evaluation lacks what the comparison shows."""
    for key in ("model", "network", "command", "data", "data_sha256", "split"):
        if not isinstance(metrics[key], str):
            raise TypeError(key)
    labels = metrics["labels"]
    if not labels or type(metrics["n"]) is not int or not isinstance(metrics["file"], dict):
        raise ValueError("labels, n or file")
    for _, view in VIEWS:
        if view not in metrics and view != "figures":
            continue
        figures = metrics[view]
        values = [figures[key] for _, key in OVERALL] + [figures["per_class"][label]["f1"] for label in labels]
        if not all(value is None or isinstance(value, (int, float)) for value in values):
            raise TypeError(view)


def _complete(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the defaults for what it does not say, as an older kit's does not."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(FitConfig(data=""))))
    return {**plain, **config}


def _identity(config: dict[str, Any], seen: tuple[str, ...]) -> dict[str, Any]:
    """Return a configuration without the seed, and for the runs that it names theirs instead of their names."""

    def of(name: str) -> Any:
        stored = Run(home() / "runs" / name).read_config() if name not in seen else None
        return name if stored is None else _identity(_complete(without_paths(stored)), (*seen, name))

    identity = {key: value for key, value in config.items() if key != "seed"}
    start = config["start"] or []
    identity["start"] = [of(name) for name in ([start] if isinstance(start, str) else start)]
    identity["teachers"] = [of(name) for name in config["teachers"]]
    return identity


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
    runs = [Run(home() / "runs" / arm.runs[0].name) for arm in arms]
    files = [
        cached_file(run, arm.runs[0].metrics["run"]["weights_sha256"]) for run, arm in zip(runs, arms, strict=True)
    ]
    moved = stages.stage("measuring latency", rounds)
    times = latencies([load_model(file, threads=1) for file in files], rounds, moved, time.perf_counter)
    return [
        Row(
            arm, parameters(run.best.read_bytes()), multiply_adds(file.read_bytes()), file.stat().st_size, ms, ratio
        )
        for arm, run, file, (ms, ratio) in zip(arms, runs, files, times, strict=True)
    ]  # fmt: skip


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
                "runs": [{"name": run.name, "model": run.metrics["model"], "command": run.metrics["command"]}
                         for run in row.arm.runs],
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
