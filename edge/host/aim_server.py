"""The small web server of the page for aiming: lets in who has the link, turns others away, says both."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol
from urllib.parse import unquote, urlsplit

from edge.host import visits
from edge.host.aim_page import page

MOST_CONNECTIONS = 16
"""At once; who comes on top gets the place of one without the link, or is hung up on."""

AGAIN_SECONDS = 60.0
"""Who was away, or turned away, for so long is said anew."""

REMEMBERED = 200
"""Addresses that are remembered as said."""

TURN = 0.2
"""Seconds that `handle_request` waits for a viewer."""


class Pictures(Protocol):
    """What the server shows."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras."""

    @property
    def open_for(self) -> float:
        """Seconds until all is over."""

    def picture(self, camera: str) -> tuple[bytes, str] | None:
        """Wait for the next picture: a JPEG and what is in it; None when none comes."""


class Visitors:
    """Says who comes, once a minute each, so that no one can fill a log.

    Args:
        say: takes one line.
        clock: seconds.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._say, self._clock = say, clock
        self._last: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._lock = threading.Lock()

    def came(self, host: str, what: str) -> None:
        """Note that somebody did something."""
        with self._lock:
            now, last = self._clock(), self._last.pop((host, what), None)
            self._last[host, what] = now
            if len(self._last) > REMEMBERED:
                self._last.popitem(last=False)
        if last is None or now - last >= AGAIN_SECONDS:
            self._say(f"aim: {host} {what}")


class Server(visits.Server):
    """Shows the pictures to who has the link; `handle_request` waits `TURN` for a viewer.

    Raises:
        OSError: the address cannot be listened on.
    """

    timeout = TURN

    def __init__(self, host: str, port: int, pictures: Pictures, token: str, visitors: Visitors) -> None:
        self.pictures, self.token, self.visitors = pictures, token, visitors
        super().__init__(host, port, Handler, MOST_CONNECTIONS)


class Handler(visits.Handler):
    """Answers one viewer."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "edge", ""

    def do_GET(self) -> None:  # noqa: N802 (its name is the base class's)
        """Give the page, or a camera's next picture, to who has the token."""
        host = str(self.client_address[0])
        token, slash, name = urlsplit(self.path).path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(errors="replace"), self.server.token.encode()) or not slash:
            self.server.visitors.came(host, "was turned away: without the link")
            self.close_connection = True
            self._answer(HTTPStatus.NOT_FOUND, b"Open the whole link that edge run --aim printed.\n", "text/plain")
            return
        self.server.welcome(self.connection)
        pictures = self.server.pictures
        camera = unquote(name.removesuffix(".jpg"))
        if pictures.open_for <= 0:
            self._answer(HTTPStatus.GONE, b"Closed.\n", "text/plain")
        elif not name:
            self.server.visitors.came(host, "opened the page")
            nonce = secrets.token_urlsafe(12)
            policy = "default-src 'none'; connect-src 'self'; img-src blob:; base-uri 'none'; form-action 'none'; "
            policy += f"frame-ancestors 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'"
            body = page(pictures.cameras, pictures.open_for, nonce).encode()
            self._answer(HTTPStatus.OK, body, "text/html; charset=utf-8", {"Content-Security-Policy": policy})
        elif name.endswith(".jpg") and camera in pictures.cameras:
            self.server.visitors.came(host, f"looks through {camera}")
            found = pictures.picture(camera)
            if found is not None:
                self._answer(HTTPStatus.OK, found[0], "image/jpeg", {"X-Says": found[1]})
            elif pictures.open_for <= 0:
                self._answer(HTTPStatus.GONE, b"Closed.\n", "text/plain")
            else:
                self._answer(HTTPStatus.NO_CONTENT, b"", "text/plain")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"There is no such camera.\n", "text/plain")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        fixed = {
            "Content-Type": kind, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "Cross-Origin-Resource-Policy": "same-origin",
        }  # fmt: skip
        for key, value in {**fixed, **(more or {})}.items():
            self.send_header(key, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
