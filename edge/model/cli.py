"""The commands `edge model …`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
    values["calibration"] = _calibration(info.calibration)
    values["gray"] = "yes: it makes gray of its input" if info.gray else "no"
    values["input"] = f"uint8 [N, {info.crop.size}, {info.crop.size}, 3] RGB"
    values["crop"] = f"eyes, nose, mouth corners at {crop['template']}; box margin {info.crop.margin:g}"
    click.echo(info.id)
    for key, value in values.items():
        click.echo(f"  {key:<14}{printable(str(value))}")


def _calibration(facts: dict[str, Any]) -> str:
    """Say in words what an int8 file was fitted to."""
    if not facts:
        return "none, or not kept"
    known = [f"{facts['count']} pictures"] if "count" in facts else []
    per_class = facts.get("per_class")
    if isinstance(per_class, dict) and per_class:
        fewest, most = min(per_class.values()), max(per_class.values())
        known.append(f"{fewest} a class" if fewest == most else f"{fewest} to {most} a class")
    known += [f"{key} {facts[key]}" for key in ("method", "seed") if key in facts]
    if "sha256" in facts:
        known.append(f"sha256 {str(facts['sha256'])[:16]}...")
    return ", ".join(known)
