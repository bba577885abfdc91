"""A thread around a file or a folder: it decodes ahead, every frame in order, and waits for whoever takes them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from edge.sources import Source
from edge.sources.state import CameraState, CameraStats, Rate, State, stats_of
from edge.values import Frame

AHEAD = 2
"""So many frames are decoded before they are asked for."""

CLOSE_SECONDS = 1.0
"""How long `close` waits for the thread, which may be in the middle of a picture."""


class Reading:
    """A file's frames, decoded beside the loop. Nothing is dropped.

    Args:
        source: the file or folder; it is this object's from now on, and closed by it.
        fps: frames a second to give at most, for a clip that stands for a camera; as fast as they are taken when None.
        say: takes one line when there is something to say.
        on_state: takes its state whenever it changes.
        clock: seconds that never go back.
    """

    live = False

    def __init__(
        self,
        source: Source,
        *,
        fps: float | None = None,
        say: Callable[[str], None] = lambda text: None,
        on_state: Callable[[CameraState], None] = lambda state: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._pace = source, fps
        self.camera, self.fps = source.camera, source.fps
        self.given: str | None = None
        self.captured = self.dropped = 0
        self.max_fps: float | None = None
        """Without effect: every frame of a file is processed."""
        self.wake: Callable[[], None] = lambda: None
        """Called after each new frame and at the end."""
        self.state = CameraState(self.camera, "waiting", None, time.time())
        self._say, self._on_state, self._clock = say, on_state, clock
        self._rate = Rate(clock)
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._ahead: deque[Frame] = deque()
        self._over = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    @property
    def broken(self) -> int:
        """How many frames could not be read so far."""
        return self._source.broken

    def start(self) -> None:
        """Start the thread; `take` and `read` do it themselves."""
        if self._thread is None and not self._over:
            self._thread = threading.Thread(target=self._work, name=f"read {self.camera}", daemon=True)
            self._thread.start()

    def take(self) -> Frame | None:
        """Return the next frame if it is decoded already.

        Raises:
            InputError: not one frame of the file can be decoded.
        """
        self.start()
        with self._changed:
            frame = self._ahead.popleft() if self._ahead else None
            self._changed.notify_all()
            if frame is None and self._error is not None:
                raise self._error
            over = self._over and not self._ahead
        if frame is not None:
            self._rate.add()
            self._tell("running", None)
        elif over:
            self._tell("ended", "the file has ended")
        return frame

    def read(self) -> Frame | None:
        """Return the next frame, or None at the end."""
        while True:
            frame = self.take()
            if frame is not None or self.ended:
                return frame
            with self._changed:
                self._changed.wait_for(lambda: self._ahead or self._over)

    @property
    def ended(self) -> bool:
        """Whether the last frame was taken."""
        return self._over and not self._ahead and self._error is None

    def stats(self) -> CameraStats:
        """Return the figures so far."""
        return stats_of(self, self._rate())

    def give_up(self, why: str) -> None:
        """Let what `take` has raised be the end of this file alone; called by whoever got it."""
        with self._changed:
            self._over, self._error = True, None
            self._ahead.clear()
        self._tell("ended", why)

    def stop(self) -> None:
        """Ask the thread to end, without waiting for it; what is decoded is still given."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread and close the file."""
        self.stop()
        if self._thread is None:
            self._source.close()
        elif self._thread is not threading.current_thread():
            self._thread.join(CLOSE_SECONDS)
        with self._changed:
            self._over = True
            self._ahead.clear()
        self._tell("ended", "stopped")

    def _work(self) -> None:
        try:
            due = self._clock()
            while not self._closing.is_set():
                frame = self._source.read()
                if frame is None:
                    break
                if self._pace:
                    due = max(due, self._clock() - 1 / self._pace)
                    if self._closing.wait(max(0.0, due - self._clock())):
                        break
                    due += 1 / self._pace
                self._put(frame)
        except BaseException as error:
            self._error = error
        finally:
            self._source.close()
            with self._changed:
                self._over = True
                self._changed.notify_all()
            self.wake()

    def _put(self, frame: Frame) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._ahead) < AHEAD or self._closing.is_set())
            self._ahead.append(frame)
            self.captured += 1
            self._changed.notify_all()
        self.wake()

    def _tell(self, state: State, reason: str | None) -> None:
        if self.state.state == "ended" or (self.state.state, self.state.reason) == (state, reason):
            return
        self.state = CameraState(self.camera, state, reason, time.time())
        self._on_state(self.state)
