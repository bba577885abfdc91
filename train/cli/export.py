"""`edge train export` and `edge train export-mtcnn`."""

from __future__ import annotations

from pathlib import Path

import click

from train.cli.names import plain_name
from train.cli.progress import Report, progress_bar


@click.command("export")
@click.argument("run_name", metavar="RUN")
@click.option("--out", required=True, metavar="DIR", help="Where to write NAME-fp32.onnx and NAME.fp16.safetensors.")
@click.option("--name", help="Name of the model (default: the run's).")
@click.option("--data", help="Where the run's data is now, when it has moved.")
@click.option("--licence", default="Apache-2.0", show_default=True, help="Licence of the weights.")
@click.option(
    "--faces", type=click.IntRange(min=100), default=3000, show_default=True, help="Pictures for the crop template."
)
def export_command(run_name: str, out: str, name: str | None, data: str | None, licence: str, faces: int) -> None:
    """Write the best weights of RUN as a model file.

    It is a float ONNX that keeps the model file contract, with fp16 safetensors beside it. Temperature, threshold and
    the crop template are measured here: on dev, and on training pictures.

    \b
    Example:
      edge train export mine --out models/
    """
    from train.deliver import deliver
    from train.runs import Run, home

    run = Run(home() / "runs" / plain_name(run_name))
    with progress_bar() as bar:
        written = deliver(run, Path(out), plain_name(name or run_name), licence, data, faces, Report(bar))
    for path in written:
        click.echo(f"{path}: {path.stat().st_size:,} bytes")


@click.command("export-mtcnn")
@click.option("--out", required=True, metavar="DIR", help="Where to write pnet.onnx, rnet.onnx and onet.onnx.")
def export_mtcnn_command(out: str) -> None:
    """Write MTCNN's three nets as ONNX, for the device.

    Their weights are facenet-pytorch's.

    \b
    Example:
      edge train export-mtcnn --out mtcnn/
    """
    from train.mtcnn import export_mtcnn

    for path in export_mtcnn(Path(out)):
        click.echo(f"{path}: {path.stat().st_size:,} bytes")
