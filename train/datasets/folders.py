"""Folders of one folder per class, or a zip of them, as a FaceSet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from edge.align import ready_crop
from edge.errors import InputError
from edge.measure.folders import LabelledPictures, count_pictures, find_splits, open_labelled
from train.datasets.faces import FaceSet

SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
"""What a split folder's name means; any other is neither trained on nor reported."""


def read_folders(path: Path, label_map: dict[str, str] | None, size: int) -> FaceSet:
    """Read every picture of a folder or zip, with its split where there are `train` and `test` folders.

    Raises:
        InputError: nothing readable is there, or a class is unknown.
    """
    splits = find_splits(path) or (None,)
    whole = _join([_load(open_labelled(path, label_map=label_map, split=split), split, size) for split in splits])
    if None not in splits and count_pictures(path) != len(whole) + len(whole.unreadable):
        raise InputError(f"{path}: it has pictures outside of its split folders {', '.join(map(str, splits))}")
    return whole


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
        splits=np.full(len(kept), SPLITS.get(split or "train", "validation")),
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
