"""The event: one face at one moment, as it goes out. Everything about it is decided here, nothing is sent."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.resources import files
from typing import Any

from edge.values import Emotion, Face, Frame

VERSION = 1


@dataclass(frozen=True)
class Event:
    """One face at one moment.

    Attributes:
        device, stream, seq: together the event's name for ever; `stream` names the series that `seq` counts in.
        time: wall clock, seconds since the epoch.
        clock: whether that clock is set by the network: `synced`, `unsynced` or `unknown`.
        mono: monotonic clock, seconds.
        camera, frame, size: where it was seen; `size` is width and height in pixels.
        type: `enter`, `update` or `leave`; leave repeats the last values.
        face: box and track.
        emotion: what was read in it.
        model: id of the model file.
        ms: milliseconds for `detect`, `classify` and `total` of its frame.
    """

    device: str
    stream: str
    seq: int
    time: float
    clock: str
    mono: float
    camera: str
    frame: int
    size: tuple[int, int]
    type: str
    face: Face
    emotion: Emotion
    model: str
    ms: dict[str, float]

    @property
    def track(self) -> int:
        """Id of the face."""
        return self.face.track

    def to_dict(self) -> dict[str, Any]:
        """Return the event as its JSON form has it (schema: `event.schema.json`)."""
        moment = datetime.fromtimestamp(self.time, timezone.utc)
        out: dict[str, Any] = {
            "v": VERSION,
            "device": self.device,
            "stream": self.stream,
            "seq": self.seq,
            "ts": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "clock": self.clock,
            "mono_ms": int(self.mono * 1000),
            "camera": self.camera,
            "frame": self.frame,
            "type": self.type,
            "track": self.track,
            "box": [round(float(v), 1) for v in self.face.box],
            "size": list(self.size),
            "emotion": self.emotion.label,
            "confidence": None if self.emotion.confidence is None else round(self.emotion.confidence, 4),
            "scores": {label: round(share, 4) for label, share in self.emotion.scores.items()},
        }
        if self.emotion.skipped is not None:
            out["skipped"] = self.emotion.skipped
        out |= {
            "detector": self.face.detector,
            "model": self.model,
            "ms": {step: round(value, 2) for step, value in self.ms.items()},
        }
        return out

    def to_json(self) -> str:
        """Return the event as one line of JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class _Looks:
    """The last values of a face."""

    face: Face
    emotion: Emotion
    ms: dict[str, float]


class EventMaker:
    """Numbers events and fills in what all of a device's events share.

    Args:
        device: the device's name.
        stream: name of the series of numbers.
        model: id of the model file.
        clock: `synced`, `unsynced` or `unknown`.
        seq: the last number given in this stream.
    """

    def __init__(self, device: str, stream: str, model: str, clock: str = "unknown", seq: int = 0) -> None:
        self.device, self.stream, self.model, self.clock = device, stream, model, clock
        self.seq = seq
        self._last: dict[int, _Looks] = {}

    def seen(self, frame: Frame, face: Face, emotion: Emotion, ms: dict[str, float], *, entered: bool) -> Event:
        """Return the event of a face that is in the frame."""
        self._last[face.track] = _Looks(face, emotion, ms)
        return self._make(frame, "enter" if entered else "update", face, emotion, ms)

    def knows(self, track: int) -> bool:
        """Whether a face has entered and not left."""
        return track in self._last

    def note(self, face: Face, emotion: Emotion, ms: dict[str, float]) -> None:
        """Keep the values of a face for its leave, without an event: no number is used up.

        Raises:
            KeyError: the face has not entered.
        """
        if face.track not in self._last:
            raise KeyError(face.track)
        self._last[face.track] = _Looks(face, emotion, ms)

    def left(self, frame: Frame, track: int) -> Event:
        """Return the event of a face that has left: its last values, published or not, now."""
        last = self._last.pop(track)
        return self._make(frame, "leave", last.face, last.emotion, last.ms)

    def _make(self, frame: Frame, kind: str, face: Face, emotion: Emotion, ms: dict[str, float]) -> Event:
        self.seq += 1
        return Event(
            device=self.device, stream=self.stream, seq=self.seq, time=frame.time, clock=self.clock, mono=frame.mono,
            camera=frame.camera, frame=frame.index, size=frame.size, type=kind, face=face, emotion=emotion,
            model=self.model, ms=ms,
        )  # fmt: skip


def new_stream() -> str:
    """Return a new stream name: 16 hex digits that no other stream has."""
    return secrets.token_hex(8)


def schema(name: str = "event") -> dict[str, Any]:
    """Return a JSON Schema of the kit's messages: `event`, `state`, `info`, `summary` or `health`."""
    loaded: dict[str, Any] = json.loads(files("edge.events").joinpath(f"{name}.schema.json").read_text())
    return loaded
