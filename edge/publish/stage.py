"""What the thread at a broker tells a watchdog: that it works, or that it waits, which is healthy for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

TURN_SECONDS = 30.0
"""What one turn at a connection that is up may take; it sleeps for a second and writes a hundred messages at most."""

REACH_SECONDS = 600.0
"""What one try to reach the broker may take. A resolver with three servers that are away takes minutes; one that takes
longer than this never comes back."""


class Stage(Protocol):
    """One thing that one thread does again and again, each time within a deadline."""

    def working(self) -> None:
        """A piece of work begins, in this thread; its deadline runs."""

    def waiting(self) -> None:
        """The piece of work has ended."""


NewStage: TypeAlias = Callable[[str, float], Stage]
"""Makes a stage of a name and a deadline, seconds."""


class Unwatched:
    """A stage that nobody looks at."""

    def __init__(self, name: str, deadline: float) -> None:
        """Nothing is kept."""

    def working(self) -> None:
        """Nothing."""

    def waiting(self) -> None:
        """Nothing."""
