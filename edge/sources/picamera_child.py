"""Runs in the system's Python, where picamera2 is: writes a CSI camera's pictures to a pipe. Standard library only.

Each message begins with 20 bytes, `<4sIIIf`: the letters "edge", its kind, two numbers, and a rate. Kind 0 says that
the camera is open (width, height, frames/s), 1 is a picture (width, height; width × height × 3 bytes follow, BGR), and
2 is an error (the length of its text; the text follows, UTF-8).
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

HEADER = "<4sIIIf"
MAGIC = b"edge"
READY, PICTURE, ERROR = 0, 1, 2


class Output(Protocol):
    """A binary file without a buffer: it takes what fits and says how much."""

    def write(self, data: memoryview, /) -> int:
        """Take some of the bytes."""


def picamera2_pictures(index: int, width: int, height: int, fps: float) -> Iterator[Any]:
    """Yield `(width, height, fps)` of an open camera, and then for ever a buffer of one picture, BGR without padding.

    Args:
        index: number of the camera.
        width: asked for, pixels; 0 leaves it to the camera, and so for what follows.
        height: asked for, pixels.
        fps: asked for, frames a second.
    """
    try:
        from picamera2 import Picamera2
    except ImportError as error:
        raise RuntimeError(
            f"picamera2 is not installed for {sys.executable} (apt install python3-picamera2): {error}"
        ) from None
    if index >= len(Picamera2.global_camera_info()):
        raise RuntimeError("no camera is found at this connector: is its ribbon in, and does rpicam-hello see it?")
    camera = Picamera2(index)
    size = (width or 640, height or 480)
    # What libcamera calls RGB888 lies in memory as blue, green, red.
    controls = {"FrameRate": fps} if fps else {}
    setting = camera.create_video_configuration(
        main={"size": size, "format": "RGB888"}, controls=controls, buffer_count=4, queue=False
    )
    camera.configure(setting)
    camera.start()
    given = camera.camera_configuration()["main"]["size"]
    yield given[0], given[1], fps or 30.0
    while True:
        yield camera.capture_array("main")


def main(arguments: Sequence[str], output: Output, pictures: Callable[..., Iterator[Any]] = picamera2_pictures) -> int:
    """Write pictures until the reader has gone; return the exit code.

    Args:
        arguments: index, width, height, frames/s as text.
        output: a binary file without a buffer.
        pictures: opens the camera and yields as `picamera2_pictures` does.
    """
    index, width, height = (int(text) for text in arguments[:3])
    try:
        source = pictures(index, width, height, float(arguments[3]))
        width, height, rate = next(source)
        _write(output, struct.pack(HEADER, MAGIC, READY, width, height, rate))
        for picture in source:
            _write(output, struct.pack(HEADER, MAGIC, PICTURE, width, height, 0.0))
            _write(output, memoryview(picture).cast("B"))
    except BrokenPipeError:
        return 0
    except Exception as error:
        text = (str(error) or type(error).__name__).splitlines()[0].encode("utf-8", "replace")[:500]
        try:
            _write(output, struct.pack(HEADER, MAGIC, ERROR, len(text), 0, 0.0) + text)
        except OSError:
            pass
        return 1
    return 0


def _write(output: Output, data: bytes | memoryview) -> None:
    """Write all of it: a pipe takes what fits."""
    view = memoryview(data)
    while view:
        view = view[output.write(view) :]


def _end_with_the_parent() -> None:
    """End when standard input closes: whoever reads the pictures is gone, even if no picture comes to tell by."""
    while sys.stdin.buffer.read(1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as pipe:
        sys.exit(main(sys.argv[1:], pipe))
