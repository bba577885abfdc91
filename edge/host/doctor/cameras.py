"""The cameras: which there are, whether we may open them, who holds them, whether the configured ones give pictures."""

from __future__ import annotations

import json
import os
import platform
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from edge.config import CameraConfig
from edge.host.doctor.check import Check
from edge.host.doctor.trial import attempt
from edge.machine import ROOT
from edge.sources.names import shown
from edge.sources.picamera import SYSTEM_PYTHON

VIDIOC_QUERYCAP = 0x80685600
CAPTURE = 0x1 | 0x1000
"""Device capabilities VIDEO_CAPTURE and VIDEO_CAPTURE_MPLANE. Source: Linux, include/uapi/linux/videodev2.h."""

LOOK_SECONDS = 60.0
"""A camera's first picture takes no longer, nor does the list of picamera2."""

LIST_CSI = (
    "import json; from picamera2 import Picamera2 as P; print(json.dumps([c['Model'] for c in P.global_camera_info()]))"
)


@dataclass(frozen=True)
class Device:
    """A video device of the kernel.

    Attributes:
        path: such as /dev/video0.
        name: as its driver calls it.
        open: whether we may read and write it.
        captures: whether it gives pictures; None where it cannot be asked.
        holders: programs that hold it open, as `name (pid)`; other users' only for root.
    """

    path: Path
    name: str
    open: bool
    captures: bool | None
    holders: tuple[str, ...]


def devices(root: Path = ROOT, configured: Sequence[CameraConfig] = ()) -> Check:
    """The video devices that there are, and whether we may open them.

    Args:
        root: the folder under which /dev and /sys lie.
        configured: the cameras that are to be read; where none of them is a device, none is missed.
    """
    if platform.system() != "Linux":
        return Check("cameras", "skipped", "only on Linux")
    every = [device(path, root) for path in video_paths(root)]
    found = [one for one in every if one.captures is not False]
    if not found:
        here = f"none of {len(every)} video devices gives pictures" if every else "no /dev/video*"
        if configured and not any(camera.kind == "usb" for camera in configured):
            return Check("cameras", "ok", f"{here}, and none is configured")
        return Check(
            "cameras", "warn", here, "plug a camera in; a CSI camera is found by picamera2, a network one by its URL"
        )
    words = "; ".join(
        f"{one.path.name} {one.name}" + (f", held by {', '.join(one.holders)}" if one.holders else "") for one in found
    )
    closed = [one for one in found if not one.open]
    if closed:
        return Check("cameras", "fail", f"{words}: {closed[0].path} may not be opened", _permit(closed[0].path))
    return Check("cameras", "ok", words)


def video_paths(root: Path = ROOT) -> list[Path]:
    """Return /dev/video*, by number."""
    return sorted((root / "dev").glob("video[0-9]*"), key=lambda path: int(re.sub(r"\D", "", path.name) or 0))


def device(path: Path, root: Path = ROOT) -> Device:
    """Look at one video device."""
    try:
        name = (root / "sys/class/video4linux" / path.name / "name").read_text(errors="replace").strip()
    except OSError:
        name = "(no name)"
    return Device(path, name, os.access(path, os.R_OK | os.W_OK), _captures(path), holders(path, root))


def holders(path: Path, root: Path = ROOT) -> tuple[str, ...]:
    """Return who holds a file open, but for ourselves: `name (pid)`."""
    found: list[str] = []
    real = os.path.realpath(path)
    for process in sorted((root / "proc").glob("[0-9]*")):
        try:
            held = any(os.path.realpath(link) == real for link in (process / "fd").iterdir())
            name = (process / "comm").read_text(errors="replace").strip() if held else ""
        except OSError:  # it has ended, or is another user's
            continue
        if held and int(process.name) != os.getpid():
            found.append(f"{name} ({process.name})")
    return tuple(found)


def _captures(path: Path) -> bool | None:
    """Ask a device what it can do; a Raspberry Pi has a dozen that are codecs."""
    if sys.platform == "linux":
        import fcntl

        asked = bytearray(104)  # struct v4l2_capability
        with suppress(OSError):
            handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
            try:
                fcntl.ioctl(handle, VIDIOC_QUERYCAP, asked)
            finally:
                os.close(handle)
            (capabilities,) = struct.unpack_from("=I", asked, 88)
            return bool(capabilities & CAPTURE)
    return None


def _permit(path: Path) -> str:
    """What lets us open a device."""
    if sys.platform != "win32":
        import grp
        import pwd

        with suppress(KeyError, OSError):
            group = path.stat().st_gid
            name, user = grp.getgrgid(group).gr_name, pwd.getpwuid(os.geteuid()).pw_name
            if group in {*os.getgroups(), os.getegid()}:
                return f"its group {name} may not write it: sudo chmod g+rw {path}"
            return f"sudo usermod -aG {name} {user}, then log in anew"
    return "give this user the right to read and write it"


def csi(root: Path = ROOT, python: str | Path = SYSTEM_PYTHON) -> Check:
    """Whether the system's Python has picamera2, and which CSI cameras it finds; on a Raspberry Pi alone."""
    try:
        model = (root / "proc/device-tree/model").read_text(errors="replace").rstrip("\0")
    except OSError:
        model = ""
    if not model.startswith("Raspberry Pi"):
        return Check("CSI camera", "skipped", "this is no Raspberry Pi")
    try:
        done = subprocess.run(
            [str(python), "-c", LIST_CSI], capture_output=True, text=True, timeout=LOOK_SECONDS, check=False
        )
        found = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("CSI camera", "warn", f"{python}: {type(error).__name__}", "sudo apt install python3-picamera2")
    except (ValueError, IndexError):
        said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1][:160]
        todo = "for a CSI camera: sudo apt install python3-picamera2; a USB camera needs none of it"
        return Check("CSI camera", "warn", f"{python}: {said}", todo)
    if not found:
        return Check("CSI camera", "ok", "picamera2 is there; no CSI camera is plugged in")
    return Check("CSI camera", "ok", f"picamera2 finds {', '.join(map(str, found))}")


def configured(camera: CameraConfig, root: Path = ROOT) -> Check:
    """Open a camera of the configuration and read one picture."""
    name, source = f"camera {camera.name}", camera.source
    path = root / "dev" / f"video{source}" if source.isdigit() else root / source.lstrip("/")
    if camera.kind == "usb" and path.exists():
        looked = device(path, root)
        if not looked.open:
            return Check(name, "fail", f"{path} may not be opened", _permit(path))
        ours = [holder for holder in looked.holders if holder.startswith("edge ")]
        if ours:
            return Check(name, "ok", f"{path}: in use by {ours[0]}; no picture was taken")
        if looked.holders:
            return Check(name, "fail", f"{path} is held by {', '.join(looked.holders)}", "end that program")
    trial = attempt("look", LOOK_SECONDS, camera=asdict(camera))
    if trial.found is not None:
        return Check(name, "ok", f"{shown(source)}: {trial.found}")
    return Check(
        name, "fail", trial.error.replace(source, shown(source)), "plug it in, or mend source under [[camera]]"
    )
