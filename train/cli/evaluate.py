"""`edge train evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from edge.errors import InputError
from edge.machine import cores
from train.cli.names import plain_name
from train.cli.progress import Report, progress_bar


@click.command("evaluate")
@click.argument("subject", metavar="RUN_OR_MODEL")
@click.option(
    "--data", help="Labelled faces: fer2013.csv, a folder per class, or a zip of it (default: the run's own)."
)
@click.option("--label-map", multiple=True, metavar="FOLDER=LABEL", help="What a folder of another name means.")
@click.option("--split", type=click.Choice(["test", "dev"]), help="Which faces (default: test where there is one).")
@click.option("--out", metavar="DIR", help="Folder to write (default for a run: evaluation/ in the run's folder).")
@click.option("--align", is_flag=True, help="Measure after detection and alignment, too, with the model's own crop.")
@click.option(
    "--pictures", type=click.Choice(["all", "none"]), default="all", show_default=True,
    help="Whether the report may show faces of the data; none leaves out sheets and LIME.",
)  # fmt: skip
@click.option(
    "--lime", type=click.IntRange(min=0), metavar="N", default=0, show_default=True,
    help="Explain a right and a wrong answer of each class from N copies of the picture each (1000 is usual).",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 256), help="Processor threads (default: all).")
@click.pass_context
def evaluate_command(
    context: click.Context, subject: str, data: str | None, label_map: tuple[str, ...], split: str | None,
    out: str | None, align: bool, pictures: str, lime: int, threads: int | None,
) -> None:  # fmt: skip
    """Measure a run's best weights, or a model file.

    The device's runtime runs it; report.html and metrics.json are written. A run is made a float ONNX first, once for
    the same weights. The report is one file that needs nothing else.

    \b
    Examples:
      edge train evaluate lite0
      edge train evaluate lite0 --align --lime 1000
      edge train evaluate lite0-int8.onnx --data fer2013.zip --out report --pictures none
    """
    from train.report.command import typed_command
    from train.report.evaluate import Request, evaluate
    from train.runs import Run, home

    if lime == 1:
        raise InputError("--lime 1: give 0 for none, or a number of copies such as 1000")
    is_file = subject.lower().endswith(".onnx")
    if is_file and out is None:
        raise InputError(f"{subject}: a model file needs --out DIR, the folder to write")
    run = None if is_file else Run(home() / "runs" / plain_name(subject))
    request = Request(
        subject=run or Path(subject), data=data, label_map=label_map, split=split,
        out=Path(out) if out else run.folder / "evaluation" if run else Path(),
        align=align, pictures=pictures == "all", lime=lime, threads=threads or cores(),
        command=typed_command(context),
    )  # fmt: skip
    with progress_bar() as bar:
        evaluation, written = evaluate(request, Report(bar))
    figures = evaluation.whole.figures
    click.echo(
        f"{evaluation.subject.classifier.info.id} on {evaluation.data} ({evaluation.split}, {figures['n']} pictures): "
        + ", ".join(f"{key} {figures[key]:.4f}" for key in ("accuracy", "balanced_accuracy", "macro_f1", "ece"))
    )
    for path in written:
        click.echo(str(path))
