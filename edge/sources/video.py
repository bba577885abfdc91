"""Frames of a video file, every one, in order."""

from __future__ import annotations

import time
from pathlib import Path

import cv2

from edge.errors import InputError
from edge.sources.names import shown
from edge.sources.size import why_too_large
from edge.values import Frame

MOST_BROKEN_IN_A_ROW = 100
"""After so many failed reads in a row the rest of the file is taken for lost."""


class Video:
    """A video file. Frames that cannot be decoded are counted and left out."""

    live = False

    def __init__(self, path: Path, camera: str) -> None:
        self.camera, self.broken = camera, 0
        self._index = 0
        if path.stat().st_size == 0:
            raise InputError(f"source {shown(str(path))}: the file is empty")
        # FFmpeg decodes a frame a thread: more than one would keep more pictures in memory than `edge run` is given.
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.isOpened():
            self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(f"source {shown(str(path))}: no video that OpenCV can read (nor a picture by its name)")
        width, height = self._capture.get(cv2.CAP_PROP_FRAME_WIDTH), self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if why := why_too_large(width, height):
            self._capture.release()
            raise InputError(f"source {shown(str(path))}: {why}: make it smaller (ffmpeg -i IN -vf scale=1920:-2 OUT)")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else None
        self._count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._path = path
        self._any = False
        self._start = time.monotonic()

    def read(self) -> Frame | None:
        """Return the next frame that can be decoded, or None at the end."""
        for failed in range(MOST_BROKEN_IN_A_ROW):
            got, image = self._capture.read()
            index, self._index = self._index, self._index + 1
            there = got and image is not None
            if there and not why_too_large(*image.shape[:2]):  # it may grow on the way
                self.broken += failed
                self._any = True
                return Frame(image, index, time.time(), self._mono(index), self.camera)
            # A container may state no count, or one a few frames too high: only what a good frame follows was broken.
            if index >= self._count:
                break
        if not self._any:
            raise InputError(f"source {shown(str(self._path))}: not one of its frames can be decoded")
        return None

    def _mono(self, index: int) -> float:
        return self._start + index / self.fps if self.fps else time.monotonic()

    def close(self) -> None:
        """Close the file."""
        self._capture.release()
