"""Keep what training frees: a step allocates the same large tensors again and again, and glibc gives each back.

Pages that go back to the system are faulted in and zeroed anew at the next step; on two cores that was a sixth of the
time (`docs/bench/allocator.json`). Where the C library is not glibc, nothing changes.
"""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""`mallopt`'s names for its parameters (malloc.h)."""


def keep_freed_memory(pad: int = 256 << 20) -> bool:
    """Tell the C library to keep freed memory for the next tensor; return whether it took it.

    Args:
        pad: bytes that it asks the system for beyond what is needed, each time that it asks.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS and Windows have no mallopt; musl neither
        return False
    settings = ((MMAP_THRESHOLD, 1 << 30), (TRIM_THRESHOLD, (1 << 31) - 1), (TOP_PAD, pad))
    taken = [mallopt(parameter, value) == 1 for parameter, value in settings]
    return all(taken)
