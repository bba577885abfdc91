"""The frame loop: follow, align, classify, and say what happened. Knows no camera, no network, no screen."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from edge.config import Config
from edge.detect import Detector
from edge.events import Event, EventMaker, Minute, Minutes, Policy
from edge.follow import Follower
from edge.model import Classifier
from edge.model.flip import Flipped
from edge.read import Reader
from edge.track import Tracker
from edge.values import Emotion, Face, Frame


@dataclass(frozen=True)
class Step:
    """What one frame gave.

    Attributes:
        frame: the frame itself.
        faces: the faces in it, with track ids.
        emotions: one for each face.
        events: what happened, in order.
        ms: milliseconds for `detect`, `classify` and `total`.
        read: how many of the faces were read in this frame; the others keep what was read last.
        minute: the camera's minute that was over before this frame, where minutes are counted.
    """

    frame: Frame
    faces: list[Face]
    emotions: list[Emotion]
    events: list[Event]
    ms: dict[str, float]
    read: int
    minute: Minute | None = None


@dataclass
class _View:
    """What is known of one camera's picture.

    Attributes:
        follower: finds its faces.
        reader: reads their emotions.
        policy: chooses which updates go out.
        minutes: counts its minutes.
        last: its last frame.
        left: who has left and was not yet said to: a frame that breaks must not lose it.
    """

    follower: Follower
    reader: Reader
    policy: Policy
    minutes: Minutes
    last: Frame | None = None
    left: list[int] = field(default_factory=list)


class Loop:
    """Takes frames one by one, of one camera or several, and turns them into events.

    Args:
        detector: finds faces.
        classifier: reads emotions; all faces of a frame go through it in one batch.
        maker: numbers the events.
        config: how faces are followed and read, and what goes out; its cameras and broker do not matter here.
        clock: seconds, for the timings alone.
    """

    def __init__(
        self,
        detector: Detector,
        classifier: Classifier,
        maker: EventMaker,
        config: Config | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.detector, self.maker, self.config = detector, maker, config or Config()
        self.classifier = Flipped(classifier) if self.config.classify.flip else classifier
        self._clock = clock
        self._views: dict[str, _View] = {}
        self._tracks = itertools.count(1)

    def step(self, frame: Frame) -> Step:
        """Process one frame."""
        view = self._view(frame.camera)
        began = self._clock()
        tracked = view.follower.update(frame)
        view.left += tracked.left
        detected = self._clock()
        emotions, read = view.reader.read(frame, tracked.faces)
        classified = self._clock()
        ms = {
            "detect": (detected - began) * 1000,
            "classify": (classified - detected) * 1000,
            "total": (classified - began) * 1000,
        }
        events = self._left(view, frame)
        for face, emotion in zip(tracked.faces, emotions, strict=True):
            entered = not self.maker.knows(face.track)  # in this frame, or in one that broke
            if view.policy.wanted(face.track, emotion, frame.mono):
                events.append(self.maker.seen(frame, face, emotion, ms, entered=entered))
            else:
                self.maker.note(face, emotion, ms)
        view.last = frame
        minute = None
        if self.config.publish.summary:
            minute = view.minutes.add(frame, [face.track for face in tracked.faces], emotions)
        return Step(frame, tracked.faces, emotions, events, ms, read, minute)

    def finish(self, camera: str | None = None) -> list[Event]:
        """End the tracks of a source that has ended, or of all; return their leave events, as of its last frame."""
        events = []
        for name, view in self._views.items():
            if view.last is not None and camera in (None, name):
                view.left += view.follower.finish()
                events += self._left(view, view.last)
        return events

    def lapse(self, camera: str, now: float, wall: float) -> list[Event]:
        """Return the leave events of those whose time is over while their camera gives no frame that could tell.

        Args:
            camera: a live camera that is away, or has been since its last frame.
            now: the frames' monotonic clock, seconds.
            wall: the wall clock, seconds since the epoch.
        """
        view = self._views.get(camera)
        if view is None or view.last is None:
            return []
        view.left += view.follower.lapse(now)
        return self._left(view, replace(view.last, time=wall, mono=now))

    def stumble(self, frame: Frame) -> None:
        """Go on behind a frame on which something broke: its camera's faces are looked for anew in the next one."""
        self._view(frame.camera).follower.forget()

    def minutes(self, now: float | None = None, cameras: Collection[str] | None = None) -> list[Minute]:
        """Return the cameras' minutes that are over though no frame has come since.

        Args:
            now: the frames' monotonic clock, seconds; None for the end, which ends every minute that has begun.
            cameras: names of those that are asked for, whose frames have this clock; None for all.
        """
        views = [view for name, view in self._views.items() if cameras is None or name in cameras]
        ended = [view.minutes.finish() if now is None else view.minutes.over(now) for view in views]
        return [minute for minute in ended if minute is not None]

    def take_over(self, config: Config) -> None:
        """Go on with another configuration: `[track]`, `[classify] rate`, `[quality]`, `[smooth]` and `[publish]`."""
        self.config = config
        for view in self._views.values():
            view.follower.every = config.track.search_every
            view.follower.tracker.overlap, view.follower.tracker.keep = config.track.overlap, config.track.keep
            view.reader.take_over(config)
            view.policy = Policy(config.publish.when, config.publish.seconds)

    def _left(self, view: _View, frame: Frame) -> list[Event]:
        """Return the leave events of those who have left; who entered in a frame that broke was never there."""
        left, view.left = view.left, []
        for track in left:
            view.reader.forget(track)
            view.policy.forget(track)
        return [self.maker.left(frame, track) for track in left if self.maker.knows(track)]

    def _view(self, camera: str) -> _View:
        if camera not in self._views:
            track, publish = self.config.track, self.config.publish
            tracker = Tracker(track.overlap, track.keep, self._tracks)
            self._views[camera] = _View(
                Follower(self.detector, tracker, track.search_every),
                Reader(self.classifier, self.config),
                Policy(publish.when, publish.seconds),
                Minutes(self.maker.device, camera, self.maker.model, self.classifier.info.labels),
            )
        return self._views[camera]
