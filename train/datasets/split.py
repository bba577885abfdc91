"""The split that choices are made on: `dev`, a fixed tenth of the training split, near-duplicates kept together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from train.datasets.duplicates import duplicate_groups, thumbnails
from train.datasets.faces import FaceSet

DEV_SHARE = 0.1


@dataclass(frozen=True)
class Split:
    """What a run learns from, chooses on and reports on.

    Attributes:
        train, dev, test: the faces. `test` is empty where the source has no test split.
        left_out: why training pictures are in neither, with counts: near-duplicates of test pictures, blank ones.
    """

    train: FaceSet
    dev: FaceSet
    test: FaceSet
    left_out: dict[str, int]

    def describe(self) -> dict[str, object]:
        """Return counts and the dev split's fingerprint, as they go into a run's record."""
        return {
            "train": len(self.train),
            "dev": len(self.dev),
            "test": len(self.test),
            "left_out": self.left_out,
            "train_sha256": self.train.fingerprint(),
            "dev_sha256": self.dev.fingerprint(),
        }


def split_faces(faces: FaceSet) -> Split:
    """Split the training faces into train and dev; near-duplicates of test pictures and blank pictures leave both.

    A group of near-duplicates goes to dev when the hash of its pixels is among the lowest tenth of its class, so
    the split depends on the pictures alone: not on file names, their order or a seed.
    """
    groups = duplicate_groups(faces.images)
    _, blank = thumbnails(faces.images)
    is_test = faces.splits == "test"
    is_train = faces.splits == "train"
    near_test = is_train & np.isin(groups, groups[is_test & ~blank])
    usable = is_train & ~near_test & ~blank
    dev = _dev_mask(faces, groups, usable)
    counts = {
        "near-duplicates of test pictures": int(near_test.sum()),
        "of other splits": int((~is_test & ~is_train).sum()),
        "blank": int((is_train & blank & ~near_test).sum()),
    }
    left_out = {why: count for why, count in counts.items() if count}
    return Split(faces.take(usable & ~dev), faces.take(dev), faces.take(is_test), left_out)


def _dev_mask(faces: FaceSet, groups: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Choose whole groups for dev, class by class, in the order of their hash, until a tenth of the class is there."""
    members: dict[int, list[int]] = {}
    for index in np.flatnonzero(usable):
        members.setdefault(int(groups[index]), []).append(int(index))
    keyed = []
    for indices in members.values():
        hashes = sorted((hashlib.sha256(faces.images[i].tobytes()).digest(), int(faces.targets[i])) for i in indices)
        keyed.append((hashes[0][0], hashes[0][1], indices))
    wanted = np.bincount(faces.targets[usable], minlength=len(faces.labels)) * DEV_SHARE
    mask = np.zeros(len(faces), bool)
    taken = np.zeros(len(faces.labels), int)
    for _, target, indices in sorted(keyed):
        if taken[target] < np.floor(wanted[target]):
            mask[indices] = True
            taken[target] += len(indices)
    return mask
