"""The picture with boxes, emotions and confidences, for whoever asks for it on this machine."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge.errors import InputError
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

    Raises:
        InputError: the ending is another, or the file cannot be written.
    """

    def __init__(self, path: str, fps: float | None) -> None:
        self.path, self.fps = Path(path), fps or 10.0
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._last: np.ndarray | None = None
        if self.path.suffix.lower() not in (".mp4", ".png", ".jpg"):
            raise InputError(f"--draw {path}: name a file that ends in .mp4, .png or .jpg")
        if not self.path.parent.is_dir():
            raise InputError(f"--draw {path}: no such folder {self.path.parent}")

    def add(self, step: Step) -> None:
        """Draw one frame."""
        picture = draw(step)
        if self.path.suffix.lower() != ".mp4":
            self._last = picture
            return
        if self._writer is None:
            self._size = (picture.shape[1], picture.shape[0])
            fourcc = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self.path), fourcc, self.fps, self._size)
            if not self._writer.isOpened():
                raise InputError(f"--draw {self.path}: this file cannot be written")
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = cv2.resize(picture, self._size)
        self._writer.write(picture)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
        if self._last is None:
            return
        coded, data = cv2.imencode(self.path.suffix, self._last)
        try:
            if not coded:
                raise OSError("it could not be encoded")
            self.path.write_bytes(data.tobytes())
        except OSError as error:
            raise InputError(f"--draw {self.path}: {error.strerror or error}") from None
