"""`edge train compare`."""

from __future__ import annotations

from pathlib import Path

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
    for path in written:
        click.echo(str(path))
