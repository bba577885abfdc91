"""CK+, the extended Cohn-Kanade set: sequences from a neutral face to the peak of an emotion.

Source: Lucey et al. 2010, The Extended Cohn-Kanade Dataset (CK+). That the last three frames carry the sequence's label
and its first one is neutral is the convention of those who train on single pictures, such as Liu et al. 2014 (BDBN).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from edge.errors import InputError
from train.datasets.files import Files
from train.datasets.listing import Listing

LAYOUT = "CK+"

NAME = re.compile(r"(?P<sequence>(?P<person>S\d{3})_\d{3})_(?P<frame>\d{8})\.\w+", re.IGNORECASE)
"""Person, sequence, frame: `cohn-kanade-images/S005/001/S005_001_00000011.png`."""

LABEL_NAME = re.compile(r"(?P<sequence>S\d{3}_\d{3})_\d{8}_emotion\.txt", re.IGNORECASE)
"""`Emotion/S005/001/S005_001_00000011_emotion.txt`, which holds one number such as `3.0000000e+00`."""

EMOTION = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")

PEAK = 3
"""How many frames at a sequence's end carry its label."""


def list_pictures(files: Files, listing: Listing) -> None:
    """List first and last frames of the labelled sequences; count the frames between and the unlabelled sequences.

    Raises:
        InputError: labels or pictures are missing, a picture has another name, or a label is no number from 0 to 7.
    """
    sequences = _sequences(files)
    labels = _labels(files)
    if not labels:
        raise InputError(
            f"{files.path}: pictures of CK+, but no labels: unpack Emotion_labels.zip beside them (folder Emotion/)"
        )
    if not sequences:
        raise InputError(f"{files.path}: labels of CK+, but no pictures: unpack them beside (cohn-kanade-images/)")
    bare = sorted(labels.keys() - sequences.keys())
    if bare:
        raise InputError(
            f"{files.path}: sequence {bare[0]} has a label, but no pictures ({len(bare)} such): is cohn-kanade-images/ "
            "unpacked whole?"
        )
    for sequence, frames in sorted(sequences.items()):
        if sequence not in labels:
            listing.leave_out("of sequences without a label", len(frames))
            continue
        ordered, person = [name for _, name in sorted(frames)], sequence.split("_")[0]
        begin, rest = (ordered[:1], ordered[1:]) if len(ordered) > 1 else ([], ordered)
        for name in begin:
            listing.add(name, "neutral", person=person)
        for name in rest[-PEAK:]:
            listing.add(name, labels[sequence], person=person)
        listing.leave_out("between a neutral face and the peak", len(rest[:-PEAK]))


def _sequences(files: Files) -> dict[str, list[tuple[str, str]]]:
    """Return frame numbers and names of each sequence."""
    sequences: dict[str, list[tuple[str, str]]] = {}
    for name in files.pictures:
        found = NAME.fullmatch(PurePosixPath(name).name)
        if not found:
            raise InputError(
                f"{files.path}: {name} lies among pictures of CK+ and is not named like them, such as "
                "S005_001_00000011.png (person, sequence, frame): rename it or move it away"
            )
        sequences.setdefault(found["sequence"].upper(), []).append((found["frame"], name))
    return sequences


def _labels(files: Files) -> dict[str, str]:
    """Return the emotion of each labelled sequence."""
    labels: dict[str, str] = {}
    for name in files.names:
        found = LABEL_NAME.fullmatch(PurePosixPath(name).name)
        if found:
            text = files.text(name).strip()
            try:
                number = float(text)
            except ValueError:
                number = -1.0
            if number not in range(len(EMOTION)):
                raise InputError(f'{files.path}: {name} holds "{text[:20]}" instead of a number from 0 to 7')
            labels[found["sequence"].upper()] = EMOTION[int(number)]
    return labels
