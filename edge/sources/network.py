"""A camera on the network: RTSP over TCP, MJPEG over HTTP, or a video at a URL, through OpenCV's FFmpeg."""

from __future__ import annotations

import time

import cv2
import numpy as np

from edge.broker import Credentials
from edge.errors import OutsideError
from edge.sources.names import shown, with_credentials
from edge.sources.stream import OpenCvStream, Stream

OPEN_SECONDS = 10.0
"""How long an answer is waited for before the camera counts as absent."""

MOST_BROKEN_IN_A_ROW = 2
"""FFmpeg has read on past dozens of broken packets before it says that it has no picture."""


class NetworkCamera:
    """A stream by its URL.

    Args:
        url: `rtsp://`, `rtsps://`, `http://` or `https://`.
        credentials: for the camera, instead of in the URL.
        open_seconds: how long an answer is waited for.
        read_seconds: how long a picture is waited for.

    Raises:
        InputError: the URL holds a user, and credentials are given as well.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | None = None,
        open_seconds: float = OPEN_SECONDS,
        read_seconds: float = OPEN_SECONDS,
    ) -> None:
        self.name = shown(url)
        self._url = with_credentials(url, credentials)
        self._wait, self._read_seconds = open_seconds, read_seconds
        self._recorded: InItsTime | None = None
        # FFmpeg counts the seconds of each of its steps: the name, the connection, the stream's description.
        self.open_seconds = 3 * open_seconds

    def open(self) -> Stream:
        """Connect and wait for the stream's description.

        Raises:
            OutsideError: it does not answer, or with something else than a video.
        """
        # One thread: FFmpeg decodes a frame a thread, so each further one would delay the picture by a frame. Transport
        # is TCP unless the server refuses it, which is how OpenCV asks for RTSP.
        options = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(self._wait * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(self._read_seconds * 1000),
            cv2.CAP_PROP_N_THREADS, 1,
        ]  # fmt: skip
        began = time.monotonic()
        # CAP_FFMPEG alone: another backend would write the URL, password and all, into its complaints.
        capture = cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, options)
        if not capture.isOpened():
            capture.release()
            if time.monotonic() - began >= 0.9 * self._wait:
                raise OutsideError(f"no answer within {self._wait:.3g} s: is it on, and in this network?")
            raise OutsideError("it refuses, or sends no video: are host, path, user and password right?")
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        stream = OpenCvStream(capture, tolerance=MOST_BROKEN_IN_A_ROW, count=max(count, 0))
        if count <= 0 or not stream.fps:
            return stream
        self._recorded = InItsTime(stream, None if self._recorded is None else self._recorded.seen)
        return self._recorded


LONGEST = 1.0
"""Seconds between two frames of a recorded video at a URL, at the most."""


class InItsTime:
    """A recorded video at a URL, which a server sends as fast as it can: its frames are taken at their own rate.

    One of less than a frame a second is taken a little faster than that: a longer wait would look like a frozen camera.
    It ends as a file does. How many frames it has is often a guess by its length, and the file may be cut off: just
    before the stated end (a second, a tenth), or where it stopped the last time, is its end. A recording whose
    container states no length (MPEG-TS from a server that cannot seek) is taken for a live stream, and opened anew.

    Args:
        stream: the video, opened.
        before: frames that came the last time it was opened; None for the first time.
    """

    def __init__(self, stream: OpenCvStream, before: int | None = None) -> None:
        assert stream.fps
        self._stream, self.fps, self.given, self.tolerance = stream, stream.fps, stream.given, stream.tolerance
        self._before, self._stopped = before, False
        self._due = time.monotonic()

    @property
    def seen(self) -> int:
        """Frames that have come so far."""
        return self._stream.seen

    @property
    def over(self) -> bool:
        """Whether its last frame has come."""
        count = self._stream.count
        near, again = count - self.seen < min(self.fps, count / 10), self.seen == self._before
        return self._stream.over or (self._stopped and self.seen > 0 and (near or again))

    def grab(self) -> bool:
        """Wait until the next frame is due, and take it."""
        now = time.monotonic()
        if now < self._due:
            time.sleep(self._due - now)
        self._due = max(self._due, now - 1.0) + min(1 / self.fps, LONGEST)
        got = self._stream.grab()
        self._stopped = not got
        return got

    def retrieve(self, into: np.ndarray | None) -> np.ndarray | None:
        """Decode what was grabbed."""
        return self._stream.retrieve(into)

    def interrupt(self) -> None:
        """Nothing to do: no wait is longer than a frame."""

    def close(self) -> None:
        """End the connection."""
        self._stream.close()
