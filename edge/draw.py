"""The picture with boxes, emotions and confidences, for whoever asks for it on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from edge.errors import InputError
from edge.files import write_whole
from edge.loop import Step

COLOURS: dict[str, tuple[int, int, int]] = {
    "angry": (60, 60, 230), "disgust": (80, 160, 60), "fear": (200, 80, 160), "happy": (60, 200, 250),
    "sad": (220, 140, 60), "surprise": (60, 140, 250), "neutral": (190, 190, 190),
}  # fmt: skip
"""BGR by label."""
OTHER = (150, 150, 150)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw(step: Step) -> np.ndarray:
    """Return a copy of the frame, `(H, W, 3)` uint8 BGR, with a box and a caption for each face."""
    canvas = step.frame.image.copy()
    scale = max(0.45, min(canvas.shape[:2]) / 900)
    weight = max(1, round(scale * 2))
    for face, emotion in zip(step.faces, step.emotions, strict=True):
        colour = COLOURS.get(emotion.label or "", OTHER)
        x1, y1, x2, y2 = (round(float(v)) for v in face.box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, weight + 1)
        for x, y in face.landmarks[np.isfinite(face.landmarks).all(axis=1)]:
            cv2.circle(canvas, (round(float(x)), round(float(y))), weight, colour, -1)
        share = "" if emotion.confidence is None else f" {emotion.confidence:.0%}"
        _caption(canvas, f"#{face.track} {emotion.label or emotion.skipped}{share}", x1, y1, colour, scale)
    return canvas


def _caption(canvas: np.ndarray, text: str, x: int, y: int, colour: tuple[int, int, int], scale: float) -> None:
    """Write a line above a box's corner, inside the picture, dark on a plate of the box's colour."""
    weight = max(1, round(scale * 1.6))
    (width, height), below = cv2.getTextSize(text, FONT, scale, weight)
    x = max(0, min(x, canvas.shape[1] - width - 4))
    y = max(height + below + 4, y)
    cv2.rectangle(canvas, (x, y - height - below - 4), (x + width + 4, y), colour, -1)
    cv2.putText(canvas, text, (x + 2, y - below - 1), FONT, scale, (20, 20, 20), weight, cv2.LINE_AA)


class Drawing:
    """Writes what is drawn to a file: `.mp4` for every frame, `.png` or `.jpg` for the last one.

    The file appears when it is whole: until then its frames stand beside it under a hidden name.

    Args:
        path: the file to write.
        fps: frames a second of the video, or None for 10.
        source: what is read, which must not be written over.

    Raises:
        InputError: the ending is another, the file is the source or lies in it, or it cannot be written.
    """

    def __init__(self, path: str, fps: float | None, source: str) -> None:
        self.path, self.fps = Path(path), fps or 10.0
        self._partial = self.path.with_name(f".{self.path.stem}.partial{self.path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._frames = 0
        self._last: np.ndarray | None = None
        if self.path.suffix.lower() not in (".mp4", ".png", ".jpg"):
            raise InputError(f"--draw {path}: name a file that ends in .mp4, .png or .jpg")
        folder = self.path.absolute().parent
        if not folder.is_dir() or not os.access(folder, os.W_OK) or self.path.is_dir():
            raise InputError(f"--draw {path}: no such folder, or it cannot be written")
        read = Path(source)
        if read.exists() and (folder.samefile(read) or (self.path.exists() and self.path.samefile(read))):
            raise InputError(f"--draw {path}: that would write over the source {source}; choose another place")

    def add(self, step: Step) -> None:
        """Draw one frame."""
        picture = draw(step)
        if self.path.suffix.lower() != ".mp4":
            self._last = picture
            return
        if self._writer is None:
            self._size = (picture.shape[1], picture.shape[0])
            fourcc = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._partial), fourcc, self.fps, self._size)
            if not self._writer.isOpened():
                raise InputError(f"--draw {self.path}: this file cannot be written")
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = cv2.resize(picture, self._size)
        self._writer.write(picture)
        self._frames += 1

    def close(self) -> None:
        """Finish the file; without a frame none is written.

        Raises:
            InputError: not all of it could be written: the disk is full.
        """
        if self._writer is not None:
            self._writer.release()  # says nothing when the disk was full: count what is there
            capture = cv2.VideoCapture(str(self._partial))
            written = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
            capture.release()
            if written < self._frames:
                self._partial.unlink(missing_ok=True)
                raise InputError(f"--draw {self.path}: only {written} of {self._frames} frames fit: is the disk full?")
            os.replace(self._partial, self.path)
        if self._last is not None:
            coded, data = cv2.imencode(self.path.suffix, self._last)
            if not coded:
                raise InputError(f"--draw {self.path}: the picture could not be encoded")
            write_whole(self.path, data.tobytes())
