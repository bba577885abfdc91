"""Whether a camera gives the very same picture again and again: what a frozen one does that still answers."""

from __future__ import annotations

import zlib

import numpy as np

STRIDE = 16
"""Every so many pixels each way one is looked at in every frame: 1,200 of 640×480."""

WHOLE_EVERY = 1.0
"""Seconds between two looks at the whole picture, while the sparse look sees no change."""


class Stillness:
    """Times how long the picture has not changed by a single bit: a sensor's noise alone makes two differ."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._sparse: int | None = None
        self._whole: int | None = None
        self._since = self._looked = 0.0

    def seconds(self, image: np.ndarray, now: float) -> float:
        """Return for how long the picture has been the same, seconds.

        Args:
            image: `(H, W, 3)` uint8, contiguous.
            now: seconds on a clock that never goes back.
        """
        sparse = zlib.crc32(image[::STRIDE, ::STRIDE].tobytes())
        if sparse != self._sparse:
            self._sparse, self._whole, self._since, self._looked = sparse, None, now, now
        elif now - self._looked >= WHOLE_EVERY:
            whole = zlib.crc32(np.ascontiguousarray(image).data)
            if self._whole is not None and whole != self._whole:
                self._since = now
            self._whole, self._looked = whole, now
        return now - self._since
