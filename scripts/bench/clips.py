"""The pictures of a folder of clips: videos, animations and single pictures, as BGR frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

PICTURES = {".jpg", ".jpeg", ".png"}
VIDEOS = {".mp4", ".mov", ".gif"}


def paths_of(folder: Path) -> list[Path]:
    """Return the clips in a folder, in order; end the program where there is none."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURES | VIDEOS)
    if not found:
        raise SystemExit(f"{folder}: no clip in it; expected {', '.join(sorted(PICTURES | VIDEOS))}")
    return found


def pictures_of(path: Path, every: int) -> Iterator[np.ndarray]:
    """Yield every n-th frame of a video, or the picture, as `(H, W, 3)` uint8 BGR."""
    if path.suffix.lower() in PICTURES:
        yield np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR))
        return
    capture = cv2.VideoCapture(str(path))
    index = 0
    while capture.grab():
        if index % every == 0:
            yield capture.retrieve()[1]
        index += 1
    capture.release()
