"""Refining for detectors that only know whole pictures: they look again near each box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edge.track import iou
from edge.values import Face

SPAN = 2.0
"""Side of the square that is looked at, in longer sides of the box."""

OVERLAP = 0.2
"""Least intersection over union of a face with the box that it is said to be."""


def refine_near(
    detect: Callable[[np.ndarray], list[Face]], image: np.ndarray, boxes: np.ndarray, span: float = SPAN
) -> list[Face | None]:
    """Detect in the square neighbourhood of each box and take the face that overlaps it best.

    Args:
        detect: finds the faces of a picture.
        image: `(H, W, 3)` uint8 BGR.
        boxes: `(N, 4)` float, pixels of `image`.
        span: side of the neighbourhood, in longer sides of the box.

    Returns:
        for each box its face, or None when there is none any more.
    """
    refined: list[Face | None] = []
    for box, (left, top, side) in zip(boxes, neighbourhoods(boxes, span), strict=True):
        x1, y1 = int(max(left, 0)), int(max(top, 0))
        piece = image[y1 : int(max(top + side, 0)), x1 : int(max(left + side, 0))]
        faces = detect(piece) if piece.size else []
        shift = np.array([x1, y1], np.float32)
        moved = [replace(face, box=face.box + np.tile(shift, 2), landmarks=face.landmarks + shift) for face in faces]
        refined.append(best(moved, box))
    return refined


def neighbourhoods(boxes: np.ndarray, span: float) -> np.ndarray:
    """Return `(N, 3)` squares about `(N, 4)` boxes: left, top, side; they may reach past the picture."""
    sides = span * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    return np.hstack([(boxes[:, :2] + boxes[:, 2:] - sides) / 2, sides])


def best(faces: Sequence[Face], box: np.ndarray, least: float = OVERLAP) -> Face | None:
    """Return the face that overlaps the box `(4,)` best, or None when none does by `least`."""
    if not faces:
        return None
    overlaps = iou(np.array([face.box for face in faces]), box[None])[:, 0]
    index = int(overlaps.argmax())
    return faces[index] if overlaps[index] >= least else None


def longer(box: np.ndarray) -> float:
    """Return the longer side of a box `(4,)`, pixels."""
    return float((box[2:] - box[:2]).max())
