"""Finds faces in a picture. One door: `load_detector(name)`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from edge.detect.names import AUTO, check_name
from edge.errors import InputError
from edge.values import Face

if TYPE_CHECKING:
    from edge.config import DetectConfig

SMALLEST = 12
"""MTCNN's first net judges squares of 12 pixels; the others see no smaller face either."""


class Finder(Protocol):
    """What finds faces in a picture.

    Every one of them gives its boxes in MTCNN's framing: what a model file says of a box was measured on those.
    """

    @property
    def name(self) -> str:
        """Its name; a `Fallback` tells that of the detector in use."""
        ...

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


def load_detector(
    name: str = "mtcnn",
    *,
    min_face: int = 40,
    threads: int = 1,
    yunet_model: str | Path | None = None,
    budget_ms: float | None = None,
    say: Callable[[str], None] = lambda line: None,
    clock: Callable[[], float] = time.monotonic,
) -> Detector:
    """Load a detector's files and make it ready.

    Args:
        name: one of `DETECTORS`, or `AUTO` for a `Fallback` over `edge.detect.fallback.LADDER`.
        min_face: side of the smallest face to look for, pixels. Half of it costs MTCNN two to three times the time.
        threads: threads that one call may use.
        yunet_model: YuNet's ONNX file; without one YuNet cannot be loaded, and `AUTO` leaves it out.
        budget_ms: for `AUTO`: what one call may take, milliseconds; None never steps down for slowness.
        say: for `AUTO`: takes one line for a person at each switch.
        clock: for `AUTO`: seconds; it never goes back.

    Raises:
        InputError: the name is unknown, a number is out of range, or a model file or package is missing or broken.
    """
    check_name(name)
    if min_face < SMALLEST:
        raise InputError(f"min_face is {min_face}: no face below {SMALLEST} pixels is seen, give {SMALLEST} or more")
    if threads < 1:
        raise InputError(f"threads is {threads}: give 1 or more")

    # Imports wait until a detector is wanted: naming one loads no runtime.
    def load(wanted: str) -> Detector:
        if wanted == "blazeface":
            from edge.detect.blazeface import BlazeFace

            return BlazeFace(min_face=min_face, threads=threads)
        if wanted == "mediapipe":
            from edge.detect.mediapipe import MediaPipe

            return MediaPipe(min_face=min_face)
        if wanted == "yunet":
            from edge.detect.yunet import YuNet

            return YuNet(yunet_model, min_face=min_face)
        if wanted == "haar":
            from edge.detect.haar import Haar

            return Haar(min_face=min_face)
        from edge.detect.mtcnn import Mtcnn

        return Mtcnn(min_face=min_face, threads=threads)

    if name != AUTO:
        return load(name)
    from edge.detect.fallback import LADDER, Fallback

    if yunet_model is not None and not Path(yunet_model).is_file():  # what is named and missing is an error at once
        raise InputError(f"{yunet_model}: no such file; [detect] yunet_model names YuNet's ONNX file")
    names = [each for each in LADDER if each != "yunet" or yunet_model is not None]
    return Fallback(names, load, clock=clock, say=say, budget_ms=budget_ms)


def load_configured(
    config: DetectConfig, *, live: bool = False, say: Callable[[str], None] = lambda line: None
) -> Detector:
    """Load the detector that a configuration asks for.

    Args:
        config: `[detect]`.
        live: whether frames come from a camera: then `auto` keeps to the budget. A file's faces must not depend on how
            fast the machine is.
        say: takes one line for a person at each switch.

    Raises:
        InputError: as `load_detector`.
    """
    budget = config.budget_ms if live and config.budget_ms else None
    return load_detector(
        config.detector, min_face=config.min_face, threads=config.threads, yunet_model=config.yunet_model,
        budget_ms=budget, say=say,
    )  # fmt: skip
