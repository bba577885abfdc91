"""`edge run`: the frame loop between a source and those who want to know: standard output, MQTT, a drawing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from edge.broker import check_level
from edge.config import Config
from edge.detect import Detector, load_configured
from edge.draw import Drawing
from edge.errors import EdgeError, InputError, first_line
from edge.events import Event, EventMaker, new_stream
from edge.host.fit import Fit
from edge.host.health import ModelUse
from edge.host.keeper import Keeper
from edge.host.logs import Log
from edge.host.memory import loading
from edge.host.uses import camera_stats, detector_use, queue_stats
from edge.host.watchdog import Notifier, Watchdog
from edge.loop import Loop, Step
from edge.model import Classifier, load_model
from edge.model.choice import load_chosen, names_own_model
from edge.output import Output
from edge.reload import diff, take_over
from edge.sources import open_cameras
from edge.sources.cameras import Cameras
from edge.sources.state import CameraState
from edge.tally import Summary

if TYPE_CHECKING:
    from edge.host.aim import Aim

MOST_FAILED = 50
"""So many frames in a row on which something broke, or so many kinds of it, end the run."""

SHIPS = "it ships with the kit"

NOWHERE = "events go nowhere: print them with --stdout, or send them with --broker mqtt://HOST/emotion"
"""Said where nothing takes what a run sees."""

LOOK_SECONDS = 0.5
"""How often the loop looks whether it shall stop while no frame comes."""


class Runner:
    """One run: everything is opened in order through `with`, and closed in order at the end.

    Args:
        config: what to run; a camera at least must be in it.
        stop: set it to end the run; nothing is lost.
        log: takes lines for a person.
        stdout: where to print one JSON event a line, or None.
        draw: file to draw into, or None; for one camera.
        max_frames: end after so many frames, or None.
        fail_fast: raise OutsideError instead of waiting for a camera or a broker.
        aim: opens the page for aiming, given the cameras' names; or None.
        reload: returns the configuration anew when `reread` was called; or None.

    Raises:
        InputError: something that was named is missing or wrong.
        OutsideError: camera or broker do not answer, with `fail_fast`.
    """

    def __init__(
        self,
        config: Config,
        *,
        stop: threading.Event,
        log: Log,
        stdout: TextIO | None = None,
        draw: str | None = None,
        max_frames: int | None = None,
        fail_fast: bool = False,
        aim: Callable[[list[str]], Aim] | None = None,
        reload: Callable[[], Config] | None = None,
    ) -> None:
        if not config.camera:
            raise InputError(
                "no source: name a camera, a file or a folder with --source, or in edge.toml under [[camera]]"
            )
        if draw is not None and len(config.camera) > 1:
            raise InputError("--draw draws one camera, and there are several: choose one with --camera NAME")
        check_level(config.device, "device name")
        self.config = config
        self._stop, self._log, self._output = stop, log, Output(config, stdout, stop, self._warn)
        self._draw_to, self._max_frames, self._fail_fast = draw, max_frames, fail_fast
        self._open_aim, self._reload = aim, reload
        self._reread = threading.Event()
        self._aim: Aim | None = None
        self._failed, self._broke, self._away = 0, set[str](), set[str]()
        self._to_nobody = not (stdout or draw or aim or config.mqtt.broker or config.health.metrics_port)
        self.summary = Summary()

    def reread(self) -> None:
        """Read the configuration anew with the next frame; safe in a signal handler."""
        self._reread.set()

    def run(self) -> Summary:
        """Process frames until the sources end, the count is reached, or `stop` is set; return what was seen."""
        config = self.config
        live = any(camera.live for camera in config.camera)
        with loading():
            classifier, threads, why = self._classifier()
            detector = load_configured(config.detect, live=live, say=self._warn)
        stream = new_stream()
        watchdog = Watchdog(Notifier(), log=lambda text: self._log(text, level="error"))
        loop = Loop(detector, classifier, EventMaker(config.device, stream, classifier.info.id, clock_state()), config)
        with ExitStack() as stack:
            stack.callback(self._disconnect)
            stack.callback(self._output.nobody)
            self._output.connect(
                stream, classifier.info.id, detector.name, log=self._log, fail_fast=self._fail_fast,
                stage=watchdog.stage,
            )  # fmt: skip
            cameras = stack.enter_context(
                open_cameras(config.camera, say=self._log, on_state=self._state, fail_fast=self._fail_fast)
            )
            drawing = self._drawing(stack, cameras)
            keeper = stack.enter_context(self._keeper(cameras, detector, classifier, threads, why, watchdog))
            if self._open_aim is not None:
                self._aim = self._open_aim([camera.name for camera in config.camera])
                stack.callback(self._aim.close)
            began = time.monotonic()
            for step in self._steps(cameras, loop, keeper, live):
                self._account(step)
                for event in step.events:
                    self._send(event)
                if step.minute is not None:
                    self._output.minute(step.minute)
                self._output.retain(step)
                if drawing is not None:
                    drawing.add(step)
                if self._aim is not None:
                    self._aim.offer(step)
            for event in loop.finish():
                self._send(event)
            for minute in loop.minutes():
                self._output.minute(minute)
            self.summary.seconds = time.monotonic() - began
            self.summary.broken, self.summary.failed = cameras.broken, cameras.failed
        return self.summary

    def _classifier(self) -> tuple[Classifier, int, str | None]:
        """Load the model that is named, else what was measured as the fastest on this device, else what ships.

        Returns:
            the model, its threads, and why it is this one where nobody named it.
        """
        named, threads = self.config.model, self.config.classify.threads
        if named is None and (chosen := load_chosen(self._log, threads)):
            return *chosen, "it was measured as the fastest on this device"
        return load_model(named, threads=threads or 1), threads or 1, None if named else SHIPS

    def _steps(self, cameras: Cameras, loop: Loop, keeper: Keeper, live: bool) -> Iterator[Step]:
        """Yield what each frame gives, as fast as the limits allow; a step's deadline runs until the next is asked."""
        cameras_live = {camera.name for camera in self.config.camera if camera.live}  # a file's clock is not this one
        look = 0.0
        while not self._stop.is_set() and (self._max_frames is None or self.summary.frames < self._max_frames):
            if self._reread.is_set():
                self._take_over(loop, keeper)
            if live and self._stop.wait(keeper.governor.rest(time.monotonic())):
                return
            self._output.wait()
            frame = cameras.next(LOOK_SECONDS)
            if (now := time.monotonic()) >= look:  # a camera that is away sends no frame that could end its minute
                look = now + LOOK_SECONDS
                for minute in loop.minutes(now, cameras_live):
                    self._output.minute(minute)
            if self._away:
                with keeper.loop:
                    self._lapse(loop, cameras, frame.camera if frame is not None else None)
            if frame is None:
                if cameras.ended:
                    return
                continue
            with keeper.loop:
                try:
                    step = loop.step(frame)
                except Exception as error:
                    if not (live and self._forgiven(error)):
                        raise
                    loop.stumble(frame)
                    continue
                self._failed = 0
                yield step
            keeper.governor.took(time.monotonic(), frame.camera)
            keeper.health.step(
                {name: ms for name, ms in step.ms.items() if name != "classify" or step.read}, frame.camera
            )

    def _state(self, state: CameraState) -> None:
        """Hand on how a camera is; called from its thread."""
        self._output.state(state)
        if state.state != "running":
            self._away.add(state.camera)

    def _lapse(self, loop: Loop, cameras: Cameras, at_hand: str | None) -> None:
        """Say who has left while a camera is away, or was until its frame at hand, or has ended: no frame tells."""
        for one in [opened for opened in cameras.opened if opened.camera in self._away]:
            camera = one.camera
            self._away.discard(camera)  # before its state is asked for, which may change meanwhile
            if one.ended and camera != at_hand:
                events = loop.finish(camera)
            else:
                if one.state.state != "running":
                    self._away.add(camera)
                events = loop.lapse(camera, time.monotonic(), time.time()) if one.live else []
            for event in events:
                self._send(event)
            if events:
                self._output.nobody(camera)

    def _forgiven(self, error: Exception) -> bool:
        """Say what broke on a camera's frame, once for each kind; whether the run goes on all the same."""
        self._failed += 1
        text = f"a frame is lost: {type(error).__name__}: {first_line(error)}"
        if text not in self._broke:
            self._broke.add(text)
            self._log(text, level="error")
        return self._failed < MOST_FAILED and len(self._broke) < MOST_FAILED

    def _take_over(self, loop: Loop, keeper: Keeper) -> None:
        """Read the configuration anew; say what is taken over and what needs a restart."""
        self._reread.clear()
        if self._reload is None:
            self._log("there is no configuration file to read anew")
            return
        try:
            new = self._reload()
        except EdgeError as error:
            self._warn(f"{error}; the run goes on as it was")
            return
        changes = diff(self.config, new)
        for change in changes:
            self._log(f"reload: {change}")
        if not changes:
            self._log("reload: nothing has changed")
        self.config = take_over(self.config, new)
        keeper.reloading(lambda: self.config)
        loop.take_over(self.config)
        self._log.set_level(self.config.log.level)
        if self._aim is not None and not self.config.privacy.aim:
            self._aim.close()

    def _drawing(self, stack: ExitStack, cameras: Cameras) -> Drawing | None:
        if self._draw_to is None:
            return None
        drawing = Drawing(self._draw_to, cameras.opened[0].fps, self.config.camera[0].source)
        stack.callback(drawing.close)
        return drawing

    def _keeper(
        self,
        cameras: Cameras,
        detector: Detector,
        classifier: Classifier,
        threads: int,
        why: str | None,
        watchdog: Watchdog,
    ) -> Keeper:
        """Return what keeps this run well."""
        info, publisher = classifier.info, self._output.publisher
        live, after = any(camera.live for camera in self.config.camera), self.config.classify.fit_after
        unknown = why == SHIPS and not names_own_model()
        fit = Fit(after, log=self._log) if live and after and unknown else None

        def model() -> ModelUse:
            reason = why if fit is None else f"{why}; {fit.standing}"
            return ModelUse(info.id, classifier.runtime, info.precision, threads, reason)

        return Keeper(
            self.config, self._log, cameras=lambda: camera_stats(cameras), detector=lambda: detector_use(detector),
            model=model, queue=(lambda: queue_stats(publisher)) if publisher is not None else None,
            limit=cameras.limit, fit=fit, tell=publisher.health if publisher is not None else lambda message: None,
            watchdog=watchdog,
        )  # fmt: skip

    def _disconnect(self) -> None:
        try:
            self.summary.undelivered = self._output.close()
        finally:
            self.summary.unread = self._output.unread

    def _account(self, step: Step) -> None:
        self.summary.add(step)
        if self._to_nobody and self.summary.frames == 1:  # not sooner: what keeps the run from its start stands alone
            self._warn(NOWHERE)

    def _send(self, event: Event) -> None:
        self.summary.events += 1
        self._output.event(event)

    def _warn(self, text: str) -> None:
        self._log(text, level="warning")


def clock_state() -> str:
    """Return whether the wall clock is set by the network, as systemd-timesyncd says; `unknown` without it."""
    folder = Path("/run/systemd/timesync")
    if not folder.is_dir():
        return "unknown"
    return "synced" if (folder / "synchronized").exists() else "unsynced"
