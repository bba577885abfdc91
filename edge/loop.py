"""The frame loop: follow, align, classify, and say what happened. Knows no camera, no network, no screen."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from edge.align import align
from edge.config import Config
from edge.detect import Detector
from edge.events import Event, EventMaker
from edge.follow import Follower
from edge.model import Classifier
from edge.model.answers import to_emotions
from edge.track import Tracker
from edge.values import Emotion, Face, Frame

EARLY = 0.001  # seconds: three frames of 24 a second are an eighth of one


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
    """

    frame: Frame
    faces: list[Face]
    emotions: list[Emotion]
    events: list[Event]
    ms: dict[str, float]
    read: int


@dataclass
class _View:
    """What is known of one camera's picture.

    Attributes:
        follower: finds its faces.
        emotions: what was last read in each face, by track.
        read: when that was, seconds.
        last: its last frame.
    """

    follower: Follower
    emotions: dict[int, Emotion] = field(default_factory=dict)
    read: dict[int, float] = field(default_factory=dict)
    last: Frame | None = None


class Loop:
    """Takes frames one by one, of one camera or several, and turns them into events.

    Args:
        detector: finds faces.
        classifier: reads emotions; all faces of a frame go through it in one batch.
        maker: numbers the events.
        config: how faces are followed and read; its cameras and broker do not matter here.
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
        self.detector, self.classifier, self.maker = detector, classifier, maker
        self.config = config or Config()
        self._clock = clock
        self._views: dict[str, _View] = {}
        self._tracks = itertools.count(1)

    def step(self, frame: Frame) -> Step:
        """Process one frame."""
        view = self._view(frame.camera)
        began = self._clock()
        tracked = view.follower.update(frame)
        detected = self._clock()
        read = self._read(frame, tracked.faces, view)
        classified = self._clock()
        ms = {
            "detect": (detected - began) * 1000,
            "classify": (classified - detected) * 1000,
            "total": (classified - began) * 1000,
        }
        events = [self.maker.left(frame, track) for track in tracked.left]
        for track in tracked.left:
            view.emotions.pop(track), view.read.pop(track)
        emotions = [view.emotions[face.track] for face in tracked.faces]
        for face, emotion in zip(tracked.faces, emotions, strict=True):
            events.append(self.maker.seen(frame, face, emotion, ms, entered=face.track in tracked.entered))
        view.last = frame
        return Step(frame, tracked.faces, emotions, events, ms, read)

    def finish(self) -> list[Event]:
        """End all tracks: the sources have ended. Return their leave events, each at the time of its last frame."""
        return [
            self.maker.left(view.last, track)
            for view in self._views.values()
            for track in view.follower.finish()
            if view.last is not None
        ]

    def _view(self, camera: str) -> _View:
        if camera not in self._views:
            track = self.config.track
            tracker = Tracker(track.overlap, track.keep, self._tracks)
            self._views[camera] = _View(Follower(self.detector, tracker, track.search_every))
        return self._views[camera]

    def _read(self, frame: Frame, faces: list[Face], view: _View) -> int:
        """Read the emotions of the faces whose turn it is, in one batch; return how many."""
        rate = self.config.classify.rate
        due = [
            face
            for face in faces
            if frame.still or rate <= 0 or frame.mono - view.read.get(face.track, -np.inf) > 1 / rate - EARLY
        ]
        for face, emotion in zip(due, classify_faces(frame.image, due, self.classifier), strict=True):
            view.emotions[face.track], view.read[face.track] = emotion, frame.mono
        return len(due)


def classify_faces(image: np.ndarray, faces: list[Face], classifier: Classifier) -> list[Emotion]:
    """Read the emotion of every face of one picture in one batch.

    Args:
        image: `(H, W, 3)` uint8 BGR.
        faces: as a detector gives them.
        classifier: a model.
    """
    if not faces:
        return []
    crop = classifier.info.crop
    crops = np.empty((len(faces), crop.size, crop.size, 3), np.uint8)  # (N, S, S, 3) RGB
    for index, face in enumerate(faces):
        crops[index] = align(image, face.box, face.landmarks, crop)
    return to_emotions(classifier.classify(crops), classifier.info)
