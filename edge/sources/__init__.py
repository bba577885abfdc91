"""Where frames come from: cameras, video files, images, folders of images. One door: `open_source(url)`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edge.errors import InputError
from edge.values import Frame

__all__ = ["PICTURE_SUFFIXES", "Source", "open_source"]

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".pgm"})
"""What counts as a picture by its name."""


class Source(Protocol):
    """A stream of frames of one camera.

    Attributes:
        camera: the camera's name, which its frames carry.
        live: whether it is a camera: time goes on while nobody reads.
        fps: frames a second as the source states them, or None.
        broken: how many frames could not be read so far.
    """

    camera: str
    live: bool
    fps: float | None
    broken: int

    def read(self) -> Frame | None:
        """Return the next frame, or None at the end (a camera has none, except when told to stop)."""

    def close(self) -> None:
        """Let go of the device or file."""


def open_source(
    source: str,
    camera: str = "camera",
    *,
    wait: Callable[[float], bool] | None = None,
    say: Callable[[str], None] = lambda text: None,
    fail_fast: bool = False,
) -> Source:
    """Open what a person named.

    Args:
        source: a camera index (`0`) or device (`/dev/video0`), a video file, an image, or a folder of images.
        camera: name of the camera, for frames and topics.
        wait: sleeps for so many seconds and returns True when it is time to stop; for a camera that does not answer.
        say: takes one line when a camera goes away or comes back.
        fail_fast: raise instead of waiting for a camera.

    Raises:
        InputError: the file is missing or unreadable, or the name is of no known kind.
        OutsideError: the camera does not answer, with `fail_fast`.
    """
    if not source or not _encodable(source):
        raise InputError(f"source {source!a}: give a camera, a file or a folder whose name is plain text")
    if re.fullmatch(r"[0-9]{1,4}|/dev/video[0-9]+", source):
        from edge.sources.camera import Camera

        return Camera(source, camera, wait=wait, say=say, fail_fast=fail_fast)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source):
        raise InputError(f"source {source}: streams over the network are not read; give a camera, a file or a folder")
    path = Path(source)
    if path.is_dir() or path.suffix.lower() in PICTURE_SUFFIXES:
        from edge.sources.images import Images

        return Images(path, camera)
    if not path.exists():
        raise InputError(
            f"source {source}: no such file or folder (a camera is named by its number, or as /dev/video0)"
        )
    if not path.is_file():
        raise InputError(f"source {source}: no file, folder or camera")
    from edge.sources.video import Video

    return Video(path, camera)


def _encodable(text: str) -> bool:
    """Whether a name is UTF-8 throughout: OpenCV dies of one that is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
