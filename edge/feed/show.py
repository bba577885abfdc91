"""Show a feed: JSON lines in a pipe, a live table on a terminal. Nothing from the network reaches a terminal raw."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from edge.broker import BrokerAddress, Credentials
from edge.feed.receive import Event, Received, receive
from edge.feed.rows import Rows, line_of
from edge.printer import Printer
from edge.publish.topics import all_events

if TYPE_CHECKING:
    from rich.live import Live


class View(Protocol):
    """What an event is shown on."""

    def event(self, event: Event) -> None:
        """Show an event."""

    def status(self, device: str, status: str) -> None:
        """Show that a device is online or offline."""


class JsonLines:
    """One JSON object a line, flushed, ASCII alone: for a pipe."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer

    def event(self, event: Event) -> None:
        """Write the event as it came, on one line."""
        self._printer.wait()
        self._printer.line(json.dumps(event, separators=(", ", ": ")))

    def status(self, device: str, status: str) -> None:
        """Nothing: a line is an event."""


class PlainLines:
    """One readable line an event: for a terminal without `rich`."""

    def __init__(self, printer: Printer) -> None:
        self._rows = Rows()
        self._printer = printer

    def event(self, event: Event) -> None:
        """Write the event in words."""
        self._printer.wait()
        self._printer.line(line_of(self._rows.take(event, time.monotonic())))

    def status(self, device: str, status: str) -> None:
        """Write that a device came or went."""
        self._printer.wait()
        self._printer.line(self._rows.status(device, status))


class LiveTable:
    """A table with a row per device, camera and track, drawn anew twice a second."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._rows = Rows()
        self._lock = threading.Lock()

    def event(self, event: Event) -> None:
        """Put the event into its row."""
        with self._lock:
            self._rows.take(event, time.monotonic())

    def status(self, device: str, status: str) -> None:
        """Put a device's status into its rows."""
        with self._lock:
            self._rows.status(device, status)

    def live(self) -> Live:
        """The running display, to be entered."""
        from rich.live import Live

        return Live(get_renderable=self._table, refresh_per_second=2, transient=False)

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            rows, waiting = self._rows.all(time.monotonic()), self._rows.summary()
        table = Table(title=Text(self._title), caption=Text(waiting))
        for column in ("device", "camera", "track", "emotion", "confidence", "age", "state"):
            table.add_column(column, justify="right" if column in ("track", "confidence", "age") else "left")
        for row in rows:
            # Text, not str: a name like "[red]" must not be read as markup.
            cells = (row.device, row.camera, row.track, row.emotion, row.confidence, f"{row.age:.0f} s", row.state)
            table.add_row(*(Text(cell) for cell in cells))
        return table


def run_feed(
    address: BrokerAddress,
    *,
    credentials: Credentials | None = None,
    ca_file: str | Path | None = None,
    max_events: int | None = None,
    seconds: float | None = None,
    idle: float | None = None,
    json_lines: bool | None = None,
    fail_fast: bool = False,
    log: Callable[[str], None] = lambda line: None,
    out: TextIO | None = None,
    on_ready: Callable[[], None] = lambda: None,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Received:
    """Show the feed of a broker until it is told to stop: Ctrl-C, SIGTERM, a limit, or a reader that went away.

    Args:
        address: the broker and the prefix.
        credentials: user name and password, or None.
        ca_file: PEM file of the certificate authority, for `mqtts`.
        max_events: stop after so many events.
        seconds: stop after so many seconds.
        idle: stop when no event has come for so many seconds.
        json_lines: JSON lines, or a view for people; None: JSON lines unless `out` is a terminal.
        fail_fast: raise when the first try to connect fails.
        log: takes one line for a person.
        out: where to show it; standard output when None.
        on_ready: called, in another thread, whenever the broker has granted the subscription.
        stop: set it to end the feed.
        clock: monotonic seconds.

    Returns:
        What was seen.

    Raises:
        OutsideError: with `fail_fast`, the broker did not answer, or refused us or the subscription.
        InputError: the CA file cannot be used.
    """
    out = sys.stdout if out is None else out
    as_json = not out.isatty() if json_lines is None else json_lines
    seen = Received()
    began = last = clock()

    ending = threading.Event() if stop is None else stop

    def enough() -> bool:
        now = clock()
        return (
            ending.is_set()
            or (max_events is not None and seen.events >= max_events)
            or (seconds is not None and now - began >= seconds)
            or (idle is not None and now - last >= idle)
        )

    by_signal = _ended_by_sigterm() if stop is None else contextlib.nullcontext()
    said = threading.Event()

    def ready() -> None:
        # The table says that it waits; else nothing would be heard until something comes.
        if not isinstance(view, LiveTable) and not said.is_set():
            said.set()
            log(f"broker {address.server}: connected; waiting for events on {all_events(address.prefix)}")
        on_ready()

    with by_signal, contextlib.suppress(KeyboardInterrupt), _view(out, address, as_json, ending) as view:

        def take(event: Event) -> None:
            nonlocal last
            view.event(event)
            last = clock()
            seen.events += 1

        def status(device: str, said: str) -> None:
            view.status(device, said)

        found = receive(
            address, credentials, take, status,
            ca_file=ca_file, fail_fast=fail_fast, log=log, until=enough, on_ready=ready,
        )  # fmt: skip
        seen.unreadable, seen.dropped = found.unreadable, found.dropped
    return seen


@contextlib.contextmanager
def _view(out: TextIO, address: BrokerAddress, as_json: bool, stop: threading.Event) -> Iterator[View]:
    if as_json:
        with _printing(out, stop) as printer:
            yield JsonLines(printer)
        return
    try:
        import rich  # noqa: F401
    except ImportError:
        rich_is_there = False
    else:
        rich_is_there = out is sys.stdout and out.isatty()
    if not rich_is_there:
        with _printing(out, stop) as printer:
            yield PlainLines(printer)
        return
    table = LiveTable(f"{address.server}/{address.prefix}")
    with table.live():
        yield table


@contextlib.contextmanager
def _printing(out: TextIO, stop: threading.Event) -> Iterator[Printer]:
    """Print what waits before the end, unless told to stop: a reader that stalls must not hold up that."""
    printer = Printer(out, stop, patient=True)
    try:
        yield printer
    except KeyboardInterrupt:
        stop.set()
        raise
    finally:
        printer.close()


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Make SIGTERM end the feed as Ctrl-C does; left alone in a thread, which may not set handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: _interrupt())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt() -> None:
    raise KeyboardInterrupt
