"""MediaPipe's own Tasks detector on the same BlazeFace file, where the extra `[mediapipe]` is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.detect.blazeface import LEAST_SCORE, MODEL, NOTHING, POINTS, SPAN, SUPPRESSION, Detections, to_faces
from edge.detect.near import longer, refine_near
from edge.detect.picture import check_picture
from edge.errors import InputError, first_line
from edge.values import Face


class MediaPipe:
    """Finds what `edge.detect.blazeface` finds, through MediaPipe's graph: for comparison, and where it is anyway."""

    name = "mediapipe"

    def __init__(self, *, min_face: int = 40, model: Path = MODEL) -> None:
        """Start the graph; MediaPipe chooses its threads itself.

        Args:
            min_face: longer side of the smallest face to return, pixels, in MTCNN's framing.
            model: the TFLite file.

        Raises:
            InputError: MediaPipe is not installed or too old, or the file is missing or no model.
        """
        self.min_face = min_face
        try:
            self._mediapipe = import_module("mediapipe")
            tasks = import_module("mediapipe.tasks.python")
            vision = import_module("mediapipe.tasks.python.vision")
        except ImportError as error:
            raise InputError(_absent(error)) from None
        if not model.is_file():
            raise InputError(f"{model}: no such file; it is part of the package: install it again")
        options = vision.FaceDetectorOptions(
            base_options=tasks.BaseOptions(model_asset_buffer=model.read_bytes()),
            min_detection_confidence=LEAST_SCORE,
            min_suppression_threshold=SUPPRESSION,
        )
        try:
            self._detector = vision.FaceDetector.create_from_options(options)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"model {model}: MediaPipe cannot run it: {first_line(error)}") from None

    def detect(self, image: np.ndarray) -> list[Face]:
        """Return the faces in `(H, W, 3)` uint8 BGR, best score first; empty when there are none.

        Raises:
            InputError: the picture has another shape or dtype.
        """
        return [face for face in to_faces(self.raw(image), self.name) if longer(face.box) >= self.min_face]

    def refine(self, image: np.ndarray, boxes: np.ndarray) -> list[Face | None]:
        """Look again near each of `(N, 4)` boxes; return its face, or None when there is none any more."""
        check_picture(image)
        return refine_near(lambda piece: to_faces(self.raw(piece), self.name), image, boxes, SPAN)

    def raw(self, image: np.ndarray) -> Detections:
        """Return what MediaPipe finds in `(H, W, 3)` uint8 BGR; it cuts its boxes to whole pixels.

        Raises:
            InputError: the picture has another shape or dtype.
        """
        check_picture(image)
        if not image.size:
            return NOTHING
        height, width = image.shape[:2]
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        seen = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=rgb)
        found = self._detector.detect(seen).detections
        return Detections(
            np.array([_box(each.bounding_box) for each in found], np.float32).reshape(-1, 4),
            np.array([each.categories[0].score for each in found], np.float32),
            np.array([[(p.x * width, p.y * height) for p in each.keypoints] for each in found], np.float32).reshape(
                -1, POINTS, 2
            ),
        )

    def close(self) -> None:
        """End MediaPipe's threads."""
        self._detector.close()


def _box(box: Any) -> tuple[float, float, float, float]:
    return box.origin_x, box.origin_y, box.origin_x + box.width, box.origin_y + box.height


def _absent(error: ImportError) -> str:
    try:
        found = version("mediapipe")
    except PackageNotFoundError:
        return 'the detector "mediapipe" needs a package that is not installed: pip install "emotion-edge[mediapipe]"'
    return f'the detector "mediapipe" cannot run: mediapipe {found} is installed, but: {first_line(error)}'
