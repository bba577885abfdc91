"""Several cameras at once, fair to each: one place to wait for the next frame of any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeAlias

from edge.errors import InputError, first_line
from edge.sources.capture import BREAKS, LOOK_SECONDS, Capture
from edge.sources.failed import Failed
from edge.sources.reading import Reading
from edge.sources.state import CameraStats
from edge.values import Frame

Opened: TypeAlias = Capture | Reading | Failed
"""A live camera or a file, with a thread of its own; or one that could not be opened."""


class Cameras:
    """Cameras read by their own threads. They start at once; `with` closes them.

    A file of several that cannot be read on ends, and says why; the others go on.

    Args:
        opened: one for each camera; their names must differ.
        say: takes one line for a person.
        fail_fast: let a file that fails be everyone's end.
        clock: seconds that never go back.

    Attributes:
        failed: names of the cameras that could not be opened or read on.

    Raises:
        InputError: two have the same name, or there is none.
    """

    def __init__(
        self,
        opened: Sequence[Opened],
        *,
        say: Callable[[str], None] = lambda text: None,
        fail_fast: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        names = [one.camera for one in opened]
        if not names:
            raise InputError("no camera: name at least one source")
        for name in names:
            if names.count(name) > 1:
                raise InputError(f'two cameras are named "{name}": give each a name of its own')
        self.opened = tuple(opened)
        self.failed = [one.camera for one in opened if isinstance(one, Failed)]
        self._say, self._fail_fast, self._clock = say, fail_fast, clock
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
            InputError: not one frame of the only camera, a file, can be decoded.
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
            frame = self._take_of(self.opened[turn])
            if frame is not None:
                self._turn = turn + 1
                return frame
        return None

    def _take_of(self, one: Opened) -> Frame | None:
        """Ask a camera; a file of several that fails ends alone."""
        try:
            return one.take()
        except (InputError, *BREAKS) as error:
            if self._fail_fast or len(self.opened) == 1 or not isinstance(one, Reading):
                raise
            why = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {first_line(error)}"
            one.give_up(why)
            self.failed.append(one.camera)
            self._say(f"camera {one.camera} has failed: {why}; the others go on")
            return None

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
