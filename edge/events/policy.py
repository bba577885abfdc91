"""Which of a face's updates go out: on a change, every so often, or all of them. Pure: time comes in."""

from __future__ import annotations

from dataclasses import dataclass

from edge.errors import InputError
from edge.values import Emotion

WHEN = ("change", "interval", "every")

INSTANT = 1e-6
"""Seconds by which rounding may take two times apart."""


@dataclass(frozen=True)
class _Sent:
    said: tuple[str | None, str | None]
    at: float


class Policy:
    """Decides update by update. What has just entered is always wanted; a leave is not asked about: it always goes out.

    Args:
        when: `change`: when the label has changed, or why there is none; `interval`: at most every `seconds`;
            `every`: each frame.
        seconds: of `interval`.

    Raises:
        InputError: `when` is none of these.
    """

    def __init__(self, when: str, seconds: float = 0.0) -> None:
        check_when(when)
        self.when, self.seconds = when, seconds
        self._sent: dict[int, _Sent] = {}

    def __len__(self) -> int:
        """How many faces are remembered."""
        return len(self._sent)

    def wanted(self, track: int, emotion: Emotion, now: float) -> bool:
        """Say whether this goes out; what does is remembered as the last that went.

        Args:
            track: the face's id.
            emotion: what is said of it, smoothed.
            now: the frame's monotonic time, seconds.
        """
        sent, said = self._sent.get(track), (emotion.label, emotion.skipped)
        if sent is not None and not self._due(sent, said, now):
            return False
        self._sent[track] = _Sent(said, now)
        return True

    def _due(self, sent: _Sent, said: tuple[str | None, str | None], now: float) -> bool:
        if self.when == "change":
            return said != sent.said
        return self.when == "every" or now - sent.at >= self.seconds - INSTANT

    def forget(self, track: int) -> None:
        """Drop a face that has left."""
        self._sent.pop(track, None)


def check_when(when: str) -> None:
    """Refuse what is none of `WHEN`.

    Raises:
        InputError: it is not.
    """
    if when not in WHEN:
        raise InputError(f'publish.when is "{when}": it must be one of {", ".join(WHEN)}')
