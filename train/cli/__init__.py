"""The commands `edge train …`, a module each."""

from __future__ import annotations

import click

from train.cli.align import align_command
from train.cli.compare import compare_command
from train.cli.data import data_command
from train.cli.evaluate import evaluate_command
from train.cli.export import export_command, export_mtcnn_command
from train.cli.fit import fit_command
from train.cli.order import InOrder
from train.cli.pack import pack_command
from train.cli.restore import restore_command


@click.group("train", cls=InOrder)
def group() -> None:
    """Make a float model from labelled faces.

    \b
    From a folder with train/ and test/ in it, each with a folder a class:
      edge train data faces/
      edge train fit faces/ --name mine --pretrained package
      edge train evaluate mine
      edge calibrate run mine --out candidate

    Runs live under $EMOTION_EDGE_HOME/runs (default ~/.local/share/emotion-edge/runs).
    """


for command in (
    data_command,
    align_command,
    fit_command,
    evaluate_command,
    compare_command,
    pack_command,
    restore_command,
    export_command,
    export_mtcnn_command,
):
    group.add_command(command)
