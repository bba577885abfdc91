"""The tally of a run: frames, faces and events, counted while it goes and said in one line at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from edge.loop import Step


@dataclass
class Summary:
    """What a run saw, said at its end.

    Attributes:
        frames: frames processed.
        broken: frames that could not be read.
        with_face: frames with a face in them.
        events: events made.
        undelivered: events that no broker confirmed.
        unread: events that the reader of standard output did not take.
        emotions: in how many frames a face had which emotion.
        seconds: how long the frames took, from the first to the last.
        failed: names of the cameras that could not be opened or read on.
    """

    frames: int = 0
    broken: int = 0
    with_face: int = 0
    events: int = 0
    undelivered: int = 0
    unread: int = 0
    emotions: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)

    def add(self, step: Step) -> None:
        """Count a frame and what was in it."""
        self.frames += 1
        self.with_face += bool(step.faces)
        for emotion in step.emotions:
            self.emotions[emotion.label or f"not classified ({emotion.skipped})"] += 1

    def __str__(self) -> str:
        rate = f", {self.frames / self.seconds:.1f} frames/s" if self.seconds > 0 else ""
        parts = [_counted(self.frames, "frame") + rate, f"{self.with_face} with a face"]
        if self.emotions:
            parts.append(", ".join(f"{label} {count}" for label, count in self.emotions.most_common()))
        parts.append(_counted(self.events, "event"))
        if self.broken:
            parts.append(f"{_counted(self.broken, 'broken frame')} skipped")
        if self.failed:
            parts.append(f"FAILED: {', '.join(self.failed)}")
        if self.undelivered:
            parts.append(f"{_counted(self.undelivered, 'event')} NOT confirmed by the broker")
        if self.unread:
            parts.append(f"{_counted(self.unread, 'event')} NOT read from standard output")
        return "; ".join(parts)


def _counted(count: int, one: str) -> str:
    return f"{count} {one}" if count == 1 else f"{count} {one}s"
