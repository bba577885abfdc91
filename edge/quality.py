"""Whether anything can be read in a face: it may be too small, too blurred, or turned too far away. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.values import Face

SIDE = 32
"""Side that a crop is averaged down to before its sharpness is measured, pixels: noise goes, the face's lines stay."""

BACK = 0.85
"""A face that was turned away is looked at again below this share of the limit: its landmarks jump by a tenth."""

FLAT = 0.5
"""Mean step between neighbours below which a crop shows nothing at all, gray levels."""


@dataclass(frozen=True)
class Limits:
    """Where a face is no longer classified; 0 switches a limit off.

    Attributes:
        min_side: least length of the box's longer side, pixels.
        sharpness: least sharpness, 0 to 1.
        turn: most turn, 1 when the nose is over an eye.
    """

    min_side: float = 0.0
    sharpness: float = 0.0
    turn: float = 0.0


def why_skipped(face: Face, limits: Limits, crop: np.ndarray | None = None, *, turned: bool = False) -> str | None:
    """Return `small`, `turned` or `blurred` when the face is not worth classifying, else None.

    Args:
        face: as a detector gives it.
        limits: where it ends.
        crop: `(S, S, 3)` uint8 RGB, the face's. Without it blur is not judged: the rest can be told before it is made.
        turned: whether it was turned away when last looked at.
    """
    if side(face.box) < limits.min_side:
        return "small"
    if limits.turn and turn(face.landmarks) > limits.turn * (BACK if turned else 1):  # NaN is not more
        return "turned"
    if limits.sharpness and crop is not None and sharpness(crop) < limits.sharpness:
        return "blurred"
    return None


def side(box: np.ndarray) -> float:
    """Return the longer side of a `(4,)` box x1, y1, x2, y2."""
    return float(max(box[2] - box[0], box[3] - box[1]))


def turn(landmarks: np.ndarray) -> float:
    """Return how far a face is turned to a side: 0 from the front, 1 when the nose is over an eye, more in profile.

    It is the distance of the nose from the line between the eyes' middle and the mouth's, along the eyes' axis and in
    half eye distances: a face that leans, or looks up or down, is not turned.

    Args:
        landmarks: `(5, 2)` pixels, as in `Face`.

    Returns:
        NaN where a point is not known or the eyes are in one place.
    """
    left, right, nose = (landmarks[i].astype(np.float64) for i in range(3))
    axis = (right - left) / 2
    half = float(np.hypot(*axis))
    if not np.isfinite(landmarks).all() or half < 1e-6:
        return float("nan")
    axis /= half
    down = np.array([-axis[1], axis[0]])
    middle = (left + right) / 2
    line = (landmarks[3] + landmarks[4]).astype(np.float64) / 2 - middle  # from the eyes to the mouth
    length = float(line @ down)
    height = float((nose - middle) @ down) / length if abs(length) > 1e-6 else 0.0
    return abs(float((nose - middle - height * line) @ axis)) / half


def sharpness(crop: np.ndarray) -> float:
    """Return how sharp a crop is: the share of the steps between neighbours that blurring it once more takes away.

    Small for what is blurred already. It depends neither on contrast nor on brightness, and on the crop's size only as
    far as there was no detail to be enlarged. Of both directions the less sharp one counts: a face that moves is
    blurred along its way alone. A crop without any lines has a sharpness of 0.

    Args:
        crop: `(S, S, 3)` uint8 RGB.

    Source: Crete, Dolmiere, Ladret, Nicolas 2007, The blur effect: perception and estimation with a new no-reference
    perceptual blur metric; theirs is 1 minus ours, on the whole picture.
    """
    gray = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    return min(_taken(small, 0), _taken(small, 1))


def _taken(gray: np.ndarray, axis: int) -> float:
    """Return the share of the steps along an axis that averaging three neighbours takes away."""
    blurred = cv2.blur(gray, (1, 3) if axis == 0 else (3, 1))
    before, after = np.abs(np.diff(gray, axis=axis)), np.abs(np.diff(blurred, axis=axis))
    if before.mean() < FLAT:
        return 0.0
    return float(np.maximum(before - after, 0).sum() / before.sum())
