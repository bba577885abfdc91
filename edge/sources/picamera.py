"""A Raspberry Pi's own camera (CSI), through picamera2 in a process of the system's Python."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edge.errors import OutsideError
from edge.sources.picamera_child import ERROR, HEADER, MAGIC, PICTURE, READY
from edge.sources.stream import Stream

SYSTEM_PYTHON = "/usr/bin/python3"
"""Where apt puts picamera2; its numpy need not be ours."""

CHILD = Path(__file__).with_name("picamera_child.py")
LARGEST_SIDE = 16_384
PIPE_BYTES = 1 << 20
"""Asked of Linux for the pipe, which holds 64 KiB unless told."""


class CsiCamera:
    """A CSI camera by its number.

    Args:
        source: `csi` or `csi:1`.
        width: asked for, pixels; 640 where None.
        height: asked for, pixels; 480 where None.
        fps: asked for, frames a second; the camera's own where None.
        command: what runs the child: the interpreter, its options and the script.
    """

    open_seconds = 20.0

    def __init__(
        self,
        source: str,
        *,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        command: Sequence[str] = (SYSTEM_PYTHON, "-I", str(CHILD)),
    ) -> None:
        self.name = source
        index = source.partition(":")[2] or "0"
        self._command = [*command, index, str(width or 0), str(height or 0), str(fps or 0.0)]

    def open(self) -> Stream:
        """Start the process and wait until its camera is open.

        Raises:
            OutsideError: there is no such Python, picamera2 or camera, or it is busy.
        """
        environment = {**os.environ, "LIBCAMERA_LOG_LEVELS": "*:ERROR"}
        try:
            # stderr goes nowhere: what matters comes as a message, and libcamera talks for a year.
            child = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
                env=environment,
            )  # fmt: skip
        except OSError as error:
            raise OutsideError(f"{self._command[0]} cannot be started ({error.strerror}): it runs picamera2") from None
        return CsiStream(child)


class CsiStream:
    """The pictures that a child process writes, as `picamera_child` says.

    Args:
        child: the process, just started; it is ended by `close`.

    Raises:
        OutsideError: it says that it has no camera, or ends.
    """

    over = False
    tolerance = 1

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        self._child, self._pipe = child, child.stdout
        self._waiting: tuple[int, int] | None = None
        self._scratch = bytearray(0)
        if sys.platform == "linux":
            import fcntl

            with contextlib.suppress(OSError):
                fcntl.fcntl(self._pipe, 1031, PIPE_BYTES)  # F_SETPIPE_SZ, which Python 3.10 has no name for everywhere
        try:
            kind, width, height, rate = self._header()
            if kind != READY:
                raise OutsideError("its process does not speak as it should")
        except OutsideError:
            self.close()
            raise
        self.fps: float | None = rate if 0 < rate < 1000 else None
        self.given = f"{width}×{height} CSI" + (f", {self.fps:.4g} frames/s" if self.fps else "")

    def grab(self) -> bool:
        """Wait for the next picture; False when the process has ended."""
        try:
            if self._waiting is not None:  # the last one was not wanted
                width, height = self._waiting
                self._fill(memoryview(self._dump(width * height * 3)))
            kind, width, height, _ = self._header()
        except OutsideError:
            return False
        self._waiting = (width, height) if kind == PICTURE else None
        return self._waiting is not None

    def retrieve(self, into: np.ndarray | None) -> np.ndarray | None:
        """Read the picture that was announced."""
        if self._waiting is None:
            return None
        (width, height), self._waiting = self._waiting, None
        shape = (height, width, 3)
        if into is None or into.shape != shape or not into.flags.c_contiguous:
            into = np.empty(shape, np.uint8)
        try:
            self._fill(into.reshape(-1).data)
        except OutsideError:
            return None
        return into

    def interrupt(self) -> None:
        """End the process: a read of its pipe returns."""
        self._child.kill()

    def close(self) -> None:
        """End the process and take its remains away."""
        self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()
        self._child.wait()

    def _header(self) -> tuple[int, int, int, float]:
        data = bytearray(struct.calcsize(HEADER))
        self._fill(memoryview(data))
        magic, kind, first, second, rate = struct.unpack(HEADER, data)
        if magic != MAGIC or first > LARGEST_SIDE or second > LARGEST_SIDE:
            raise OutsideError("its process does not speak as it should")
        if kind == ERROR:
            text = bytearray(first)
            self._fill(memoryview(text))
            raise OutsideError(text.decode("utf-8", "replace"))
        return kind, first, second, rate

    def _fill(self, view: memoryview) -> None:
        """Read until the buffer is full."""
        pipe: BinaryIO = self._pipe  # type: ignore[assignment]
        while view:
            try:
                count = pipe.readinto(view)  # type: ignore[attr-defined]
            except ValueError:  # closed by another thread
                count = 0
            if not count:
                code = self._child.poll()
                how = "" if code is None else f" with signal {-code}" if code < 0 else f" with exit code {code}"
                raise OutsideError(f"its process has ended{how}")
            view = view[count:]

    def _dump(self, size: int) -> bytearray:
        if len(self._scratch) != size:
            self._scratch = bytearray(size)
        return self._scratch
