"""Fit to the device: its first live run measures, once and beside the loop, what the next start then takes.

A process of the lowest priority measures while the cameras run steadily; it is ended when it gets too hot or something
is stuck, and gone when it is done. Where others left it no time it tries again, later each time. A try that did not
come to its end, as where the power failed, is not made again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import edge
from edge.errors import InputError
from edge.files import check_writable, read_regular, write_whole
from edge.machine import ROOT, available_memory, processor
from edge.model.choice import Choice, choice_file, write_choice

COMMAND = (sys.executable, "-m", "edge.measure.fit")
ABOVE = Path(edge.__file__).resolve().parent.parent
NAME = "fit.json"

LOOK_EVERY = 1.0
"""Seconds between two looks."""

NEEDED_MIB = 256.0
"""Memory that must be free before it begins."""

LONGEST = 900.0
"""Seconds that it may take."""

KILL_SECONDS = 5.0
"""How long an end is waited for."""

NOT_YET = "this device is not measured yet"
MEANWHILE = "a choice was stored meanwhile, which the next start takes"
LARGEST = 2**16
BUSY = "the processor had no time for it"
BY_HAND = 'measure with "edge bench --save"'


class Fit:
    """Measures this device once. All but `standing` and `close` is for one thread.

    Args:
        after: seconds of steady running before it begins.
        log: takes one line for a person.
        command: what measures; it answers as `edge.measure.fit` does.
        clock: seconds on a clock that never goes back.
        root: the folder under which /proc lies.

    Attributes:
        standing: how it stands, in words.
    """

    def __init__(
        self,
        after: float,
        *,
        log: Callable[[str], None],
        command: Sequence[str] = COMMAND,
        clock: Callable[[], float] = time.monotonic,
        root: Path = ROOT,
    ) -> None:
        self.standing, self._chosen = NOT_YET, _chosen()
        self._after, self._log, self._command, self._clock, self._root = after, log, command, clock, root
        self._steady_since: float | None = None
        self._process: subprocess.Popen[str] | None = None
        self._began = 0.0
        self._over = self._said = False

    def look(self, steady: bool, strained: str | None) -> None:
        """Begin, go on, or take the result; waits for nothing.

        Args:
            steady: whether pictures come.
            strained: why this is no moment to measure, in words, or None.
        """
        if self._over:
            return
        now = self._clock()
        if self._process is not None:
            self._watch(self._process, now, strained)
        elif not steady or strained:
            self._steady_since = None
            self.standing = NOT_YET + (f": {strained}" if strained else "")
        elif self._steady_since is None:
            self._steady_since = now
            self.standing = self.standing if BUSY in self.standing else NOT_YET
        elif now - self._steady_since >= self._after:
            try:
                self._begin(now)
            except InputError as error:
                self._end(f"this device is not measured: {error}")

    def close(self) -> None:
        """End it; a measurement under way is made anew by the next run."""
        self._over = True
        if self._process is not None:
            self._kill(self._process)
            self._process = None
            self._forget_try()

    def _begin(self, now: float) -> None:
        """Start the process.

        Raises:
            InputError: it was tried in vain before, or memory, disk or system do not allow it.
        """
        if _chosen() != self._chosen:
            raise InputError(MEANWHILE)
        mark = choice_file().with_name(NAME)
        check_writable(mark.parent)
        tried = {"processor": processor(self._root), "version": edge.__version__}
        before = _read(mark)
        if {key: before.get(key) for key in tried} == tried:
            raise InputError(f"the try of {str(before.get('began'))[:30]} did not come to its end; {BY_HAND}")
        free = available_memory(self._root)
        if free is not None and free < NEEDED_MIB:
            raise InputError(f"{free:.0f} MiB of memory are free, it wants {NEEDED_MIB:.0f}")
        moment = datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
        write_whole(mark, json.dumps({**tried, "began": moment}).encode() + b"\n")
        try:
            self._process = subprocess.Popen(
                self._command, cwd=ABOVE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True, encoding="utf-8",
            )  # fmt: skip
        except OSError as error:
            raise InputError(f"{self._command[0]} cannot be started ({error.strerror})") from None
        self._began = now
        self.standing = "this device is being measured"
        if not self._said:
            self._log("this device was never measured: what runs the model fastest is found out beside the run, once")
        self._said = True

    def _watch(self, process: subprocess.Popen[str], now: float, strained: str | None) -> None:
        """See whether the process has ended, or has to be."""
        why = strained or (f"it takes longer than {LONGEST:.0f} s" if now - self._began > LONGEST else None)
        if process.poll() is not None:
            assert process.stdout is not None
            _kill_group(process)  # who is left of it may hold the pipe open
            said = process.stdout.read()
            self._kill(process)
            self._process = None
            self._take(said, process.returncode)
        elif why is not None:
            self._kill(process)
            self._process = None
            if strained:
                self._forget_try()
            self._end(f"this device is not measured: {why}")

    def _take(self, said: str, code: int) -> None:
        """Store the result of a process that has ended, if it has one."""
        if code in (-signal.SIGTERM, -signal.SIGINT):  # the device shuts down, or the service stops
            self._forget_try()
            self._end("this device is not measured: the process that measures was told to end")
            return
        answer = _parsed(said)
        if "busy" in answer:
            self._forget_try()
            self._steady_since, self._after = None, self._after * 2
            self.standing = f"{NOT_YET}: {BUSY}"
            return
        if "choice" not in answer:
            why = answer.get("error", f"the process that measures ended with code {code}")
            self._end(f"this device is not measured: {why}; {BY_HAND}")
            return
        choice = Choice(**answer["choice"])
        try:
            if _chosen() != self._chosen:
                raise InputError(MEANWHILE)
            write_choice(choice)
        except InputError as error:
            self._forget_try()
            self._end(f"this device is measured, but {error}")
            return
        self._forget_try()
        threads = "1 thread" if choice.threads == 1 else f"{choice.threads} threads"
        self._end(
            f"this device is measured: {answer['model']} in {choice.runtime} with {threads} is the fastest "
            f"({choice.p50_ms:.3g} ms a face); the next start takes it"
        )

    def _end(self, text: str) -> None:
        self._over, self.standing = True, text
        self._log(text)

    def _forget_try(self) -> None:
        with suppress(OSError, InputError):
            choice_file().with_name(NAME).unlink()

    def _kill(self, process: subprocess.Popen[str]) -> None:
        """End the process with all that it has started, and let go of its pipes."""
        _kill_group(process)
        if process.poll() is None:
            process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(KILL_SECONDS)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _kill_group(process: subprocess.Popen[str]) -> None:
    """End all that a process has started, though it may have ended itself."""
    if sys.platform != "win32":
        with suppress(OSError):  # it is not yet a group of its own, or nobody is left of it
            os.killpg(process.pid, signal.SIGKILL)


def _chosen() -> bytes | None:
    """Return the stored choice as it lies there; None where there is none."""
    try:
        return read_regular(choice_file(), LARGEST)
    except (OSError, InputError):
        return None


def _read(path: Path) -> dict[str, Any]:
    """Return what a file of JSON holds; nothing where there is none, or it is damaged."""
    try:
        return _parsed(read_regular(path, LARGEST).decode())
    except (OSError, UnicodeDecodeError):
        return {}


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
