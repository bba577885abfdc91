"""`edge train align`."""

from __future__ import annotations

from pathlib import Path

import click

from train.cli.progress import Report, Stopped, progress_bar


@click.command("align")
@click.argument("data")
@click.option("--out", required=True, metavar="DIR", help="Folder for the crops; the same one again goes on with it.")
@click.option(
    "--label-map", "pairs", multiple=True, metavar="FOLDER=LABEL", help="What a folder of another name means."
)
@click.option("--model", metavar="FILE", help="Frame faces as this model file does (default: measure it on DATA).")
@click.option(
    "--detector", type=click.Choice(["mtcnn", "facenet"]), default="mtcnn", show_default=True,
    help="The device's own MTCNN, or facenet-pytorch's original.",
)  # fmt: skip
@click.option("--size", type=click.IntRange(16, 1024), default=96, show_default=True, help="Side of a crop, pixels.")
@click.option(
    "--faces", type=click.IntRange(min=100), default=3000, show_default=True, help="Pictures to measure framing on."
)
def align_command(
    data: str, out: str, pairs: tuple[str, ...], model: str | None, detector: str, size: int, faces: int
) -> None:
    """Find and turn the face in every picture of DATA.

    It becomes the crop that the device would make. Where no face is found the whole picture stands in. Writes the
    crops, `report.json` (how many faces were found, a class and split each) and `before-after.png`. Train on them with
    `edge train fit DATA --aligned DIR`. Killed or stopped, the same command goes on.

    \b
    Example:
      edge train align fer2013.zip --out aligned
      edge train fit fer2013.zip --name upright --aligned aligned
    """
    from edge.measure.cli import parse_label_map
    from train.align import align

    with progress_bar() as bar:
        try:
            written = align(
                data, Path(out), parse_label_map(pairs), Path(model) if model else None, detector, size, faces,
                Report(bar),
            )  # fmt: skip
        except KeyboardInterrupt:
            raise Stopped(f"stopped; the same command goes on in {out}") from None
    click.echo(written)
