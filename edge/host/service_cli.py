"""The commands `edge service …`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from edge.errors import InputError, OutsideError
from edge.terminal import printable, say

if TYPE_CHECKING:
    from edge.host.steps import Step

ROOT_OPTION = click.option(
    "--root", type=click.Path(path_type=Path), default=Path("/"), metavar="DIR",
    help="Work on the image whose root folder this is, instead of this machine; nothing is started.",
)  # fmt: skip
DRY_OPTION = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


@click.group("service")
def group() -> None:
    """Install edge run as a system service of systemd."""


@group.command("install")
@ROOT_OPTION
@DRY_OPTION
@click.option(
    "--executable", type=click.Path(path_type=Path), metavar="FILE",
    help="The command edge as the device sees it; default: this environment's own.",
)  # fmt: skip
def install(root: Path, dry_run: bool, executable: Path | None) -> None:
    """Make user, configuration and unit; run doctor; start.

    The user is emotion-edge, in the group video, without a login. The unit runs this environment's edge, restarts it
    for ever, and watches that it is not stuck. A configuration that is there is never written over. Done again, it
    brings what it wrote up to date and restarts the service.

    \b
    Examples:
      sudo /opt/emotion-edge/bin/edge service install --dry-run
      sudo /opt/emotion-edge/bin/edge service install
      edge service install --root image/ --executable /opt/emotion-edge/bin/edge
    """
    from edge.host import service, unit

    machine = service.this_machine(root, dry=dry_run)
    command = executable or service.this_command()
    if machine.runs and not dry_run:
        service.check_root("install")
        service.check_reach(command)
    elif executable is None and command.is_relative_to(machine.root):
        command = Path("/") / command.relative_to(machine.root)
    if not command.is_absolute():
        raise click.UsageError(f"--executable {command}: give the whole path, from /")
    steps = service.plan_install(machine, PurePosixPath(command))
    _go(steps, machine.root, dry_run)
    if machine.runs and dry_run:
        _say_refusal(lambda: service.check_reach(command))
    elif machine.runs:
        say(f"installed; set its cameras in {unit.CONFIG}, then: sudo systemctl restart {unit.NAME}")


@group.command("remove")
@ROOT_OPTION
@DRY_OPTION
@click.option("--purge", is_flag=True, help="Delete configuration, state and user as well.")
def remove(root: Path, dry_run: bool, purge: bool) -> None:
    """Stop the service and take it away.

    Configuration, state and user stay, unless --purge.

    \b
    Examples:
      sudo edge service remove
      sudo edge service remove --purge
    """
    from edge.host import service

    machine = service.this_machine(root, dry=dry_run)
    if machine.runs and not dry_run:
        service.check_root("remove")
    _go(service.plan_remove(machine, purge), machine.root, dry_run)


@group.command("status")
@ROOT_OPTION
def status(root: Path) -> None:
    """Say how the service is.

    Ends with 0 when it runs (with --root: when it will start with the machine), else with 3.
    """
    from edge.host import service

    machine = service.this_machine(root)
    found, runs = service.status(machine)
    for key, value in found.items():
        click.echo(f"{key:<22}{printable(value)}")
    if not runs:
        raise OutsideError(f"{service.SERVICE} does not run: {found.get('ActiveState', found.get('UnitFileState'))}")


def _say_refusal(check: Callable[[], None]) -> None:
    """Say what would keep a dry run's steps from being done."""
    try:
        check()
    except InputError as error:
        say(f"not as it is: {error}")


def _go(steps: Sequence[Step], root: Path, dry_run: bool) -> None:
    from edge.host.service import without_systemd
    from edge.host.steps import carry_out

    if dry_run:
        for step in steps:
            text = str(step)
            click.echo(text if text.startswith("nothing") else f"would {text}")
        if (why := without_systemd(root)) is not None:
            say(f"not here: {why}")
    else:
        carry_out(steps, root, say)
