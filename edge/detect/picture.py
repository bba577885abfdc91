"""What every detector takes: one check of a picture, one message for what is none. Pure."""

from __future__ import annotations

import numpy as np

from edge.errors import InputError


def check_picture(image: np.ndarray) -> None:
    """Refuse what is no `(H, W, 3)` uint8 BGR picture.

    Raises:
        InputError: it has another type, shape or dtype.
    """
    if not isinstance(image, np.ndarray):
        raise InputError(f"no picture to look for faces in: got {type(image).__name__}, expected (H, W, 3) uint8 BGR")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            f"a picture of shape {image.shape} and dtype {image.dtype}: expected (H, W, 3) uint8 BGR, "
            "as cv2.imread gives it; turn gray into it with cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)"
        )
