"""`edge train compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from train.cli.names import plain_name
from train.cli.progress import Report, progress_bar


@click.command("compare")
@click.argument("names", metavar="RUN|METRICS.json...", nargs=-1, required=True)
@click.option("--out", metavar="DIR", default="comparison", show_default=True, help="Folder to write.")
@click.option(
    "--by", type=click.Choice(["latency", "size"]), default="latency", show_default=True,
    help="What accuracy is drawn against.",
)  # fmt: skip
@click.option(
    "--rounds", type=click.IntRange(1, 100_000), default=200, show_default=True, help="Latency measurements a model."
)
@click.pass_context
def compare_command(context: click.Context, names: tuple[str, ...], out: str, by: str, rounds: int) -> None:
    """Put evaluated runs side by side.

    They are shown with what they cost and what they are worth. Writes comparison.md, .json, .png and .html. Runs that
    differ in their seed alone are one arm, with its mean and range; arms whose ranges overlap are called not
    distinguishable. The metrics.json of an evaluation stands for a run that is gone.

    \b
    Example:
      edge train evaluate lite0; edge train evaluate resnet
      edge train compare lite0 resnet
      cp ~/.local/share/emotion-edge/runs/lite0/evaluation/metrics.json lite0.json
      edge train compare lite0.json resnet
    """
    from train.report.command import typed_command
    from train.report.comparison import compare

    with progress_bar() as bar:
        sources = [name if name.endswith(".json") else plain_name(name) for name in names]
        written = compare(sources, Path(out), by, rounds, typed_command(context), Report(bar))
    show(json.loads(written[0].read_bytes()))
    for path in written:
        click.echo(str(path))


def show(record: dict[str, Any]) -> None:
    """Print the comparison in short, from its record: what it is worth first, then what it costs."""
    from rich.console import Console
    from rich.table import Table

    from train.report.tables import VIEWS, measured, notes, span

    console, table = Console(highlight=False, markup=False), Table()
    views = [(title, view) for title, view in VIEWS if measured(record, view)]
    accuracies = [f"accuracy %, {title}" if len(views) > 1 else "accuracy %" for title, _ in views]
    headings = ("model", *accuracies, "macro F1 %", "MB", "ms a crop", "to the first")
    rows = [
        (
            arm["name"], *(span(arm[view] and arm[view]["accuracy"]) for _, view in views),
            span(arm["figures"]["macro_f1"]), f"{arm['bytes'] / 1e6:.1f}", f"{arm['ms']:.2f}",
            f"{arm['ms_to_first']:.2f}",
        )
        for arm in record["arms"]
    ]  # fmt: skip
    for heading, cells in zip(headings, zip(*rows, strict=True), strict=True):  # headings may wrap, figures may not
        table.add_column(heading, justify="left" if heading == "model" else "right", min_width=max(map(len, cells)))
    for row in rows:
        table.add_row(*row)
    console.print(f"{record['data']}, {record['split']} split, {record['n']:,} pictures")
    console.print(table)
    for note in notes(record):
        console.print(note, soft_wrap=True)
