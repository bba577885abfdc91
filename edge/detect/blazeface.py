"""BlazeFace, MediaPipe's short-range detector, run by the TFLite runtime alone: one small net on one small picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge.detect.framing import Framing
from edge.detect.near import best, longer, neighbourhoods
from edge.detect.picture import check_picture
from edge.errors import InputError
from edge.interpreter import open_interpreter
from edge.track import iou
from edge.values import Face

MODEL = Path(__file__).parent.parent / "models" / "blazeface" / "face_detection_short_range.tflite"
SIDE = 128  # of the net's input, pixels
POINTS = 6  # eyes, nose tip, mouth centre, ears
LEAST_SCORE, SUPPRESSION = 0.5, 0.3  # MediaPipe's own

FRAMING = Framing(width=0.934, height=1.21, x=-0.023, y=-0.087)
"""Measured by `python -m scripts.bench.framing DATA CLIPS --count 100`; docs/bench/framing.json."""

SPAN = 2.0
"""Side of the square about a box that `refine` looks at, in longer sides of the box: from 2.5 on faces are missed."""


@dataclass(frozen=True)
class Detections:
    """What the net says of a picture, after suppression, best first.

    Attributes:
        boxes: `(N, 4)` float32 squares x1, y1, x2, y2, pixels of the picture, in BlazeFace's own framing.
        scores: `(N,)` float32.
        points: `(N, 6, 2)` float32 pixels: left and right eye as seen in the picture, nose tip, mouth centre, left and
            right ear.
    """

    boxes: np.ndarray
    scores: np.ndarray
    points: np.ndarray

    def pick(self, indices: np.ndarray) -> Detections:
        """Return the detections of these indices."""
        return Detections(self.boxes[indices], self.scores[indices], self.points[indices])


class BlazeFace:
    """Finds faces within about two metres of the camera, with eyes and nose.

    The picture is set into a square, as MediaPipe does it, and shrunk to 128 pixels: a face of less than a quarter of
    the square's side is often missed. So a picture that is not square is also looked at in squares of its shorter side.

    Source: Bazarevsky et al. 2019, BlazeFace: sub-millisecond neural face detection on mobile GPUs; MediaPipe's
    FaceDetectorGraph for anchors, thresholds and suppression.
    """

    name = "blazeface"

    def __init__(
        self,
        *,
        min_face: int = 40,
        threads: int = 1,
        model: Path = MODEL,
        least: float = LEAST_SCORE,
        tiles: bool = True,
    ) -> None:
        """Load the net.

        Args:
            min_face: longer side of the smallest face to return, pixels, in MTCNN's framing.
            threads: threads of the net.
            model: the TFLite file.
            least: least score of a detection, 0 to 1.
            tiles: whether `detect` also looks at squares of the picture's shorter side: 2 more in 640x480, 3 in
                1280x720. Without them it looks once, as MediaPipe does.

        Raises:
            InputError: the file is missing or another model, or no TFLite runtime is installed.
        """
        if not model.is_file():
            raise InputError(f"{model}: no such file; it is part of the package: install it again")
        self.min_face, self.least, self.tiles = min_face, least, tiles
        self._net, self.runtime = open_interpreter(model.read_bytes(), str(model), threads)
        inputs, outputs = self._net.get_input_details(), self._net.get_output_details()
        rows = {tuple(int(side) for side in tensor["shape"]): tensor["index"] for tensor in outputs}
        shapes = {(1, len(ANCHORS), 4 + 2 * POINTS), (1, len(ANCHORS), 1)}
        if tuple(inputs[0]["shape"]) != (1, SIDE, SIDE, 3) or set(rows) != shapes:
            raise InputError(f"model {model} is not BlazeFace's short-range model: take the one of the package")
        self._input = inputs[0]["index"]
        self._regressors, self._scores = rows[1, len(ANCHORS), 4 + 2 * POINTS], rows[1, len(ANCHORS), 1]

    def detect(self, image: np.ndarray) -> list[Face]:
        """Return the faces in `(H, W, 3)` uint8 BGR, best score first; empty when there are none.

        Raises:
            InputError: the picture has another shape or dtype.
        """
        found = self.raw(image)
        if self.tiles:
            found = self._add_tiles(image, found)
        return [face for face in to_faces(found, self.name) if longer(face.box) >= self.min_face]

    def refine(self, image: np.ndarray, boxes: np.ndarray) -> list[Face | None]:
        """Look again near each of `(N, 4)` boxes; return its face, or None when there is none any more."""
        check_picture(image)
        return [
            best(to_faces(self._look(image, *(float(value) for value in square)), self.name), box)
            for box, square in zip(boxes, neighbourhoods(boxes, SPAN), strict=True)
        ]

    def raw(self, image: np.ndarray) -> Detections:
        """Return what BlazeFace finds in one look at `(H, W, 3)` uint8 BGR, in its own framing.

        Raises:
            InputError: the picture has another shape or dtype.
        """
        check_picture(image)
        height, width = image.shape[:2]
        side = max(height, width)
        return self._look(image, (width - side) / 2, (height - side) / 2, side)

    def _add_tiles(self, image: np.ndarray, whole: Detections) -> Detections:
        """Look at squares along the picture's longer side too, and make one of what is seen twice."""
        height, width = image.shape[:2]
        side, length, axis = min(height, width), max(height, width), int(height > width)
        looks = [whole]
        for start in tile_starts(length, side):
            found = self._look(image, *((0.0, start) if axis else (start, 0.0)), side)
            # A face that the tile's edge cuts is seen whole in the next one; at the picture's edge there is none.
            after = (found.boxes[:, axis] > start) | (start == 0)
            before = (found.boxes[:, axis + 2] < start + side) | (start + side == length)
            looks.append(found.pick(np.flatnonzero(after & before)))
        every = Detections(
            np.concatenate([look.boxes for look in looks]),
            np.concatenate([look.scores for look in looks]),
            np.concatenate([look.points for look in looks]),
        )
        return blend(every.pick(np.argsort(-every.scores, kind="stable")), SUPPRESSION)

    def _look(self, image: np.ndarray, left: float, top: float, side: float) -> Detections:
        """Run the net on one square of the picture; what lies outside it is black."""
        if side <= 0 or not image.size:
            return NOTHING
        scale = SIDE / side
        # Corner to corner and without averaging, as MediaPipe warps it: its boxes come from such pictures.
        matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
        small = cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
        tensor = small[None, ..., ::-1].astype(np.float32)  # (1, 128, 128, 3) RGB
        tensor *= 2 / 255
        tensor -= 1
        self._net.set_tensor(self._input, tensor)
        self._net.invoke()
        scores = self._net.get_tensor(self._scores)[0, :, 0]  # (896,)
        found = decode(self._net.get_tensor(self._regressors)[0], scores, self.least)
        corner = np.array([left, top], np.float32)
        return Detections(
            found.boxes * side + np.tile(corner, 2), found.scores, found.points * np.float32(side) + corner
        )


def tile_starts(length: int, side: int) -> list[float]:
    """Return where squares of `side` begin that cover `length` and overlap by half at least.

    None where one covers it, and none in a strip, which would take very many.
    """
    if not side < length <= 4 * side:
        return []
    count = int(np.ceil((length - side) / (side / 2))) + 1
    return [float(start) for start in np.linspace(0, length - side, count)]


def to_faces(found: Detections, detector: str) -> list[Face]:
    """Return detections as faces in MTCNN's framing; the mouth's corners are not known."""
    landmarks = np.full((len(found.boxes), 5, 2), np.nan, np.float32)
    landmarks[:, :3] = found.points[:, :3]
    boxes = FRAMING.apply(found.boxes)
    return [
        Face(box, float(score), points, detector)
        for box, score, points in zip(boxes, found.scores, landmarks, strict=True)
    ]


def decode(regressors: np.ndarray, logits: np.ndarray, least: float) -> Detections:
    """Turn the net's answer into detections, in sides of its input.

    Args:
        regressors: `(896, 16)`: centre and sides of the box, then the points, in pixels of the input from the anchor.
        logits: `(896,)`.
        least: least score.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    likely = np.flatnonzero((scores >= least) & (regressors[:, 2:4] >= 0).all(axis=1))
    likely = likely[np.argsort(-scores[likely], kind="stable")]
    values = regressors[likely] / SIDE
    anchors = ANCHORS[likely]
    centre, half = values[:, :2] + anchors, values[:, 2:4] / 2
    points = values[:, 4:].reshape(-1, POINTS, 2) + anchors[:, None]
    return blend(Detections(np.hstack([centre - half, centre + half]), scores[likely], points), SUPPRESSION)


def blend(found: Detections, limit: float) -> Detections:
    """Make one of detections that overlap: a mean weighted by their scores, under the best one's score.

    Args:
        found: best first.
        limit: what overlaps the best one that is left by more than this, by intersection over union, goes into it.

    Source: MediaPipe's NonMaxSuppressionCalculator, WEIGHTED.
    """
    if not len(found.boxes):
        return NOTHING
    boxes, points, scores = [], [], []
    table = iou(found.boxes, found.boxes)
    left = np.arange(len(found.boxes))
    while len(left):
        same = table[left[0], left] > limit
        same[0] = True  # a box without area overlaps nothing, not even itself
        chosen = left[same]
        weights = found.scores[chosen] / found.scores[chosen].sum()
        boxes.append(weights @ found.boxes[chosen])
        points.append(np.tensordot(weights, found.points[chosen], 1))
        scores.append(found.scores[left[0]])
        left = left[~same]
    return Detections(np.array(boxes, np.float32), np.array(scores, np.float32), np.array(points, np.float32))


def _anchors() -> np.ndarray:
    """Return the `(896, 2)` float32 centres x, y of the anchors: 2 a cell at stride 8, then 6 a cell at stride 16."""
    layers = []
    for stride, count in ((8, 2), (16, 6)):
        cells = SIDE // stride
        y, x = np.mgrid[:cells, :cells]
        layers.append(np.repeat((np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells, count, axis=0))
    return np.concatenate(layers).astype(np.float32)


ANCHORS = _anchors()
NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, POINTS, 2), np.float32))
