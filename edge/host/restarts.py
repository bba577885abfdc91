"""How often the service was started anew since the device itself started."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge.errors import InputError
from edge.files import read_regular, write_whole
from edge.machine import ROOT

NAME = "starts.json"


def count_restart(environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> int | None:
    """Count this start; return how many there were before it since the device started.

    Only a service is counted: what a person starts by hand is nobody's restart. It is one where systemd gave it a
    folder for its state (`StateDirectory=`).

    Args:
        environ: the environment; `STATE_DIRECTORY` names the folder.
        root: the folder under which /proc lies.

    Returns:
        None where it is no service, or the system or its disk do not let it count.
    """
    folder = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if not folder:
        return None
    path = Path(folder) / NAME
    try:
        boot = (root / "proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    before: Any = None
    with suppress(OSError, ValueError, RecursionError):  # there is none yet, or it is damaged: counted from here on
        before = json.loads(read_regular(path, 2**16))
    same = isinstance(before, dict) and before.get("boot") == boot and type(before.get("starts")) is int
    starts = before["starts"] if same else 0
    try:
        write_whole(path, json.dumps({"boot": boot, "starts": starts + 1}).encode() + b"\n")
    except InputError:
        return None
    return int(starts)
