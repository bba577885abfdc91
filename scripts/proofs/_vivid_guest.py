"""Runs inside the virtual machine of the proof `vivid`: drives the kernel's drawn camera and says what came of it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.errors import OutsideError
from edge.sources.camera import UsbCamera
from edge.sources.capture import Capture
from edge.sources.state import CameraState

DRIVER = Path("/sys/bus/platform/drivers/vivid")
QUERYCTRL, S_CTRL, NEXT = 0xC0445624, 0xC008561C, 0x80000000
PATIENCE = 60.0


class Watched:
    """A capture whose states are kept, and which is read all the time as the loop does."""

    def __init__(self, camera: UsbCamera, **options: Any) -> None:
        self.states: list[CameraState] = []
        self.longest = 0.0
        self.capture = Capture(camera, "front", on_state=self.states.append, **options)

    def until(self, condition: Callable[[], bool]) -> float:
        """Take pictures until something is so; return how long it took."""
        began = time.monotonic()
        while not condition():
            before = time.monotonic()
            self.capture.take()
            self.longest = max(self.longest, time.monotonic() - before)
            assert time.monotonic() - began < PATIENCE, f"{self.states} {self.capture.stats()}"
            time.sleep(0.005)
        return time.monotonic() - began

    def state(self, name: str) -> float:
        """Wait for a state."""
        return self.until(lambda: bool(self.states) and self.states[-1].state == name)


def device() -> str:
    """The camera's device; it may get another number when it comes back."""
    (path,) = sorted(Path("/dev").glob("video*"))
    return str(path)


def control(path: str, name: str, value: int) -> None:
    """Set one of the driver's controls by its name."""
    with Path(path).open("rb+", buffering=0) as file:
        number = NEXT
        while True:
            query = bytearray(struct.pack("II32siiiiIII", number, 0, b"", 0, 0, 0, 0, 0, 0, 0))
            fcntl.ioctl(file, QUERYCTRL, query)
            found, _, label = struct.unpack_from("II32s", query)
            if label.rstrip(b"\0").decode() == name:
                fcntl.ioctl(file, S_CTRL, struct.pack("Ii", found, value))
                return
            number = found | NEXT


def open_cameras() -> list[str]:
    """Devices of cameras that this process holds open."""
    held = []
    for handle in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            held.append(str(handle.readlink()))
    return [name for name in held if name.startswith("/dev/video")]


def prove() -> dict[str, Any]:
    """Go through all that can happen to a camera."""
    path = device()
    figures: dict[str, Any] = {}

    # What is asked for, and what is given.
    figures["given"] = {}
    for asked in (
        {},
        {"width": 1280, "height": 720, "fps": 10.0, "form": "yuyv"},
        {"width": 320, "height": 180, "fps": 30.0},
        {"width": 640, "height": 360, "form": "mjpg"},  # which this camera does not have
    ):
        stream = UsbCamera(path, **asked).open()  # type: ignore[arg-type]
        assert stream.grab()
        image = stream.retrieve(None)
        assert image is not None
        figures["given"][" ".join(map(str, asked.values())) or "nothing asked"] = f"{stream.given} {image.shape}"
        stream.close()

    watched = Watched(UsbCamera(path, width=640, height=360), frozen_after=3.0)
    watched.state("running")
    watched.until(lambda: watched.capture.captured >= 30)

    # Held by another: the one that reads it is this process, the one that is refused is the second.
    try:
        UsbCamera(path).open()
    except OutsideError as error:
        figures["busy"] = str(error)

    # Silent: the driver drops every picture, and then none.
    control(path, "Percentage of Dropped Buffers", 100)
    figures["silent_to_frozen_s"] = round(watched.state("frozen"), 2)
    figures["silent"] = watched.states[-1].reason
    control(path, "Percentage of Dropped Buffers", 0)
    figures["speaks_to_running_s"] = round(watched.state("running"), 2)

    # Stuck: it gives pictures, but the very same. Without the driver's clock in it nothing moves.
    control(path, "OSD Text Mode", 2)
    figures["stuck_to_frozen_s"] = round(watched.state("frozen"), 2)
    figures["stuck"] = watched.states[-1].reason
    control(path, "OSD Text Mode", 0)
    figures["moves_to_running_s"] = round(watched.state("running"), 2)

    # Unplugged and plugged in again.
    (DRIVER / "unbind").write_text("vivid.0")
    figures["unbind_to_waiting_s"] = round(watched.state("waiting"), 2)
    watched.until(lambda: not Path(path).exists() and "not there" in str(watched.states[-1].reason))
    figures["unplugged"] = watched.states[-1].reason
    (DRIVER / "bind").write_text("vivid.0")
    until = time.monotonic() + PATIENCE
    while not Path(path).exists() and time.monotonic() < until:
        time.sleep(0.01)
    figures["bind_to_running_s"] = round(watched.state("running"), 2)
    captured = watched.capture.captured
    watched.until(lambda: watched.capture.captured >= captured + 30)

    stats = watched.capture.stats()
    figures["captured"], figures["broken"] = stats.captured, stats.broken
    figures["longest_take_ms"] = round(watched.longest * 1000, 1)
    figures["states"] = [state.state for state in watched.states]
    watched.capture.close()
    figures["threads_left"] = [thread.name for thread in threading.enumerate() if thread.name.startswith("capture")]
    figures["handles_left"] = open_cameras()
    assert figures["threads_left"] == figures["handles_left"] == [], figures
    assert figures["longest_take_ms"] < 1000, "take waits for nobody"
    return figures


if __name__ == "__main__":
    try:
        print("FIGURES " + json.dumps(prove()), flush=True)
    except BaseException as error:
        traceback.print_exc(file=sys.stdout)
        print("FIGURES " + json.dumps({"error": repr(error)}), flush=True)
    time.sleep(0.5)
