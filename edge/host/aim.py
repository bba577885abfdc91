"""`edge run --aim`: a page with the live picture, for some minutes, for whoever has the link, to aim a camera by.

A picture is copied, drawn and encoded only while somebody looks, and none is ever stored. The page closes itself.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edge.errors import InputError
from edge.host.aim_server import Server, Visitors
from edge.loop import Step

LEAST, MOST = 10.0, 3600.0
"""How long the page may be open, seconds."""

DEFAULT_ADDRESS = "127.0.0.1:8377"

PICTURE_SECONDS = 10.0
"""How long a viewer waits for a picture before he is told that none comes."""

PACE = 0.1
"""Seconds between two pictures of a camera; the loop's time is for the faces."""

WIDEST = 1280
"""Pixels; a wider picture is made smaller before it is sent."""
QUALITY = 80
"""Of the JPEG, of 100."""

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass
class _Slot:
    """The newest picture of one camera that somebody waited for.

    Attributes:
        waiting: how many viewers wait for the next one.
        number: of the picture, counted from 1.
        taken: when it was copied, seconds.
        step: the frame and its faces.
        jpeg: the same, drawn and encoded, where `encoded` is its number.
    """

    waiting: int = 0
    number: int = 0
    taken: float = float("-inf")
    step: Step | None = None
    jpeg: bytes = b""
    encoded: int = 0


class Aim:
    """A page with the live picture of some cameras, which closes itself.

    Args:
        seconds: how long it is open.
        address: where it listens, HOST:PORT; this machine alone unless its owner names another address.
        say: takes one line for a person: start, end, and everyone who looks or is turned away. Any thread calls it.
        cameras: names of the cameras.
        clock: seconds, monotonic.

    Attributes:
        url: the page's address, with the random token that opens it.

    Raises:
        InputError: the address cannot be listened on.
    """

    def __init__(
        self,
        seconds: float,
        address: str = DEFAULT_ADDRESS,
        say: Callable[[str], None] = lambda line: None,
        cameras: Sequence[str] = ("camera",),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        host, port = parse_address(address)
        self._say, self._clock = say, clock
        self._slots = {name: _Slot() for name in cameras}
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._closed = False
        self._sent = 0
        self._ends = clock() + seconds
        token = secrets.token_urlsafe(16)
        try:
            self._server = Server(host, port, self, token, Visitors(say, clock))
        except OSError as error:
            raise InputError(
                f"--aim-address {address}: cannot be listened on ({error.strerror or error}): name another one"
            ) from None
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_address[1]}/{token}/"
        say(f"aim: the live picture is at {self.url} for {_in_words(seconds)}; who has this link sees it")
        if host not in ("127.0.0.1", "localhost", "::1"):
            say(f"aim: it listens on {host}: other machines reach it, and nothing is encrypted")
        self._thread = threading.Thread(target=self._serve, name="aim", daemon=True)
        self._thread.start()

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras."""
        return tuple(self._slots)

    @property
    def open_for(self) -> float:
        """Seconds until the page closes; 0 when it has."""
        return 0.0 if self._closed else max(0.0, self._ends - self._clock())

    def offer(self, step: Step) -> None:
        """Take a frame with its faces: copied when somebody waits for it, else nothing is done."""
        slot = self._slots.get(step.frame.camera)
        if slot is None or not slot.waiting or self._clock() - slot.taken < PACE:
            return
        copy = replace(step, frame=replace(step.frame, image=step.frame.image.copy()))
        with self._changed:
            slot.step, slot.number, slot.taken = copy, slot.number + 1, self._clock()
            self._changed.notify_all()

    def close(self) -> None:
        """Close the page, if it has not closed itself, and free its port; who looks is told."""
        self._end("closed")
        self._thread.join(5)

    def picture(self, camera: str) -> tuple[bytes, str] | None:
        """Wait for a camera's next picture; called in a viewer's thread.

        Returns:
            The JPEG and what is in it, in words; None when none came in time, or the page has closed.
        """
        slot = self._slots[camera]
        with self._changed:
            slot.waiting += 1
            had = slot.number
            try:
                self._changed.wait_for(lambda: self._closed or slot.number > had, PICTURE_SECONDS)
            finally:
                slot.waiting -= 1
            step, number = slot.step, slot.number
            if self._closed or step is None or number == had:
                return None
        with self._encoding:
            if slot.encoded != number:
                slot.jpeg, slot.encoded = encode(step), number
            jpeg = slot.jpeg
            self._sent += 1
        faces = "1 face" if len(step.faces) == 1 else f"{len(step.faces)} faces"
        return jpeg, f"{step.frame.size[0]}x{step.frame.size[1]}, {faces}"

    def _serve(self) -> None:
        """Take viewers until the time is over."""
        with self._server:
            while self.open_for > 0:
                self._server.handle_request()
        self._end("its time is over, closed")

    def _end(self, why: str) -> None:
        """Let go of the pictures and wake who waits; said once."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            for slot in self._slots.values():
                slot.step, slot.jpeg = None, b""
            self._changed.notify_all()
        self._say(f"aim: {why}; {self._sent} pictures were shown")


def open_aim(
    duration: str,
    address: str | None,
    *,
    allowed: bool,
    cameras: Sequence[str],
    say: Callable[[str], None],
) -> Aim:
    """Open the page as the command line and the configuration ask for it.

    Args:
        duration: `10m`; from 10 seconds to 1 hour.
        address: HOST:PORT, None for this machine alone.
        allowed: what `[privacy] aim` says.
        cameras: names of the cameras.
        say: takes one line.

    Raises:
        InputError: the configuration locks it off, duration or address are wrong, or the port is taken.
    """
    if not allowed:
        raise InputError("--aim is locked off by the configuration: aim = false under [privacy]")
    return Aim(parse_duration(duration), address or DEFAULT_ADDRESS, say, cameras)


def parse_duration(text: str) -> float:
    """Return the seconds of `90`, `90s`, `10m` or `1h`.

    Raises:
        InputError: it is no such duration, or not from 10 seconds to 1 hour.
    """
    matched = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)([smh]?)", text)
    seconds = float(matched[1]) * UNITS[matched[2]] if matched else 0.0
    if not LEAST <= seconds <= MOST:
        raise InputError(f'--aim {text}: give a time from 10s to 1h, such as "10m"')
    return seconds


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`, `[V6]:PORT` or `HOST`; port 0 takes any that is free.

    Raises:
        InputError: it is no such address.
    """
    matched = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?", text)
    if matched is None or int(matched[3] or 0) > 65535:
        raise InputError(f"--aim-address {text}: give HOST:PORT, such as {DEFAULT_ADDRESS} or 0.0.0.0:8377")
    return matched[1] or matched[2], int(matched[3] or DEFAULT_ADDRESS.rpartition(":")[2])


def encode(step: Step) -> bytes:
    """Draw boxes and emotions into a copy of the frame, and return it as JPEG, at most `WIDEST` pixels wide."""
    import cv2

    from edge.draw import draw

    canvas = draw(step)
    height, width = canvas.shape[:2]
    if width > WIDEST:
        canvas = cv2.resize(canvas, (WIDEST, max(1, round(height * WIDEST / width))), interpolation=cv2.INTER_AREA)
    _, coded = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return coded.tobytes()


def _in_words(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
