"""KDEF, Karolinska Directed Emotional Faces: 70 people, seven emotions, five angles, two sessions, by file name.

Source: Lundqvist, Flykt and Öhman 1998, The Karolinska Directed Emotional Faces.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from edge.errors import InputError
from train.datasets.files import Files
from train.datasets.listing import Listing

LAYOUT = "KDEF"

NAME = re.compile(
    r"[AB](?P<person>[FM](?:0[1-9]|[12]\d|3[0-5]))(?P<emotion>AF|AN|DI|HA|NE|SA|SU)(?:FL|HL|S|HR|FR)\.\w+",
    re.IGNORECASE,
)
"""Session, sex and number (a person in both sessions), emotion, angle from full left to full right: `AF01ANS.JPG`."""

EMOTION = {
    "AF": "fear", "AN": "angry", "DI": "disgust", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise",
}  # fmt: skip

MISNAMED = frozenset({"AF31V", "AM31H"})
"""Two files of the official release whose names lack emotion and angle."""

NO_FACES = frozenset({"AKDEF", "KDEFMAP", "READTHIS"})
"""Folders beside the pictures in the official release: averages over all people (they would leak between any two
splits), and papers."""


def list_pictures(files: Files, listing: Listing) -> None:
    """List every picture whose name is KDEF's, wherever below the folder it lies.

    Raises:
        InputError: a picture has another name.
    """
    for name in files.pictures:
        path = PurePosixPath(name)
        found = NAME.fullmatch(path.name)
        if found:
            listing.add(name, EMOTION[found["emotion"].upper()], person=found["person"].upper())
        elif NO_FACES & {part.upper() for part in path.parts[:-1]}:
            listing.leave_out("of AKDEF, averages over all people")
        elif path.stem.upper() in MISNAMED:
            listing.leave_out("misnamed in the official release")
        else:
            raise InputError(
                f"{files.path}: {name} lies among pictures of KDEF and is not named like them, such as AF01ANS.JPG "
                "(session, sex, 01 to 35, emotion, angle): rename it or move it away"
            )
