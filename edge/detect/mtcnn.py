"""MTCNN on ONNX Runtime: three nets in a row, each looking closer at what the one before left over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from edge.detect.area import AreaSampler
from edge.detect.boxes import shift, square, suppress, suppress_inner, windows
from edge.errors import InputError
from edge.session import open_session
from edge.values import Face

MODELS = Path(__file__).parent.parent / "models" / "mtcnn"
CELL, STRIDE = 12, 2  # PNet judges squares of 12 pixels, 2 apart
FACTOR = 0.709  # each scale of the pyramid is this much smaller than the one before
THRESHOLDS = (0.6, 0.7, 0.7)  # least score after each net


class Mtcnn:
    """Finds faces and their five landmarks.

    Thresholds, pyramid and suppression are facenet-pytorch's, and so are the results.

    Source: Zhang et al. 2016, Joint face detection and alignment using multi-task cascaded convolutional networks.
    """

    name = "mtcnn"

    def __init__(self, *, min_face: int = 40, threads: int = 1, models: Path = MODELS) -> None:
        """Load the three nets.

        Args:
            min_face: side of the smallest face to look for, pixels, 12 at least.
            threads: threads of each net.
            models: folder of `pnet.onnx`, `rnet.onnx` and `onet.onnx`.

        Raises:
            InputError: a number is out of range, or a file is missing or no model.
        """
        if min_face < CELL:
            raise InputError(f"min_face is {min_face}: MTCNN sees no face below {CELL} pixels, give {CELL} or more")
        if threads < 1:
            raise InputError(f"threads is {threads}: give 1 or more")
        self.min_face = min_face
        self._pnet = _load(models / "pnet.onnx", threads)
        self._rnet = _load(models / "rnet.onnx", threads)
        self._onet = _load(models / "onet.onnx", threads)

    def detect(self, image: np.ndarray) -> list[Face]:
        """Return the faces in `(H, W, 3)` uint8 BGR, best score first; empty when there are none.

        Raises:
            InputError: the picture has another shape or dtype.
        """
        _check(image)
        scales = _scales(min(image.shape[:2]), self.min_face)
        if not scales:
            return []
        pixels = AreaSampler(np.ascontiguousarray(image))
        boxes = self._propose(pixels, scales)
        boxes = self._sift(pixels, boxes)
        return self._finish(pixels, boxes)

    def _propose(self, pixels: AreaSampler, scales: list[float]) -> np.ndarray:
        """Run PNet over the pyramid; return `(N, 4)` squares that may hold a face."""
        cells, scores, shifts, sizes = [], [], [], []
        for scale in scales:
            picture = pixels.shrink(int(pixels.height * scale + 1), int(pixels.width * scale + 1))
            score, box = self._pnet.run(None, {"input": picture})  # (1, h, w), (1, 4, h, w)
            row, column = np.nonzero(score[0] >= THRESHOLDS[0])
            corner = np.stack([column, row], axis=1).astype(np.float32) * STRIDE + 1
            # Divided in float32, so that what is floored falls to the same side as in facenet-pytorch.
            cells.append(np.floor(np.hstack([corner, corner + (CELL - 1)]) / np.float32(scale)))
            scores.append(score[0, row, column])
            shifts.append(box[0, :, row, column])
            sizes.append(len(row))
        boxes, score, offsets = np.concatenate(cells), np.concatenate(scores), np.concatenate(shifts)
        of_scale = np.repeat(np.arange(len(scales)), sizes)
        kept = suppress(boxes, score, 0.5, of_scale)
        kept = kept[suppress(boxes[kept], score[kept], 0.7)]
        return square(shift(boxes[kept], offsets[kept], inclusive=0))

    def _sift(self, pixels: AreaSampler, boxes: np.ndarray) -> np.ndarray:
        """Let RNet refuse most of the boxes `(N, 4)`; return what is left, moved into place."""
        areas, inside = windows(boxes, pixels.width, pixels.height)
        if len(areas) == 0:
            return boxes[:0]
        score, offsets = self._rnet.run(None, {"input": pixels.cut(areas, 24)})  # (N,), (N, 4)
        likely = np.flatnonzero(score > THRESHOLDS[1])
        boxes, score, offsets = boxes[inside[likely]], score[likely], offsets[likely]
        kept = suppress(boxes, score, 0.7)
        return square(shift(boxes[kept], offsets[kept], inclusive=1))

    def _finish(self, pixels: AreaSampler, boxes: np.ndarray) -> list[Face]:
        """Let ONet decide on the boxes `(N, 4)`, near enough to their faces, and set the landmarks."""
        areas, inside = windows(boxes, pixels.width, pixels.height)
        if len(areas) == 0:
            return []
        score, offsets, points = self._onet.run(None, {"input": pixels.cut(areas, 48)})  # (N,), (N, 4), (N, 10)
        sure = np.flatnonzero(score > THRESHOLDS[2])
        boxes, score, offsets = boxes[inside[sure]], score[sure], offsets[sure]
        corner, sides = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2] + 1
        landmarks = points[sure].reshape(-1, 2, 5).transpose(0, 2, 1) * sides + corner - 1  # (N, 5, 2)
        landmarks, boxes = landmarks.astype(np.float32), shift(boxes, offsets, inclusive=1).astype(np.float32)
        return [
            Face(boxes[index], float(score[index]), landmarks[index], self.name)
            for index in suppress_inner(boxes, score, 0.7)
        ]


def _scales(side: int, min_face: int) -> list[float]:
    """Return the pyramid's scales for a picture whose shorter side is `side`.

    At the first a face of `min_face` fills a cell; at the last the picture hardly does.
    """
    scale = CELL / min_face
    shorter = side * scale
    scales = []
    while shorter >= CELL:
        scales.append(scale)
        scale *= FACTOR
        shorter *= FACTOR
    return scales


def _check(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray):
        raise InputError(f"no picture to look for faces in: got {type(image).__name__}, expected (H, W, 3) uint8 BGR")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            f"a picture of shape {image.shape} and dtype {image.dtype}: expected (H, W, 3) uint8 BGR, "
            "as cv2.imread gives it; turn gray into it with cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)"
        )


def _load(path: Path, threads: int) -> ort.InferenceSession:
    if not path.is_file():
        raise InputError(f'{path}: no such file; make it with "edge train export-mtcnn"')
    return open_session(path.read_bytes(), str(path), threads)
