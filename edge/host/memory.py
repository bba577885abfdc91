"""What loading takes for a moment goes back to the system, where glibc would keep it as holes in its heap."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""The parameters of mallopt(3), by their numbers in malloc.h."""

APART = 128 * 1024
"""Bytes from which a piece of memory gets pages of its own while something loads: what glibc begins with."""

FROM_HEAP = 32 * 1024 * 1024
"""The same for the run: pictures come from the heap, as their pages would have to be made anew for each. glibc would
come to the same by itself, with the first large piece that is freed."""


@contextmanager
def loading() -> Iterator[None]:
    """Load models, whose files and parsers take twice the memory that is needed in the end. Nothing without glibc."""
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(MMAP_THRESHOLD, APART)
    try:
        yield
    finally:
        libc.mallopt(MMAP_THRESHOLD, FROM_HEAP)
        libc.mallopt(TRIM_THRESHOLD, 2 * FROM_HEAP)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt"):
            return libc
    return None
