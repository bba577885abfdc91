"""The newest picture of a live camera, in a few buffers that are used again and again."""

from __future__ import annotations

import threading

import numpy as np

from edge.values import Frame


class Newest:
    """Holds the one frame that nobody has taken yet; a newer one takes its place.

    Attributes:
        changed: guards it, for moments; whoever waits for a frame waits here.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._free: list[np.ndarray] = []
        self._frame: Frame | None = None
        self._held: np.ndarray | None = None

    @property
    def waiting(self) -> bool:
        """Whether there is a frame to take."""
        return self._frame is not None

    def put(self, frame: Frame) -> bool:
        """Take a frame in; return whether it took the place of one that nobody had taken."""
        with self.changed:
            dropped = self._frame is not None
            if self._frame is not None:
                self._free.append(self._frame.image)
            self._frame = frame
            self.changed.notify_all()
        return dropped

    def take(self) -> Frame | None:
        """Return the frame if there is one; its pixels last until the next is taken."""
        with self.changed:
            frame, self._frame = self._frame, None
            if frame is not None:
                if self._held is not None:
                    self._free.append(self._held)
                self._held = frame.image
        return frame

    def clear(self) -> None:
        """Forget the frame that nobody has taken."""
        with self.changed:
            self._frame = None

    def spare(self) -> np.ndarray | None:
        """Return a buffer that nobody looks at, if there is one."""
        with self.changed:
            return self._free.pop() if self._free else None

    def give_back(self, image: np.ndarray) -> None:
        """Take a buffer back that nobody looks at any more."""
        with self.changed:
            self._free.append(image)
