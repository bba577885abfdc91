"""`edge train restore`."""

from __future__ import annotations

from pathlib import Path

import click

from train.cli.names import plain_name


@click.command("restore")
@click.argument("parent", metavar="NAME.fp16.safetensors")
@click.option("--name", required=True, help="The run's name, under $EMOTION_EDGE_HOME/runs.")
@click.option("--data", help="Where its labelled faces are on this machine, for what measures or calibrates it anew.")
def restore_command(parent: str, name: str, data: str | None) -> None:
    """Make a run again from a shipped model's parent.

    The run then teaches (--teacher), is begun with (--start), evaluated or calibrated like any other. It holds no
    epochs and cannot be trained on under its own name.

    \b
    Example:
      edge train restore edge/models/lite2.fp16.safetensors --name lite2 --data fer2013.zip
      edge train fit fer2013.zip --name small --network mobilenetv3_large_100 --teacher lite2
    """
    from train.restore import restore
    from train.runs import Run, home

    run = Run(home() / "runs" / plain_name(name))
    config = restore(Path(parent), run, data=data)
    click.echo(f"{run.folder}: {config.network} at {config.size} px")
