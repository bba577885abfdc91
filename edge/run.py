"""`edge run`: the frame loop between a source and those who want to know: standard output, MQTT, a drawing."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

import edge
from edge.broker import check_level, parse_broker, read_credentials
from edge.config import Config
from edge.detect import load_detector
from edge.draw import Drawing
from edge.errors import InputError
from edge.events import Event, EventMaker, new_stream
from edge.loop import Loop, Step
from edge.model import Classifier, load_model
from edge.model.choice import load_chosen
from edge.publish import Publisher, open_publisher
from edge.sources import open_source

DELIVERY_SECONDS = 10.0
"""How long the end waits for the broker to confirm what is still on its way."""


@dataclass
class Summary:
    """What a run saw, said at its end.

    Attributes:
        frames: frames processed.
        broken: frames that could not be read.
        with_face: frames with a face in them.
        events: events made.
        undelivered: events that no broker confirmed.
        emotions: how many events said which emotion.
        seconds: how long the frames took, from the first to the last.
    """

    frames: int = 0
    broken: int = 0
    with_face: int = 0
    events: int = 0
    undelivered: int = 0
    emotions: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        rate = f", {self.frames / self.seconds:.1f} frames/s" if self.seconds > 0 else ""
        frames = "1 frame" if self.frames == 1 else f"{self.frames} frames"
        parts = [frames + rate, f"{self.with_face} with a face", f"{self.events} events"]
        if self.emotions:
            parts.append(", ".join(f"{label} {count}" for label, count in self.emotions.most_common()))
        if self.broken:
            parts.append(f"{self.broken} broken frames skipped")
        if self.undelivered:
            parts.append(f"{self.undelivered} events NOT confirmed by the broker")
        return "; ".join(parts)


class Runner:
    """One run: everything is opened by the constructor's caller through `with`, and closed in order at the end.

    Args:
        config: what to run; one camera must be in it.
        stop: set it to end the run; nothing is lost.
        log: takes one line for a person.
        stdout: where to print one JSON event a line, or None.
        draw: file to draw into, or None.
        max_frames: end after so many frames, or None.
        fail_fast: raise OutsideError instead of waiting for a camera or a broker.

    Raises:
        InputError: something that was named is missing or wrong.
        OutsideError: camera or broker do not answer, with `fail_fast`.
    """

    def __init__(
        self,
        config: Config,
        *,
        stop: threading.Event,
        log: Callable[[str], None],
        stdout: TextIO | None = None,
        draw: str | None = None,
        max_frames: int | None = None,
        fail_fast: bool = False,
    ) -> None:
        if not config.camera:
            raise InputError(
                "no source: name a camera, a file or a folder with --source, or in edge.toml under [[camera]]"
            )
        self.config, self.camera = config, config.camera[0]
        check_level(config.device, "device name")
        check_level(self.camera.name, "camera name")
        self._stop, self._log, self._stdout = stop, log, stdout
        self._draw_to, self._max_frames, self._fail_fast = draw, max_frames, fail_fast
        self._publisher: Publisher | None = None
        self.summary = Summary()

    def run(self) -> Summary:
        """Process frames until the source ends, the count is reached, or `stop` is set; return what was seen."""
        config = self.config
        classifier = self._classifier()
        detector = load_detector(config.detect.detector, min_face=config.detect.min_face, threads=config.detect.threads)
        stream = new_stream()
        maker = EventMaker(config.device, stream, classifier.info.id, clock_state())
        loop = Loop(detector, classifier, maker, config)
        with ExitStack() as stack:
            source = open_source(
                self.camera.source, self.camera.name, wait=self._stop.wait, say=self._camera_says,
                fail_fast=self._fail_fast,
            )  # fmt: skip
            stack.callback(source.close)
            drawing = Drawing(self._draw_to, source.fps, self.camera.source) if self._draw_to else None
            if drawing:
                stack.callback(drawing.close)
            self._connect(stack, stream, classifier.info.id, detector.name)
            self._state("running", None)
            began = time.monotonic()
            for step in self._steps(source.read, loop):
                self._account(step)
                for event in step.events:
                    self._send(event)
                self._retain(step)
                if drawing:
                    drawing.add(step)
            for event in loop.finish():
                self._send(event)
            self.summary.seconds = time.monotonic() - began
            self.summary.broken = source.broken
            if self._publisher is not None:  # nobody is seen any more: a retained face would stand for ever
                self._publisher.faces(self.camera.name, 0)
                self._publisher.emotion(self.camera.name, "none")
            self._state("ended", "stopped" if self._stop.is_set() else "the source has ended")
        return self.summary

    def _classifier(self) -> Classifier:
        """Load the model that is named, else what `edge bench --save` chose for this device, else what ships."""
        named, threads = self.config.model, self.config.classify.threads
        if named is None and (chosen := load_chosen(self._log, threads)):
            return chosen
        return load_model(named, threads=threads or 1)

    def _steps(self, read: Callable[[], edge.Frame | None], loop: Loop) -> Iterator[Step]:
        while not self._stop.is_set() and (self._max_frames is None or self.summary.frames < self._max_frames):
            frame = read()
            if frame is None:
                return
            yield loop.step(frame)

    def _account(self, step: Step) -> None:
        self.summary.frames += 1
        self.summary.with_face += bool(step.faces)

    def _connect(self, stack: ExitStack, stream: str, model: str, detector: str) -> None:
        """Start the publisher, when a broker is named."""
        settings = self.config.mqtt
        if settings.broker is None:
            return
        publisher = open_publisher(
            parse_broker(settings.broker), self.config.device,
            credentials=read_credentials(settings.username, settings.password_file), ca_file=settings.ca_file,
            fail_fast=self._fail_fast, log=self._log,
        )  # fmt: skip
        stack.callback(self._disconnect, publisher)
        publisher.info(
            {
                "v": 1, "version": edge.__version__, "device": self.config.device, "stream": stream, "models": [model],
                "cameras": [self.camera.name], "detector": detector,
            }
        )  # fmt: skip
        self._publisher = publisher
        publisher.start()

    def _disconnect(self, publisher: Publisher) -> None:
        self.summary.undelivered = publisher.close(DELIVERY_SECONDS)

    def _send(self, event: Event) -> None:
        """Hand an event to standard output and to the broker."""
        line = event.to_json()
        self.summary.events += 1
        self.summary.emotions[event.emotion.label or f"not classified ({event.emotion.skipped})"] += 1
        if self._stdout is not None:
            self._print(line)
        if self._publisher is not None:
            self._publisher.event(event.camera, line)

    def _print(self, line: str) -> None:
        """Write a line; a reader that has gone, as in `edge run --stdout | head`, ends the run quietly."""
        assert self._stdout is not None
        try:
            self._stdout.write(line + "\n")
            self._stdout.flush()
        except BrokenPipeError:
            # What is left in the buffer goes nowhere, else Python complains of it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stdout.fileno())
            self._stdout = None
            self._stop.set()

    def _retain(self, step: Step) -> None:
        """Say the number of faces and the emotion of the largest; the publisher sends what has changed."""
        if self._publisher is None:
            return
        areas = [float((f.box[2] - f.box[0]) * (f.box[3] - f.box[1])) for f in step.faces]
        largest = step.emotions[areas.index(max(areas))] if areas else None
        self._publisher.faces(self.camera.name, len(areas))
        self._publisher.emotion(self.camera.name, (largest.label or largest.skipped or "none") if largest else "none")

    def _camera_says(self, text: str) -> None:
        self._log(text)
        self._state("running" if text.endswith(" answers") else "waiting", text)

    def _state(self, state: str, reason: str | None) -> None:
        if self._publisher is not None:
            moment = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            self._publisher.state(self.camera.name, {"v": 1, "state": state, "reason": reason, "ts": moment})


def clock_state() -> str:
    """Return whether the wall clock is set by the network, as systemd-timesyncd says; `unknown` without it."""
    folder = Path("/run/systemd/timesync")
    if not folder.is_dir():
        return "unknown"
    return "synced" if (folder / "synchronized").exists() else "unsynced"
