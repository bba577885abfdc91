"""systemd's end of the notify socket: keeps what a service tells, and when, and says whether it was fed all through."""

from __future__ import annotations

import itertools
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mosquitto import PATIENCE


class Systemd:
    """Listens from the start to the end of a run.

    Args:
        address: the socket's path; it has room for 107 characters.
        patience: `WatchdogSec`: seconds without `WATCHDOG=1` after which systemd would end the service.
    """

    def __init__(self, address: str, patience: float) -> None:
        self.patience = patience
        self.environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(round(patience * 1e6))}
        self.heard: list[tuple[float, str]] = []
        self._changed = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        threading.Thread(target=self._listen, daemon=True).start()

    def wait(self, start: str, after: float = 0.0, within: float = 2 * PATIENCE) -> float | None:
        """Return when a message came that begins so, the first after a moment; None when none has come in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._when(start, after) is not None, within)
            return self._when(start, after)

    def longest_hunger(self) -> float:
        """Return the longest time between two feedings of the watchdog, from `READY=1` to `STOPPING=1`, seconds."""
        ready, stopping = self._when("READY=1", 0.0), self._when("STOPPING=1", 0.0)
        assert ready is not None, self.heard
        assert stopping is not None, self.heard
        fed = [at for at, text in self.heard if text == "WATCHDOG=1" and ready < at < stopping]
        moments = [ready, *fed, stopping]
        return max(later - earlier for earlier, later in itertools.pairwise(moments))

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def _when(self, start: str, after: float) -> float | None:
        return next((at for at, text in self.heard if text.startswith(start) and at > after), None)

    def _listen(self) -> None:
        while True:
            try:
                text = self._socket.recv(4096).decode()
            except OSError:
                return
            with self._changed:
                self.heard.append((time.monotonic(), text))
                self._changed.notify_all()


@contextmanager
def systemd(patience: float) -> Iterator[Systemd]:
    """Listen as systemd does, with this patience in seconds."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        end = Systemd(f"{folder}/notify", patience)
        try:
            yield end
        finally:
            end.close()
