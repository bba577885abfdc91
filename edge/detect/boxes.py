"""Geometry of boxes `(N, 4)`, x1, y1, x2, y2 in pixels: suppress, square, shift, cut to the picture. Pure."""

from __future__ import annotations

import cv2
import numpy as np


def suppress(boxes: np.ndarray, scores: np.ndarray, limit: float, groups: np.ndarray | None = None) -> np.ndarray:
    """Keep the best of boxes that overlap: greedy non-maximum suppression by intersection over union.

    Args:
        boxes: `(N, 4)`.
        scores: `(N,)`, above 0, at most 1.
        limit: a box whose overlap with a better one is above this goes.
        groups: `(N,)` numbers from 0; boxes of different groups do not suppress each other. None for one group.

    Returns:
        indices of the kept boxes, best first, equal scores in the order given.
    """
    if len(boxes) == 0:
        return np.empty(0, np.intp)
    corners = boxes.astype(np.float64)
    rectangles = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])  # x, y, width, height
    if groups is not None:
        # Groups side by side, too far apart to touch.
        rectangles[:, 0] += groups * (corners[:, 2].max() - corners[:, 0].min() + 1)
    kept = cv2.dnn.NMSBoxes(rectangles, scores.astype(np.float32), 0.0, limit)  # type: ignore[arg-type]
    return np.asarray(kept, np.intp).reshape(-1)


def suppress_inner(boxes: np.ndarray, scores: np.ndarray, limit: float) -> np.ndarray:
    """Keep the best of boxes of which one lies mostly inside the other: the overlap is a share of the smaller box.

    Args:
        boxes: `(N, 4)`; x2 and y2 count as inside, as MTCNN has it.
        scores: `(N,)`.
        limit: a box whose overlap with a better one is above this goes.

    Returns:
        indices of the kept boxes, best first, of equal scores the last given: facenet-pytorch's order.
    """
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.maximum(high - low + 1, 0).prod(axis=2)  # (N, N)
    area = (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    clash = shared > limit * np.minimum(area[:, None], area[None, :])
    alive = np.ones(len(boxes), bool)
    kept: list[int] = []
    for index in np.argsort(scores, kind="stable")[::-1]:
        if alive[index]:
            kept.append(int(index))
            alive &= ~clash[index]
    return np.array(kept, np.intp)


def square(boxes: np.ndarray) -> np.ndarray:
    """Return boxes grown about their centres to squares of the longer side, float64."""
    boxes = boxes.astype(np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    longer = sides.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + sides * 0.5 - longer * 0.5
    return np.hstack([corner, corner + longer])


def shift(boxes: np.ndarray, offsets: np.ndarray, *, inclusive: int) -> np.ndarray:
    """Move each edge by its offset `(N, 4)`, in sides of the box; `inclusive` 1 counts x2 and y2 as inside; float64."""
    boxes = boxes.astype(np.float64)
    sides = boxes[:, 2:] - boxes[:, :2] + inclusive
    shifted: np.ndarray = boxes + offsets * np.hstack([sides, sides])
    return shifted


def windows(boxes: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut boxes to the picture and to whole pixels, as MTCNN counts them: from 1, the last pixel inside.

    Returns:
        `(M, 4)` int64 windows x1, y1, x2, y2 from 0, the last two past the end, none empty; and `(M,)` indices of the
        boxes they belong to. Boxes outside the picture have none.
    """
    # Rounded to float32 first: a box on a whole number must not lose a pixel to the last bits of a net's output.
    whole = boxes.astype(np.float32).astype(np.int64)
    low = np.maximum(whole[:, :2], 1) - 1
    high = np.minimum(whole[:, 2:], (width, height))
    kept = np.flatnonzero((high > low).all(axis=1))
    return np.hstack([low, high])[kept], kept
