"""A thread around a live camera: the newest picture wins; a camera that goes away, hangs or freezes is opened anew."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import cv2

from edge.errors import OutsideError, first_line
from edge.sources.newest import Newest
from edge.sources.state import CameraState, CameraStats, Rate, State, stats_of
from edge.sources.still import Stillness
from edge.sources.stream import Device, Lost, Stream
from edge.sources.worker import MOST_HANGING, Hanging, Worker
from edge.values import Frame

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds between two attempts to open a camera: the first, and what doubling ends at."""

FROZEN_AFTER = 10.0
"""Seconds without a new picture after which a camera counts as frozen, unless set."""

LONGEST_STILL = 300.0
"""Seconds between two attempts to wake a camera that answers with the same picture for ever, which may be its cover."""

LOOK_SECONDS = 0.5
"""How often whoever waits for a picture looks whether the thread hangs."""

CLOSE_SECONDS = 1.0
"""How long `close` waits for the thread; one that hangs is left behind."""


BREAKS = (OutsideError, OSError, MemoryError, cv2.error)
"""What a driver or a decoder throws: the camera is opened anew. Anything else is a bug, and ends the run."""


class Capture:
    """A live camera, read by a thread of its own into a few buffers that are used again and again.

    Callbacks run in the capture thread, or in the one that waits for a picture; they should be short.

    Args:
        device: the camera.
        camera: its name, for frames and topics.
        frozen_after: seconds without a new picture, or with the very same one, after which the camera is opened anew; 0
            takes no picture for too still, and ten seconds without any for frozen.
        wait: sleeps for so many seconds and returns True when it is time to stop.
        say: takes one line when the camera goes away or comes back.
        on_state: takes the camera's state whenever it changes.
        fail_fast: raise instead of waiting for the camera, here and in `take`.
        clock: seconds that never go back.

    Raises:
        OutsideError: the camera does not answer, with `fail_fast`.
    """

    live = True

    def __init__(
        self,
        device: Device,
        camera: str,
        *,
        frozen_after: float = FROZEN_AFTER,
        wait: Callable[[float], bool] | None = None,
        say: Callable[[str], None] = lambda text: None,
        on_state: Callable[[CameraState], None] = lambda state: None,
        fail_fast: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.camera, self.device = camera, device
        self.captured = self.dropped = self.broken = 0
        self.fps: float | None = None
        self.given: str | None = None
        self.max_fps: float | None = None
        """Pictures that come faster than this are dropped before they are decoded; may be set at any time."""
        self.wake: Callable[[], None] = lambda: None
        """Called after each new picture and at the end."""
        self.state = CameraState(camera, "waiting", None, time.time())
        self._frozen_after, self._still_after = frozen_after or FROZEN_AFTER, frozen_after or math.inf
        self._closing = threading.Event()
        self._wait = wait or self._closing.wait
        self._say, self._on_state, self._fail_fast, self._clock = say, on_state, fail_fast, clock
        self._pause, self._answered = FIRST_WAIT, False
        self._still, self._still_limit, self._stuck = Stillness(), self._still_after, False
        self._rate = Rate(clock)
        self._index = 0
        self._due = -math.inf
        # The newest's lock is held for moments; the state's while a callback runs, so that states keep their order.
        self._newest = Newest()
        self._changed = self._newest.changed
        self._telling = threading.RLock()
        self._over = False
        self._error: BaseException | None = None
        self._hanging = Hanging()
        self._worker: Worker | None = None
        self._first: Stream | None = None
        if fail_fast:
            try:
                self._first = device.open()
            except OutsideError as error:
                raise self._absent(error) from None

    # What whoever wants pictures calls

    def start(self) -> None:
        """Start the thread; `take` and `read` do it themselves."""
        if self._worker is None and not self._over:
            self._begin(pause=False)

    def take(self) -> Frame | None:
        """Return the newest picture if there is one that was not taken before; its pixels last until the next is taken.

        Raises:
            OutsideError: the camera went away, with `fail_fast`.
        """
        self.start()
        self._look()
        with self._changed:
            if self._error is not None:
                raise self._error
            return self._newest.take()

    def read(self) -> Frame | None:
        """Return the newest picture; wait for it as long as it takes, or return None when told to stop."""
        while True:
            frame = self.take()
            if frame is not None or self.ended:
                return frame
            with self._changed:
                self._changed.wait_for(lambda: self._newest.waiting or self._over or self._error, LOOK_SECONDS)

    @property
    def ended(self) -> bool:
        """Whether no more pictures will come."""
        return self._over and not self._newest.waiting and self._error is None

    def stats(self) -> CameraStats:
        """Return the figures so far."""
        return stats_of(self, self._rate())

    def stop(self) -> None:
        """Ask the thread to end, without waiting for it."""
        self._closing.set()
        with self._changed:
            self._over = True
            self._newest.clear()
            worker, first, self._first = self._worker, self._first, None
            if worker is not None:
                worker.left.set()
            self._changed.notify_all()
        if worker is not None:
            worker.interrupt()
        if first is not None:
            first.close()

    def close(self) -> None:
        """End the thread and let go of the camera; a thread that hangs in it is left behind."""
        self.stop()
        worker = self._worker
        if worker is not None and worker.thread is not None and worker.thread is not threading.current_thread():
            worker.thread.join(CLOSE_SECONDS)
        self._tell("ended", "stopped")

    # The thread

    def _begin(self, *, pause: bool) -> None:
        worker = Worker(self._clock)
        worker.stream, self._first = self._first, None
        thread = threading.Thread(target=self._work, args=(worker, pause), name=f"capture {self.camera}", daemon=True)
        worker.thread = thread
        with self._changed:
            self._worker = worker
        thread.start()

    def _work(self, worker: Worker, pause: bool) -> None:
        try:
            while not worker.left.is_set():
                if pause and self._back_off():
                    break
                pause = True
                try:
                    if worker.left.is_set():
                        break
                    self._serve(worker)
                except BREAKS as error:
                    if worker.left.is_set():
                        break
                    named = f"{type(error).__name__}: {first_line(error)}"
                    lost = error if isinstance(error, OutsideError) else OutsideError(named)
                    if self._fail_fast:
                        raise self._absent(lost) from None
                    if not self._stuck:
                        self._still.reset()
                    self._tell(lost.state if isinstance(lost, Lost) else "waiting", str(lost), worker=worker)
                else:
                    break
        except BaseException as error:
            with self._changed:
                if not worker.left.is_set():
                    self._error = error
        finally:
            with self._changed:
                ended = not worker.left.is_set()
                self._over = self._over or ended
                self._changed.notify_all()
            if ended:
                self._tell("ended", "stopped" if self._error is None else "failed", worker=worker)
            self.wake()

    def _back_off(self) -> bool:
        """Wait before the next attempt; return True when told to stop."""
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_WAIT)
        return self._wait(pause) or self._closing.is_set()

    def _serve(self, worker: Worker) -> None:
        """Open the camera and take its pictures until it is lost, which is raised, or there is no need any more."""
        try:
            if worker.stream is None:
                worker.calls(self.device.open_seconds)
                worker.stream = self.device.open()
            self._pump(worker, worker.stream)
        finally:
            worker.calls(self.device.open_seconds)  # closing can hang as well
            if worker.stream is not None:
                worker.stream.close()
            worker.stream = None
            worker.returned()

    def _pump(self, worker: Worker, stream: Stream) -> None:
        self.fps, self.given = stream.fps, stream.given
        newest, failed = self._clock(), 0
        while not worker.left.is_set():
            worker.calls(self._frozen_after)
            got = stream.grab()
            now, wall = self._clock(), time.time()
            worker.returned()
            if worker.left.is_set():
                return
            if got and self._too_early(now):
                self.dropped += 1
                self._index += 1
                newest = now
                continue
            image = stream.retrieve(self._newest.spare()) if got else None
            index, self._index = self._index, self._index + 1
            if image is not None:
                newest, failed = now, 0
                self._consider(worker, Frame(image, index, wall, now, self.camera))
                continue
            if stream.over:
                self._finish(worker)
                return
            self.broken += 1
            failed += 1
            if now - newest >= self._frozen_after:
                raise Lost("frozen", f"no picture for {self._frozen_after:.3g} s")
            if failed >= stream.tolerance:
                raise Lost("waiting", "it gives no more pictures")

    def _consider(self, worker: Worker, frame: Frame) -> None:
        """Put a picture out, unless the camera is stuck at it.

        Raises:
            Lost: it has been the very same for too long.
        """
        still = self._still.seconds(frame.image, frame.mono)
        if still >= self._still_limit:
            # Each further attempt waits longer: a covered lens may well give the same black for a night.
            self._still_limit = still + min(max(still, self._still_after), LONGEST_STILL)
            self._stuck = True
            raise Lost("frozen", f"the very same picture for {self._frozen_after:.3g} s")
        if still == 0.0:
            self._still_limit, self._stuck = self._still_after, False
        if self._stuck:
            self._newest.give_back(frame.image)
            return
        self._pause = FIRST_WAIT
        self._tell("running", None, worker=worker)
        self._put(worker, frame)

    def _put(self, worker: Worker, frame: Frame) -> None:
        with self._changed:
            if worker.left.is_set():
                return
            self.dropped += self._newest.put(frame)
            self.captured += 1
        self._rate.add()
        self.wake()

    def _too_early(self, now: float) -> bool:
        """Whether a picture comes faster than is wanted; a tenth of its time is forgiven, for clocks tremble."""
        if not self.max_fps:
            return False
        spacing = 1 / self.max_fps
        if now < self._due - 0.1 * spacing:
            return True
        self._due = (self._due if self._due > now - spacing else now) + spacing
        return False

    def _finish(self, worker: Worker) -> None:
        with self._changed:
            self._over = self._over or not worker.left.is_set()
        self._tell("ended", "the video has ended", worker=worker)

    # What is watched from outside the thread

    def _look(self) -> None:
        """Leave a thread behind that hangs in the camera, and start another; called by whoever wants pictures."""
        worker = self._worker
        if worker is None:
            return
        if was := worker.hangs():
            with self._changed:
                worker.left.set()
            worker.interrupt()
            self._hanging.add(worker.thread)
            if self._fail_fast:
                self._error = self._absent(OutsideError(f"{was} it hangs"))
                return
            self._tell("frozen" if was == "reading" else "waiting", f"{was} it hangs; it is opened anew")
        if worker.left.is_set() and not self._over:
            if self._hanging.full():
                self._tell("waiting", f"{MOST_HANGING} calls to it hang; it is opened when one of them comes back")
            else:
                self._begin(pause=True)

    def _tell(self, state: State, reason: str | None, *, worker: Worker | None = None) -> None:
        """Say a change of state, once."""
        with self._telling:
            if worker is not None and worker.left.is_set():
                return
            if self.state.state == "ended" or (self.state.state, self.state.reason) == (state, reason):
                return
            self.state = CameraState(self.camera, state, reason, time.time())
            self._on_state(self.state)
            name = f"camera {self.device.name}"
            if state == "running":
                self._say(f"{name} ({self.given}) answers")
            elif state == "waiting":
                self._say(f"{name} does not answer: {reason}; it is tried again until it does")
            elif state == "frozen":
                self._say(f"{name} is frozen: {reason}; it is closed and opened again until it is not")
            elif reason != "stopped":
                self._say(f"{name}: {reason}")

    def _absent(self, error: OutsideError) -> OutsideError:
        return OutsideError(f"camera {self.device.name} does not answer: {error}")
