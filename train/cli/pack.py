"""`edge train pack`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("pack")
@click.argument("data")
@click.option("--out", required=True, metavar="FILE.faces", help="The file to write.")
@click.option(
    "--label-map", "pairs", multiple=True, metavar="FOLDER=LABEL", help="What a folder of another name means."
)
@click.option(
    "--quality", type=click.IntRange(1, 100), default=92, show_default=True, help="JPEG quality of the pictures."
)
def pack_command(data: str, out: str, pairs: tuple[str, ...], quality: int) -> None:
    """Pack DATA into one small file, to carry elsewhere.

    To a machine with an accelerator, say: every command reads the file as DATA. Who is in train, dev and test is
    decided here and written down; near-duplicates of test pictures stay out.

    \b
    Example:
      edge train pack fer2013.zip --out fer2013.faces
      edge train fit fer2013.faces --name lite0 --pretrained package
    """
    from edge.measure.cli import parse_label_map
    from train.datasets import open_faces
    from train.datasets.duplicates import find_copies
    from train.datasets.packed import write_packed
    from train.datasets.split import assign_parts

    faces = open_faces(data, parse_label_map(pairs))
    parts = assign_parts(faces, find_copies(faces.images))
    write_packed(faces, parts, Path(out), quality)
    counts = ", ".join(f"{int((parts == part).sum())} {part}" for part in ("train", "dev", "test"))
    click.echo(f"{out}: {counts}, {Path(out).stat().st_size:,} bytes")
