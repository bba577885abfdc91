"""Which pictures ranges are taken from, which are chosen on, and which are only compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.errors import InputError
from train.datasets import FaceSet, as_crops
from train.datasets.split import Split


@dataclass(frozen=True)
class CalibrationSet:
    """Pictures that ranges are taken from.

    Attributes:
        crops: `(N, S, S, 3)` uint8 RGB, as the device makes them of whole pictures.
        indices: `(N,)` int64, which of the training faces they are, in the order they were drawn.
        described: what a report and the model file say of them: `count`, `per_class`, `seed`, `sha256`.
    """

    crops: np.ndarray
    indices: np.ndarray
    described: dict[str, Any]


def choose_calibration(split: Split, count: int, seed: int, size: int) -> CalibrationSet:
    """Draw calibration pictures from the training faces, as even over the classes as their sizes allow.

    The pictures of a smaller count are the first of those of a larger one, so that a curve over counts only adds.

    Args:
        split: the data; dev and test are not drawn from.
        count: how many (or all there are).
        seed: of the draw.
        size: side of a crop in pixels.

    Raises:
        InputError: there are no training pictures, or one of them is a test picture.
    """
    if not len(split.train):
        raise InputError("no calibration pictures: the data holds no training faces")
    indices = balanced_order(split.train.targets, seed)[:count]
    chosen = split.train.take(indices)
    refuse_test_pictures(chosen, split.test)
    crops = as_crops(chosen.images, size)
    per_class = {label: int((chosen.targets == i).sum()) for i, label in enumerate(chosen.labels)}
    described = {
        "count": len(indices), "per_class": per_class, "seed": seed,
        "sha256": hashlib.sha256(np.ascontiguousarray(crops).tobytes()).hexdigest(),
    }  # fmt: skip
    return CalibrationSet(crops, indices, described)


def balanced_order(targets: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return all indices in a seeded order whose every beginning is as even over the classes as it can be."""
    rng = np.random.default_rng(seed)
    queues = [list(rng.permutation(np.flatnonzero(targets == label))) for label in np.unique(targets)]
    order: list[int] = []
    while any(queues):
        order += [int(queue.pop()) for queue in queues if queue]
    return np.array(order, np.int64)


def refuse_test_pictures(chosen: FaceSet, test: FaceSet) -> None:
    """Make sure that no picture is a test picture: a model fitted to those would be judged on what it knows.

    Raises:
        InputError: some are; they are named.
    """
    known = {_key(image) for image in test.images}
    found = [str(name) for name, image in zip(chosen.names, chosen.images, strict=True) if _key(image) in known]
    if found:
        named = ", ".join(found[:3]) + (" ..." if len(found) > 3 else "")
        raise InputError(f"{len(found)} calibration pictures are test pictures ({named}): leave them out of training")


def unlabelled(split: Split, taken: np.ndarray, count: int, seed: int) -> FaceSet:
    """Return up to `count` training faces that no range was taken from, drawn at random; their labels are not used."""
    free = np.setdiff1d(np.arange(len(split.train)), taken)
    return split.train.take(np.sort(np.random.default_rng(seed).permutation(free)[:count]))


def _key(image: np.ndarray) -> bytes:
    return str(image.shape).encode() + np.ascontiguousarray(image).tobytes()
