"""How the run is: what its parts tell, gathered into one message (schema: `edge/events/health.schema.json`).

The loop pays a few array writes a frame; everything else is asked for when a message is made, in another thread.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

import edge
from edge.machine import describe_state, peak_memory, processor_temperature, resident_memory

VERSION = 1
MOST_TIMES = 2048
"""Frames whose times are kept, for each step; half a minute of two cameras."""


@dataclass(frozen=True)
class CameraStats:
    """What a camera's capture tells.

    Attributes:
        state: `running`, `waiting`, `frozen` or `ended`, as in `state.schema.json`.
        reason: why, in words, or None.
        captured: frames that came from it so far.
        dropped: frames that a newer one replaced before they were processed, so far.
        broken: frames that could not be read, so far.
    """

    state: str
    reason: str | None = None
    captured: int = 0
    dropped: int = 0
    broken: int = 0


@dataclass(frozen=True)
class DetectorUse:
    """The detector in use.

    Attributes:
        name: its name.
        reason: why this one, in words, or None where it is the one that was asked for.
        switches: how often another one took over so far.
    """

    name: str
    reason: str | None = None
    switches: int = 0


@dataclass(frozen=True)
class ModelUse:
    """The model in use.

    Attributes:
        id: name and start of its hash.
        runtime: name and version of what runs it.
        precision: `fp32` or `int8`.
        threads: processor threads.
        reason: why this file, runtime and number of threads, in words, or None where they were asked for.
    """

    id: str
    runtime: str
    precision: str
    threads: int
    reason: str | None = None


@dataclass(frozen=True)
class QueueStats:
    """The events on their way to the broker.

    Attributes:
        connected: whether the broker is.
        depth: events that wait for its confirmation.
        undelivered: events that will not be delivered: dropped or refused, so far.
    """

    connected: bool
    depth: int
    undelivered: int = 0


class Health:
    """Gathers how the run is.

    Args:
        device: the device's name.
        cameras: tells of each camera by name.
        detector: tells which detector is in use.
        model: tells which model is in use.
        queue: tells of the events on their way; None where no broker is named.
        pace: tells the frames a second that each camera may have (None: all), and why the heat lowers them, or None.
        stuck: tells which stages are stuck, and where, at a moment of the clock.
        restarts: starts of the service before this one since the device started; None where it is no service.
        every: seconds that rates and times are taken over.
        machine: tells the state of the machine, as `edge.machine.describe_state` does.
        clock: seconds on a clock that never goes back.
        wall: the wall clock, seconds since the epoch.
        cpu: seconds of processor time that this process has used.
    """

    def __init__(
        self,
        device: str,
        *,
        cameras: Callable[[], Mapping[str, CameraStats]],
        detector: Callable[[], DetectorUse],
        model: Callable[[], ModelUse],
        queue: Callable[[], QueueStats] | None = None,
        pace: Callable[[], tuple[float | None, str | None]] = lambda: (None, None),
        stuck: Callable[[float], Mapping[str, str]] = lambda now: {},
        restarts: int | None = None,
        every: float = 30.0,
        machine: Callable[[], Mapping[str, Any]] = describe_state,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self.device, self.every = device, every
        self._cameras, self._detector, self._model, self._queue = cameras, detector, model, queue
        self._pace, self._stuck, self._restarts, self._machine = pace, stuck, restarts, machine
        self._clock, self._wall, self._cpu = clock, wall, cpu
        self._started = clock()
        self._times: dict[str, _Times] = {}
        self._processed: dict[str, int] = {}
        self._turn = threading.Lock()
        self._marks = [_Mark(self._started, {}, cpu())]

    def step(self, ms: Mapping[str, float], camera: str) -> None:
        """Count one processed frame. For the loop's thread alone.

        Args:
            ms: milliseconds that each step took; a step that the frame had no need of is left out.
            camera: name of the frame's camera.
        """
        now = self._clock()
        self._processed[camera] = self._processed.get(camera, 0) + 1
        for name, value in ms.items():
            times = self._times.get(name)
            if times is None:
                times = self._times[name] = _Times()
            times.add(value, now)

    def message(self, now: float) -> dict[str, Any]:
        """Return how it is; rates and times are of the last `every` seconds. Safe from any thread; may take seconds.

        Args:
            now: the clock's seconds.
        """
        with self._turn:
            cameras = dict(self._cameras())
            counts = {name: self._counts(name, stats) for name, stats in cameras.items()}
            mark = _Mark(now, counts, self._cpu())
            before = self._since(mark)
            machine, (fps, slowed) = self._machine(), self._pace()
            temperature = processor_temperature(machine["temperatures"])
            queue = self._queue() if self._queue is not None else None
            memory = {"rss": resident_memory(), "peak": peak_memory()}
            return {
                "v": VERSION,
                "device": self.device,
                "version": edge.__version__,
                "ts": _moment(self._wall()),
                "uptime_s": round(now - self._started, 1),
                "restarts": self._restarts,
                "cameras": {
                    name: {
                        "state": stats.state,
                        "reason": stats.reason,
                        "fps": before.rates(name, mark),
                        "frames": counts[name],
                    }
                    for name, stats in cameras.items()
                },
                "ms": self._latency(now),
                "detector": asdict(self._detector()),
                "model": asdict(self._model()),
                "queue": None if queue is None else asdict(queue),
                "pace": {"fps": _rounded(fps, 2), "slowed": slowed},
                "cpu": {"cores_used": _rounded(before.cores(mark), 3), "load": machine["load"], "mhz": machine["mhz"]},
                "memory_mib": {name: _rounded(value, 1) for name, value in memory.items()},
                "temperature": _rounded(temperature, 1),
                "temperatures": {zone: round(degrees, 1) for zone, degrees in machine["temperatures"].items()},
                "throttled": machine["throttled"],
                "cooling": list(machine["cooling"]),
                "stuck": dict(self._stuck(now)),
            }

    def _counts(self, camera: str, stats: CameraStats) -> dict[str, int]:
        processed = self._processed.get(camera, 0)
        return {"captured": stats.captured, "processed": processed, "dropped": stats.dropped, "broken": stats.broken}

    def _since(self, mark: _Mark) -> _Mark:
        """Keep this moment; return the one that rates are taken from: about `every` seconds ago, or the start.

        Whoever else asks in between, as a scraper does, shortens that to half at most.
        """
        while len(self._marks) > 1 and self._marks[1].time <= mark.time - self.every / 2:
            del self._marks[0]
        before = self._marks[0]
        if mark.time - self._marks[-1].time >= self.every / 8:
            self._marks.append(mark)
        return before

    def _latency(self, now: float) -> dict[str, dict[str, float]]:
        found = {}
        for name, times in list(self._times.items()):
            values = times.since(now - self.every)
            if len(values):
                p50, p95 = np.percentile(values, (50, 95))
                found[name] = {"p50": round(float(p50), 2), "p95": round(float(p95), 2), "frames": len(values)}
        return found


@dataclass(frozen=True)
class _Mark:
    """What was counted at a moment: frames by camera and kind, seconds of processor time."""

    time: float
    counts: Mapping[str, Mapping[str, int]]
    cpu: float

    def rates(self, camera: str, now: _Mark) -> dict[str, float]:
        """Frames a second from here to there; a camera that began to count anew has counted from 0."""
        before, seconds = self.counts.get(camera, {}), now.time - self.time
        grown = {kind: count - before.get(kind, 0) for kind, count in now.counts[camera].items() if kind != "broken"}
        return {kind: round(max(count, 0) / seconds, 2) if seconds > 0 else 0.0 for kind, count in grown.items()}

    def cores(self, now: _Mark) -> float | None:
        """Cores' worth of processor time from here to there."""
        seconds = now.time - self.time
        return (now.cpu - self.cpu) / seconds if seconds > 0 else None


class _Times:
    """The newest `MOST_TIMES` values of one step with their moments; written by one thread, read by any."""

    def __init__(self) -> None:
        self._values, self._at = array("f", bytes(4 * MOST_TIMES)), array("d", bytes(8 * MOST_TIMES))
        self._count = 0

    def add(self, value: float, now: float) -> None:
        place = self._count % MOST_TIMES
        self._values[place], self._at[place] = value, now
        self._count += 1

    def since(self, moment: float) -> np.ndarray:
        """`(N,)` float32: the values from a moment on, in no order."""
        filled = min(self._count, MOST_TIMES)
        values, at = np.array(self._values[:filled]), np.array(self._at[:filled])
        return values[at >= moment]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
