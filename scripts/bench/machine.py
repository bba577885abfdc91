"""What machine a figure was measured on, and the one way to write figures down: with the command that made them."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


def describe() -> dict[str, Any]:
    """Return processor, cores this process may use, memory in GiB, system and Python; no name of the host."""
    return {
        "cpu": _cpu(),
        "cores": _cores(),
        "memory_gib": _memory_gib(),
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def write(path: str | Path, figures: dict[str, Any]) -> None:
    """Write `figures` as JSON, with the command line and the machine beside them.

    Args:
        path: the JSON file; its folder is made.
        figures: what was measured; names carry their unit.
    """
    record = {"command": command_line(sys.argv), "machine": describe(), "figures": figures}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def command_line(arguments: list[str]) -> str:
    """Return the command as typed from the checkout: paths in it stay relative to it, others shrink to their name."""
    return shlex.join(_plain(argument) for argument in arguments)


def commit(root: Path = ROOT) -> str | None:
    """Return the checkout's commit, with `+` behind it when files differ from it; None outside git."""
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _plain(argument: str) -> str:
    """Shorten a path in an argument (`PATH` or `--option=PATH`) so that it says nothing of this machine."""
    option, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    path = Path(value)
    if "://" not in value and (path.is_absolute() or ".." in path.parts):
        path = path.absolute()
        value = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) and ".." not in path.parts else path.name
    return option + equals + value


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)
    return fields.get("model name") or fields.get("Model") or platform.machine()  # Model: a Raspberry Pi's board


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None
