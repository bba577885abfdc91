"""Reading files that are what they shall be, and writing them so that nobody meets half of one."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

from edge.errors import InputError


def read_regular(path: str | Path, most: int) -> bytes:
    """Return a file's bytes, if it is a regular file of a sane size: a pipe or a device would be read for ever.

    Args:
        path: the file; a link is followed.
        most: bytes that it may have.

    Raises:
        OSError: it is missing, may not be read, is no regular file, or is larger; `strerror` says which.
    """
    # Non-blocking: opening a named pipe to which nobody writes would wait for one who does.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        data = file.read(most + 1)  # what a file under /proc says of its size is no word to rely on
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most // 1024} KiB", str(path))
    return data


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader finds the old one or the new one, never a part.

    Raises:
        InputError: the folder cannot be made or written, or the disk is full.
    """
    try:
        _write(path, data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~umask())  # mkstemp makes files that only their owner reads
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def umask() -> int:
    """Return the bits that new files go without."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_writable(folder: Path) -> None:
    """Make sure, before long work begins, that a folder can be made and written.

    Raises:
        InputError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
