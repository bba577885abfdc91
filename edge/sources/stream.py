"""A camera that is open: what `Capture` reads from, and the one that OpenCV opens."""

from __future__ import annotations

from typing import Literal, Protocol

import cv2
import numpy as np

from edge.errors import OutsideError
from edge.sources.size import why_too_large


class Lost(OutsideError):
    """A camera that gave pictures gives none any more; `state` says what it is now (`waiting` or `frozen`)."""

    def __init__(self, state: Literal["waiting", "frozen"], reason: str) -> None:
        super().__init__(reason)
        self.state: Literal["waiting", "frozen"] = state


class Stream(Protocol):
    """An opened camera. Used by one thread, but for `interrupt`.

    Attributes:
        tolerance: so many failed reads in a row mean that the camera is lost.
    """

    tolerance: int

    @property
    def fps(self) -> float | None:
        """Frames a second that the camera says it gives, or None."""

    @property
    def given(self) -> str:
        """What it really gives, for a person: `640×480 MJPG, 30 frames/s`."""

    @property
    def over(self) -> bool:
        """Whether a failed `grab` is the end of a video that has one."""

    def grab(self) -> bool:
        """Wait for the next picture and take it, not yet decoded where that can be told apart; False if none came."""

    def retrieve(self, into: np.ndarray | None) -> np.ndarray | None:
        """Decode what was grabbed to `(H, W, 3)` uint8 BGR, into this buffer if it has the right shape."""

    def interrupt(self) -> None:
        """Let a `grab` that blocks return, where that is possible; may be called from any thread."""

    def close(self) -> None:
        """Let go of the camera."""


class Device(Protocol):
    """A camera that can be opened, again and again.

    Attributes:
        name: what it is called, fit to be shown: no password is in it.
        open_seconds: opening it takes no longer than this, unless it hangs.
    """

    name: str
    open_seconds: float

    def open(self) -> Stream:
        """Open it.

        Raises:
            OutsideError: it does not answer; the message is the reason alone (`it is busy: …`).
        """


class OpenCvStream:
    """A camera or a stream that OpenCV has opened.

    Attributes:
        count: frames that it says it has; 0 where it has no end, or does not know.
        seen: frames that have come so far.

    Raises:
        OutsideError: its frames are too large.
    """

    def __init__(self, capture: cv2.VideoCapture, *, form: str = "", tolerance: int, count: int = 0) -> None:
        self._capture = capture
        self.count, self.seen = count, 0
        self.tolerance = tolerance
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else None
        width, height = (round(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if why := why_too_large(width, height):
            capture.release()
            raise OutsideError(f"{why}: let it send smaller ones (many cameras have a second stream)")
        rate = f", {self.fps:.4g} frames/s" if self.fps else ""
        self.given = f"{width}×{height}{form}{rate}"

    @property
    def over(self) -> bool:
        """Whether as many frames came as the video says it has, and none is left."""
        return 0 < self.count <= self.seen

    def grab(self) -> bool:
        """Wait for the next picture; False if none came."""
        try:
            got = self._capture.grab()
        except cv2.error:
            return False
        self.seen += got
        return got

    def retrieve(self, into: np.ndarray | None) -> np.ndarray | None:
        """Decode what was grabbed."""
        try:
            got, image = self._capture.retrieve(into)  # without a picture `image` is None, whatever the stubs say
        except cv2.error:  # a stream that changes its size on the way to garbage
            return None
        right = got and getattr(image, "ndim", 0) == 3 and not why_too_large(*image.shape[:2])
        return image if right else None

    def interrupt(self) -> None:
        """OpenCV has no way to do it: its own time limit ends a read."""

    def close(self) -> None:
        """Release the device or the connection."""
        self._capture.release()
