"""A set of labelled face crops in memory, and the door that reads one from any supported source."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from edge.align import ready_crop
from edge.errors import InputError
from edge.measure.folders import LabelledPictures, find_splits, open_labelled
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
    """

    images: np.ndarray
    targets: np.ndarray
    names: np.ndarray
    splits: np.ndarray
    labels: tuple[str, ...] = EMOTIONS
    unreadable: tuple[str, ...] = ()

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
        )

    def fingerprint(self) -> str:
        """Return a sha256 over pixels and targets: what a run was trained on."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).tobytes())
        digest.update(self.targets.astype("<i8").tobytes())
        return digest.hexdigest()


def open_faces(source: str | Path, label_map: dict[str, str] | None = None, size: int = 96) -> FaceSet:
    """Read labelled faces from `fer2013.csv`, a folder per class, or a zip of it, with or without `train`/`test`.

    Args:
        source: the file or folder.
        label_map: folder name to label, for folders of other names.
        size: side in pixels that pictures of mixed sizes are brought to; pictures of one square size keep theirs.

    Raises:
        InputError: nothing readable is there, or a class is unknown.
    """
    path = Path(source)
    if path.suffix.lower() == ".csv":
        from train.datasets.fer2013 import read_csv

        return read_csv(path)
    splits = find_splits(path) or (None,)
    return _join([_load(open_labelled(path, label_map=label_map, split=split), split, size) for split in splits])


def _load(pictures: LabelledPictures, split: str | None, size: int) -> FaceSet:
    """Decode all pictures: gray ones of one square size stay as they are, others become RGB crops of `size`."""
    images, kept, unreadable = [], [], []
    for index, name in enumerate(pictures.names):
        image = pictures.read(index)
        if image is None:
            unreadable.append(name)
            continue
        kept.append(index)
        images.append(image)
    if not images:
        raise InputError(f"{pictures.source}: none of its {len(pictures)} pictures can be decoded")
    shapes = {image.shape for image in images}
    if len(shapes) > 1 or images[0].shape[0] != images[0].shape[1]:
        images = [ready_crop(image, size) for image in images]
    else:
        images = [image[..., ::-1] for image in images]
    if all((image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all() for image in images):
        images = [image[..., 0] for image in images]
    return FaceSet(
        images=np.stack(images),
        targets=pictures.targets[kept],
        names=np.array(pictures.names)[kept],
        splits=np.full(len(kept), "test" if split in ("test", "testing") else "train"),
        labels=pictures.labels,
        unreadable=tuple(unreadable),
    )


def _join(sets: list[FaceSet]) -> FaceSet:
    if len({part.images.shape[1:] for part in sets}) > 1:
        raise InputError("the splits hold pictures of different sizes or colours: bring them to one size first")
    return replace(
        sets[0],
        images=np.concatenate([part.images for part in sets]),
        targets=np.concatenate([part.targets for part in sets]),
        names=np.concatenate([part.names for part in sets]),
        splits=np.concatenate([part.splits for part in sets]),
        unreadable=tuple(name for part in sets for name in part.unreadable),
    )


def as_crops(images: np.ndarray, size: int) -> np.ndarray:
    """Bring `(N, S, S)` gray or `(N, S, S, 3)` RGB pictures to a model's `(N, size, size, 3)` uint8 RGB crops."""
    crops = np.empty((len(images), size, size, 3), np.uint8)
    for index, image in enumerate(images):
        bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
        crops[index] = ready_crop(bgr, size)
    return crops
