"""Averages over rectangles of one picture: its summed-area table serves every scale and every crop of a cascade."""

from __future__ import annotations

import cv2
import numpy as np


class AreaSampler:
    """Shrinks a picture, or many windows of it at once, by averaging the pixels under each output pixel.

    Output pixel i of n covers the whole pixels from floor(i L / n) to ceil((i + 1) L / n) of a side of L, each with the
    same weight: the "area" interpolation of torch, on which MTCNN's thresholds rest. OpenCV's INTER_AREA weighs the
    pixels at the edges by what is covered of them, and rounds.

    Source: Crow 1984, Summed-area tables for texture mapping.
    """

    def __init__(self, image: np.ndarray) -> None:
        """Make the table of `(H, W, 3)` uint8."""
        self.height, self.width = image.shape[:2]
        # int32 wraps in pictures beyond 8 megapixels; the differences, all that is read, still come out right.
        self._table = cv2.integral(image, sdepth=cv2.CV_32S)  # (H + 1, W + 1, 3)

    def shrink(self, height: int, width: int) -> np.ndarray:
        """Return the whole picture as `(1, height, width, 3)` float32, 0 to 255."""
        top, bottom = _edges(np.array(self.height), height)  # (height,)
        left, right = _edges(np.array(self.width), width)
        rows = self._table[bottom] - self._table[top]  # (height, W + 1, 3)
        sums = rows.take(right, axis=1) - rows.take(left, axis=1)  # (height, width, 3)
        return _divide(sums, bottom - top, right - left)[None]

    def cut(self, windows: np.ndarray, size: int) -> np.ndarray:
        """Return windows of the picture, each as a square.

        Args:
            windows: `(N, 4)` integers: x1, y1, x2, y2, the last two past the end; inside the picture, not empty.
            size: side of the squares, pixels.

        Returns:
            `(N, size, size, 3)` float32, 0 to 255.
        """
        x1, y1, x2, y2 = windows.T.astype(np.intp)
        left, right = _edges(x2 - x1, size)  # (N, size)
        top, bottom = _edges(y2 - y1, size)
        area = bottom - top, right - left
        stride = self.width + 1
        left, right = left + x1[:, None], right + x1[:, None]
        top, bottom = (top + y1[:, None]) * stride, (bottom + y1[:, None]) * stride
        pixels = self._table.reshape(-1, 3)

        def corner(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
            picked: np.ndarray = pixels.take(rows[:, :, None] + columns[:, None, :], axis=0)  # (N, size, size, 3)
            return picked

        sums = corner(bottom, right)
        sums -= corner(bottom, left)
        sums -= corner(top, right)
        sums += corner(top, left)
        return _divide(sums, *area)


def _edges(length: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Split sides of `length` pixels, any shape, into `count` parts; return first and past-the-last, `(..., count)`."""
    steps = length[..., None] * np.arange(count + 1)
    return steps[..., :-1] // count, -(-steps[..., 1:] // count)


def _divide(sums: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Divide `(..., h, w, 3)` sums by the areas of `(..., h)` by `(..., w)`; return float32."""
    averages = sums.astype(np.float32)
    averages *= (1 / (heights[..., :, None] * widths[..., None, :])).astype(np.float32)[..., None]
    return averages
