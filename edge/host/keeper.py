"""What keeps a run well, in one place: the watchdog is fed, the heat is watched, health is told, metrics are served."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from edge.config import Config
from edge.errors import InputError
from edge.host.fit import LOOK_EVERY, Fit
from edge.host.governor import Governor
from edge.host.health import CameraStats, DetectorUse, Health, ModelUse, QueueStats
from edge.host.logs import Log
from edge.host.restarts import count_restart
from edge.host.rounds import HEAT_EVERY, Round, Rounds
from edge.host.watchdog import Notifier, Watchdog

FRAME_DEADLINE = 10.0
"""Seconds that the loop may take for one frame."""

ROUND_DEADLINE = 60.0
"""Seconds that a look at the heat or a health message may take; a firmware that is asked may take some."""


class Keeper:
    """Looks after one run. To be entered as soon as everything is open; `with` ends it.

    Args:
        config: `[health]` and `[limits]` of it.
        log: takes lines for a person.
        cameras: tells of each camera by name.
        detector: tells which detector is in use.
        model: tells which model is in use.
        queue: tells of the events on their way; None where no broker is named.
        tell: takes a health message, every `health.every` seconds.
        limit: takes the frames a second that each live camera may have, None for all, when that changes.
        fit: measures this device, where that is to be done.
        watchdog: looks at the stages that others have made of it, not yet started; one of its own where None.

    Metrics that cannot be served are said, and missed: nobody takes a device off its wall for them.
    """

    def __init__(
        self,
        config: Config,
        log: Log,
        *,
        cameras: Callable[[], Mapping[str, CameraStats]],
        detector: Callable[[], DetectorUse],
        model: Callable[[], ModelUse],
        queue: Callable[[], QueueStats] | None,
        tell: Callable[[Mapping[str, Any]], None],
        limit: Callable[[float | None], None],
        fit: Fit | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._log, self._tell, self._limit = log, tell, limit
        self._cameras, self._fit = cameras, fit
        self._notifier = Notifier()
        self._watchdog = watchdog or Watchdog(self._notifier, log=lambda text: log(text, level="error"))
        self.loop = self._watchdog.stage("loop", FRAME_DEADLINE)
        self.governor = Governor(config.limits, log=lambda text: log(text, level="warning"))
        self.health = Health(
            config.device, cameras=cameras, detector=detector, model=model, queue=queue,
            pace=lambda: (self.governor.fps, self.governor.why), stuck=self._watchdog.stuck,
            restarts=count_restart(), every=config.health.every,
        )  # fmt: skip
        rounds = [
            Round("a look at the heat", HEAT_EVERY, self._look),
            Round("a health message", config.health.every, self._say_health),
        ]
        if fit is not None:
            rounds.append(Round("measuring the device", LOOK_EVERY, self._measure))
        stage = self._watchdog.stage("rounds", ROUND_DEADLINE)
        self._rounds = Rounds(*rounds, log=lambda text: log(text, level="warning"), stage=stage)
        self._config, self._stack = config, ExitStack()

    def __enter__(self) -> Keeper:
        with ExitStack() as stack:
            if self._config.health.metrics_port is not None:
                self._serve_metrics(stack, self._config.health.metrics_port, self._config.health.metrics_address)
            self._limit(self.governor.fps)
            stack.callback(self._watchdog.close)
            if self._fit is not None:
                stack.callback(self._fit.close)
            stack.callback(self._rounds.close)
            self._rounds.start()
            stack.callback(self._notifier.stopping)
            self._stack = stack.pop_all()
        self._notifier.ready()
        self._watchdog.start()  # what feeds it before READY=1 is no word of a service that runs
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _serve_metrics(self, stack: ExitStack, port: int, address: str) -> None:
        from edge.host.metrics import Metrics

        try:
            metrics = Metrics(self.message, port, address)
        except InputError as error:
            self._log(f"{error}; the run goes on without metrics", level="warning")
            return
        stack.callback(metrics.close)
        self._log(f"metrics at http://{address}:{metrics.port}/metrics")

    def message(self) -> dict[str, Any]:
        """Return how the run is at this moment (`health.schema.json`)."""
        return self.health.message(time.monotonic())

    def reloading(self, take_over: Callable[[], Config]) -> None:
        """Let systemd know of a reload around it, and take over its limits."""
        self._notifier.reloading()
        try:
            self.governor.limits = take_over().limits
            self._limit(self.governor.fps)
        finally:
            self._notifier.ready()

    def _look(self) -> None:
        before = self.governor.fps
        self.governor.look()
        if self.governor.fps != before:
            self._limit(self.governor.fps)

    def _measure(self) -> None:
        assert self._fit is not None
        stuck = ", ".join(self._watchdog.stuck(time.monotonic()))
        limited = "[limits] max_cpu keeps the processor free" if self.governor.limits.max_cpu is not None else None
        strained = f"{stuck} is stuck" if stuck else self.governor.why or limited
        self._fit.look(any(camera.state == "running" for camera in self._cameras().values()), strained)

    def _say_health(self) -> None:
        self._tell(self.message())
