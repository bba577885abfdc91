"""Frames of a camera on this device, which is waited for whenever it is not there."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2

from edge.errors import OutsideError
from edge.values import Frame

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds between two attempts to open a camera: the first, and what doubling ends at."""

MOST_BROKEN_IN_A_ROW = 10
"""After so many failed reads in a row the camera is closed and opened anew."""


class Camera:
    """A camera by index or device path, through OpenCV."""

    live = True

    def __init__(
        self,
        source: str,
        camera: str,
        *,
        wait: Callable[[float], bool] | None,
        say: Callable[[str], None],
        fail_fast: bool,
    ) -> None:
        self.camera, self.broken = camera, 0
        self.fps: float | None = None
        self._source: int | str = int(source) if source.isdigit() else source
        self._wait = wait or _sleep
        self._say, self._fail_fast = say, fail_fast
        self._capture: cv2.VideoCapture | None = None
        self._index = 0
        if fail_fast and not self._open():
            raise self._absent()

    def read(self) -> Frame | None:
        """Return the newest frame; wait for the camera as long as it takes, or return None when told to stop."""
        failed = 0
        while True:
            if self._capture is None and not self._await():
                return None
            assert self._capture is not None
            got, image = self._capture.read()
            index, self._index = self._index, self._index + 1
            if got and image is not None:
                return Frame(image, index, time.time(), time.monotonic(), self.camera)
            self.broken += 1
            failed += 1
            if failed >= MOST_BROKEN_IN_A_ROW:
                failed = 0
                self.close()
                if self._fail_fast:
                    raise self._absent()

    def close(self) -> None:
        """Release the device."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _open(self) -> bool:
        capture = cv2.VideoCapture(self._source)
        if not capture.isOpened():
            capture.release()
            return False
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps < 1000 else None
        self._capture = capture
        return True

    def _await(self) -> bool:
        """Open the camera, with back-off; return False when told to stop."""
        pause, said = FIRST_WAIT, False
        while not self._open():
            if self._fail_fast:
                raise self._absent()
            if not said:
                self._say(f"camera {self._source} does not answer; it is tried again until it does")
                said = True
            if self._wait(pause):
                return False
            pause = min(pause * 2, LONGEST_WAIT)
        if said:
            self._say(f"camera {self._source} answers")
        return True

    def _absent(self) -> OutsideError:
        return OutsideError(f"camera {self._source} does not answer: is it plugged in, and free of other programs?")


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False
