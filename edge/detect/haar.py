"""The Haar cascade that OpenCV 4 brings along: the last rung, which needs no model file and no further package."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from edge.detect.framing import Framing
from edge.detect.near import longer, refine_near
from edge.detect.picture import check_picture
from edge.errors import InputError
from edge.values import Face

FILE = "haarcascade_frontalface_default.xml"
CELL = 24  # the cascade judges squares of 24 pixels
STEP, NEIGHBOURS = 1.2, 2  # growth from scale to scale; how many hits next to each other make a face
FINE_STEP = 1.05  # growth when refining: few scales are left, and with STEP a quarter of the faces are lost

FRAMING = Framing(width=0.823, height=1.071, x=-0.001, y=0.018)
"""Measured by `python -m scripts.bench.framing DATA CLIPS --count 100`; docs/bench/framing.json."""

HALF = 4.0
"""Margin at the last stage that scores a half: a cascade gives no probability, only how far it is on the right side."""


class Haar:
    """Finds upright faces seen from the front; no landmarks.

    Source: Viola and Jones 2001, Rapid object detection using a boosted cascade of simple features; Lienhart's cascade,
    as OpenCV distributes it.
    """

    name = "haar"

    def __init__(self, *, min_face: int = 40, cascade: Path | None = None) -> None:
        """Load the cascade.

        Args:
            min_face: longer side of the smallest face to look for, pixels, in MTCNN's framing.
            cascade: the XML file; None for OpenCV's.

        Raises:
            InputError: this OpenCV has no cascades (5 has none), or the file is missing or no cascade.
        """
        self.min_face = min_face
        if not hasattr(cv2, "CascadeClassifier"):
            raise InputError(
                f'the detector "haar" needs OpenCV 4, here is {cv2.__version__}: pip install "opencv-python-headless<5"'
            )
        if cascade is None:
            cascade = Path(cv2.__file__).parent / "data" / FILE
        if not cascade.is_file():
            raise InputError(f"{cascade}: no such file; OpenCV 4 from PyPI has it, or name one")
        self._cascade = cv2.CascadeClassifier()
        if not _loads(self._cascade, cascade):
            raise InputError(f"{cascade}: no cascade that OpenCV {cv2.__version__} can read")

    def detect(self, image: np.ndarray) -> list[Face]:
        """Return the faces in `(H, W, 3)` uint8 BGR, best score first; empty when there are none.

        Raises:
            InputError: the picture has another shape or dtype.
        """
        return self._find(image, self.min_face)

    def refine(self, image: np.ndarray, boxes: np.ndarray) -> list[Face | None]:
        """Look again near each of `(N, 4)` boxes; return its face, or None when there is none any more."""
        check_picture(image)
        refined: list[Face | None] = []
        for box in boxes:  # of about its size alone: most of the cost is in the small scales
            look = partial(self._find, least=longer(box) * 0.7, most=longer(box) * 1.4, step=FINE_STEP)
            refined += refine_near(look, image, box[None])
        return refined

    def raw(
        self, image: np.ndarray, least: float, most: float | None = None, step: float = STEP
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return `(N, 4)` float32 squares in the cascade's own framing and `(N,)` scores, best first.

        Args:
            image: `(H, W, 3)` uint8 BGR.
            least: side of the smallest square, pixels.
            most: side of the largest; None for no limit.
            step: growth from scale to scale, above 1.

        Raises:
            InputError: the picture has another shape or dtype.
        """
        check_picture(image)
        # Shrunk until the smallest face fills a cell: a quarter of the time of letting the cascade do it.
        scale = min(CELL / least, 1.0)
        if min(image.shape[:2]) * scale < CELL:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if scale < 1:
            gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        largest = (round(most * scale), round(most * scale)) if most else (0, 0)  # zeros for no limit
        found, _, margins = self._cascade.detectMultiScale3(
            gray, scaleFactor=step, minNeighbors=NEIGHBOURS, minSize=(CELL, CELL), maxSize=largest,
            outputRejectLevels=True,
        )  # fmt: skip
        rows = np.array(found, np.float32).reshape(-1, 4) / np.float32(scale)
        scores = 1 - np.exp2(-np.maximum(np.array(margins, np.float32).reshape(-1), 0) / HALF)
        order = np.argsort(-scores, kind="stable")
        return np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:]])[order], scores[order]

    def _find(self, image: np.ndarray, least: float, most: float | None = None, step: float = STEP) -> list[Face]:
        """Return the faces whose longer side in MTCNN's framing lies between these."""
        sizes = FRAMING.size_before(least), FRAMING.size_before(most) if most else None
        boxes, scores = self.raw(image, *sizes, step)
        return [
            Face(box, float(score), detector=self.name) for box, score in zip(FRAMING.apply(boxes), scores, strict=True)
        ]


def _loads(cascade: cv2.CascadeClassifier, path: Path) -> bool:
    try:
        return cascade.load(str(path))
    except cv2.error:  # damaged XML
        return False
