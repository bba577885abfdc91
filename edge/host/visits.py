"""A small web server that no stranger locks its owner out of: few at once, in time, and who dawdles makes room."""

from __future__ import annotations

import io
import socket
import socketserver
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

ASK_WITHIN = 5.0
"""Seconds that a visitor may take for a whole request, from the connection or the answer before it on."""

GONE_WITHIN = 1.0
"""Seconds that the end waits for those who were hung up on."""

LONGEST_REQUEST = 32 * 1024
"""Bytes of a request; a browser's has one or two thousand."""


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """Gives every visitor a thread of his own, to so many at once.

    Who comes when all places are taken gets that of the visitor who has been there longest without being welcome; where
    all are welcome he is hung up on.

    Args:
        host: name or IP address to listen on.
        port: TCP port; 0 takes a free one.
        handler: answers a visitor.
        most: visitors at once.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(self, host: str, port: int, handler: type[Handler], most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._visits: dict[Any, bool] = {}  # by socket, the oldest first: whether he is welcome
        self._serving: list[threading.Thread] = []
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        """Bind; HTTPServer's own way would ask the network for our name, and may wait for it."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a visitor's thread, when there is room or somebody to make it."""
        with self._lock:
            room = len(self._visits) < self._most or self._make_room()
            if room:
                self._visits[request] = False
        if not room:
            self.shutdown_request(request)
            return
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread can be started
            self._gone(request)
            raise
        self._serving = [thread, *(one for one in self._serving if one.is_alive())]

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a visitor until he hangs up, or is hung up on."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._gone(request)

    def welcome(self, request: Any) -> None:
        """Let a visitor keep his place, whoever comes."""
        with self._lock:
            if request in self._visits:
                self._visits[request] = True

    def hang_up(self) -> None:
        """Hang up on everybody, and wait a little until they have gone; for the end."""
        with self._lock:
            for request in self._visits:
                _shut(request)
        until = time.monotonic() + GONE_WITHIN
        for thread in self._serving:
            thread.join(max(0.0, until - time.monotonic()))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A visitor who goes away is no error of ours."""

    def _make_room(self) -> bool:
        stranger = next((request for request, welcome in self._visits.items() if not welcome), None)
        if stranger is None:
            return False
        del self._visits[stranger]
        _shut(stranger)  # his thread reads the end, and ends
        return True

    def _gone(self, request: Any) -> None:
        with self._lock:
            self._visits.pop(request, None)


class Handler(BaseHTTPRequestHandler):
    """Reads a visitor's requests, each of them whole within `ASK_WITHIN`, and answers HEAD as GET without its body."""

    server: Any
    timeout = 20.0  # seconds that an answer may take to be read

    def setup(self) -> None:
        """Read by a clock of our own: a time limit of the socket begins anew with each byte that drips in."""
        super().setup()
        self.rfile.close()
        self._asking = _Asking(self.connection, self.timeout)
        self.rfile = io.BufferedReader(self._asking)

    def handle_one_request(self) -> None:
        """Read a request and answer it."""
        self._asking.begin()
        super().handle_one_request()

    def do_HEAD(self) -> None:
        """Answer as GET would, but for the body."""
        out = self.wfile
        try:
            self.do_GET()  # type: ignore[attr-defined]
        finally:
            self.wfile = out

    def end_headers(self) -> None:
        """Send the headers; what follows them goes nowhere where it was not asked for."""
        super().end_headers()
        if self.command == "HEAD":
            self.wfile = io.BytesIO()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name is the base class's)
        """Say nothing on standard error."""


class _Asking(io.RawIOBase):
    """A socket that is read for so long, and so much, a request."""

    def __init__(self, connection: socket.socket, timeout: float) -> None:
        self._connection, self._timeout = connection, timeout
        self.begin()

    def begin(self) -> None:
        """A request begins."""
        self._until, self._room = time.monotonic() + ASK_WITHIN, LONGEST_REQUEST

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if self._room <= 0:
            raise ConnectionAbortedError
        self._connection.settimeout(left)
        try:
            got = self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(self._timeout)
        self._room -= got
        return got


def _shut(request: socket.socket) -> None:
    with suppress(OSError):  # he has gone already
        request.shutdown(socket.SHUT_RDWR)
