"""The crop: the one function that makes the classifier's picture of a face, in training and on the device. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

WIDEST = 32_000
"""OpenCV warps no picture with a side of more than 32,767 pixels: a larger one is cut first."""


@dataclass(frozen=True)
class Crop:
    """How a face is framed for a model; every model file carries one.

    Attributes:
        size: side of the square crop, pixels.
        template: `(5, 2)` float32: where eyes, nose and mouth corners lie in the unit square.
        margin: for faces without landmarks: how much larger than the box's longer side the square is, as a factor.
        offset: for those: shift of the square's centre from the box's centre, `(x, y)` in box sides.
    """

    size: int
    template: np.ndarray
    margin: float
    offset: tuple[float, float] = (0.0, 0.0)


def align(image: np.ndarray, box: np.ndarray, landmarks: np.ndarray, crop: Crop) -> np.ndarray:
    """Warp a face onto the crop template by a similarity transform, or cut its box where landmarks are missing.

    Args:
        image: `(H, W, 3)` uint8, BGR as OpenCV reads it.
        box: `(4,)` float, x1, y1, x2, y2, pixels.
        landmarks: `(5, 2)` float, pixels; NaN rows are points that are not known. Two at least are needed.
        crop: the framing that the model learned.

    Returns:
        `(size, size, 3)` uint8, RGB, contiguous. What lies outside the image is black.

    Source: Umeyama 1991, least-squares estimation of transformation parameters between two point patterns.
    """
    matrix = similarity(landmarks, crop.template * crop.size)
    if matrix is None:
        matrix = _box_transform(box, crop)
    warped = _warp(image, matrix, crop.size)
    return cv2.cvtColor(warped, cv2.COLOR_BGR2RGB)


def ready_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Take a whole picture as a face crop: `(H, W, 3)` uint8 BGR to `(size, size, 3)` uint8 RGB."""
    shrink = min(image.shape[:2]) > size
    resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
    return cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """Return the `(2, 3)` float64 similarity that maps source points onto target points best, in least squares.

    Args:
        source: `(P, 2)` points; rows with NaN are left out.
        target: `(P, 2)` points; here too.

    Returns:
        rotation, uniform scale and shift as a matrix, or None with fewer than two distinct points.
    """
    known = np.isfinite(source).all(axis=1) & np.isfinite(target).all(axis=1)
    if known.sum() < 2:
        return None
    src = source[known].astype(np.float64)
    dst = target[known].astype(np.float64)
    src_mean, dst_mean = src.mean(axis=0), dst.mean(axis=0)
    src, dst = src - src_mean, dst - dst_mean
    spread = (src**2).sum()
    if spread < 1e-6:
        return None
    # In the plane the least-squares similarity without reflection has a closed form: z -> a z, a complex.
    cos = (src * dst).sum() / spread
    sin = (src[:, 0] * dst[:, 1] - src[:, 1] * dst[:, 0]).sum() / spread
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.hstack([linear, (dst_mean - linear @ src_mean)[:, None]])


def _box_transform(box: np.ndarray, crop: Crop) -> np.ndarray:
    """Return the `(2, 3)` transform that maps the box, widened by the margin, onto the crop."""
    x1, y1, x2, y2 = (float(v) for v in box)
    side = max(x2 - x1, y2 - y1, 1.0)
    centre_x = (x1 + x2) / 2 + crop.offset[0] * side
    centre_y = (y1 + y2) / 2 + crop.offset[1] * side
    scale = crop.size / (side * crop.margin)
    return np.array([[scale, 0.0, crop.size / 2 - scale * centre_x], [0.0, scale, crop.size / 2 - scale * centre_y]])


def _warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Warp by `matrix` to a square; a face much larger than the crop is averaged down first, so nothing aliases."""
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5 or max(image.shape[:2]) > WIDEST:
        image, matrix = _shrink(image, matrix, size, scale)
    # Pixel centres: OpenCV puts them on whole numbers, the transforms here measure from the picture's corner.
    shift = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    centred = np.vstack([matrix, [0.0, 0.0, 1.0]]) @ shift
    centred[:2, 2] -= 0.5
    return cv2.warpAffine(image, centred[:2], (size, size), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))


def _shrink(image: np.ndarray, matrix: np.ndarray, size: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut out what the crop needs and average it down by a whole factor; return the piece and its transform."""
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float64) @ inverse[:, :2].T + inverse[:, 2]
    factor = max(int(1 / scale), 1)
    lowest, highest = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    x1, x2 = _whole_steps(lowest[0], highest[0], image.shape[1], factor)
    y1, y2 = _whole_steps(lowest[1], highest[1], image.shape[0], factor)
    piece = image[y1:y2, x1:x2]
    small_w, small_h = max((x2 - x1) // factor, 1), max((y2 - y1) // factor, 1)
    small = cv2.resize(piece, (small_w, small_h), interpolation=cv2.INTER_AREA)
    grow = np.array([[(x2 - x1) / small_w, 0, x1], [0, (y2 - y1) / small_h, y1], [0, 0, 1.0]])
    return small, matrix @ grow


def _whole_steps(low: float, high: float, length: int, step: int) -> tuple[int, int]:
    """Cut a span to a side of the picture, and make it a multiple of `step` where there is room.

    OpenCV averages by a whole factor five times as fast as by a broken one.
    """
    first = int(np.clip(low, 0, length - 1))
    last = int(np.clip(high, first + 1, length))
    last = min(last + -(last - first) % step, length)
    return max(first - -(last - first) % step, 0), last
