"""Following faces from frame to frame: an id that lasts while boxes overlap. Pure: time comes in as an argument."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
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
        numbers: where ids come from: one series for all cameras of a device.
    """

    def __init__(self, overlap: float = 0.3, keep: float = 0.5, numbers: Iterator[int] | None = None) -> None:
        self.overlap, self.keep = overlap, keep
        self._tracks: dict[int, _Track] = {}
        self._numbers = itertools.count(1) if numbers is None else numbers

    @property
    def known(self) -> tuple[int, ...]:
        """The ids that have not left, seen in the last frame or not."""
        return tuple(self._tracks)

    def update(self, faces: Sequence[Face], now: float) -> Tracked:
        """Give each face its id.

        Args:
            faces: the faces of one frame; one that brings an id along keeps it.
            now: the frame's time on a clock that never goes back, seconds.
        """
        taken = {face.track for face in faces}
        ids = [track for track in self._tracks if track not in taken]
        unknown = [index for index, face in enumerate(faces) if face.track < 0]
        found = np.array([faces[index].box for index in unknown], np.float32).reshape(-1, 4)
        known = np.array([self._tracks[track].box for track in ids], np.float32).reshape(-1, 4)
        matched = {unknown[row]: ids[place] for row, place in match(found, known, self.overlap).items()}
        entered = set()
        tracked: list[Face] = []
        for index, face in enumerate(faces):
            track = matched.get(index, face.track)
            if track < 0:
                track = next(self._numbers)
                entered.add(track)
            self._tracks[track] = _Track(face.box, now)
            tracked.append(replace(face, track=track))
        return Tracked(tracked, frozenset(entered), self.lapse(now))

    def lapse(self, now: float) -> tuple[int, ...]:
        """End the tracks that have not been seen for longer than `keep`, and return their ids."""
        left = tuple(i for i, track in self._tracks.items() if now - track.seen > self.keep)
        for track in left:
            del self._tracks[track]
        return left

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
