"""The rows of the table: the last that is known of each person, in text that is safe on a terminal (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

LONGEST = 40
"""Characters of one cell."""
MOST_ROWS = 200
"""People kept; the one not heard of for longest goes first."""
LEFT_STAYS = 5.0
"""Seconds for which a person who left is still shown."""
QUIET_AFTER = 60.0
"""Seconds without an event after which a row is dropped: its leave was lost."""


@dataclass(frozen=True)
class Row:
    """One person before one camera; every text is clean.

    Attributes:
        device: the device's name.
        camera: the camera's name.
        track: the person's id at that camera.
        emotion: label, `uncertain`, or why it was not classified, in brackets.
        confidence: per cent, or a dash.
        state: `enter`, `update`, `leave`, or `offline` when the device is.
        heard: monotonic seconds of the last event.
        age: seconds since then.
    """

    device: str
    camera: str
    track: str
    emotion: str
    confidence: str
    state: str
    heard: float
    age: float = 0.0


class Rows:
    """Keeps the rows up to date from events."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], Row] = {}
        self._offline: set[str] = set()
        self._online: set[str] = set()

    def take(self, event: Mapping[str, Any], now: float) -> Row:
        """Put an event in and return its row. Whatever type a value has, it becomes a short clean text."""
        device, camera = clean(event.get("device", "?")), clean(event.get("camera", "?"))
        row = Row(
            device, camera, clean(event.get("track", "?")),
            emotion=_emotion(event), confidence=_per_cent(event.get("confidence")),
            state=clean(event.get("type", "?")), heard=now,
        )  # fmt: skip
        key = (row.device, row.camera, row.track)
        # Taken out first, so that the order is that of the last word and the stalest goes when there are too many.
        self._rows.pop(key, None)
        self._rows[key] = row
        while len(self._rows) > MOST_ROWS:
            del self._rows[next(iter(self._rows))]
        return row

    def status(self, device: str, status: str) -> str:
        """Note that a device came or went; return it as a line."""
        name, said = clean(device), clean(status)
        gone, there = (self._offline, self._online) if said == "offline" else (self._online, self._offline)
        there.discard(name)
        if len(gone) < MOST_ROWS:
            gone.add(name)
        return f"{name}: {said}"

    def all(self, now: float) -> list[Row]:
        """The rows to show, by device, camera and track; people long gone are dropped."""
        for key, row in list(self._rows.items()):
            if now - row.heard > (LEFT_STAYS if row.state == "leave" else QUIET_AFTER):
                del self._rows[key]
        return [
            replace(row, age=now - row.heard, state="offline" if row.device in self._offline else row.state)
            for _, row in sorted(self._rows.items(), key=lambda item: _by_number(item[0]))
        ]

    def summary(self) -> str:
        """Which devices are there."""
        parts = [
            f"{word}: {', '.join(sorted(names)[:10])}{' …' if len(names) > 10 else ''}"
            for word, names in (("online", self._online), ("offline", self._offline))
            if names
        ]
        return " · ".join(parts) or "no device has been heard of yet"


def line_of(row: Row) -> str:
    """A row as one line."""
    return f"{row.device}/{row.camera} #{row.track} {row.state}: {row.emotion} {row.confidence}"


def clean(value: object) -> str:
    """Any value of a payload as a short text without control, format or other unprintable characters."""
    text = value if isinstance(value, str) else _spelled(value)
    kept = text[: LONGEST + 1]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode("ascii") for c in kept)
    return safe if len(safe) <= LONGEST else safe[: LONGEST - 1] + "…"


def _spelled(value: object) -> str:
    """Numbers and the like as text; lists and objects stay closed."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        # A number of thousands of digits must not be spelled out: Python refuses that with an error.
        return str(value) if abs(value) < 10**18 else "…"
    if isinstance(value, float):
        return f"{value:g}"
    return f"({type(value).__name__})"


def _emotion(event: Mapping[str, Any]) -> str:
    emotion = event.get("emotion")
    if emotion is None:
        return f"({clean(event.get('skipped', 'not classified'))})"
    return clean(emotion)


def _per_cent(confidence: object) -> str:
    if isinstance(confidence, bool) or not isinstance(confidence, (int, float)) or not 0 <= confidence <= 1:
        return "–"
    return f"{confidence:.0%}"


def _by_number(key: tuple[str, str, str]) -> tuple[str, str, int, str]:
    device, camera, track = key
    return device, camera, int(track) if track.isdecimal() and track.isascii() else -1, track
