"""Finds faces in a picture. One door: `load_detector(name)`."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from edge.errors import InputError
from edge.values import Face

DETECTORS: tuple[str, ...] = ("mtcnn",)
"""The detectors that `load_detector` knows, preferred first."""


class Detector(Protocol):
    """What finds faces."""

    name: str

    def detect(self, image: np.ndarray) -> list[Face]:
        """Return the faces in `(H, W, 3)` uint8 BGR, best score first; empty when there are none."""
        ...


def load_detector(name: str = "mtcnn", *, min_face: int = 40, threads: int = 1) -> Detector:
    """Load a detector's files and make it ready.

    Args:
        name: one of `DETECTORS`.
        min_face: side of the smallest face to look for, pixels. Half of it costs two to three times the time.
        threads: threads that one call may use.

    Raises:
        InputError: the name is unknown, a number is out of range, or a model file is missing or broken.
    """
    if name not in DETECTORS:
        raise InputError(f'no detector "{name}": choose one of {", ".join(DETECTORS)}')
    from edge.detect.mtcnn import Mtcnn  # here, so that naming a detector does not load ONNX Runtime

    return Mtcnn(min_face=min_face, threads=threads)
