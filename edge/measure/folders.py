"""Labelled pictures: a folder per class, plain or in a zip, read one picture at a time."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from edge.errors import InputError
from edge.sources import PICTURE_SUFFIXES
from edge.sources.images import decode_image
from edge.values import EMOTIONS

SPLIT_NAMES = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev"})

UNREADABLE = (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error, lzma.LZMAError)
"""What a damaged, locked or foreign entry of a zip, or a file that cannot be read, raises."""

SYNONYMS: Mapping[str, str] = {
    "anger": "angry", "disgusted": "disgust", "fearful": "fear", "afraid": "fear", "happiness": "happy",
    "sadness": "sad", "surprised": "surprise",
}  # fmt: skip
"""Class names that other collections give to the same seven emotions."""


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures with a class each, in a folder or a zip.

    Attributes:
        source: the folder or zip they are in.
        labels: class names, in the order of the targets.
        names: `N` paths inside the source, posix style, sorted.
        targets: `(N,)` int64, index into `labels`.
    """

    source: Path
    labels: tuple[str, ...]
    names: tuple[str, ...]
    targets: np.ndarray
    _zip: zipfile.ZipFile | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> np.ndarray | None:
        """Return picture `index` as `(H, W, 3)` uint8 BGR, or None when it cannot be decoded."""
        name = self.names[index]
        try:
            data = self._zip.read(name) if self._zip else (self.source / name).read_bytes()
        except UNREADABLE:
            return None
        return decode_image(data)


def open_labelled(
    source: str | Path,
    *,
    labels: Sequence[str] = EMOTIONS,
    label_map: Mapping[str, str] | None = None,
    split: str | None = None,
) -> LabelledPictures:
    """Open a folder (or zip) that has one folder per class, or one folder per split with one per class in it.

    Args:
        source: path of the folder or zip.
        labels: the classes to expect, in order.
        label_map: folder name to label, for folders of other names; a folder mapped to `""` is left out.
        split: which split folder to read when the source has them (`train`, `test`, ...).

    Raises:
        InputError: the source is missing or no zip, a class folder is unknown, a split is needed or absent, or
            there is no picture in it.
    """
    path = Path(source)
    archive, names = _pictures_in(path)
    names = _inside_split(path, names, split)
    mapping = {key.lower(): value for key, value in {**SYNONYMS, **{name: name for name in labels}}.items()}
    for key, value in (label_map or {}).items():
        if value and value not in labels:
            raise InputError(f'--label-map "{key}={value}": the label is none of {", ".join(labels)}')
        mapping[key.lower()] = value
    order = {label: index for index, label in enumerate(labels)}
    kept: list[str] = []
    targets: list[int] = []
    for name in names:
        folder = PurePosixPath(name).parent.name
        label = mapping.get(folder.lower())
        if label == "":
            continue
        if label is None or label not in order:
            if not folder:
                raise InputError(
                    f"{path}: {name} lies in no folder; expected one folder per class with pictures inside"
                )
            raise InputError(
                f'{path}: folder "{folder}" is no class of {", ".join(labels)}: rename it, or map it with '
                f'--label-map "{folder}=LABEL" (an empty LABEL leaves it out)'
            )
        kept.append(name)
        targets.append(order[label])
    if not kept:
        raise InputError(f"{path}: no picture in it; expected one folder per class with pictures inside")
    return LabelledPictures(path, tuple(labels), tuple(kept), np.array(targets, np.int64), archive)


def find_splits(source: str | Path) -> tuple[str, ...]:
    """Return the split folders (`train`, `test`, ...) that a source has, sorted; empty when it has none."""
    return _splits(_pictures_in(Path(source))[1])


def count_pictures(source: str | Path) -> int:
    """Return how many files of a source are pictures by their names."""
    return len(_pictures_in(Path(source))[1])


def files_in(path: Path) -> tuple[zipfile.ZipFile | None, list[str]]:
    """Return the open zip (or None for a folder) and the sorted names of the files inside.

    Raises:
        InputError: it is missing, or neither a folder nor a readable zip.
    """
    if path.is_dir():
        return None, sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
    if not path.exists():
        raise InputError(f"{path}: no such folder or zip")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: neither a folder nor a readable zip ({error})") from None
    return archive, sorted(name for name in archive.namelist() if not name.endswith("/"))


def _pictures_in(path: Path) -> tuple[zipfile.ZipFile | None, list[str]]:
    """Return the open zip (or None for a folder) and the sorted names of the pictures inside."""
    archive, names = files_in(path)
    return archive, [name for name in names if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES]


def _splits(names: list[str]) -> tuple[str, ...]:
    return tuple(sorted({part for name in names for part in _above_class(name)} & SPLIT_NAMES))


def _above_class(name: str) -> list[str]:
    return [part.lower() for part in PurePosixPath(name).parts[:-2]]


def _inside_split(path: Path, names: list[str], split: str | None) -> list[str]:
    """Keep the names under the wanted split folder; refuse to guess where there are several."""
    found = _splits(names)
    if split is None:
        if len(found) > 1:
            raise InputError(f"{path}: it holds the splits {', '.join(found)}: choose one with --split")
        return names
    if split.lower() not in found:
        raise InputError(f'{path}: no split "{split}" in it; it has {", ".join(found) or "none"}')
    return [name for name in names if split.lower() in _above_class(name)]
