"""`edge train evaluate`: measure, explain, and write `report.html` and `metrics.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge.detect import load_detector
from edge.errors import InputError
from edge.explain import load_engine
from edge.files import check_writable, write_whole
from train.config import FitConfig
from train.report.arms import OVERALL
from train.report.charts import Chart, curves_chart, history_chart, reliability_chart
from train.report.curves import reliability
from train.report.evaluation import Evaluation, as_metrics, measure, precision_recall_of, receiver_operating_of
from train.report.page import render
from train.report.sheets import explain_samples, sheet
from train.report.sources import Sources
from train.report.subject import open_file, open_run, read_run
from train.runs import Run
from train.stages import Stages


@dataclass(frozen=True)
class Request:
    """What a report is asked for.

    Attributes:
        subject: a run, or a model file.
        data: where the labelled pictures are; None for the run's own.
        label_map: what folders of other names mean, `FOLDER=LABEL` each.
        split: `test`, `dev`, or None for the first of them that the data has.
        out: the folder to write.
        align: whether to measure after detection and alignment, too; a run that learned from aligned faces always is.
        pictures: whether the report may show pictures of the data.
        lime: perturbed copies a picture for LIME, 0 for no LIME.
        threads: processor threads.
        command: the command line, as the report shows it.
    """

    subject: Run | Path
    data: str | None
    label_map: tuple[str, ...]
    split: str | None
    out: Path
    align: bool
    pictures: bool
    lime: int
    threads: int
    command: str


def evaluate(request: Request, stages: Stages) -> tuple[Evaluation, tuple[Path, ...]]:
    """Measure a run or a model file and write its report; return the figures and the files' paths.

    Raises:
        InputError: the run, the file, the data or the split is not there, or the folder cannot be written.
    """
    if request.lime and request.pictures:
        load_engine()  # what is missing is said before the long work
    sources = Sources()
    config = None if isinstance(request.subject, Path) else read_run(request.subject)[1]
    if config is None:
        if request.data is None:
            raise InputError(f"{request.subject}: a model file needs --data")
        config = FitConfig(data=request.data)
    check_writable(request.out)
    if isinstance(request.subject, Path):
        subject = open_file(request.subject, request.threads)
    else:
        subject = open_run(request.subject, request.data, sources, stages, request.threads)
    align = request.align or config.aligned is not None
    if request.data is not None and request.data != config.data:
        config = replace(config, data=request.data)
    if request.label_map:
        config = replace(config, label_map=request.label_map)
    stages.stage("reading the pictures")
    split, faces = sources.choose(config, request.split)
    evaluation = measure(subject, config.data, split, faces, align=align, stages=stages)
    page = render_report(evaluation, request, stages)
    written = request.out / "metrics.json", request.out / "report.html"
    write_whole(written[0], (json.dumps(as_metrics(evaluation, request.command), indent=1) + "\n").encode())
    write_whole(written[1], page.encode())
    return evaluation, written


def render_report(evaluation: Evaluation, request: Request, stages: Stages) -> str:
    """Return the report as HTML."""
    shown = request.pictures
    sheets = {"right": sheet(evaluation, True), "wrong": sheet(evaluation, False)} if shown else {}
    pairs = explain_samples(evaluation, load_detector(), request.lime, stages) if shown and request.lime else []
    stages.stage("writing the report")
    metrics = as_metrics(evaluation, request.command)
    return render(
        "evaluation.html", metrics=metrics, info=evaluation.subject.classifier.info, charts=_charts(evaluation),
        overall=OVERALL, columns=_columns(metrics), sheets=sheets, pairs=pairs, lime=request.lime, shown=shown,
        settings=_settings(metrics),
    )  # fmt: skip


def _charts(evaluation: Evaluation) -> list[Chart]:
    run, whole = evaluation.subject.run, evaluation.whole
    charts = []
    if run is not None and run["epochs"]:
        best = max(run["epochs"], key=lambda row: float(row["dev_accuracy"]))
        charts.append(history_chart(run["epochs"], int(best["epoch"])))
    charts.append(curves_chart(
        "ROC, each class against the rest", receiver_operating_of(evaluation), "false positive rate",
        "true positive rate", "area under the curve", diagonal=True,
    ))  # fmt: skip
    charts.append(curves_chart(
        "Precision and recall, each class", precision_recall_of(evaluation), "recall", "precision",
        "average precision", diagonal=False,
    ))  # fmt: skip
    if len(evaluation.targets):
        bins = reliability(whole.probabilities, evaluation.targets)
        charts.append(reliability_chart(bins, whole.figures["ece"]))
    return charts


def _columns(metrics: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the sets of figures side by side, by their titles."""
    if "after_alignment" not in metrics:
        return [("whole picture", metrics["figures"])]
    before, after = metrics["before_alignment"], metrics["after_alignment"]
    return [
        ("whole picture", before), ("aligned", after), (f"whole, the {after['found']} found", before["of_found"]),
        (f"aligned, the {after['found']} found", after["of_found"]),
    ]  # fmt: skip


def _settings(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the run's configuration as rows, without what is unset."""
    config = metrics.get("run", {}).get("config") or {}
    rows = []
    for key, value in config.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        rows += [(f"{key}.{name}".rstrip("."), str(each)) for name, each in inner if each not in (None, [], "")]
    return rows
