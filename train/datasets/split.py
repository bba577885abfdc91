"""The split that choices are made on: `dev`, held out of the training pictures; and a test where there is none.

Where the source does not say who is in a picture, dev is a fixed tenth with near-duplicates kept together. Where it
does, nobody stands in two of the parts that are made here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from edge.errors import InputError
from train.datasets.duplicates import Copies, find_copies
from train.datasets.faces import FaceSet

DEV_SHARE = 0.1

NEAR_TEST = "near-duplicates of test pictures"
OTHER = "of other splits"
BLANK = "blank"

FEWEST = 3
"""Persons, and folds, that train, dev and test need to have one each."""


@dataclass(frozen=True)
class Split:
    """What a run learns from, chooses on and reports on.

    Attributes:
        train, dev, test: the faces. `test` is empty where the source has neither a test split nor persons.
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


def split_faces(faces: FaceSet, *, folds: int = 5, fold: int = 0, seed: int = 0) -> Split:
    """Split faces into train, dev and test; near-duplicates of test pictures and blank pictures leave train and dev.

    Without persons, test is what the source says, and a group of near-duplicates goes to dev when the hash of its
    pixels is among the lowest tenth of its class: the split depends on the pictures alone, not on file names, their
    order or a seed. With persons see `assign_parts`.

    Raises:
        InputError: there are too few persons.
    """
    return take_parts(faces, assign_parts(faces, find_copies(faces.images), folds=folds, fold=fold, seed=seed))


def take_parts(faces: FaceSet, parts: np.ndarray) -> Split:
    """Return the split that `assign_parts` has decided on."""
    counts = {why: int((parts == why).sum()) for why in (NEAR_TEST, OTHER, BLANK)}
    train, dev, test = (faces.take(parts == part) for part in ("train", "dev", "test"))
    counts = {**faces.left_out, "unreadable": len(faces.unreadable), **counts}
    return Split(train, dev, test, {why: count for why, count in counts.items() if count})


def assign_parts(faces: FaceSet, copies: Copies, *, folds: int = 5, fold: int = 0, seed: int = 0) -> np.ndarray:
    """Say of each picture where it goes: `(N,)` strings, `train`, `dev`, `test` or why it is left out.

    Where the source names persons and has no test split, people are shuffled and dealt to folds: one is test, the
    next one dev, the others train. Where it has a test split, whole persons go to dev until it is a tenth.

    Args:
        faces: the set.
        copies: what `find_copies` says of its pictures.
        folds: how many parts people are dealt to.
        fold: which of them is test, from 0; the others in turn make a cross-validation.
        seed: of the shuffling.

    Raises:
        InputError: there are fewer than three persons or folds, more folds than persons, or no such fold.
    """
    if (faces.splits == "dev").any():  # decided when it was packed
        return np.where(np.isin(faces.splits, ("train", "dev", "test")), faces.splits, OTHER)
    is_train, is_test = faces.splits == "train", faces.splits == "test"
    dealt = None
    if faces.persons is not None and not is_test.any():
        dealt = _deal(faces.persons, is_train, folds, fold, seed)
        is_test = is_train & (dealt == fold)
        is_train = is_train & ~is_test
    near_test = is_train & np.isin(copies.groups, copies.groups[is_test & ~copies.blank])
    usable = is_train & ~near_test & ~copies.blank
    if faces.persons is None:
        dev = _dev_mask(faces, copies.groups, usable)
    elif dealt is None:
        dev = _dev_persons(faces.persons, usable, seed)
    else:
        dev = usable & (dealt == (fold + 1) % folds)
    choices = [usable & ~dev, dev, is_test, near_test, is_train]
    return np.select(choices, ["train", "dev", "test", NEAR_TEST, BLANK], OTHER)


def _deal(persons: np.ndarray, chosen: np.ndarray, folds: int, fold: int, seed: int) -> np.ndarray:
    """Return each chosen picture's fold, `(N,)` int, -1 for the others."""
    people = np.unique(persons[chosen])
    if len(people) < FEWEST:
        raise InputError(
            f"too few persons ({', '.join(people) or 'none'}) for train, dev and test with nobody in two of them: "
            f"{FEWEST} at least"
        )
    if not FEWEST <= folds <= len(people):
        raise InputError(f"{folds} folds of {len(people)} persons: ask for {FEWEST} to {len(people)} folds")
    if not 0 <= fold < folds:
        raise InputError(f"fold {fold} is none of {folds} folds: ask for 0 to {folds - 1}")
    order = np.random.default_rng(seed).permutation(people)
    number = {person: index % folds for index, person in enumerate(order)}
    return np.array([number[person] if take else -1 for person, take in zip(persons, chosen, strict=True)])


def _dev_persons(persons: np.ndarray, usable: np.ndarray, seed: int) -> np.ndarray:
    """Choose whole persons for dev until a tenth of the usable pictures is there; one is left to train on."""
    people, counts = np.unique(persons[usable], return_counts=True)
    if len(people) < FEWEST - 1:
        known = ", ".join(people) or "none"
        raise InputError(f"too few persons ({known}) for train and dev with nobody in both: {FEWEST - 1} at least")
    order = np.random.default_rng(seed).permutation(len(people))
    before = np.cumsum(counts[order]) - counts[order]
    taken = order[:-1][before[:-1] < np.floor(usable.sum() * DEV_SHARE)]
    return usable & np.isin(persons, people[taken if len(taken) else order[:1]])


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
