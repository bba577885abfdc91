"""The machine and its system: Python, processor, memory, heat, clock, disk, systemd. Reads what Linux tells."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edge.host.doctor.check import Check
from edge.machine import ROOT, cores, describe_state
from edge.machine import processor as named_processor
from edge.model.choice import choice_file

OLDEST, NEWEST = (3, 10), (3, 13)
"""Versions of Python for which all that the kit needs exists."""

LITTLE_MEMORY = 300
"""Free MB below which another program's hunger may end the run."""
LITTLE_DISK, NO_DISK = 500, 50
"""Free MB on the state's file system."""
HOT = 80.0
"""°C from which a Raspberry Pi slows itself down. Source: Raspberry Pi documentation, frequency management."""
BUILT = 1767225600.0
"""2026-01-01: a clock that says less is wrong."""

TIME_ERROR = 5
"""What adjtimex(2) returns while nothing keeps the clock right."""


def python() -> Check:
    """Python's version, and whether the system is a 64-bit one."""
    here, system = platform.python_version(), f"{platform.system()} {platform.machine()}"
    found = f"Python {here}, {system}, {sys.executable}"
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return Check("Python", "fail", found, "make the environment with a Python from 3.10 to 3.13")
    if sys.maxsize < 2**32:
        return Check(
            "Python", "warn", f"{found}: 32 bits", "install the 64-bit system: ONNX Runtime has no 32-bit wheel"
        )
    return Check("Python", "ok", found)


def processor(root: Path = ROOT) -> Check:
    """The processor, and whether it has what makes int8 fast."""
    try:
        flags = set(re.findall(r"\w+", (root / "proc/cpuinfo").read_text(errors="replace")))
    except OSError:
        return Check("processor", "skipped", "this system does not tell")
    fast = [
        name
        for flag, name in (("asimddp", "dot product"), ("avx512_vnni", "VNNI"), ("avx_vnni", "VNNI"))
        if flag in flags
    ]
    many = "1 core" if cores() == 1 else f"{cores()} cores"
    gain = fast[0] if fast else "no dot product, int8 gains less"
    return Check("processor", "ok", f"{named_processor(root)}, {many}, {gain}")


def memory(root: Path = ROOT) -> Check:
    """How much memory is free."""
    try:
        stated = dict(re.findall(r"^(\w+):\s+(\d+) kB", (root / "proc/meminfo").read_text(), re.MULTILINE))
        total, free = int(stated["MemTotal"]) // 1024, int(stated["MemAvailable"]) // 1024
    except (OSError, KeyError, ValueError):
        return Check("memory", "skipped", "this system does not tell")
    found = f"{free} of {total} MB free"
    if free < LITTLE_MEMORY:
        return Check("memory", "warn", found, "end other programs, or boot without a desktop")
    return Check("memory", "ok", found)


def heat(root: Path = ROOT) -> Check:
    """Temperature, throttling, under-voltage."""
    state = describe_state(root)
    temperatures, throttled = state["temperatures"], state["throttled"] or {"now": [], "since_start": []}
    hottest = max(temperatures.values(), default=None)
    words = [f"{hottest:.0f} °C"] if hottest is not None else []
    if state["throttled"] is not None:
        words += [", ".join(throttled["now"]) or "not throttled"]
        words += [f"since it started: {', '.join(throttled['since_start'])}"] if throttled["since_start"] else []
    if not words:
        return Check("heat and power", "skipped", "this system tells neither temperature nor throttling")
    found = "; ".join(words)
    if "under-voltage" in throttled["now"] + throttled["since_start"]:
        return Check("heat and power", "warn", found, "use a stronger power supply and a short cable")
    if throttled["now"] or throttled["since_start"] or (hottest is not None and hottest >= HOT):
        return Check("heat and power", "warn", found, "cool it: a heat sink, a fan, or more air around it")
    return Check("heat and power", "ok", found)


def clock(root: Path = ROOT, now: float | None = None) -> Check:
    """Whether the clock is kept right by the network; events carry its time.

    Args:
        root: the folder under which /run lies.
        now: seconds since the epoch; the clock's when None.
    """
    now = time.time() if now is None else now
    found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    todo = "switch time synchronisation on: sudo timedatectl set-ntp true"
    if now < BUILT:
        return Check("clock", "fail", f"{found}: that is past", todo)
    synced = _synced(root)
    if synced is None:
        return Check("clock", "skipped", f"{found}; the system does not tell whether it is synchronised")
    return Check(
        "clock", "ok" if synced else "warn", f"{found}, {'' if synced else 'not '}synchronised", "" if synced else todo
    )


def _synced(root: Path) -> bool | None:
    """Ask systemd-timesyncd's mark, then the kernel, which every other time service tells, too."""
    if (root / "run/systemd/timesync/synchronized").exists():
        return True
    if platform.system() != "Linux" or root != ROOT:
        return False if (root / "run/systemd/timesync").is_dir() else None
    try:
        # struct timex is 208 bytes at most; with modes = 0, its first field, the call only reads.
        answer = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else answer != TIME_ERROR


def disk(folder: Path | None = None) -> Check:
    """Free space where the state is kept, and whether that file system can be written."""
    there = _existing(folder or choice_file().parent)
    free = shutil.disk_usage(there).free // 10**6
    found = f"{free} MB free at {there}"
    if _read_only(there):
        todo = (
            "mount it writable, or name a folder elsewhere in EMOTION_EDGE_HOME; a card that turned read-only is dying"
        )
        return Check("disk", "fail", f"{there}: its file system is read-only", todo)
    if free < NO_DISK:
        return Check("disk", "fail", found, "make room")
    return Check("disk", "warn" if free < LITTLE_DISK else "ok", found, "make room" if free < LITTLE_DISK else "")


def _read_only(folder: Path) -> bool:
    flags = 0
    if sys.platform != "win32":
        flags = os.statvfs(folder).f_flag & os.ST_RDONLY
    return bool(flags)


def state_folder(folder: Path | None = None) -> Check:
    """Whether the folder that keeps choices and unsent events can be written. Nothing is made."""
    wanted = folder or choice_file().parent
    there = _existing(wanted)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        todo = f"make it writable for {_user()}, or name another folder in EMOTION_EDGE_HOME"
        return Check("state folder", "fail", f"{wanted}: cannot be written ({error.strerror})", todo)
    return Check("state folder", "ok", f"{wanted}{'' if there == wanted else ' can be made'}")


def supervisor(root: Path = ROOT, unit: str = "emotion-edge.service") -> Check:
    """Whether systemd runs here, and our unit under it."""
    if not (root / "run/systemd/system").is_dir():
        return Check("systemd", "skipped", 'it does not run here; "edge service" needs it')
    command = shutil.which("systemctl")
    if command is None:
        return Check("systemd", "warn", "it runs, but there is no systemctl", "install the package systemd")
    done = subprocess.run([command, "is-active", unit], capture_output=True, text=True, check=False, timeout=20)
    state = done.stdout.strip() or "unknown"
    if state == "failed":
        return Check("systemd", "fail", f"{unit} has failed", f"see why: journalctl -u {unit} -n 50")
    return Check("systemd", "ok", f"{unit} is {state}")


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _user() -> str:
    return os.environ.get("USER") or "this user"
