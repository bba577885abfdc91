"""The commands `edge train …`, a module each."""

from __future__ import annotations

import click

from train.cli.export import export_command, export_mtcnn_command
from train.cli.fit import fit_command


@click.group("train")
def group() -> None:
    """Make a float model from labelled faces.

    Runs live under $EMOTION_EDGE_HOME/runs (default ~/.local/share/emotion-edge/runs).
    """


for command in (fit_command, export_command, export_mtcnn_command):
    group.add_command(command)
