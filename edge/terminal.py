"""How a command talks to the person at the terminal, and hears that it shall stop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

import click

STOP = threading.Event()
"""Set when Ctrl-C or SIGTERM ask `edge run` or `edge feed` to end."""

PATIENCE = 2
"""So many signals end in good order; one more ends at once."""


def say(text: str) -> None:
    """Tell the person one line, on standard error; what a file or the network put into it cannot steer a terminal."""
    with contextlib.suppress(OSError):
        click.echo(f"edge: {printable(text)}", err=True)


def printable(text: str) -> str:
    """Return the text with control characters, newlines and the like spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def stop_on_signals() -> None:
    """Let SIGINT and SIGTERM set `STOP` from now on."""
    count = 0

    def stop(number: int, frame: object) -> None:
        nonlocal count
        count += 1
        STOP.set()
        if count > PATIENCE:
            os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
