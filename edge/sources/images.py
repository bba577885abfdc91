"""Frames from one image or from all images of a folder, by name."""

from __future__ import annotations

import math
import time
from pathlib import Path

import cv2
import numpy as np

from edge.errors import InputError
from edge.files import read_regular
from edge.sources.names import shown
from edge.sources.size import MOST_DECODED_PIXELS, MOST_PIXELS
from edge.values import Frame

LONGEST = 2**28
"""Bytes of an image file."""

REDUCED = (cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_COLOR_8)


class Images:
    """An image, or the images of a folder in the order of their names. Broken ones are counted and left out.

    One of more than `MOST_PIXELS` is made smaller; its frame's size, and that of its events, says to what.
    """

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
                    f"source {shown(str(self._names[index]))}: no image that OpenCV can read, or one of more than "
                    f"{MOST_DECODED_PIXELS // 10**6} megapixels that is no JPEG"
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
    """Read an image file as `(H, W, 3)` uint8 BGR, at most `MOST_PIXELS` of them; None when it cannot be decoded."""
    try:
        data = read_regular(path, LONGEST)
    except OSError:
        return None
    image = decode_image(data)
    for reduced in () if image is not None else REDUCED:
        # OpenCV measures a JPEG by the size that it is decoded to, which so small takes no more memory than another.
        image = decode_image(data, reduced)
        if image is not None:
            break
    return None if image is None else _fitted(image)


def _fitted(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    if width * height <= MOST_PIXELS:
        return image
    scale = math.sqrt(MOST_PIXELS / (width * height))
    return cv2.resize(image, (max(1, int(width * scale)), max(1, int(height * scale))), interpolation=cv2.INTER_AREA)


def decode_image(data: bytes, how: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """Decode an encoded picture to `(H, W, 3)` uint8 BGR; None when it cannot be decoded."""
    if not data:
        return None
    # OpenCV refuses a WebP below 32 bytes, which a blank picture is (FER2013 has twelve): zeros behind it do no harm.
    try:
        return cv2.imdecode(np.frombuffer(data.ljust(64, b"\0"), np.uint8), how)
    except cv2.error:  # a picture with more pixels than OpenCV allows
        return None
