"""Where what a run sees goes: one JSON event a line on standard output, and the broker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TextIO

import edge
from edge.broker import parse_broker, read_credentials
from edge.config import Config
from edge.events import Event, Minute
from edge.host.logs import Log
from edge.loop import Step
from edge.printer import Printer
from edge.publish import Publisher, open_publisher
from edge.publish.stage import NewStage
from edge.sources.state import CameraState

DELIVERY_SECONDS = 10.0
"""How long the end waits for the broker to confirm what is still on its way."""


class Output:
    """Takes everything that a run has to say.

    Args:
        config: the device, its cameras, and `[mqtt]`.
        stdout: where to print one JSON event a line, or None.
        stop: set when the run shall end, and by this object when the reader of standard output has gone.
        say: takes one line for a person.

    Attributes:
        publisher: what sends to the broker; None where none is named, or before `connect`.
    """

    def __init__(
        self, config: Config, stdout: TextIO | None, stop: threading.Event, say: Callable[[str], None]
    ) -> None:
        live = any(camera.live for camera in config.camera)
        self._config = config
        self._printer = Printer(stdout, stop, patient=not live, say=say) if stdout is not None else None
        self.publisher: Publisher | None = None
        self._ended: set[str] = set()
        self._retaining = threading.Lock()

    def connect(self, stream: str, model: str, detector: str, *, log: Log, fail_fast: bool, stage: NewStage) -> None:
        """Start to publish, when a broker is named.

        Args:
            stream: the events' series of numbers.
            model: the model's id.
            detector: the detector in use.
            log: takes lines for a person.
            fail_fast: raise when the broker does not answer.
            stage: makes what a watchdog looks at.

        Raises:
            InputError: what is configured is wrong.
            OutsideError: the broker does not answer, with `fail_fast`.
        """
        config, settings = self._config, self._config.mqtt
        if settings.broker is None:
            return
        publisher = open_publisher(
            parse_broker(settings.broker), config.device,
            credentials=read_credentials(settings.username, settings.password_file), ca_file=settings.ca_file,
            fail_fast=fail_fast, log=log, stage=stage,
        )  # fmt: skip
        publisher.info(
            {
                "v": 1, "version": edge.__version__, "device": config.device, "stream": stream, "models": [model],
                "cameras": [camera.name for camera in config.camera], "detector": detector,
            }
        )  # fmt: skip
        self.publisher = publisher
        publisher.start()

    @property
    def unread(self) -> int:
        """Events that the reader of standard output did not take."""
        return self._printer.dropped if self._printer is not None else 0

    def wait(self) -> None:
        """Let a file's run wait for a slow reader of standard output; a camera's never does."""
        if self._printer is not None:
            self._printer.wait()

    def close(self) -> int:
        """Wait for the broker to confirm what is on its way; return how many events it has not.

        Raises:
            OSError: standard output does not take the events.
        """
        try:
            if self._printer is not None:
                self._printer.close()
        finally:
            undelivered = self.publisher.close(DELIVERY_SECONDS) if self.publisher is not None else 0
        return undelivered

    def event(self, event: Event) -> None:
        """Hand on an event."""
        line = event.to_json()
        if self._printer is not None:
            self._printer.line(line)
        if self.publisher is not None:
            self.publisher.event(event.camera, line)

    def minute(self, minute: Minute) -> None:
        """Hand on a minute in figures, to the broker."""
        if self.publisher is not None:
            self.publisher.summary(minute.camera, minute.to_json())

    def retain(self, step: Step) -> None:
        """Say the number of faces and the emotion of the largest; the publisher sends what has changed."""
        if self.publisher is None:
            return
        areas = [float((f.box[2] - f.box[0]) * (f.box[3] - f.box[1])) for f in step.faces]
        largest = step.emotions[areas.index(max(areas))] if areas else None
        label = (largest.label or largest.skipped or "none") if largest else "none"
        self._retain(step.frame.camera, len(areas), label)

    def state(self, state: CameraState) -> None:
        """Say how a camera is; of one that has ended, that nobody is seen any more as well."""
        if state.state == "ended":
            self._ended.add(state.camera)
            self._retain(state.camera, 0, "none")
        if self.publisher is not None:
            moment = datetime.fromtimestamp(state.time, timezone.utc).isoformat(timespec="milliseconds")
            said = {"v": 1, "state": state.state, "reason": state.reason, "ts": moment.replace("+00:00", "Z")}
            self.publisher.state(state.camera, said)

    def nobody(self, camera: str | None = None) -> None:
        """Say of a camera, or of every one, that nobody is seen any more: a retained face would stand for ever."""
        if self.publisher is not None:
            for name in [one.name for one in self._config.camera] if camera is None else [camera]:
                self._retain(name, 0, "none")

    def _retain(self, camera: str, count: int, label: str) -> None:
        with self._retaining:  # the last frame of a camera may be at work while its thread says that it has ended
            if self.publisher is not None and (not count or camera not in self._ended):
                self.publisher.faces(camera, count)
                self.publisher.emotion(camera, label)
