"""The frame loop: detect, follow, align, classify, and say what happened. Knows no camera, no network, no screen."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge.align import align
from edge.detect import Detector
from edge.events import Event, EventMaker
from edge.model import Classifier
from edge.model.answers import to_emotions
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
    """

    frame: Frame
    faces: list[Face]
    emotions: list[Emotion]
    events: list[Event]
    ms: dict[str, float]


class Loop:
    """Takes frames one by one and turns them into events.

    Args:
        detector: finds faces.
        classifier: reads emotions; all faces of a frame go through it in one batch.
        tracker: gives ids.
        maker: numbers the events.
        clock: seconds, for the timings alone.
    """

    def __init__(
        self,
        detector: Detector,
        classifier: Classifier,
        tracker: Tracker,
        maker: EventMaker,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.detector, self.classifier, self.tracker, self.maker = detector, classifier, tracker, maker
        self._clock = clock
        self._last: Frame | None = None

    def step(self, frame: Frame) -> Step:
        """Process one frame."""
        began = self._clock()
        found = self.detector.detect(frame.image)
        detected = self._clock()
        emotions = classify_faces(frame.image, found, self.classifier)
        classified = self._clock()
        tracked = self.tracker.update(found, frame.mono)
        ms = {
            "detect": (detected - began) * 1000,
            "classify": (classified - detected) * 1000,
            "total": (self._clock() - began) * 1000,
        }
        events = [self.maker.left(frame, track) for track in tracked.left]
        for face, emotion in zip(tracked.faces, emotions, strict=True):
            events.append(self.maker.seen(frame, face, emotion, ms, entered=face.track in tracked.entered))
        self._last = frame
        return Step(frame, tracked.faces, emotions, events, ms)

    def finish(self) -> list[Event]:
        """End all tracks: the source has ended. Return their leave events, at the time of the last frame."""
        tracks = self.tracker.finish()
        return [self.maker.left(self._last, track) for track in tracks] if self._last else []


def classify_faces(image: np.ndarray, faces: list[Face], classifier: Classifier) -> list[Emotion]:
    """Read the emotion of every face of one picture in one batch.

    Args:
        image: `(H, W, 3)` uint8 BGR.
        faces: as a detector gives them.
        classifier: a model.
    """
    crop = classifier.info.crop
    crops = np.empty((len(faces), crop.size, crop.size, 3), np.uint8)  # (N, S, S, 3) RGB
    for index, face in enumerate(faces):
        crops[index] = align(image, face.box, face.landmarks, crop)
    return to_emotions(classifier.classify(crops), classifier.info)
