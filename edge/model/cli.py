"""The commands `edge model …`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from edge.terminal import printable


@click.group("model")
def group() -> None:
    """Look into a model file."""


@group.command("show")
@click.argument("file", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def show(file: str | None, as_json: bool) -> None:
    """Show what a model file says of itself.

    It is checked against the model file contract first. Without FILE: the model that ships with the kit.
    """
    from edge.model import DEFAULT_MODEL, load_model

    path = Path(file) if file else DEFAULT_MODEL
    model = load_model(path)
    info = model.info
    values = asdict(info)
    values["crop"] = {**values["crop"], "template": info.crop.template.astype(float).round(4).tolist()}
    values["bytes"], values["runtime"] = path.stat().st_size, model.runtime
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    crop = values.pop("crop")
    values["labels"] = ", ".join(info.labels)
    values["accuracy"] = ", ".join(f"{name} {share:.4f}" for name, share in info.accuracy.items()) or "not measured"
    values["input"] = f"uint8 [N, {info.crop.size}, {info.crop.size}, 3] RGB"
    values["crop"] = f"eyes, nose, mouth corners at {crop['template']}; box margin {info.crop.margin:g}"
    click.echo(info.id)
    for key, value in values.items():
        click.echo(f"  {key:<14}{printable(str(value))}")
