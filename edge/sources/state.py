"""What is said of a camera: its state, and its figures."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

State = Literal["waiting", "running", "frozen", "ended"]


@dataclass(frozen=True)
class CameraState:
    """How a camera is, from a moment on.

    Attributes:
        camera: its name.
        state: `waiting` (it does not answer and is tried again), `running`, `frozen` (no picture comes, or always the
            very same; it is opened anew) or `ended` (no more will come).
        reason: why, in words without a secret, or None.
        time: since when, wall clock, seconds since the epoch.
    """

    camera: str
    state: State
    reason: str | None
    time: float


@dataclass(frozen=True)
class CameraStats:
    """A camera's figures so far.

    Attributes:
        camera: its name.
        state: as in `CameraState`; `waiting` before the first picture.
        reason: as in `CameraState`.
        captured: pictures that were taken and decoded.
        dropped: pictures of a live camera that nobody took before a newer one came, or that came faster than wanted.
        broken: pictures that could not be read.
        fps: pictures captured a second, over the last seconds.
        given: what the camera really gives (`640×480 MJPG, 30 frames/s`), or None where nobody has said.
    """

    camera: str
    state: State
    reason: str | None
    captured: int
    dropped: int
    broken: int
    fps: float
    given: str | None


class Counted(Protocol):
    """What counts its pictures and knows its state: a live camera or a file."""

    camera: str
    state: CameraState
    captured: int
    dropped: int
    given: str | None

    @property
    def broken(self) -> int:
        """Pictures that could not be read."""


def stats_of(one: Counted, fps: float) -> CameraStats:
    """Return a camera's figures so far; `fps` are those of late."""
    state, reason = one.state.state, one.state.reason
    return CameraStats(one.camera, state, reason, one.captured, one.dropped, one.broken, fps, one.given)


class Rate:
    """Events a second over the last seconds."""

    def __init__(self, clock: Callable[[], float], window: float = 5.0) -> None:
        self._clock, self._window = clock, window
        self._began = clock()
        self._times: deque[float] = deque(maxlen=2048)

    def add(self) -> None:
        """Count one."""
        self._times.append(self._clock())

    def __call__(self) -> float:
        """Events a second."""
        now = self._clock()
        recent = sum(now - time <= self._window for time in list(self._times))
        return recent / max(min(self._window, now - self._began), 1e-3)
