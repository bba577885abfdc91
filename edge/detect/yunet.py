"""YuNet through OpenCV, where the configuration names its model file: none ships with the kit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge.detect.near import longer, refine_near
from edge.detect.picture import check_picture
from edge.errors import InputError, first_line
from edge.values import Face

LEAST_SCORE, SUPPRESSION, MOST = 0.6, 0.3, 200  # least score, overlap that is one face, boxes before suppression
SMALLEST = 16  # sides below are not looked at, pixels: the net halves its picture five times


class YuNet:
    """Finds faces and their five landmarks.

    Its framing has not been measured, for want of a file: with all five landmarks the classifier's crop does not rest
    on the box.

    Source: Wu, Peng and Yu 2023, YuNet: a tiny millisecond-level face detector; the files of OpenCV's model zoo.
    """

    name = "yunet"

    def __init__(self, model: str | Path | None, *, min_face: int = 40, least: float = LEAST_SCORE) -> None:
        """Load a model file, such as OpenCV zoo's `face_detection_yunet_2023mar.onnx`.

        Args:
            model: the ONNX file.
            min_face: longer side of the smallest face to return, pixels.
            least: least score of a detection, 0 to 1.

        Raises:
            InputError: no file is named, it is missing or no YuNet, or this OpenCV is too old.
        """
        if model is None:
            raise InputError('the detector "yunet" ships without a model: name its file, [detect] yunet_model = "…"')
        path = Path(model)
        if not path.is_file():
            raise InputError(f"{path}: no such file; [detect] yunet_model names YuNet's ONNX file")
        if not hasattr(cv2, "FaceDetectorYN"):
            raise InputError(f'the detector "yunet" needs OpenCV 4.5.4 or later, here is {cv2.__version__}: update it')
        self.min_face = min_face
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), least, SUPPRESSION, MOST)
            self._net.detect(np.zeros((320, 320, 3), np.uint8))
        except cv2.error as error:
            raise InputError(
                f"{path} is no YuNet model that OpenCV {cv2.__version__} can run: {_said(error)}"
            ) from None

    def detect(self, image: np.ndarray) -> list[Face]:
        """Return the faces in `(H, W, 3)` uint8 BGR, best score first; empty when there are none.

        Raises:
            InputError: the picture has another shape or dtype.
        """
        return [face for face in self._find(image) if longer(face.box) >= self.min_face]

    def refine(self, image: np.ndarray, boxes: np.ndarray) -> list[Face | None]:
        """Look again near each of `(N, 4)` boxes; return its face, or None when there is none any more."""
        check_picture(image)
        return refine_near(self._find, image, boxes)

    def _find(self, image: np.ndarray) -> list[Face]:
        check_picture(image)
        height, width = image.shape[:2]
        if min(height, width) < SMALLEST:
            return []
        self._net.setInputSize((width, height))
        rows: np.ndarray | None = self._net.detect(image)[1]  # (N, 15): x, y, width, height, five points, score
        if rows is None:
            return []
        # The person's right eye comes first: the left one as seen in the picture.
        return [
            Face(np.hstack([row[:2], row[:2] + row[2:4]]), float(row[14]), row[4:14].reshape(5, 2), self.name)
            for row in rows[np.argsort(-rows[:, 14], kind="stable")]
        ]


def _said(error: cv2.error) -> str:
    """Return OpenCV's reason without the place in its source."""
    return first_line(ValueError(str(getattr(error, "err", "") or error)))
