"""The commands `edge calibrate …`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from edge.errors import InputError
from train.cli.order import InOrder

MAX_DROP = click.option(
    "--max-drop", type=click.FloatRange(0, 100), default=0.5, show_default=True,
    help="Points of accuracy that may be lost; the one-sided 95 % bound may reach 1.0.",
)  # fmt: skip
MAX_CLASS_DROP = click.option(
    "--max-class-drop", type=click.FloatRange(0, 100), default=2.0, show_default=True,
    help="Points of recall that each class may lose; two pictures always may.",
)  # fmt: skip
LABEL_MAP = click.option(
    "--label-map", "pairs", multiple=True, metavar="FOLDER=LABEL", help="What a folder of another name means in DATA."
)


@click.group("calibrate", cls=InOrder)
def group() -> None:
    """Make a float model small, and show what it cost.

    \b
    From a training run to a release candidate with its report, and the proof of it again from its files:
      edge calibrate run mine --out candidate
      edge calibrate check candidate
      edge calibrate ship candidate --to models
    """


@group.command("run")
@click.argument("source")
@click.option("--data", help="Labelled faces; default: where the run's were.")
@LABEL_MAP
@click.option("--out", required=True, metavar="DIR", help="The candidate's folder.")
@click.option("--name", help="What the model is called (default: as the run or the file).")
@click.option(
    "--target", type=click.Choice(["x86", "arm"]), default="x86", show_default=True,
    help="Processor that the ONNX file is for.",
)  # fmt: skip
@click.option(
    "--count", type=click.IntRange(min=10), default=560, show_default=True,
    help="Calibration pictures at most; the report shows what fewer would do.",
)  # fmt: skip
@click.option(
    "--unlabelled", type=click.IntRange(min=0), default=5000, show_default=True,
    help="Further training pictures on which float and int8 are compared.",
)  # fmt: skip
@MAX_DROP
@MAX_CLASS_DROP
@click.option("--all-rungs", is_flag=True, help="Climb to the top of the ladder, even when the gate is met earlier.")
@click.option(
    "--tflite/--no-tflite", default=None, help="Make TFLite files too (default: where their tools are installed)."
)
@click.option("--steps", type=click.IntRange(min=1), default=400, show_default=True, help="Steps of fine-tuning.")
@click.option(
    "--rate", type=click.FloatRange(0, 1, min_open=True), default=2e-5, show_default=True,
    help="Learning rate of fine-tuning.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=60.0, show_default=True,
    help="How long latency is measured, all files and runtimes together.",
)  # fmt: skip
@click.option(
    "--pictures", type=click.Choice(["all", "none"]), default="all", show_default=True,
    help="Whether the report may show pictures of the data; none: it may be passed on where the data may not.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of every draw.")
@click.option("--licence", default="Apache-2.0", show_default=True, help="Licence of a run's weights.")
def run_command(
    source: str, data: str | None, pairs: tuple[str, ...], out: str, name: str | None, target: str, count: int,
    unlabelled: int, max_drop: float, max_class_drop: float, all_rungs: bool, tflite: bool | None, steps: int,
    rate: float, seconds: float, pictures: str, seed: int, licence: str,
) -> None:  # fmt: skip
    """Make SOURCE a release candidate, with its report.

    It is made small, what that broke is repaired, and what is left is proved. SOURCE is a training run's name or
    folder, or a float ONNX file; one without its NAME.fp16.safetensors beside it gets no TFLite files and no
    fine-tuning. DIR will hold fp32 and int8 models as ONNX and TFLite, report.html, report.json and report.md, and
    release.json if the gate passes; else the exit code is 4.

    Ranges are taken from training pictures, everything is chosen on dev, and the gate judges on the test split.
    Stopped, the same command goes on after the last whole step.

    \b
    Examples:
      edge calibrate run lite0 --out candidate
      edge calibrate run lite0-fp32.onnx --data fer2013.zip --out candidate --pictures none
    """
    from calibrate.candidate import Options, make_candidate
    from calibrate.finetune import Course
    from calibrate.gate import GateFailed, Limits
    from train.cli.names import plain_name
    from train.cli.progress import Report, progress_bar

    options = Options(
        target=target, count=count, unlabelled=unlabelled, everything=all_rungs, tflite=tflite, seconds=seconds,
        limits=Limits(max_drop=max_drop, max_class_drop=max_class_drop), seed=seed, licence=licence,
        course=Course(steps=steps, rate=rate, seed=seed),
    )  # fmt: skip
    with progress_bar() as bar:
        report = Report(bar)
        judgement = make_candidate(
            source, data, Path(out), options, name=plain_name(name) if name else None, command=typed(),
            pictures=pictures == "all", stages=report, label_map=pairs, say=report.say,
        )  # fmt: skip
    for reason in judgement.reasons:
        click.echo(reason)
    click.echo(f"{Path(out) / 'report.html'}")
    if not judgement.passes:
        raise GateFailed(f"{out}: not released. {judgement.in_short()}")
    click.echo(f"{Path(out) / 'release.json'}: released")


@group.command("check")
@click.argument("folder", metavar="DIR")
@click.option("--data", help="The labelled faces it was made with: run every model file again.")
@LABEL_MAP
@click.option("--max-drop", type=click.FloatRange(0, 100), help="Judge within other limits than it was made for.")
@click.option("--max-class-drop", type=click.FloatRange(0, 100), help="Likewise, points of each class's recall.")
@click.option("--json", "as_json", is_flag=True, help="Print the judgement as JSON.")
def check_command(
    folder: str, data: str | None, pairs: tuple[str, ...], max_drop: float | None, max_class_drop: float | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Judge a candidate again from its files.

    The files are held against each other; exit code 4 where it fails. A model file, a report or an answer that was
    changed afterwards is named. With --data every model file answers the test pictures again.

    \b
    Examples:
      edge calibrate check candidate
      edge calibrate check candidate --data fer2013.zip
    """
    import json

    from calibrate.check import check
    from calibrate.evidence import read_evidence
    from calibrate.gate import limits_from
    from edge.measure.cli import parse_label_map
    from train.cli.progress import Report, progress_bar

    limits = None
    if max_drop is not None or max_class_drop is not None:
        given = {"max_drop": max_drop, "max_class_drop": max_class_drop}
        stored = read_evidence(Path(folder)).limits
        limits = limits_from({**stored, **{key: value for key, value in given.items() if value is not None}})
    with progress_bar() as bar:
        report = Report(bar)
        shown: dict[str, Any] = {}

        def progress(what: str, done: int, of: int) -> None:
            if what not in shown:
                shown[what] = report.stage(what, of)
            shown[what](done)

        found = check(Path(folder), data, limits, progress, label_map=parse_label_map(pairs))
    if as_json:
        said = {"passes": found.passes, "problems": list(found.problems), "reasons": list(found.judgement.reasons),
                "same": found.same}  # fmt: skip
        click.echo(json.dumps(said, indent=2))
    else:
        for line in found.lines():
            click.echo(line)
    found.require()


@group.command("compare")
@click.argument("folders", metavar="DIR...", nargs=-1, required=True)
@click.option("--out", metavar="FILE", help="Write the tables as Markdown, too.")
def compare_command(folders: tuple[str, ...], out: str | None) -> None:
    """Put candidates side by side.

    What each int8 file lost, its size and time beside the float one's, whether it passes the gate, judged again from
    the files; and what each rung of the ladder gave back. The exit code is 4 where one of them fails.

    \b
    Example:
      edge calibrate compare resnet18/ mobilenetv3/ --out candidates.md
    """
    from calibrate.compare import compare, show
    from calibrate.gate import GateFailed
    from edge.files import check_writable, write_whole

    if out is not None:
        check_writable(Path(out).parent)
    found = compare([Path(folder) for folder in folders], typed())
    show(found)
    if out is not None:
        write_whole(Path(out), found.as_markdown().encode())
        click.echo(out)
    failed = [record["name"] for record, passes in zip(found.records, found.passes, strict=True) if not passes]
    if failed:
        raise GateFailed(f"not to be released: {', '.join(failed)}")


@group.command("ship")
@click.argument("folder", metavar="DIR")
@click.option("--to", required=True, metavar="FOLDER", help="Where the files go; of the same names are replaced.")
def ship_command(folder: str, to: str) -> None:
    """Copy what a device needs of a released candidate.

    The int8 files, their parent, the model card, the report without pictures.

    \b
    Example:
      edge calibrate ship candidate --to models
    """
    from calibrate.ship import ship

    for path in ship(Path(folder), Path(to)):
        click.echo(str(path))


def typed() -> str:
    """Return the command as it was typed, its program by its name alone."""
    return shlex.join(["edge", *sys.argv[1:]])


@group.command("quantize")
@click.argument("model")
@click.option(
    "--data", required=True, help="Labelled faces to calibrate on: fer2013.csv, a folder per class, or a zip of it."
)
@LABEL_MAP
@click.option("--out", required=True, metavar="FILE", help="The int8 ONNX file to write.")
@click.option(
    "--method", type=click.Choice(["auto", "minmax", "entropy", "percentile", "mse"]), default="auto",
    show_default=True, help="How ranges are taken; auto tries each and takes what is best on dev.",
)  # fmt: skip
@click.option(
    "--count",
    type=click.IntRange(min=10),
    default=280,
    show_default=True,
    help="Calibration pictures, even over the classes.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of their choice.")
def quantize_command(
    model: str, data: str, pairs: tuple[str, ...], out: str, method: str, count: int, seed: int
) -> None:
    """Quantize a float ONNX MODEL to int8 in one step.

    The quick way to try one, without repair, report or gate. Ranges come from training pictures; the method is chosen
    on dev; the test split, where there is one, is only reported.

    \b
    Example:
      edge calibrate quantize lite0-fp32.onnx --data fer2013.zip --out lite0-int8.onnx
    """
    from calibrate.quantize import quantize_file
    from train.cli.progress import Report, progress_bar

    with progress_bar() as bar:
        report = Report(bar)
        for line in quantize_file(Path(model), data, Path(out), method, count, seed, report, label_map=pairs):
            report.say(line)


@group.command("card")
@click.argument("fp32")
@click.argument("int8")
@click.option("--data", required=True, help="Labelled faces to report on.")
@click.option("--split", metavar="NAME", help="Which split to report, when DATA holds several.")
@click.option("--record", metavar="FILE", help="NAME.export.json of the training side; default: beside FP32.")
@click.option(
    "--out", required=True, metavar="FILE.md", help="The model card to write; figures go into FILE.json beside it."
)
def card_command(fp32: str, int8: str, data: str, split: str | None, record: str | None, out: str) -> None:
    """Write the model card of INT8.

    What it is, what it was trained on, and its figures beside its float parent's.

    \b
    Example:
      edge calibrate card lite0-fp32.onnx lite0-int8.onnx --data fer2013.zip --split test --out lite0.md
    """
    from calibrate.card import write_card

    if not out.endswith(".md"):
        raise InputError(f"--out {out}: a model card ends in .md")
    beside = Path(fp32).with_name(Path(fp32).name.replace("-fp32.onnx", ".export.json"))
    for path in write_card(Path(fp32), Path(int8), data, split, Path(record) if record else beside, Path(out)):
        click.echo(str(path))
