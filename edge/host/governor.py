"""How fast the run may go: slower while the processor is hot or throttled, never above `max_fps` and `max_cpu`.

Heat is met by a controller with hysteresis: down a quarter at a time while it is too hot, up slowly when it is cool.
`max_cpu` is an account of processor time: what was used above it is waited off before the next frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.config import LimitsConfig
from edge.machine import ROOT, describe_heat, processor_temperature

DOWN, DOWN_EVERY = 0.75, 10.0
"""A step down, and seconds between two: heat follows slowly."""
UP, UP_EVERY = 1.15, 30.0
"""A step up, and the seconds for which it must have been cool before each."""
SLOWEST = 2.0
"""Frames a second that heat and `max_cpu` leave a camera in any case: slower, no face can be followed."""
CREDIT = 0.5
"""Seconds whose unused processor time may be used later."""
COOLER = 10.0
"""How far below `hot` it is cool again unless `cool` is set, °C."""


@dataclass(frozen=True)
class Readings:
    """What the processor says of its heat.

    Attributes:
        temperature: °C of its hottest zone, or None.
        slowed: why it is slowed down at this moment, in words; empty while it is not.
    """

    temperature: float | None
    slowed: tuple[str, ...] = ()


def read_heat(root: Path = ROOT) -> Readings:
    """Read temperature and throttling. May take seconds on a Raspberry Pi under load: not for the frame loop.

    A supply that is too weak does not slow the processor by itself and is not counted as throttling.
    """
    heat = describe_heat(root)
    throttled = (heat["throttled"] or {"now": []})["now"]
    slowed = [reason for reason in throttled if reason != "under-voltage"] + heat["cooling"]
    return Readings(processor_temperature(heat["temperatures"]), tuple(slowed))


class Governor:
    """Decides how long to wait before a camera's next frame.

    `look` runs beside the loop. The loop calls `took` for each frame, and waits before the next one: for `rest` where
    the cameras themselves keep to `fps`, else for `pause`, which keeps to both.

    Args:
        limits: `max_fps`, `max_cpu`, `hot` and `cool`, as they are configured; others may take their place at any time.
        read: reads the heat, in the thread that calls `look`.
        log: takes one line for a person.
        clock: seconds on a clock that never goes back.
        cpu: seconds of processor time that this process, all of its threads, has used.
    """

    def __init__(
        self,
        limits: LimitsConfig,
        *,
        read: Callable[[], Readings] = read_heat,
        log: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self.limits = limits
        self._read, self._log, self._clock, self._cpu = read, log, clock, cpu
        self._why: str | None = None
        self._heat_fps: float | None = None
        self._natural = 0.0
        self._lowered_at = 0.0
        self._cool_since: float | None = None
        self._taken: dict[str, int] = {}
        self._counted: tuple[float, dict[str, int]] | None = None
        self._due: dict[str, float] = {}
        self._debt = 0.0
        self._paid = clock(), cpu()

    @property
    def _cool(self) -> float:
        return self.limits.hot - COOLER if self.limits.cool is None else self.limits.cool

    # Beside the loop.

    def look(self) -> None:
        """Read the heat, adjust, and say when it begins or ends to slow the run."""
        before = self._why
        self.target_fps(self._read(), self._clock())
        if (before is None) != (self._why is None):
            self._log(f"the frame rate is lowered: {self._why}" if self._why else "the frame rate is free again")

    def target_fps(self, readings: Readings, now: float) -> float | None:
        """Adjust to the heat; return the frames a second that each camera may have now, None for all that come."""
        why = self._too_hot(readings)
        seen = self._seen(now)
        if why is not None:
            self._lower(why, seen, now)
        elif readings.temperature is not None and readings.temperature > self._cool:
            self._cool_since = None  # neither hot nor cool
        elif self._heat_fps is not None:
            self._raise(now)
        return self.fps

    @property
    def fps(self) -> float | None:
        """Frames a second that each camera may have now; None for all that come."""
        limits = [limit for limit in (self.limits.max_fps, self._heat_fps) if limit is not None]
        return min(limits) if limits else None

    @property
    def why(self) -> str | None:
        """Why the heat lowers the frame rate, in words; None while it does not."""
        return self._why

    def _too_hot(self, readings: Readings) -> str | None:
        if readings.slowed:
            return f"the processor slows down ({', '.join(readings.slowed)})"
        if readings.temperature is not None and readings.temperature >= self.limits.hot:
            return f"the processor has {readings.temperature:.0f} °C"
        return None

    def _seen(self, now: float) -> float:
        """Frames a second of the busiest camera since the last look."""
        taken, before = dict(self._taken), self._counted
        self._counted = now, taken
        if before is None or now <= before[0]:
            return 0.0
        return max((count - before[1].get(camera, 0) for camera, count in taken.items()), default=0) / (now - before[0])

    def _lower(self, why: str, seen: float, now: float) -> None:
        self._cool_since = None
        if self._heat_fps is None:
            if seen <= SLOWEST:  # the heat is not ours: there is nothing to lower
                return
            self._natural = seen
        elif now - self._lowered_at < DOWN_EVERY:
            return
        now_at = self._heat_fps or seen
        self._heat_fps = max(SLOWEST, min(now_at, seen or now_at) * DOWN)
        self._why, self._lowered_at = why, now

    def _raise(self, now: float) -> None:
        assert self._heat_fps is not None
        if self._cool_since is None:
            self._cool_since = now
        elif now - self._cool_since >= UP_EVERY:
            self._cool_since = now
            self._heat_fps *= UP
            if self._heat_fps >= self._natural:
                self._heat_fps = self._why = None

    # The loop's.

    def rest(self, now: float) -> float:
        """Return for how many seconds to wait so that the process keeps to `max_cpu`."""
        if self.limits.max_cpu is None:
            return 0.0
        self._pay(now, self.limits.max_cpu)
        return max(0.0, self._debt / self.limits.max_cpu)

    def pause(self, now: float, camera: str = "camera") -> float:
        """Return for how many seconds to wait before this camera's next frame is taken; 0 when it is due."""
        due = self._due.get(camera, now) if self.fps is not None else now
        return max(due - now, self.rest(now))

    def took(self, now: float, camera: str = "camera") -> None:
        """A frame of this camera is taken: the next one is due an interval later.

        The interval counts from when it was due, so that a frame that came a little late makes no gap; one frame at
        most is made up for.
        """
        self._taken[camera] = self._taken.get(camera, 0) + 1
        fps = self.fps
        if fps is not None:
            self._due[camera] = max(self._due.get(camera, now) + 1 / fps, now)

    def _pay(self, now: float, most: float) -> None:
        """Bring the account of processor time up to now."""
        cpu, (since, used) = self._cpu(), self._paid
        self._paid = now, cpu
        debt = self._debt + (cpu - used) - most * (now - since)
        self._debt = min(max(debt, -CREDIT * most), most / SLOWEST)
