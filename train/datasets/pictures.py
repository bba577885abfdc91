"""Listed pictures, decoded and brought to one size: the way from any collection's files to a FaceSet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge.align import ready_crop
from edge.errors import InputError

Bring = Callable[[np.ndarray, int], np.ndarray]
"""How a picture comes to a square: `(H, W, 3)` uint8 BGR and a side to `(side, side, 3)` uint8 RGB."""


def letterbox(image: np.ndarray, side: int) -> np.ndarray:
    """Bring a picture to a square whole and undistorted, its edge repeated where it has nothing.

    Args:
        image: `(H, W, 3)` uint8 BGR.
        side: of the square, pixels.

    Returns:
        `(side, side, 3)` uint8 RGB.
    """
    height, width = image.shape[:2]
    longer = max(height, width)
    top, left = (longer - height) // 2, (longer - width) // 2
    wide = cv2.copyMakeBorder(image, top, longer - height - top, left, longer - width - left, cv2.BORDER_REPLICATE)
    return ready_crop(wide, side)


def decode_all(
    source: Path, names: Sequence[str], read: Callable[[int], np.ndarray | None], size: int, bring: Bring = ready_crop
) -> tuple[np.ndarray, list[int], tuple[str, ...]]:
    """Decode all pictures: those of one square size stay as they are, others become crops of `size`.

    Pictures are made small as they come, so that a collection of large ones fits into memory.

    Args:
        source: where they are, for the error.
        names: `N` names.
        read: returns picture `index` as `(H, W, 3)` uint8 BGR, or None when it cannot be decoded.
        size: side of the crops, pixels.
        bring: how the others become crops.

    Returns:
        images `(K, S, S)` uint8 where all are gray, else `(K, S, S, 3)` uint8 RGB; the `K` indices that were decoded;
        the names that were not.

    Raises:
        InputError: none can be decoded.
    """
    images: list[np.ndarray] = []
    kept: list[int] = []
    unreadable: list[str] = []
    as_they_are = True  # then BGR, else crops in RGB
    for index, name in enumerate(names):
        image = read(index)
        if image is None:
            unreadable.append(name)
            continue
        if as_they_are and (image.shape[0] != image.shape[1] or (images and image.shape != images[0].shape)):
            as_they_are = False
            images = [bring(earlier, size) for earlier in images]
        kept.append(index)
        images.append(image if as_they_are else bring(image, size))
    if not images:
        raise InputError(f"{source}: none of its {len(names)} pictures can be decoded")
    if as_they_are:
        images = [image[..., ::-1] for image in images]
    if all((image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all() for image in images):
        images = [image[..., 0] for image in images]
    return np.stack(images), kept, tuple(unreadable)
