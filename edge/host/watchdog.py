"""systemd's notify protocol, and the watchdog that is fed while every stage meets its deadline.

A stage that waits, for a camera or a broker that is not there, is healthy for ever. A stage that has been working for
longer than its deadline is stuck: it is named in the status and in the log, the watchdog starves, and systemd starts
the service anew.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from edge.terminal import printable

SEND_WITHIN = 1.0
"""Seconds that a message to systemd may take before it is given up."""

LOOK_EVERY = 5.0
"""Seconds between two looks at the stages where nobody set a watchdog."""


class Notifier:
    """Tells systemd how the service is (`Type=notify`); does nothing where `NOTIFY_SOCKET` is not set.

    Source: sd_notify(3).

    Args:
        address: a socket's path, or its abstract name behind an `@`; None for what the environment names.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = os.environ.get("NOTIFY_SOCKET") if address is None else address

    def ready(self) -> bool:
        """Say that the service has started, or that a reload is over."""
        return self.send("READY=1")

    def status(self, text: str) -> bool:
        """Say how it is, in one line for a person: `systemctl status` shows it."""
        return self.send(f"STATUS={printable(text)}")

    def alive(self) -> bool:
        """Feed the watchdog."""
        return self.send("WATCHDOG=1")

    def stopping(self) -> bool:
        """Say that the service ends."""
        return self.send("STOPPING=1")

    def reloading(self) -> bool:
        """Say that the configuration is read anew (`Type=notify-reload` wants the time with it); `ready` ends it."""
        return self.send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def more_time(self, seconds: float) -> bool:
        """Ask for so much more time from now on to start, to reload or to stop."""
        return self.send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def send(self, message: str) -> bool:
        """Send assignments, one a line; return whether somebody took them. Waits for `SEND_WITHIN` at most."""
        if self.address and sys.platform != "win32":
            to = "\0" + self.address[1:] if self.address.startswith("@") else self.address
            with suppress(OSError):  # systemd is not there, or does not read: no reason to stop
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                    sender.settimeout(SEND_WITHIN)
                    sender.sendto(message.encode(), to)
                    return True
        return False


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return after how many seconds of silence systemd starts this process anew; None where it does not."""
    said = environ.get("WATCHDOG_USEC", "")
    meant = environ.get("WATCHDOG_PID") in (None, "", str(os.getpid()))  # else for the process that started this one
    return int(said) / 1e6 if meant and said.isascii() and said.isdigit() and int(said) > 0 else None


class Stage:
    """One thing that one thread does again and again, each time within a deadline.

    `with stage:` is `working()` before and `done()` behind the block. A block that an error leaves stays at work: a
    thread that dies in it is missed at the deadline.
    """

    def __init__(self, name: str, deadline: float, clock: Callable[[], float]) -> None:
        self.name, self.deadline = name, deadline
        self._clock = clock
        self._since: tuple[float, threading.Thread] | None = None

    def working(self) -> None:
        """A piece of work begins, in this thread; its deadline runs."""
        self._since = self._clock(), threading.current_thread()

    def done(self) -> None:
        """The piece of work has ended; the stage waits for the next one, for as long as that takes."""
        self._since = None

    waiting = done

    def __enter__(self) -> Stage:
        self.working()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.done()

    def stuck(self, now: float) -> str | None:
        """Return how long the stage has been stuck, and where in the code; None while it is well."""
        since = self._since
        if since is None or now - since[0] <= self.deadline:
            return None
        return f"{self.name} is stuck for {now - since[0]:.0f} s{_place(since[1])}"


class Watchdog:
    """Feeds systemd's watchdog from a thread of its own, while every stage is well.

    Args:
        notifier: the way to systemd.
        seconds: systemd's patience, `WatchdogSec`; None for what the environment says. Without any, the stages are
            looked at all the same, and a stuck one is said.
        log: takes one line for a person; called from the watchdog's thread.
        clock: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        seconds: float | None = None,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notifier, self._log, self._clock = notifier, log, clock
        self.seconds = watchdog_seconds() if seconds is None else seconds
        self._stages: list[Stage] = []
        self._said: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def stage(self, name: str, deadline: float) -> Stage:
        """Return a new stage, which waits.

        Args:
            name: what stands for it in status and log.
            deadline: how long one piece of its work may take, seconds.
        """
        stage = Stage(name, deadline, self._clock)
        self._stages.append(stage)
        return stage

    def stuck(self, now: float) -> dict[str, str]:
        """Return which stages are stuck, each by name with for how long and where."""
        return {stage.name: text for stage in list(self._stages) if (text := stage.stuck(now)) is not None}

    def healthy(self, now: float) -> bool:
        """Return whether no stage has been working longer than its deadline."""
        return not self.stuck(now)

    def look(self, now: float) -> bool:
        """Feed the watchdog if all is well, and say what has changed; return whether it was fed."""
        stuck = self.stuck(now)
        if stuck.keys() != self._said:
            for name in stuck.keys() - self._said:
                self._log(stuck[name] + ("; systemd will start the service anew" if self.seconds else ""))
            for name in self._said - stuck.keys():
                self._log(f"{name} goes on")
            self._said = set(stuck)
            self._notifier.status("; ".join(stuck.values()) or "all goes on")
        return not stuck and self._notifier.alive()

    def start(self) -> None:
        """Begin to look, twice in systemd's patience."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking; to be called when everything else has stopped."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(SEND_WITHIN * 2)

    def _run(self) -> None:
        pause = self.seconds / 2 if self.seconds else LOOK_EVERY
        while True:
            self.look(self._clock())
            if self._stop.wait(pause):
                return


def _place(thread: threading.Thread) -> str:
    """Return where a thread is at this moment, as ` in detect (mtcnn.py:88)`."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None or not thread.is_alive():  # another thread may have taken over the number of a dead one
        return ": its thread has ended"
    return f" in {frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"
