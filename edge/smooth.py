"""The emotion of a face over time: scores steadied by a time constant, a label that does not flicker. Pure.

Time comes in with the frames, so the outcome does not depend on how many of them there are in a second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.values import UNCERTAIN, Emotion

INSTANT = 1e-6
"""Seconds by which rounding may take two times apart."""

LEAST_WEIGHT = 1e-6
"""What a reading of weight 0 still counts, so that a face seen only in bad crops has an answer."""


class _Average:
    """A weighted mean of `(K,)` scores that forgets what is old: after `time_constant` seconds, all but 1/e of it."""

    def __init__(self, scores: np.ndarray, weight: float, now: float) -> None:
        self._sum, self._weight, self.now = scores * weight, weight, now

    def add(self, scores: np.ndarray, weight: float, now: float, time_constant: float) -> None:
        """Take in the scores that hold since the last ones were taken, at a later `now`."""
        kept = math.exp((self.now - now) / time_constant)
        self._sum = self._sum * kept + scores * (weight * (1 - kept))
        self._weight = self._weight * kept + weight * (1 - kept)
        self.now = now

    @property
    def scores(self) -> np.ndarray:
        """`(K,)` float64."""
        return self._sum / self._weight


@dataclass
class _Run:
    """Readings in a row that, each taken alone, would change what is said to the same other thing.

    Attributes:
        to: that other thing.
        since: time of the last reading before them, seconds.
        average: theirs alone.
    """

    to: str
    since: float
    average: _Average


@dataclass
class _Track:
    """What is known of one face.

    Attributes:
        average: of all readings.
        emotion: what is said of it.
        agreed: time of the last reading that alone would have left that as it is, seconds.
        run: the readings since then that agree on something else.
    """

    average: _Average
    emotion: Emotion
    agreed: float
    run: _Run | None = None


class Smoother:
    """Steadies what the classifier says of each face.

    Four rules, each in seconds and none in frames:

    - Scores are averaged exponentially. What was answered a time T ago counts `exp(-T / time_constant)` of what it did.
    - The label stays until another is ahead of it by `margin`; see `settle`.
    - It changes to what the reading itself would change it to, when the average does so too. An average alone says
      "uncertain" half way between two clear expressions, though no reading was.
    - When every reading of a time constant, two at least, would by itself change the label to the same other one, it
      changes, and the average starts anew with these readings. (When they would change it but to this and to that, the
      average is believed.)

    While a change is not yet told, the label's own score, which is its confidence, may fall below another's.

    By the last rule a clean change is told, at a steady rate, never later than `time_constant` after its first reading.
    By the average alone it takes `time_constant * ln((before + after) / (after - margin))`, for leads `before` and
    `after` of the old and the new label, which has no bound when a weak expression follows a strong one.

    Args:
        labels: the model's labels, in the order of its scores.
        threshold: confidence below which the answer is *uncertain*.
        time_constant: seconds; 0 for every reading as it is, as `edge.model.answers.to_emotions` gives it.
        margin: how far ahead another label must be, 0 to 1.
    """

    def __init__(self, labels: Sequence[str], threshold: float, time_constant: float, margin: float) -> None:
        self.labels, self.threshold = tuple(labels), threshold
        self.time_constant, self.margin = time_constant, margin
        self._tracks: dict[int, _Track] = {}

    def __len__(self) -> int:
        """How many faces are remembered."""
        return len(self._tracks)

    def update(self, track: int, scores: np.ndarray, now: float, weight: float = 1.0) -> Emotion:
        """Take in what the classifier says of a face, and return what is to be said.

        Args:
            track: the face's id.
            scores: `(K,)` probabilities.
            now: the frame's monotonic time, seconds. A time that is not later than the face's last one adds nothing.
            weight: how good the crop is, 0 to 1, beside the face's other crops.
        """
        if self.time_constant <= 0:
            emotion = self._emotion(scores, settle(self.labels, scores, None, self.threshold, self.margin))
            self._tracks[track] = _Track(_Average(scores, 1.0, now), emotion, now)
            return emotion
        scores = np.asarray(scores, np.float64)
        weight = max(weight, LEAST_WEIGHT)
        known = self._tracks.get(track)
        if known is None:
            emotion = self._emotion(scores, settle(self.labels, scores, None, self.threshold, self.margin))
            known = self._tracks[track] = _Track(_Average(scores, weight, now), emotion, now)
        elif now > known.average.now:
            label = self._next(known, scores, weight, now)
            known.emotion = self._emotion(known.average.scores, label)
        return known.emotion

    def _next(self, known: _Track, scores: np.ndarray, weight: float, now: float) -> str:
        """Take in a reading; return the label that is said after it."""
        before, said, run = known.average.now, known.emotion.label, known.run
        known.average.add(scores, weight, now, self.time_constant)
        alone, averaged = self._settled(scores, said), self._settled(known.average.scores, said)
        if said is None:  # nothing to hold on to
            known.agreed = now
            return averaged
        if alone == said:
            known.agreed, known.run = now, None
            return said
        if run is None or run.to != alone:
            known.run = _Run(alone, before, _Average(scores, weight, now))
        else:
            run.average.add(scores, weight, now, self.time_constant)
            if averaged != alone and self._lasted(run.since, now):
                known.average, averaged = run.average, alone
        if averaged != alone and not self._lasted(known.agreed, now):
            return said
        if averaged != said:
            known.agreed = now
            if averaged == alone:
                known.run = None  # they have what they ask for
        return averaged

    def _lasted(self, since: float, now: float) -> bool:
        return now - since >= self.time_constant - INSTANT

    def _settled(self, scores: np.ndarray, present: str | None) -> str:
        return settle(self.labels, scores, present, self.threshold, self.margin)

    def unread(self, track: int, why: str, now: float) -> Emotion:
        """Return what is to be said of a face that is there and was not classified in this frame.

        For a time constant after its last reading that is what was said of it then: one blurred frame is no news.

        Args:
            track: the face's id.
            why: `small`, `blurred` or `turned`.
            now: the frame's monotonic time, seconds.
        """
        known = self._tracks.get(track)
        if known is not None and known.emotion.label is not None and not self._lasted(known.average.now, now):
            return known.emotion
        emotion = Emotion(None, None, {}, skipped=why)
        if known is not None:
            known.emotion, known.run = emotion, None
        return emotion

    def last(self, track: int) -> Emotion | None:
        """Return what was last said of a face that has been read, or None."""
        known = self._tracks.get(track)
        return known.emotion if known else None

    def forget(self, track: int) -> None:
        """Drop a face that has left."""
        self._tracks.pop(track, None)

    def _emotion(self, scores: np.ndarray, label: str) -> Emotion:
        share = scores.max() if label == UNCERTAIN else scores[self.labels.index(label)]
        return Emotion(label, float(share), {name: float(p) for name, p in zip(self.labels, scores, strict=True)})


def settle(labels: Sequence[str], scores: np.ndarray, present: str | None, threshold: float, margin: float) -> str:
    """Return the label to be said of `(K,)` scores when `present` is what is said so far, or None at the first.

    The highest is taken when it is not below the threshold. A label that is said stays until another is ahead of it by
    `margin`, or it is itself below the threshold by `margin`: between `threshold - margin` and `threshold` both a label
    and `uncertain` stay what they are.
    """
    top = int(scores.argmax())
    highest = float(scores[top])
    if present is not None and present != UNCERTAIN:
        own = float(scores[labels.index(present)])
        if own >= threshold - margin and highest - own < margin:
            return present
    return labels[top] if highest >= threshold else UNCERTAIN
