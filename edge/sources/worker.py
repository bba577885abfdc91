"""A thread at a live camera, and the watch over it: a driver's call may never return, and no thread can be ended."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Literal

from edge.sources.stream import Stream

GRACE = 3.0
"""A call that takes so many seconds longer than its own time limit hangs."""

MOST_HANGING = 3
"""So many threads may hang in a camera at once; before one more is risked, one has to come back."""


class Worker:
    """One thread at the camera. It may be left behind in a call that never returns, and then has no say any more.

    Args:
        clock: seconds that never go back.

    Attributes:
        deadline: the clock's seconds at which the call that is under way hangs.
        left: set when it has no say any more.
        stream: the camera while it is open.
        thread: the thread itself.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self.deadline = clock, math.inf
        self.left = threading.Event()
        self.stream: Stream | None = None
        self.thread: threading.Thread | None = None

    def calls(self, seconds: float) -> None:
        """A call begins that may take so long."""
        self.deadline = self._clock() + seconds + GRACE

    def returned(self) -> None:
        """The call has come back."""
        self.deadline = math.inf

    def hangs(self) -> Literal["reading", "opening"] | None:
        """Return in what it hangs; None while it is well, or left already."""
        if self.left.is_set() or self._clock() <= self.deadline:
            return None
        return "opening" if self.stream is None else "reading"

    def interrupt(self) -> None:
        """Let a read that blocks return, where that is possible."""
        stream = self.stream
        if stream is not None:
            stream.interrupt()


class Hanging:
    """The threads that were left behind in a call."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    def add(self, thread: threading.Thread | None) -> None:
        """Remember one."""
        if thread is not None:
            self._threads.append(thread)

    def full(self) -> bool:
        """Whether so many hang still that no further one is risked."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        return len(self._threads) >= MOST_HANGING
