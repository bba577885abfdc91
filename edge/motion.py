"""Motion: where a picture has changed since faces were last looked for in it. Every n-th pixel shows that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROWS = 60  # about so many rows of pixels are compared
STIR = 20  # gray levels by which one of them must change
CROWD = 2  # pixels of a row or column that must change for it to count: a single one is noise
ROOM = 64  # pixels about a change: whose cheek moves has a forehead, too
HEIGHTS = 0.25  # the same in longer sides of the change, where that is more

Area = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels, the last two past the end."""


@dataclass(frozen=True)
class Change:
    """What is not as it was.

    Attributes:
        share: of the picture, 0 to 1.
        area: about it, with room for a face; None for nothing but noise.
    """

    share: float
    area: Area | None


class Motion:
    """Compares the pictures of one camera with what was last searched."""

    def __init__(self) -> None:
        self._calm: np.ndarray | None = None
        self._shape: tuple[int, ...] = ()
        self._now = np.zeros((0, 0), np.int16)
        self._step = 1

    def look(self, image: np.ndarray) -> bool:
        """Take the next picture, `(H, W, 3)` uint8; return whether there is something to compare it with."""
        if image.shape != self._shape:
            self._shape, self._calm = image.shape, None
            self._step = max(1, image.shape[0] // ROWS)
        self._now = image[:: self._step, :: self._step, 1].astype(np.int16)
        return self._calm is not None

    def forget(self) -> None:
        """Have nothing to compare with until the next search."""
        self._calm = None

    def settle(self, area: Area | None = None) -> None:
        """Note that the picture, or this area of it, is being searched."""
        if area is None or self._calm is None:
            self._calm = self._now.copy()
            return
        x1, y1 = (edge // self._step for edge in area[:2])
        x2, y2 = (-(-edge // self._step) for edge in area[2:])
        self._calm[y1:y2, x1:x2] = self._now[y1:y2, x1:x2]

    def change(self, apart: list[np.ndarray]) -> Change:
        """Return what changed since the last search.

        Args:
            apart: `(4,)` boxes that do not count: faces may move.

        Raises:
            ValueError: there is nothing to compare with.
        """
        if self._calm is None:
            raise ValueError("no picture was searched yet")
        changed = np.abs(self._now - self._calm) > STIR
        for box in apart:
            x1, y1, x2, y2 = _grown(box) // self._step
            changed[max(y1, 0) : max(y2 + 1, 0), max(x1, 0) : max(x2 + 1, 0)] = False
        return Change(float(changed.mean()), self._area(changed))

    def _area(self, changed: np.ndarray) -> Area | None:
        rows = np.flatnonzero(changed.sum(axis=1) >= CROWD)
        columns = np.flatnonzero(changed.sum(axis=0) >= CROWD)
        if len(rows) == 0 or len(columns) == 0:
            return None
        x1, x2 = (int(edge) * self._step for edge in (columns[0], columns[-1] + 1))
        y1, y2 = (int(edge) * self._step for edge in (rows[0], rows[-1] + 1))
        room = int(max(ROOM, HEIGHTS * max(x2 - x1, y2 - y1)))
        height, width = self._shape[:2]
        return max(x1 - room, 0), max(y1 - room, 0), min(x2 + room, width), min(y2 + room, height)


def _grown(box: np.ndarray) -> np.ndarray:
    """Return a box a quarter larger on each side, as integers."""
    side = np.tile((box[2:] - box[:2]) / 4, 2) * (-1, -1, 1, 1)
    grown: np.ndarray = (box + side).astype(int)
    return grown
