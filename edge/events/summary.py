"""A minute of a camera in figures: how long each emotion was seen, of how many faces. For counts instead of persons."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from edge.values import UNCERTAIN, Emotion, Frame

VERSION = 1
LENGTH = 60.0
"""Seconds in a minute."""

LONGEST_GAP = 1.0
"""What a frame stands for at most, seconds, however long the next one is waited for."""


@dataclass(frozen=True)
class Minute:
    """What one camera saw in a minute.

    Attributes:
        device, camera, model: whose it is, as in the events.
        time: wall clock at its start, seconds since the epoch.
        seconds: how much of it the camera was seen, at most 60.
        frames: frames processed.
        tracks: faces that differ, by their track ids.
        most: greatest number of faces in one frame.
        emotions: face-seconds of every label and of `uncertain`: two faces that smile for a second are two.
        not_classified: face-seconds without an emotion.
    """

    device: str
    camera: str
    model: str
    time: float
    seconds: float
    frames: int
    tracks: int
    most: int
    emotions: dict[str, float]
    not_classified: float

    def to_dict(self) -> dict[str, Any]:
        """Return the minute as its JSON form has it (schema: `summary.schema.json`)."""
        moment = datetime.fromtimestamp(self.time, timezone.utc).isoformat(timespec="milliseconds")
        return {
            "v": VERSION,
            "device": self.device,
            "camera": self.camera,
            "ts": moment.replace("+00:00", "Z"),
            "seconds": round(self.seconds, 2),
            "frames": self.frames,
            "tracks": self.tracks,
            "most": self.most,
            "emotions": {label: round(seconds, 2) for label, seconds in self.emotions.items()},
            "not_classified": round(self.not_classified, 2),
            "model": self.model,
        }

    def to_json(self) -> str:
        """Return the minute as one line of JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"), allow_nan=False)


@dataclass
class _Count:
    """The minute that is being counted.

    Attributes:
        time: wall clock at its start.
        end: its end on the frames' monotonic clock.
        last: monotonic time of its last frame.
        shown: what is said of the faces in that frame.
    """

    time: float
    end: float
    last: float
    emotions: dict[str, float]
    shown: list[str | None] = field(default_factory=list)
    seconds: float = 0.0
    frames: int = 0
    tracks: set[int] = field(default_factory=set)
    most: int = 0
    not_classified: float = 0.0

    def stood(self, seconds: float) -> None:
        """Count the last frame for so long."""
        self.seconds += seconds
        for label in self.shown:
            if label is None:
                self.not_classified += seconds
            else:
                self.emotions[label] += seconds


class Minutes:
    """Counts one camera's minutes.

    A frame stands for the time until the next one, `longest_gap` at most, so face-seconds do not depend on the frame
    rate; it counts in the minute in which it was taken.

    Minutes are measured on the frames' monotonic clock: the wall clock of a device without a battery jumps when the
    network sets it, and for a file it goes at another pace than the pictures. The first minute is cut short so that
    the others begin with whole minutes of the wall clock as it stood then: several cameras' minutes begin together,
    and whoever adds them up by the clock adds up what belongs together. Minutes without a frame are not told.

    Args:
        device: the device's name.
        camera: the camera's name.
        model: id of the model file.
        labels: the model's labels; each is in every minute.
        longest_gap: seconds.
    """

    def __init__(
        self, device: str, camera: str, model: str, labels: Sequence[str], longest_gap: float = LONGEST_GAP
    ) -> None:
        self.device, self.camera, self.model, self.labels = device, camera, model, (*labels, UNCERTAIN)
        self.longest_gap = longest_gap
        self._count: _Count | None = None
        self._end: float | None = None

    def add(self, frame: Frame, tracks: Sequence[int], emotions: Sequence[Emotion]) -> Minute | None:
        """Take in a frame; return the minute that was over before it, or None.

        Args:
            frame: its times are read, its picture is not.
            tracks: ids of the faces in it.
            emotions: what is said of each.
        """
        done = self.over(frame.mono)
        if self._count is None:
            self._count = self._open(frame)
        elif frame.mono > self._count.last:
            self._stand(self._count, frame.mono)
        count = self._count
        count.last = max(count.last, frame.mono)
        count.frames += 1
        count.tracks.update(tracks)
        count.most = max(count.most, len(tracks))
        count.shown = [emotion.label for emotion in emotions]
        return done

    def over(self, now: float) -> Minute | None:
        """Return the minute that is over, or None. For a camera that gives no frame: `add` asks by itself.

        Args:
            now: the time on the frames' monotonic clock, seconds.
        """
        if self._count is None or now < self._count.end:
            return None
        self._stand(self._count, now)
        return self.finish()

    def finish(self) -> Minute | None:
        """Return the minute that has begun, or None: the source has ended, and its last frame stands for nothing."""
        count, self._count = self._count, None
        if count is None:
            return None
        return Minute(
            device=self.device, camera=self.camera, model=self.model, time=count.time, seconds=count.seconds,
            frames=count.frames, tracks=len(count.tracks), most=count.most, emotions=count.emotions,
            not_classified=count.not_classified,
        )  # fmt: skip

    def _stand(self, count: _Count, until: float) -> None:
        count.stood(min(until - count.last, self.longest_gap))

    def _open(self, frame: Frame) -> _Count:
        """Begin the minute that a frame lies in; only the first begins with its frame."""
        start = frame.mono
        if self._end is None:
            self._end = start + LENGTH - frame.time % LENGTH
        else:
            start = self._end + LENGTH * max(math.floor((start - self._end) / LENGTH), 0)
            self._end = start + LENGTH
        return _Count(frame.time - (frame.mono - start), self._end, frame.mono, dict.fromkeys(self.labels, 0.0))
