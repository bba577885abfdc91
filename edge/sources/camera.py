"""A camera on this device's USB (V4L2), asked for a size, a rate and a form of picture."""

from __future__ import annotations

import errno
import os
import struct
import sys

import cv2

from edge.errors import OutsideError
from edge.sources.stream import OpenCvStream, Stream

MOST_BROKEN_IN_A_ROW = 10
"""After so many failed reads in a row the camera is closed and opened anew."""

USB2_BYTES_A_SECOND = 24e6
"""What one camera gets through USB 2 in practice: more than this uncoded is asked for as MJPG."""

FOURCC = {"mjpg": "MJPG", "yuyv": "YUYV"}

NO_CAMERA = "it is no camera (v4l2-ctl --list-devices names those there are)"

_REQBUFS = 0xC0145608
"""VIDIOC_REQBUFS, `_IOWR('V', 8, struct v4l2_requestbuffers)` of linux/videodev2.h."""
_CAPTURE, _MMAP = 1, 1
"""V4L2_BUF_TYPE_VIDEO_CAPTURE and V4L2_MEMORY_MMAP."""


class UsbCamera:
    """A camera by index or device path, through OpenCV.

    Args:
        source: `0` or `/dev/video0`.
        width: asked for, pixels; the camera's own where None, and so for what follows.
        height: asked for, pixels.
        fps: asked for, frames a second.
        form: `mjpg`, `yuyv`, or `auto`: MJPG where the pictures would not fit through USB 2 uncoded.
    """

    open_seconds = 15.0

    def __init__(
        self,
        source: str,
        *,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        form: str = "auto",
    ) -> None:
        self.name = source
        self._width, self._height, self._fps = width, height, fps
        self._form = choose_form(form, width, height, fps)

    def open(self) -> Stream:
        """Open it and ask for what is wanted; the driver takes the nearest that it can.

        Raises:
            OutsideError: it is absent, busy, forbidden, or no camera.
        """
        linux = sys.platform == "linux"
        path = f"/dev/video{self.name}" if self.name.isdigit() else self.name
        place: int | str = int(self.name) if self.name.isdigit() else self.name
        if linux and (reason := why_not(path)):
            raise OutsideError(reason)
        capture = cv2.VideoCapture(place, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
        if not capture.isOpened():
            capture.release()
            raise OutsideError(f"it gives no video: {NO_CAMERA}, or its driver does not answer")
        # The form first: it decides which sizes and rates there are.
        if self._form:
            capture.set(cv2.CAP_PROP_FOURCC, fourcc(FOURCC[self._form]))
        for name, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, self._width),
            (cv2.CAP_PROP_FRAME_HEIGHT, self._height),
            (cv2.CAP_PROP_FPS, self._fps),
        ):
            if value is not None:
                capture.set(name, value)
        form = letters(int(capture.get(cv2.CAP_PROP_FOURCC)))
        return OpenCvStream(capture, form=f" {form}" if form else "", tolerance=MOST_BROKEN_IN_A_ROW)


def choose_form(form: str, width: int | None, height: int | None, fps: float | None) -> str | None:
    """Say what to ask the camera for: `mjpg`, `yuyv`, or None for its own choice."""
    if form != "auto":
        return form
    if width is None or height is None:
        return None
    return "mjpg" if 2 * width * height * (fps or 30) > USB2_BYTES_A_SECOND else "yuyv"


def why_not(path: str) -> str | None:
    """Say why a V4L2 device cannot give pictures now, or None where nothing speaks against it."""
    try:
        device = os.open(path, os.O_RDWR | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        return _reason(error)
    try:
        _ask_for_buffers(device)
    except OSError as error:
        # A camera whose pictures lie in several planes refuses this one question: OpenCV asks it another.
        return None if error.errno == errno.EINVAL else _reason(error)
    finally:
        os.close(device)
    return None


def _ask_for_buffers(device: int) -> None:
    """Ask for one buffer, as a program that reads the camera does first: who holds the camera shows by EBUSY."""
    if sys.platform == "linux":
        import fcntl

        fcntl.ioctl(device, _REQBUFS, struct.pack("IIIII", 1, _CAPTURE, _MMAP, 0, 0))


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return "it is not there: plug it in, or name another (ls /dev/video* lists them)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "this user may not open it: add the user to the group video (sudo usermod -aG video NAME)"
    if error.errno == errno.EBUSY:
        return "it is busy: another program holds it"
    if error.errno in (errno.ENOTTY, errno.EISDIR):
        return NO_CAMERA
    return f"it does not answer: {error.strerror}"


def fourcc(name: str) -> int:
    """The number that stands for four letters."""
    return int.from_bytes(name.encode("ascii"), "little")


def letters(number: int) -> str:
    """The four letters of a number, or nothing where they are none."""
    text = number.to_bytes(4, "little", signed=number < 0).decode("ascii", "replace").strip()
    return text if text.isalnum() else ""
