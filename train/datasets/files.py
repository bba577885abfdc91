"""The files below a folder or in a zip: named once, read one at a time."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from types import TracebackType

import numpy as np

from edge.errors import InputError
from edge.measure.folders import UNREADABLE, files_in
from edge.sources import PICTURE_SUFFIXES
from edge.sources.images import decode_image


class Files:
    """A folder or zip, open for reading; use it in a `with`.

    Attributes:
        path: the folder or zip.
        names: all files in it, posix style, sorted; without the `._name` that a Mac adds to each.
        pictures: those of them that are pictures by their ending, in upper or lower case.
    """

    def __init__(self, path: Path) -> None:
        """Look what is there.

        Raises:
            InputError: it is missing, or neither a folder nor a readable zip.
        """
        self.path = path
        self._zip, names = files_in(path)
        self.names = tuple(name for name in names if not PurePosixPath(name).name.startswith("._"))
        self.pictures = tuple(n for n in self.names if PurePosixPath(n).suffix.lower() in PICTURE_SUFFIXES)

    def __enter__(self) -> Files:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._zip is not None:
            self._zip.close()

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or None when it cannot be read."""
        try:
            return self._zip.read(name) if self._zip else (self.path / name).read_bytes()
        except UNREADABLE:
            return None

    def text(self, name: str) -> str:
        """Return a text file.

        Raises:
            InputError: it cannot be read, or is no text.
        """
        data = self.read(name)
        try:
            if data is not None:
                return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
        raise InputError(f"{self.path}: {name} cannot be read as text")

    def picture(self, name: str) -> np.ndarray | None:
        """Return a picture as `(H, W, 3)` uint8 BGR, or None when it cannot be decoded."""
        data = self.read(name)
        return None if data is None else decode_image(data)
