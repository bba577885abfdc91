"""RAF-DB, Real-world Affective Faces, basic emotions: its list of labels, or a folder per number in `train` and `test`.

Source: Li, Deng and Du 2017, Reliable Crowdsourcing and Deep Locality-Preserving Learning.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from edge.errors import InputError
from train.datasets.files import Files
from train.datasets.listing import Listing

LAYOUT = "RAF-DB"

PATH = re.compile(
    r"(?:.*/)?(?:(?:train|test)_\d+_aligned|image/(?:aligned|original)/(?:train|test)_\d+)\.\w+", re.IGNORECASE
)
"""What is RAF-DB's for certain: `…_aligned` names, or its folders `Image/aligned` and `Image/original`."""

NAME = re.compile(r"(?P<split>train|test)_(?P<number>\d+)(?P<aligned>_aligned)?", re.IGNORECASE)
"""A picture's name without its ending: the official split, a number."""

LIST_NAMES = frozenset({"list_patition_label.txt", "list_partition_label.txt"})
"""The list of labels, spelled as in the official release, and as it was meant."""

EMOTION = {
    "1": "surprise", "2": "fear", "3": "disgust", "4": "happy", "5": "sad", "6": "angry", "7": "neutral",
}  # fmt: skip

Key = tuple[str, int]
"""Split and number: what `train_00001.jpg` of the list and `train_00001_aligned.jpg` have in common."""


def list_pictures(files: Files, listing: Listing) -> None:
    """List the aligned pictures, or the original ones where those are missing, in the official split.

    Raises:
        InputError: labels or pictures are missing, there are several lists (the compound emotions have one too), a
            line or a picture's name is wrong.
    """
    pictures = _pictures(files, listing)
    lists = [name for name in files.names if PurePosixPath(name).name.lower() in LIST_NAMES]
    if len(lists) > 1:
        raise InputError(f"{files.path}: {' and '.join(lists[:2])}: give the folder of the basic emotions alone")
    if not pictures:
        raise InputError(f"{files.path}: labels of RAF-DB, but no pictures: unpack Image/aligned.zip beside them")
    if not lists:
        _by_folder(files, listing, pictures)
        return
    labels = _labels(files, lists[0])
    if not labels.keys() & pictures.keys():
        raise InputError(f"{files.path}: {lists[0]} names none of its {len(pictures)} pictures")
    for key, name in pictures.items():
        if key in labels:
            listing.add(name, labels[key], split=key[0])
        else:
            listing.leave_out("without a line in the list of labels")
    listing.leave_out("in the list of labels, but not there", len(labels.keys() - pictures.keys()))


def _pictures(files: Files, listing: Listing) -> dict[Key, str]:
    """Return the pictures by split and number, one of each."""
    chosen: dict[Key, str] = {}
    for name in files.pictures:
        found = NAME.fullmatch(PurePosixPath(name).stem)
        if not found:
            raise InputError(
                f"{files.path}: {name} lies among pictures of RAF-DB and is not named like them, such as "
                "train_00001_aligned.jpg: rename it or move it away"
            )
        key = (found["split"].lower(), int(found["number"]))
        earlier = chosen.setdefault(key, name)
        if earlier == name:
            continue
        aligned = {bool(_is_aligned(each)): each for each in (earlier, name)}
        if len(aligned) == 1:
            raise InputError(f"{files.path}: {earlier} and {name} are one picture of RAF-DB: keep one of them")
        chosen[key] = aligned[True]
        listing.leave_out("originals of aligned pictures")
    return chosen


def _is_aligned(name: str) -> bool:
    path = PurePosixPath(name)
    return path.stem.lower().endswith("_aligned") or "aligned" in (part.lower() for part in path.parts[:-1])


def _labels(files: Files, name: str) -> dict[Key, str]:
    """Return the emotion of each line such as `train_00001.jpg 5`."""
    labels: dict[Key, str] = {}
    for number, line in enumerate(files.text(name).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        found = NAME.fullmatch(PurePosixPath(words[0]).stem)
        if len(words) != 2 or not found:
            raise InputError(f'{files.path}: {name}, line {number}: "{line[:40]}" is not like "train_00001.jpg 5"')
        if words[1] not in EMOTION:
            raise InputError(
                f'{files.path}: {name}, line {number}: label "{words[1][:20]}" is no number from 1 to 7; is it the '
                "list of the compound emotions?"
            )
        labels[found["split"].lower(), int(found["number"])] = EMOTION[words[1]]
    return labels


def _by_folder(files: Files, listing: Listing, pictures: dict[Key, str]) -> None:
    """Take the layout that others have made of it: `train/1/train_00001_aligned.jpg`."""
    for key, name in pictures.items():
        parents = [part.lower() for part in PurePosixPath(name).parts[:-1]]
        if not parents or parents[-1] not in EMOTION:
            raise InputError(
                f"{files.path}: {name} is a picture of RAF-DB, but there is no EmoLabel/list_patition_label.txt, nor "
                "is it in a folder 1 to 7: unpack the labels beside the pictures"
            )
        if {"train", "test"} & set(parents[:-1]) - {key[0]}:
            raise InputError(f"{files.path}: {name} is of the official {key[0]} split and lies in the other's folder")
        listing.add(name, EMOTION[parents[-1]], split=key[0])
