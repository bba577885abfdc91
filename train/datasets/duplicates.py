"""Near-duplicates: the same photograph recompressed, watermarked, shifted a little or mirrored."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

SIMILAR = 0.95
"""Correlation of two 16x16 thumbnails from which on they count as one photograph. Looked at on FER2013: from 0.95 up
nearly every pair is the same picture, at 0.93 and for dark frontal faces below it pairs of different people begin."""

SIDE = 16
BLOCK = 2048


@dataclass(frozen=True)
class Copies:
    """Which pictures of a set are the same photograph, and which are none at all.

    Attributes:
        groups: `(N,)` int, equal where two pictures are near-duplicates. Blank pictures stay alone.
        blank: `(N,)` bool: no contrast at all.
    """

    groups: np.ndarray
    blank: np.ndarray


def find_copies(images: np.ndarray) -> Copies:
    """Look for near-duplicates and blank pictures among `(N, S, S[, 3])` uint8 pictures.

    Groups are transitive: a picture belongs to a group when it resembles any member.
    """
    rows, blank = thumbnails(images)
    return Copies(_group(rows), blank)


def thumbnails(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reduce `(N, S, S[, 3])` uint8 pictures to `(N, 256)` float32 rows of mean 0 and length 1.

    Returns:
        the rows, and a mask of the blank pictures (no contrast at all), whose rows are zero.
    """
    gray = (image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images)
    rows = np.stack([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in gray])
    rows = rows.reshape(len(images), -1).astype(np.float32)
    blank = rows.min(axis=1) == rows.max(axis=1)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return rows, blank


def duplicate_groups(images: np.ndarray) -> np.ndarray:
    """Number the groups of near-duplicates: `(N,)` int, equal where two pictures are the same photograph."""
    return find_copies(images).groups


def _group(rows: np.ndarray) -> np.ndarray:
    mirrored = rows.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(len(rows), -1)
    first: list[np.ndarray] = []
    second: list[np.ndarray] = []
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        for others in (rows[start:], mirrored[start:]):  # who resembles an earlier picture was found there
            a, b = np.nonzero(block @ others.T >= SIMILAR)
            first.append(a + start)
            second.append(b + start)
    i, j = np.concatenate(first), np.concatenate(second)
    graph = coo_matrix((np.ones(len(i), bool), (i, j)), shape=(len(rows), len(rows)))
    return connected_components(graph, directed=False)[1]
