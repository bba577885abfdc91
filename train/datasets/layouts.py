"""Which collection a folder or zip holds, told from the names in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from edge.errors import InputError
from edge.measure.folders import SYNONYMS
from edge.values import EMOTIONS
from train.datasets import ckplus, jaffe, kdef, rafdb
from train.datasets.files import Files
from train.datasets.listing import NO_LABEL_OF_OURS, Listing


@dataclass(frozen=True)
class Layout:
    """A collection with names of its own.

    Attributes:
        name: what it is called.
        owns: whether a file's path is of this collection for certain.
        list_pictures: puts its pictures on a list.
    """

    name: str
    owns: Callable[[str], bool]
    list_pictures: Callable[[Files, Listing], None]


def _named(*patterns: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda path: any(pattern.fullmatch(PurePosixPath(path).name) for pattern in patterns)


LAYOUTS = (
    Layout(kdef.LAYOUT, _named(kdef.NAME), kdef.list_pictures),
    Layout(jaffe.LAYOUT, _named(jaffe.NAME), jaffe.list_pictures),
    Layout(ckplus.LAYOUT, _named(ckplus.NAME, ckplus.LABEL_NAME), ckplus.list_pictures),
    Layout(
        rafdb.LAYOUT,
        lambda path: bool(rafdb.PATH.fullmatch(path)) or PurePosixPath(path).name.lower() in rafdb.LIST_NAMES,
        rafdb.list_pictures,
    ),
)

PERSON_NAMES = (kdef.NAME, jaffe.NAME, ckplus.NAME)
"""Names that say who is in the picture."""


def recognise(files: Files, label_map: Mapping[str, str] | None) -> Layout | None:
    """Return the collection that the files are of, or None for a folder per class.

    Where every picture lies in a folder of a class, those folders count, whatever the files are called.

    Raises:
        InputError: files of two collections are there.
    """
    classes = {name.lower() for name in (*SYNONYMS, *EMOTIONS, *NO_LABEL_OF_OURS, *(label_map or {}))}
    if files.pictures and all(PurePosixPath(name).parent.name.lower() in classes for name in files.pictures):
        return None
    found: dict[str, tuple[Layout, str]] = {}
    for path in files.names:
        for layout in LAYOUTS:
            if layout.name not in found and layout.owns(path):
                found[layout.name] = (layout, path)
    if len(found) > 1:
        held = " and ".join(f"{layout.name} ({path})" for layout, path in found.values())
        raise InputError(f"{files.path}: it holds files of {held}: give one collection at a time")
    return next(iter(found.values()))[0] if found else None


def persons_named(names: Sequence[str]) -> np.ndarray | None:
    """Return who is in each picture, `(N,)` strings, where all names are one collection's that says it; else None."""
    for pattern in PERSON_NAMES:
        found = [pattern.fullmatch(PurePosixPath(name).name) for name in names]
        if found and all(found):
            return np.array([match["person"].upper() for match in found if match])
    return None
