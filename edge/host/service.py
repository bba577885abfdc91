"""Installing `edge run` as a system service: on what machine, by which steps, and how the service is."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge.config.text import template
from edge.errors import InputError
from edge.host.steps import Delete, Folder, Run, Step, Write, check_inside, user_of
from edge.host.unit import CONFIG, NAME, STATE, sysusers, unit

UNIT_FILE = f"etc/systemd/system/{NAME}.service"
USER_FILE = f"etc/sysusers.d/{NAME}.conf"
SERVICE = f"{NAME}.service"

ENABLED = f"etc/systemd/system/multi-user.target.wants/{SERVICE}"
ACCOUNTS = ("etc/passwd", "etc/group", "etc/shadow", "etc/gshadow")
"""What systemctl, systemd-sysusers, userdel and groupdel write, and what we read."""

LIBRARY = "libsystemd-shared-*.so"

ASK_SECONDS = 60.0
"""No question to systemctl takes a part of it."""


@dataclass(frozen=True)
class Machine:
    """The machine that a service is installed on.

    Attributes:
        root: its root folder; `/` for this machine as it runs, another for an image that does not run.
        systemd: systemd's version.
    """

    root: Path
    systemd: int

    @property
    def runs(self) -> bool:
        """Whether it is the running machine itself."""
        return self.root == Path("/")

    def systemctl(self, *words: str, must: bool = True) -> Run:
        """Return a call of systemctl for this machine."""
        return Run(("systemctl", *([] if self.runs else [f"--root={self.root}"]), *words), must)


def this_machine(root: Path, *, dry: bool = False) -> Machine:
    """Look at the machine under a root folder.

    Args:
        root: the folder.
        dry: nothing will be done there, so that it need not be able to.

    Raises:
        InputError: it is not there, has no systemd, or a link in it leads out of it.
    """
    if not root.is_dir():
        raise InputError(f"--root {root}: no such folder")
    root = root.resolve()
    if not dry and (why := without_systemd(root)) is not None:
        raise InputError(why)
    # A file is replaced, link or not: there the folder alone counts.
    replaced = [(root / name).parent for name in (UNIT_FILE, USER_FILE, ENABLED)]
    config, state = (root / path.relative_to("/") for path in (CONFIG, STATE))
    check_inside(root, [*replaced, config.parent, state, *(root / name for name in ACCOUNTS)])
    return Machine(root, _systemd_of(root))


def without_systemd(root: Path) -> str | None:
    """Say why a service cannot be installed on the machine under a root folder; None where it can."""
    if shutil.which("systemctl") is None:
        return "edge service needs systemd, and there is no systemctl here: start edge run by other means"
    if root == Path("/") and not Path("/run/systemd/system").is_dir():
        return (
            "edge service needs a machine that systemd started (a container has none): name an image with --root, or "
            "start edge run by other means"
        )
    return None


def _systemd_of(root: Path) -> int:
    """Return systemd's version: an image's by its library, this machine's by its own word; 0 where neither tells."""
    if root != Path("/"):
        for library in (*root.glob("usr/lib/systemd/" + LIBRARY), *root.glob("usr/lib/*/systemd/" + LIBRARY)):
            if matched := re.search(r"-([0-9]+)", library.name):
                return int(matched[1])
    if shutil.which("systemctl") is None:
        return 0
    said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False).stdout
    matched = re.match(r"systemd ([0-9]+)", said)
    return int(matched[1]) if matched else 0


def check_root(what: str) -> None:
    """Make sure that we may change the system.

    Raises:
        InputError: we are not root.
    """
    geteuid = getattr(os, "geteuid", None)
    if geteuid is not None and geteuid() != 0:
        raise InputError(f"edge service {what} changes the system: sudo {this_command()} service {what}")


def this_command() -> Path:
    """Return the command `edge` of this environment."""
    return Path(sys.executable).parent / "edge"


def check_reach(executable: Path) -> None:
    """Make sure that the service's user can start the command: it, its Python, and the kit's own files.

    Raises:
        InputError: something on the way is closed to other users, or is not there.
    """
    if not executable.is_file():
        raise InputError(
            f"{executable}: no such command: install the kit with pip into an environment, and use its edge"
        )
    python = executable.parent / "python"
    for file in (executable, python, python.resolve(), Path(__file__).resolve()):
        closed = next((folder for folder in reversed(file.parents) if not _enterable(folder)), None)
        if closed is not None:
            raise InputError(
                f"{file}: other users cannot enter {closed}, so the service's user cannot start it: make the "
                "environment in /opt: sudo python3 -m venv --system-site-packages /opt/emotion-edge"
            )


def _enterable(folder: Path) -> bool:
    return not folder.exists() or bool(folder.stat().st_mode & stat.S_IXOTH)


def plan_install(machine: Machine, executable: PurePosixPath) -> list[Step]:
    """Return the steps that install the service and start it.

    Args:
        machine: where.
        executable: the command `edge` as that machine sees it.
    """
    root = machine.root
    users = Write(root / USER_FILE, sysusers())
    steps: list[Step] = [
        users,
        Run(("systemd-sysusers", *([] if machine.runs else [f"--root={root}"]), users.path.name)),
        Folder(root / STATE.relative_to("/"), NAME),
        Write(root / CONFIG.relative_to("/"), template({"camera": [{"source": "0"}]}), 0o640, keep=True, group=NAME),
        Write(root / UNIT_FILE, unit(executable, machine.systemd)),
    ]
    if not machine.runs:
        return [*steps, machine.systemctl("enable", SERVICE)]
    doctor = ("runuser", "-u", NAME, "--", "env", f"EMOTION_EDGE_HOME={STATE}", str(executable), "doctor")
    return [
        *steps,
        machine.systemctl("daemon-reload"),
        machine.systemctl("stop", SERVICE),  # so that doctor finds the camera free
        Run((*doctor, "--config", str(CONFIG)), must=False),  # the service waits for what is not there yet
        machine.systemctl("enable", SERVICE),
        machine.systemctl("start", SERVICE),
    ]


def plan_remove(machine: Machine, purge: bool) -> list[Step]:
    """Return the steps that take the service away; configuration, state and user only where `purge`."""
    root = machine.root
    steps: list[Step] = []
    if (root / UNIT_FILE).exists():
        steps += [machine.systemctl("disable", *(["--now"] if machine.runs else []), SERVICE, must=False)]
    steps += [Delete(root / UNIT_FILE)]
    steps += [machine.systemctl("daemon-reload", must=False)] if machine.runs else []
    if purge:
        steps += [
            Delete(root / CONFIG.parent.relative_to("/")),
            Delete(root / STATE.relative_to("/")),
            Delete(root / USER_FILE),
        ]
        if user_of(NAME, root) is not None:
            where = () if machine.runs else ("--prefix", str(root))
            # Whether userdel takes the group along is a setting of the machine; then groupdel finds none.
            steps += [Run((command, *where, NAME), must=False) for command in ("userdel", "groupdel")]
    return steps


PROPERTIES = (
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "NRestarts",
    "ActiveEnterTimestamp",
    "StatusText",
)


def status(machine: Machine) -> tuple[dict[str, str], bool]:
    """Return what systemd says of the unit, by property, and whether it runs (in an image: whether it will)."""
    if machine.runs:
        words = machine.systemctl("show", SERVICE, f"--property={','.join(PROPERTIES)}").words
        said = subprocess.run(words, capture_output=True, text=True, check=False, timeout=ASK_SECONDS).stdout
        found = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        return {key: value for key, value in found.items() if value}, found.get("ActiveState") == "active"
    there = (machine.root / UNIT_FILE).is_file()
    words = machine.systemctl("is-enabled", SERVICE).words
    said = subprocess.run(words, capture_output=True, text=True, check=False, timeout=ASK_SECONDS).stdout.strip()
    return {"LoadState": "loaded" if there else "not-found", "UnitFileState": said or "not-found"}, said == "enabled"
