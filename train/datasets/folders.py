"""Folders of one folder per class, or a zip of them, as a FaceSet."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from edge.errors import InputError
from edge.measure.folders import LabelledPictures, find_splits, open_labelled
from train.datasets.faces import FaceSet
from train.datasets.files import Files
from train.datasets.layouts import persons_named
from train.datasets.listing import NO_LABEL_OF_OURS
from train.datasets.pictures import Bring, decode_all

LAYOUT = "folder per class"

SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
"""What a split folder's name means; any other is neither trained on nor reported."""


def read_folders(files: Files, label_map: dict[str, str] | None, size: int, bring: Bring) -> FaceSet:
    """Read every picture of a folder or zip, with its split where there are `train` and `test` folders.

    Classes named contempt or unknown are left out and counted, unless the label map says otherwise.

    Raises:
        InputError: nothing readable is there, or a class is unknown.
    """
    path, mapping = files.path, {**NO_LABEL_OF_OURS, **{key.lower(): v for key, v in (label_map or {}).items()}}
    splits = find_splits(path) or (None,)
    opened = {split: open_labelled(path, label_map=mapping, split=split) for split in splits}
    whole = _join([_load(pictures, split, size, bring) for split, pictures in opened.items()])
    unlabelled = [name for name in files.pictures if mapping.get(_class_of(name)) == ""]
    strays = set(files.pictures) - set(whole.names.tolist()) - set(whole.unreadable) - set(unlabelled)
    if strays:
        inside = ", ".join(map(str, splits))
        raise InputError(f"{path}: it has pictures outside of its split folders {inside}, such as {min(strays)}")
    left_out = Counter(f"of class {_class_of(name)}" for name in unlabelled)
    return replace(whole, persons=persons_named(whole.names.tolist()), left_out=dict(left_out), layout=LAYOUT)


def _class_of(name: str) -> str:
    return PurePosixPath(name).parent.name.lower()


def _load(pictures: LabelledPictures, split: str | None, size: int, bring: Bring) -> FaceSet:
    images, kept, unreadable = decode_all(pictures.source, pictures.names, pictures.read, size, bring)
    return FaceSet(
        images=images,
        targets=pictures.targets[kept],
        names=np.array(pictures.names)[kept],
        splits=np.full(len(kept), SPLITS.get(split or "train", "validation")),
        labels=pictures.labels,
        unreadable=unreadable,
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
