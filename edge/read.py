"""Reading the emotions of one camera's faces: whose turn it is, who can be read, and what is said of them over time."""

from __future__ import annotations

import numpy as np

from edge.align import align
from edge.config import Config
from edge.model import Classifier
from edge.model.answers import to_emotions
from edge.quality import Limits, why_skipped
from edge.smooth import Smoother
from edge.values import Emotion, Face, Frame

EARLY = 0.001  # seconds: three frames of 24 a second are an eighth of one


class Reader:
    """Says of each face what its emotion is, frame by frame.

    Args:
        classifier: reads crops; all of a frame in one batch.
        config: `[classify] rate`, `[quality]` and `[smooth]` of it.
    """

    def __init__(self, classifier: Classifier, config: Config) -> None:
        info, smooth = classifier.info, config.smooth
        self.classifier = classifier
        self._smoother = Smoother(info.labels, info.threshold, smooth.time_constant, smooth.margin)
        self.take_over(config)
        self._said: dict[int, Emotion] = {}
        self._read: dict[int, float] = {}
        self._turned: set[int] = set()

    def take_over(self, config: Config) -> None:
        """Go on with another configuration."""
        quality, smooth = config.quality, config.smooth
        self.rate = config.classify.rate
        self._limits = Limits(quality.min_side, quality.sharpness, quality.turn)
        self._smoother.time_constant, self._smoother.margin = smooth.time_constant, smooth.margin

    def read(self, frame: Frame, faces: list[Face]) -> tuple[list[Emotion], int]:
        """Return an emotion for each face, and how many of them were classified in this frame.

        A face whose turn it is not keeps what was said of it. A picture of its own is classified as it is, unsmoothed.
        """
        due = [face for face in faces if frame.still or self._due(face.track, frame.mono)]
        skipped = {
            face.track: why
            for face in due
            if (why := why_skipped(face, self._limits, turned=not frame.still and face.track in self._turned))
        }
        self._turned -= {face.track for face in due}
        self._turned |= {track for track, why in skipped.items() if why == "turned"}
        crops = {face.track: self._crop(frame, face) for face in due if face.track not in skipped}
        for face in due:
            crop = crops.get(face.track)
            if crop is not None and (why := why_skipped(face, self._limits, crop)):
                skipped[face.track] = why
                del crops[face.track]
        for track, why in skipped.items():
            still = Emotion(None, None, {}, skipped=why)
            self._said[track] = still if frame.still else self._smoother.unread(track, why, frame.mono)
        if crops:
            scores = self.classifier.classify(np.stack(list(crops.values())))  # (N, classes)
            alone = to_emotions(scores, self.classifier.info) if frame.still else None
            for row, track in enumerate(crops):
                self._said[track] = alone[row] if alone else self._smoother.update(track, scores[row], frame.mono)
        self._read |= {face.track: frame.mono for face in due}
        return [self._said[face.track] for face in faces], len(crops)

    def forget(self, track: int) -> None:
        """Drop a face that has left."""
        self._smoother.forget(track)
        self._said.pop(track, None)
        self._read.pop(track, None)
        self._turned.discard(track)

    def _due(self, track: int, now: float) -> bool:
        return self.rate <= 0 or now - self._read.get(track, -np.inf) > 1 / self.rate - EARLY

    def _crop(self, frame: Frame, face: Face) -> np.ndarray:
        return align(frame.image, face.box, face.landmarks, self.classifier.info.crop)


def classify_faces(image: np.ndarray, faces: list[Face], classifier: Classifier) -> list[Emotion]:
    """Read the emotion of every face of one picture in one batch, as it is.

    Args:
        image: `(H, W, 3)` uint8 BGR.
        faces: as a detector gives them.
        classifier: a model.
    """
    if not faces:
        return []
    crops = np.stack([align(image, face.box, face.landmarks, classifier.info.crop) for face in faces])
    return to_emotions(classifier.classify(crops), classifier.info)
