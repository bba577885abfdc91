"""One line after the other on standard output, without the loop ever waiting for whoever reads them.

The lines go out in a thread of their own. A camera does not stand still because its reader does: what finds the queue
full is dropped and counted. A file can wait, and does so between two frames.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

MOST_LINES = 1000
"""Lines that wait for the reader at most, about 0.6 MB of events."""

LOOK_SECONDS = 0.2
"""How often whoever waits for the reader looks whether the run shall end."""

CLOSE_WITHIN = 2.0
"""Seconds that the end of a camera's run, or of one that is told to stop, waits for the reader."""

FULL_PAUSE = 0.05
"""Seconds between two tries where standard output was made non-blocking and is full."""


class Printer:
    """Writes lines in a thread of its own.

    Args:
        stream: where to write; past its buffer, whose lock a thread that is held up would keep for ever.
        stop: set when the run shall end, and by this object when the reader has gone.
        patient: wait for a reader that is slow (`wait`, `close`) until `stop`, as a file's run can.
        say: takes one line for a person; any thread calls it.
        most: lines that wait at most.
        clock: seconds that never go back.

    Attributes:
        dropped: lines that the reader did not take.
    """

    def __init__(
        self,
        stream: TextIO,
        stop: threading.Event,
        *,
        patient: bool,
        say: Callable[[str], None] = lambda text: None,
        most: int = MOST_LINES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = _writer(stream)
        self._stop, self._patient, self._say, self._most, self._clock = stop, patient, say, most, clock
        self.dropped = 0
        self._changed = threading.Condition()
        self._lines: deque[str] = deque()
        self._closed = self._gone = self._said = False
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def line(self, text: str) -> None:
        """Write a line, in its turn. Never waits.

        Raises:
            OSError: the lines before could not be written, for another reason than a reader that has gone.
        """
        with self._changed:
            if self._error is not None:
                raise self._error
            if self._gone:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="print", daemon=True)
                self._thread.start()
            full = len(self._lines) >= self._most and not self._patient
            first, self._said = full and not self._said, self._said or full
            if full:
                self.dropped += 1
            else:
                self._lines.append(text)
                self._changed.notify_all()
        if first:
            self._say(f"standard output: {self._most} events wait for its reader: those that come now are dropped")

    def wait(self) -> None:
        """Wait while too many lines wait for the reader, where there is the patience, and until the run shall end."""
        with self._changed:
            while self._patient and len(self._lines) >= self._most and not self._stop.is_set():
                self._changed.wait(LOOK_SECONDS)

    def close(self) -> None:
        """Write what waits, as long as there is the patience, and end; what is left is dropped.

        Raises:
            OSError: not all could be written, for another reason than a reader that has gone.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        until, thread = None, self._thread
        while thread is not None and thread.is_alive() and (until is None or self._clock() < until):
            if until is None and (self._stop.is_set() or not self._patient):
                until = self._clock() + CLOSE_WITHIN
            thread.join(LOOK_SECONDS)
        with self._changed:
            self.dropped += len(self._lines)
            self._lines.clear()
            error, self._error, self._gone = self._error, None, True
        if error is not None:
            raise error

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closed)
                if not self._lines:
                    return
                line = self._lines[0]
            try:
                self._write(line + "\n")
            except OSError as error:
                with self._changed:
                    self._gone = True
                    self._lines.clear()
                    self._changed.notify_all()
                    # A reader that has gone, as in `edge run --stdout | head`, ends the run quietly.
                    self._error = None if isinstance(error, BrokenPipeError) else error
                self._stop.set()
                return
            with self._changed:
                if self._lines:
                    self._lines.popleft()
                self._said = self._said and len(self._lines) > self._most // 2
                self._changed.notify_all()


def _writer(stream: TextIO) -> Callable[[str], None]:
    """Return what writes text to the file behind a stream, or to the stream itself where there is none."""
    try:
        stream.flush()
        handle, encoding = stream.fileno(), stream.encoding or "utf-8"
    except (OSError, ValueError, AttributeError):
        return lambda text: _through(stream, text)
    return lambda text: write_to(handle, text.encode(encoding, "backslashreplace"))


def _through(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


def write_to(handle: int, data: bytes) -> None:
    """Write all of it to a file descriptor, past every buffer; a line of less than 4 KB never goes out in two parts.

    Raises:
        OSError: nobody reads any more, or nothing can be written.
    """
    while data:
        try:
            data = data[os.write(handle, data) :]
        except BlockingIOError:
            time.sleep(FULL_PAUSE)
