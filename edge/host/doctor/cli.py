"""The command `edge doctor`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from edge.errors import OutsideError
from edge.host.doctor.check import Check
from edge.terminal import printable

SERVICE_CONFIG = Path("/etc/emotion-edge/edge.toml")

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": None}


@click.command("doctor")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Try its cameras, model and broker; default: the service's, /etc/emotion-edge/edge.toml, where it is.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(config_file: Path | None, as_json: bool) -> None:
    """Check this device: system, runtimes, model, cameras, broker, clock, disk, rights; and say what to do.

    Ends with 0 when nothing fails, else with 3. Takes one picture of each camera that FILE names and keeps none; sends
    nothing to the broker. To check what the service may do, run it as the service's user:

    \b
    Examples:
      edge doctor
      edge doctor --config edge.toml
      sudo -u emotion-edge edge doctor --config /etc/emotion-edge/edge.toml
    """
    from edge.host.doctor.examine import examine

    if config_file is None and os.access(SERVICE_CONFIG, os.R_OK):
        config_file = SERVICE_CONFIG
    checks: list[Check] = []
    for check in examine(config_file):
        checks.append(check)
        if not as_json:
            for line in lines(check, colour=sys.stdout.isatty()):
                click.echo(line)
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
    failed = [check.name for check in checks if check.state == "fail"]
    if failed:
        raise OutsideError(f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}")


def lines(check: Check, *, colour: bool) -> Iterable[str]:
    """Return a check as lines for a person: what was found, and below it what to do."""
    state = f"{check.state:<8}"
    yield f"{click.style(state, fg=COLOURS[check.state]) if colour else state}{check.name:<16}{printable(check.found)}"
    if check.todo:
        yield f"{'':<24}-> {printable(check.todo)}"
