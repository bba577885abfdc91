"""Following faces from frame to frame: an id that lasts while boxes overlap. Pure: time comes in as an argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.values import Face


@dataclass(frozen=True)
class Tracked:
    """One frame's outcome.

    Attributes:
        faces: the faces given, in their order, with their track ids.
        entered: ids that are new with this frame.
        left: ids that ended with this frame.
    """

    faces: list[Face]
    entered: frozenset[int]
    left: tuple[int, ...]


@dataclass
class _Track:
    box: np.ndarray
    seen: float


class Tracker:
    """Matches each frame's faces with the last known boxes, best overlap first.

    Args:
        overlap: smallest intersection over union that counts as the same face, 0 to 1.
        keep: how long a face that is not found stays in memory before it has left, seconds.
    """

    def __init__(self, overlap: float = 0.3, keep: float = 0.5) -> None:
        self.overlap, self.keep = overlap, keep
        self._tracks: dict[int, _Track] = {}
        self._next = 1

    def update(self, faces: Sequence[Face], now: float) -> Tracked:
        """Give each face its id.

        Args:
            faces: the faces of one frame.
            now: the frame's time on a clock that never goes back, seconds.
        """
        ids = list(self._tracks)
        found = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        known = np.array([self._tracks[i].box for i in ids], np.float32).reshape(-1, 4)
        matched = match(found, known, self.overlap)
        entered = set()
        tracked: list[Face] = []
        for index, face in enumerate(faces):
            if index in matched:
                track = ids[matched[index]]
            else:
                track, self._next = self._next, self._next + 1
                entered.add(track)
            self._tracks[track] = _Track(face.box, now)
            tracked.append(replace(face, track=track))
        left = tuple(i for i, track in self._tracks.items() if now - track.seen > self.keep)
        for track in left:
            del self._tracks[track]
        return Tracked(tracked, frozenset(entered), left)

    def finish(self) -> tuple[int, ...]:
        """End all tracks and return their ids: the source has ended."""
        left = tuple(self._tracks)
        self._tracks.clear()
        return left


def match(found: np.ndarray, known: np.ndarray, overlap: float) -> dict[int, int]:
    """Pair `(N, 4)` boxes with `(M, 4)` boxes, best intersection over union first; return index to index."""
    table = iou(found, known)
    pairs: dict[int, int] = {}
    for flat in np.argsort(-table, axis=None, kind="stable"):
        i, j = (int(v) for v in np.unravel_index(flat, table.shape))
        if table[i, j] < overlap:
            break
        if i not in pairs and j not in pairs.values():
            pairs[i] = j
    return pairs


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the `(N, M)` intersection over union of `(N, 4)` and `(M, 4)` boxes x1, y1, x2, y2."""
    a, b = first[:, None, :], second[None, :, :]
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    common = sides[..., 0] * sides[..., 1]
    area_a = np.prod(a[..., 2:] - a[..., :2], axis=-1)
    area_b = np.prod(b[..., 2:] - b[..., :2], axis=-1)
    table: np.ndarray = common / np.maximum(area_a + area_b - common, 1e-9)
    return table
