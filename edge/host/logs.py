"""The log: lines for a person, or one JSON object a line for a program. Never makes the caller wait.

A reader of standard error that stalls holds up a thread of the log's own and no other; what finds the queue full is
dropped, counted, and said when the reader goes on.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from edge.errors import InputError
from edge.terminal import printable, say

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
"""From the least to the most serious."""

MOST_LINES = 1000
"""Lines that wait for the reader at most."""
CLOSE_WITHIN = 2.0
"""Seconds that the end waits for the reader."""
FULL_PAUSE = 0.05
"""Seconds between two tries where standard error was made non-blocking and is full."""


class Log:
    """Takes lines: `log("camera 0 answers", camera="front")`.

    Args:
        form: `text`, today's `edge: …`, or `json`: `ts`, `level`, `msg`, and the fields.
        level: the least serious level that is written.
        write: writes one line and its newline; may block. Standard error unless given.
        wall: the wall clock, seconds since the epoch.
        most: lines that wait at most.

    Attributes:
        dropped: lines that found the queue full so far.

    Raises:
        InputError: no such format or level.
    """

    def __init__(
        self,
        form: str = "text",
        level: str = "info",
        *,
        write: Callable[[str], None] | None = None,
        wall: Callable[[], float] = time.time,
        most: int = MOST_LINES,
    ) -> None:
        if form not in FORMATS:
            raise InputError(f'log.format is "{form}": expected one of {", ".join(FORMATS)}')
        self._least = 0
        self.set_level(level)
        self._json = form == "json"
        self._write, self._wall, self._most = write or to_standard_error, wall, most
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # its put is safe in a signal handler too
        self.dropped = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def __call__(self, text: str, *, level: str = "info", **fields: Any) -> None:
        """Write a line. Never blocks; safe from any thread.

        Args:
            text: one line for a person; control characters in it are spelled out.
            level: `debug`, `info`, `warning` or `error`.
            fields: what a program wants to know apart from the text; written in the JSON form alone.
        """
        if LEVELS.index(level) < self._least or self._closed:
            return
        if self._lines.qsize() >= self._most:
            self.dropped += 1
            return
        self._lines.put(self._line(text, level, fields))

    def set_level(self, level: str) -> None:
        """Write from this level on.

        Raises:
            InputError: there is no such level.
        """
        if level not in LEVELS:
            raise InputError(f'log.level is "{level}": expected one of {", ".join(LEVELS)}')
        self._least = LEVELS.index(level)

    def close(self, within: float = CLOSE_WITHIN) -> bool:
        """Write what waits; return whether the reader took it all within so many seconds."""
        self._closed = True
        self._lines.put(None)
        self._thread.join(within)
        return not self._thread.is_alive()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _line(self, text: str, level: str, fields: dict[str, Any]) -> str:
        if not self._json:
            return f"edge: {printable(text)}\n"
        moment = datetime.fromtimestamp(self._wall(), timezone.utc).isoformat(timespec="milliseconds")
        known = {"ts": moment.replace("+00:00", "Z"), "level": level, "msg": text}
        line = known | fields | known  # a field cannot take the place of what every line has
        try:
            return json.dumps(line, default=str, allow_nan=False) + "\n"
        except (ValueError, TypeError, RecursionError):  # not a number, a key that is no text, a circle
            return json.dumps(known | {key: str(value) for key, value in fields.items()} | known) + "\n"

    def _run(self) -> None:
        said = 0
        while (line := self._lines.get()) is not None:
            self._write(line)
            if self.dropped > said:
                lost, said = self.dropped - said, self.dropped
                text = f"{lost} log lines dropped: the reader of standard error stalled"
                self._write(self._line(text, "warning", {"dropped": lost}))


def to_standard_error(line: str) -> None:
    """Write a line to the file behind standard error, past Python's buffer.

    The buffer has a lock, and a thread that is held up with it in hand would break the interpreter's end.
    """
    try:
        handle, encoding = sys.stderr.fileno(), sys.stderr.encoding
    except (OSError, ValueError, AttributeError):  # closed, or no file: a test's
        say(line.removeprefix("edge: ").rstrip("\n"))
        return
    data = line.encode(encoding or "utf-8", "backslashreplace")
    with suppress(OSError):  # nobody reads any more
        while data:
            try:
                data = data[os.write(handle, data) :]
            except BlockingIOError:
                time.sleep(FULL_PAUSE)
