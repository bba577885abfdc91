"""The crop template, measured: where the device's detector finds eyes, nose and mouth in the training pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from edge.align import Crop
from edge.detect import Finder
from edge.errors import InputError
from edge.measure.evaluate import largest

SIDE = 160
"""Training pictures are enlarged to this side for the detector: a face of 48 pixels has too few for its last net."""

FRAME = 0.5
"""Share of the side added around them, as the mean of the picture's border: tight crops leave a box no room."""

ENOUGH = 50


@dataclass(frozen=True)
class Framing:
    """How the training pictures frame their faces.

    Attributes:
        crop: the template and the box margin that reproduce it.
        found, looked_at: pictures with a face that the detector found, of how many.
        spread: standard deviation of the landmarks about their mean, in picture sides.
    """

    crop: Crop
    found: int
    looked_at: int
    spread: float


def measure_framing(
    images: np.ndarray, detector: Finder, size: int, progress: Callable[[int], None] = lambda done: None
) -> Framing:
    """Measure how ready crops frame the face, so that a camera's face can be framed alike.

    Args:
        images: `(N, S, S)` gray or `(N, S, S, 3)` RGB uint8 training pictures.
        detector: the device's own.
        size: side of the crop that the model takes, pixels.
        progress: called with the number of pictures done.

    Returns:
        means over the pictures with a face and their mirror images: landmarks in the unit square; and for detections
        without landmarks the square's side and centre relative to the box.

    Raises:
        InputError: too few faces are found to trust the mean.
    """
    landmarks, boxes = [], []
    pad = round(SIDE * FRAME)
    for index, image in enumerate(images):
        faces = detector.detect(enlarge(image))
        if faces:
            face = largest(faces)
            landmarks.append((face.landmarks - pad) / SIDE)
            boxes.append((face.box - pad) / SIDE)
        progress(index + 1)
    if len(boxes) < ENOUGH:
        raise InputError(f"the detector finds a face in {len(boxes)} of {len(images)} pictures: too few for a template")
    points = np.stack(landmarks)  # (F, 5, 2)
    template = _symmetric(np.nanmean(points, axis=0)).astype(np.float32)
    corners = np.stack(boxes)  # (F, 4)
    sides = np.maximum(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    offset = ((0.5 - centres) / sides[:, None]).mean(axis=0)
    crop = Crop(size, template, round(float((1 / sides).mean()), 4), (0.0, round(float(offset[1]), 4)))
    return Framing(crop, len(boxes), len(images), float(np.nanstd(points, axis=0).mean()))


def _symmetric(points: np.ndarray) -> np.ndarray:
    """Return the mean of `(5, 2)` points and their mirror image: training shows every picture both ways round."""
    mirrored = points[[1, 0, 2, 4, 3]] * [-1, 1] + [1, 0]
    return (points + mirrored) / 2


def enlarge(image: np.ndarray, side: int = SIDE, frame: float = FRAME) -> np.ndarray:
    """Return a `(H, W)` gray or `(H, W, 3)` RGB picture as BGR at `side`, in a frame of its border's mean."""
    pad = round(side * frame)
    bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
    large = cv2.resize(bgr, (side, side), interpolation=cv2.INTER_CUBIC)
    border = np.concatenate([bgr[0], bgr[-1], bgr[:, 0], bgr[:, -1]]).mean(axis=0)
    return cv2.copyMakeBorder(large, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=border.tolist())
