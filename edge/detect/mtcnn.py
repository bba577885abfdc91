"""MTCNN on ONNX Runtime: three nets in a row, each looking closer at what the one before left over."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

from edge.detect.area import AreaSampler
from edge.detect.boxes import shift, square, suppress, suppress_inner, windows
from edge.detect.picture import check_picture
from edge.errors import InputError
from edge.session import open_session
from edge.values import Face

MODELS = Path(__file__).parent.parent / "models" / "mtcnn"
CELL, STRIDE = 12, 2  # PNet judges squares of 12 pixels, 2 apart
FACTOR = 0.709  # each scale of the pyramid is this much smaller than the one before
THRESHOLDS = (0.6, 0.7, 0.7)  # least score after each net
STEADY = 0.4  # RNet moves the window of a face that is followed where its score is above this
RETRIES = (0.87, 1.15)  # a face that is not found where it should be is looked for closer and wider, once
SMALL_SCALES = 12_000  # pixels: scales of the pyramid below this make one piece of a search together


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
        search = self.search(image)
        while True:
            try:
                next(search)
            except StopIteration as end:
                found: list[Face] = end.value
                return found

    def search(self, image: np.ndarray) -> Generator[None, None, list[Face]]:
        """Detect in pieces of about equal cost: a generator that stands still after each, and returns the faces.

        The picture, as for `detect`, is needed for the first piece alone.

        Raises:
            InputError: the picture has another shape or dtype; with the first piece.
        """
        check_picture(image)
        scales = _scales(min(image.shape[:2]), self.min_face)
        if not scales:
            return []
        pixels = AreaSampler(np.ascontiguousarray(image))
        boxes = yield from self._propose(pixels, scales)
        yield
        boxes = self._sift(pixels, boxes)
        yield
        return self._finish(pixels, boxes)

    def refine(self, image: np.ndarray, boxes: np.ndarray) -> list[Face | None]:
        """Look for faces where they should be, by the last two nets alone.

        RNet puts each window into place, as in the cascade: ONet alone, fed with its own boxes, drifts smaller.

        Args:
            image: `(H, W, 3)` uint8 BGR.
            boxes: `(N, 4)` float, where each face should be.

        Returns:
            a face for each box, or None where there is none any more.
        """
        found: list[Face | None] = [None] * len(boxes)
        squares = square(boxes)
        for index, face in self._look(image, squares):
            found[index] = face
        missing = [index for index, face in enumerate(found) if face is None]
        for index, face in self._look(image, np.concatenate([_scaled(squares[missing], by) for by in RETRIES])):
            index = missing[index % len(missing)]
            best = found[index]
            if best is None or face.score > best.score:
                found[index] = face
        return found

    def _look(self, image: np.ndarray, squares: np.ndarray) -> Iterator[tuple[int, Face]]:
        """Look into squares `(N, 4)` by the last two nets; yield the index and the face of those that hold one."""
        squares = _snapped(squares, 24)
        areas, inside = windows(squares, image.shape[1], image.shape[0])
        if len(areas) == 0:
            return
        score, offsets = self._rnet.run(None, {"input": _cut(image, areas, 24)})  # (N,), (N, 4)
        steady = inside[score > STEADY]
        squares[steady] = square(shift(squares[steady], offsets[score > STEADY], inclusive=1))
        squares = _snapped(squares, 48)
        areas, inside = windows(squares, image.shape[1], image.shape[0])
        if len(areas):
            yield from self._judge(_cut(image, areas, 48), squares, inside)

    def _propose(self, pixels: AreaSampler, scales: list[float]) -> Generator[None, None, np.ndarray]:
        """Run PNet over the pyramid; return `(N, 4)` squares that may hold a face."""
        cells, scores, shifts, sizes = [], [], [], []
        for number, scale in enumerate(scales):
            picture = pixels.shrink(int(pixels.height * scale + 1), int(pixels.width * scale + 1))
            if number and picture.shape[1] * picture.shape[2] > SMALL_SCALES:
                yield
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
        score, offsets = _in_batches(self._rnet, pixels.cut(areas, 24), 16)  # (N,), (N, 4)
        likely = np.flatnonzero(score > THRESHOLDS[1])
        boxes, score, offsets = boxes[inside[likely]], score[likely], offsets[likely]
        kept = suppress(boxes, score, 0.7)
        return square(shift(boxes[kept], offsets[kept], inclusive=1))

    def _finish(self, pixels: AreaSampler, boxes: np.ndarray) -> list[Face]:
        """Let ONet decide on the boxes `(N, 4)`, near enough to their faces, and set the landmarks."""
        areas, inside = windows(boxes, pixels.width, pixels.height)
        if len(areas) == 0:
            return []
        faces = dict(self._judge(pixels.cut(areas, 48), boxes, inside))
        if not faces:
            return []
        found = list(faces.values())
        kept = suppress_inner(np.stack([face.box for face in found]), np.array([face.score for face in found]), 0.7)
        return [found[index] for index in kept]

    def _judge(self, crops: np.ndarray, boxes: np.ndarray, inside: np.ndarray) -> Iterator[tuple[int, Face]]:
        """Let ONet decide on crops `(M, 48, 48, 3)` of `boxes[inside]`; yield index in `boxes` and face."""
        score, offsets, points = _in_batches(self._onet, crops, 4)  # (M,), (M, 4), (M, 10)
        sure = np.flatnonzero(score > THRESHOLDS[2])
        chosen = boxes[inside[sure]]
        corner, sides = chosen[:, None, :2], chosen[:, None, 2:] - chosen[:, None, :2] + 1
        landmarks = points[sure].reshape(-1, 2, 5).transpose(0, 2, 1) * sides + corner - 1  # (K, 5, 2)
        landmarks, placed = landmarks.astype(np.float32), shift(chosen, offsets[sure], inclusive=1).astype(np.float32)
        for row, index in enumerate(inside[sure]):
            yield int(index), Face(placed[row], float(score[sure[row]]), landmarks[row], self.name)


def _in_batches(net: ort.InferenceSession, crops: np.ndarray, most: int) -> list[np.ndarray]:
    """Run a net on crops, so many at once at most: some pictures have two hundred, and its memory is not given back."""
    if len(crops) <= most:
        whole: list[np.ndarray] = net.run(None, {"input": crops})
        return whole
    parts = [net.run(None, {"input": crops[first : first + most]}) for first in range(0, len(crops), most)]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


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


def _load(path: Path, threads: int) -> ort.InferenceSession:
    if not path.is_file():
        raise InputError(f'{path}: no such file; make it with "edge train export-mtcnn"')
    return open_session(path.read_bytes(), str(path), threads)


def _scaled(squares: np.ndarray, by: float) -> np.ndarray:
    """Return `(N, 4)` boxes grown about their centres."""
    grown = (squares[:, 2:] - squares[:, :2]) * ((by - 1) / 2)
    scaled: np.ndarray = np.hstack([squares[:, :2] - grown, squares[:, 2:] + grown])
    return scaled


def _snapped(squares: np.ndarray, size: int) -> np.ndarray:
    """Return `(N, 4)` squares on whole pixels that can be halved until less than two halvings above `size` are left.

    OpenCV averages by two ten times as fast as by a broken factor.
    """
    sides = squares[:, 2] - squares[:, 0] + 1  # the last pixel is inside
    steps = 2 ** np.floor(np.log2(np.maximum(sides / size, 1)))
    whole = np.maximum(np.round(sides / steps), 1) * steps
    corner = np.round(squares[:, :2] - (whole - sides)[:, None] / 2)
    return np.hstack([corner, corner + whole[:, None] - 1])


def _cut(image: np.ndarray, areas: np.ndarray, size: int) -> np.ndarray:
    """Return `(N, 4)` windows of the picture as `(N, size, size, 3)` float32; few of them: no table is made first."""
    crops = np.empty((len(areas), size, size, 3), np.float32)
    for crop, (x1, y1, x2, y2) in zip(crops, areas, strict=True):
        piece = image[y1:y2, x1:x2]
        while min(piece.shape[:2]) >= 2 * size:
            piece = cv2.resize(piece, (piece.shape[1] // 2, piece.shape[0] // 2), interpolation=cv2.INTER_AREA)
        crop[:] = cv2.resize(piece, (size, size), interpolation=cv2.INTER_AREA)
    return crops
