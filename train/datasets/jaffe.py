"""JAFFE, Japanese Female Facial Expression: ten women, seven emotions, by file name.

Source: Lyons, Akamatsu, Kamachi and Gyoba 1998, Coding Facial Expressions with Gabor Wavelets.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from edge.errors import InputError
from train.datasets.files import Files
from train.datasets.listing import Listing

LAYOUT = "JAFFE"

NAME = re.compile(r"(?P<person>[A-Z]{2})\.(?P<emotion>AN|DI|FE|HA|NE|SA|SU)\d{1,2}\.\d{1,3}\.\w+", re.IGNORECASE)
"""Person, emotion and take, number: `KA.AN1.39.tiff`."""

EMOTION = {
    "AN": "angry", "DI": "disgust", "FE": "fear", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise",
}  # fmt: skip


def list_pictures(files: Files, listing: Listing) -> None:
    """List every picture, wherever below the folder it lies.

    Raises:
        InputError: a picture is not named like JAFFE's.
    """
    for name in files.pictures:
        found = NAME.fullmatch(PurePosixPath(name).name)
        if not found:
            raise InputError(
                f"{files.path}: {name} lies among pictures of JAFFE and is not named like them, such as KA.AN1.39.tiff "
                "(person, emotion and take, number): rename it or move it away"
            )
        listing.add(name, EMOTION[found["emotion"].upper()], person=found["person"].upper())
