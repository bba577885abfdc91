"""Finds faces in a picture. One door: `load_detector(name)`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol, runtime_checkable

import numpy as np

from edge.errors import InputError
from edge.values import Face

DETECTORS: tuple[str, ...] = ("mtcnn",)
"""The detectors that `load_detector` knows, preferred first."""


class Finder(Protocol):
    """What finds faces in a picture."""

    name: str

    def detect(self, image: np.ndarray) -> list[Face]:
        """Return the faces in `(H, W, 3)` uint8 BGR, best score first; empty when there are none."""
        ...


class Detector(Finder, Protocol):
    """What can also follow them."""

    def refine(self, image: np.ndarray, boxes: np.ndarray) -> list[Face | None]:
        """Look where faces should be, `(N, 4)` boxes; return a face for each, or None where there is none any more."""
        ...


@runtime_checkable
class Searcher(Protocol):
    """A detector whose work can be spread over frames."""

    def search(self, image: np.ndarray) -> Generator[None, None, list[Face]]:
        """Detect in pieces of about equal cost; the picture may change after the first."""
        ...


def in_pieces(detector: Detector, image: np.ndarray) -> Generator[None, None, list[Face]]:
    """Detect piece by piece where the detector can, else in one; the generator returns the faces."""
    if isinstance(detector, Searcher):
        return (yield from detector.search(image))
    yield from ()
    return detector.detect(image)


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
