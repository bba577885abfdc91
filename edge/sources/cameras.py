"""Several cameras at once, fair to each: one place to wait for the next frame of any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeAlias

from edge.errors import InputError
from edge.sources.capture import LOOK_SECONDS, Capture
from edge.sources.reading import Reading
from edge.sources.state import CameraStats
from edge.values import Frame

Opened: TypeAlias = Capture | Reading
"""A live camera or a file, with a thread of its own."""


class Cameras:
    """Cameras read by their own threads. They start at once; `with` closes them.

    Args:
        opened: one for each camera; their names must differ.
        clock: seconds that never go back.

    Raises:
        InputError: two have the same name, or there is none.
    """

    def __init__(self, opened: Sequence[Opened], *, clock: Callable[[], float] = time.monotonic) -> None:
        names = [one.camera for one in opened]
        if not names:
            raise InputError("no camera: name at least one source")
        for name in names:
            if names.count(name) > 1:
                raise InputError(f'two cameras are named "{name}": give each a name of its own')
        self.opened = tuple(opened)
        self._clock = clock
        self._own = [one.max_fps for one in self.opened]
        self._turn = 0
        self._changed = threading.Condition()
        for one in self.opened:
            one.wake = self._wake
            one.start()

    def next(self, timeout: float | None = None) -> Frame | None:
        """Return the next frame: the cameras that have a new one have their turns, each in order.

        A live camera gives its newest, a file every one. A frame's pixels last until the next frame of its camera.

        Args:
            timeout: how long to wait, seconds; for ever when None.

        Returns:
            A frame, or None when the time is up or all cameras have ended (`ended`).

        Raises:
            InputError: not one frame of a file can be decoded.
            OutsideError: a camera does not answer, with `fail_fast`.
        """
        until = None if timeout is None else self._clock() + timeout
        with self._changed:
            while True:
                frame = self._take()
                if frame is not None or self.ended:
                    return frame
                left = LOOK_SECONDS if until is None else min(until - self._clock(), LOOK_SECONDS)
                if left <= 0:
                    return None
                self._changed.wait(left)

    @property
    def ended(self) -> bool:
        """Whether no camera will give a frame any more."""
        return all(one.ended for one in self.opened)

    @property
    def broken(self) -> int:
        """How many frames of all cameras could not be read so far."""
        return sum(one.broken for one in self.opened)

    def stats(self) -> dict[str, CameraStats]:
        """Return the figures so far by camera."""
        return {one.camera: one.stats() for one in self.opened}

    def limit(self, fps: float | None) -> None:
        """Take at most so many frames a second of each live camera; a file still gives every one."""
        for one, own in zip(self.opened, self._own, strict=True):
            one.max_fps = min((each for each in (own, fps) if each is not None), default=None)

    def close(self) -> None:
        """End all threads and let go of all cameras; a thread that hangs is left behind."""
        for one in self.opened:
            one.stop()
        for one in self.opened:
            one.close()

    def __enter__(self) -> Cameras:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self) -> Frame | None:
        """Ask each camera once, beginning behind the one that gave the last frame."""
        for step in range(len(self.opened)):
            turn = (self._turn + step) % len(self.opened)
            frame = self.opened[turn].take()
            if frame is not None:
                self._turn = turn + 1
                return frame
        return None

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
