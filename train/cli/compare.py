"""`edge train compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from train.cli.names import plain_name
from train.cli.progress import Report, progress_bar


@click.command("compare")
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
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
    distinguishable.

    \b
    Example:
      edge train evaluate lite0; edge train evaluate resnet
      edge train compare lite0 resnet
    """
    from train.report.command import typed_command
    from train.report.comparison import compare

    with progress_bar() as bar:
        written = compare(
            [plain_name(name) for name in names], Path(out), by, rounds, typed_command(context), Report(bar)
        )
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
    table.add_column("model", no_wrap=True)
    headings = [f"accuracy %, {title}" if len(views) > 1 else "accuracy %" for title, _ in views]
    for heading in (*headings, "macro F1 %", "MB", "ms a crop", "to the first"):
        table.add_column(heading, justify="right")
    for arm in record["arms"]:
        accuracies = [span(arm[view]["accuracy"]) if arm[view] else "–" for _, view in views]
        cost = (f"{arm['bytes'] / 1e6:.1f}", f"{arm['ms']:.2f}", f"{arm['ms_to_first']:.2f}")
        table.add_row(arm["name"], *accuracies, span(arm["figures"]["macro_f1"]), *cost)
    console.print(f"{record['data']}, {record['split']} split, {record['n']:,} pictures")
    console.print(table)
    for note in notes(record):
        console.print(note, soft_wrap=True)
