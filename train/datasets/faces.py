"""A set of labelled face crops in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from edge.align import ready_crop
from edge.values import EMOTIONS


@dataclass(frozen=True)
class FaceSet:
    """Face crops of one size with a class each.

    Attributes:
        images: `(N, S, S)` uint8 gray, or `(N, S, S, 3)` uint8 RGB.
        targets: `(N,)` int64, index into `labels`.
        names: `N` names, unique in the source.
        splits: `(N,)` strings: `train` or `test` as the source says.
        labels: class names in order.
        unreadable: names that could not be decoded and are not in the set.
        persons: `(N,)` strings: who is in the picture; None where the source does not say it.
        left_out: what the source holds and the set does not, and why, with counts.
        layout: what the source was read as, such as `KDEF`.
    """

    images: np.ndarray
    targets: np.ndarray
    names: np.ndarray
    splits: np.ndarray
    labels: tuple[str, ...] = EMOTIONS
    unreadable: tuple[str, ...] = ()
    persons: np.ndarray | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    layout: str = ""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def gray(self) -> bool:
        """Whether the crops hold no colour."""
        return self.images.ndim == 3

    def take(self, indices: np.ndarray) -> FaceSet:
        """Return the faces at `indices` (or where a mask is true), in that order."""
        return replace(
            self,
            images=self.images[indices],
            targets=self.targets[indices],
            names=self.names[indices],
            splits=self.splits[indices],
            persons=None if self.persons is None else self.persons[indices],
        )

    def fingerprint(self) -> str:
        """Return a sha256 over pixels and targets: what a run was trained on."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).tobytes())
        digest.update(self.targets.astype("<i8").tobytes())
        return digest.hexdigest()


def as_crops(images: np.ndarray, size: int) -> np.ndarray:
    """Bring `(N, S, S)` gray or `(N, S, S, 3)` RGB pictures to a model's `(N, size, size, 3)` uint8 RGB crops."""
    crops = np.empty((len(images), size, size, 3), np.uint8)
    for index, image in enumerate(images):
        bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
        crops[index] = ready_crop(bgr, size)
    return crops
