"""A camera of several that could not even be opened: it says why, and the others go on."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.sources.state import CameraState, CameraStats


class Failed:
    """A camera that has ended before it began.

    Args:
        camera: its name.
        why: what was wrong, one line without a secret.
        say: takes one line for a person.
        on_state: takes its state, once.
    """

    live = False
    ended = True
    captured = dropped = broken = 0
    fps: float | None = None

    def __init__(
        self, camera: str, why: str, say: Callable[[str], None], on_state: Callable[[CameraState], None]
    ) -> None:
        self.camera = camera
        self.max_fps: float | None = None
        """Without effect."""
        self.wake: Callable[[], None] = lambda: None
        """Never called."""
        self.state = CameraState(camera, "ended", why, time.time())
        self._say, self._on_state = say, on_state

    def start(self) -> None:
        """Say what is wrong."""
        self._on_state(self.state)
        self._say(f"camera {self.camera} has failed: {self.state.reason}; the others go on")

    def take(self) -> None:
        """Return no picture."""

    def stats(self) -> CameraStats:
        """Return no figures but the state."""
        return CameraStats(self.camera, self.state.state, self.state.reason, 0, 0, 0, 0.0, None)

    def stop(self) -> None:
        """Nothing goes on."""

    def close(self) -> None:
        """Nothing is held."""
