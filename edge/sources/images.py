"""Frames from one image or from all images of a folder, by name."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np

from edge.errors import InputError
from edge.sources.names import shown
from edge.values import Frame


class Images:
    """An image, or the images of a folder in the order of their names. Broken ones are counted and left out."""

    live = False

    def __init__(self, path: Path, camera: str) -> None:
        from edge.sources import PICTURE_SUFFIXES

        self.camera, self.broken = camera, 0
        self.fps: float | None = None
        self._index = 0
        self._single = not path.is_dir()
        if self._single and not path.is_file():
            raise InputError(f"source {shown(str(path))}: no such file")
        names = (
            [path]
            if self._single
            else sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
        )
        if not names:
            raise InputError(
                f"source {shown(str(path))}: no image in this folder ({', '.join(sorted(PICTURE_SUFFIXES))})"
            )
        self._names = names

    def read(self) -> Frame | None:
        """Return the next image that can be decoded, or None after the last.

        Raises:
            InputError: not one image can be decoded.
        """
        while self._index < len(self._names):
            index, self._index = self._index, self._index + 1
            image = read_image(self._names[index])
            if image is not None:
                return Frame(image, index, time.time(), time.monotonic(), self.camera, still=True)
            if self._single:
                raise InputError(
                    f"source {shown(str(self._names[index]))}: no image that OpenCV can read, or one of more than 64 "
                    "megapixels"
                )
            self.broken += 1
        if self.broken == len(self._names):
            raise InputError(
                f"source {shown(str(self._names[0].parent))}: not one of its {self.broken} images can be read"
            )
        return None

    def close(self) -> None:
        """Nothing is held open."""


def read_image(path: Path) -> np.ndarray | None:
    """Read an image file as `(H, W, 3)` uint8 BGR; None when it cannot be decoded."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return decode_image(data)


def decode_image(data: bytes) -> np.ndarray | None:
    """Decode an encoded picture to `(H, W, 3)` uint8 BGR; None when it cannot be decoded."""
    if not data:
        return None
    # OpenCV refuses a WebP below 32 bytes, which a blank picture is (FER2013 has twelve): zeros behind it do no harm.
    try:
        return cv2.imdecode(np.frombuffer(data.ljust(64, b"\0"), np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # a picture with more pixels than OpenCV allows
        return None
