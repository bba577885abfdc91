"""The values that pass between the rooms: Frame, Face, Emotion. Frozen, and nothing but data."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

EMOTIONS: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The seven basic emotions, in the label order of FER2013."""

UNCERTAIN = "uncertain"
"""What is said instead of a label when the model is not sure enough."""


@dataclass(frozen=True)
class Frame:
    """One picture of a camera. Its pixels last until the source's next read: who keeps them copies.

    Attributes:
        image: `(H, W, 3)` uint8, BGR as OpenCV gives it.
        index: number of the frame in its source, from 0; broken frames count.
        time: wall clock at capture, seconds since the epoch.
        mono: seconds on a clock that never goes back: the monotonic clock at a camera's capture; for a video file that
            clock at its start plus the frame's place in the file, so that nothing depends on how fast it is read.
        camera: the camera's name.
        still: a picture of its own, not one of a sequence: nothing in it is where it was in the one before.
    """

    image: np.ndarray
    index: int
    time: float
    mono: float
    camera: str
    still: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.image.shape[1], self.image.shape[0]


def _no_landmarks() -> np.ndarray:
    return np.full((5, 2), np.nan, np.float32)


@dataclass(frozen=True)
class Face:
    """One face in a frame.

    Attributes:
        box: `(4,)` float32, x1, y1, x2, y2 in pixels; may reach past the frame's edge.
        score: the detector's confidence, 0 to 1.
        landmarks: `(5, 2)` float32 pixels: left eye, right eye, nose, left and right mouth corner as seen in the
            picture; NaN rows for points that the detector does not give.
        detector: name of the detector that found it.
        track: id that lasts while the face is followed; -1 before tracking.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray = field(default_factory=_no_landmarks)
    detector: str = ""
    track: int = -1


@dataclass(frozen=True)
class Emotion:
    """What the classifier says of one face.

    Attributes:
        label: the emotion with the highest score, or one that smoothing holds a little longer; `"uncertain"` when that
            is below the model's threshold; None when the face was not classified.
        confidence: the label's score, or the highest one when uncertain, 0 to 1; None when not classified.
        scores: every label of the model with its probability; they sum to 1.
        skipped: why the face was not classified (`small`, `blurred`, `turned`), or None.
    """

    label: str | None
    confidence: float | None
    scores: dict[str, float]
    skipped: str | None = None
