"""MTCNN's framing for every detector: its boxes are what the models' margins and the tracks were measured on. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Framing:
    """How MTCNN's box of a face lies to another detector's box of it, on the mean of many faces.

    Attributes:
        width, height: sides of MTCNN's box, in sides of the detector's.
        x, y: from the centre of the detector's box to the centre of MTCNN's, in sides of the detector's.
    """

    width: float = 1.0
    height: float = 1.0
    x: float = 0.0
    y: float = 0.0

    def apply(self, boxes: np.ndarray) -> np.ndarray:
        """Return a detector's `(N, 4)` boxes as MTCNN would draw them, float32."""
        sides = boxes[:, 2:] - boxes[:, :2]
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + sides * (self.x, self.y)
        half = sides * (self.width / 2, self.height / 2)
        return np.hstack([centre - half, centre + half]).astype(np.float32)

    def size_before(self, size: float) -> float:
        """Return the longer side of the detector's square box that becomes a box of this longer side."""
        return size / max(self.width, self.height)


def measure_framing(boxes: np.ndarray, mtcnn: np.ndarray) -> Framing:
    """Return the mean framing of a detector's `(N, 4)` boxes to MTCNN's `(N, 4)` boxes of the same faces."""
    sides, theirs = boxes[:, 2:] - boxes[:, :2], mtcnn[:, 2:] - mtcnn[:, :2]
    apart = ((mtcnn[:, :2] + mtcnn[:, 2:]) - (boxes[:, :2] + boxes[:, 2:])) / 2
    width, height = np.exp(np.log(theirs / sides).mean(axis=0))  # of ratios, the geometric mean
    x, y = (apart / sides).mean(axis=0)
    return Framing(round(float(width), 3), round(float(height), 3), round(float(x), 3), round(float(y), 3))
