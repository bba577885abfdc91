"""Following: between full searches a face is looked for where it was, which costs a fraction of looking everywhere.

A full search corrects what drifted, finds who came, and lets go of what is no face. It starts on a clock, on motion
elsewhere, and when a face gets weak; it runs in pieces, one a frame, so that no frame waits for all of it. Only when
nobody is followed any more, and there is nothing else to do, is it run at once; and while nobody is followed, a face is
looked for only where the picture moves.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from edge.align import similarity
from edge.detect import Detector, in_pieces
from edge.motion import Area, Motion
from edge.track import Tracked, Tracker, iou, match
from edge.values import Face, Frame

WEAK = 0.9  # a followed face whose score falls below this share of what the last search gave starts a search
SAME = 0.5  # overlap from which two followed faces are one
DOUBTS = 2  # full searches in a row that do not find a followed face, until it is let go
RESTLESS = 0.01  # share of the picture outside the faces that must change to start a search
AWAKE = 0.002  # the same where nobody is followed: less is enough
MOTION_REST = 0.25  # motion starts a search after so much of the clock's interval, and twice as much after each in vain
CLOSER = 0.25  # seconds between two looks at what moves in an empty picture in its full size
REACH = 0.5  # a face is not expected further away than this from one frame to the next, in sides of its box


@dataclass
class _Followed:
    """One face between searches.

    Attributes:
        reference: as the last full search found it: box and landmarks belong together.
        face: as last seen.
        seen: when that was, seconds.
        velocity: `(2,)` pixels a second.
        doubts: full searches in a row that did not find it.
    """

    reference: Face
    face: Face
    seen: float
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    doubts: int = 0

    def expected(self, now: float) -> np.ndarray:
        """Return the `(4,)` box in which the face should be now.

        The reference's box, moved as the landmarks have moved: a box that is handed on from frame to frame shrinks.
        """
        moved = similarity(self.reference.landmarks, self.face.landmarks)
        if moved is None:
            box = self.face.box.astype(np.float64)
        else:
            box = self.reference.box.astype(np.float64)
            centre = moved[:, :2] @ ((box[:2] + box[2:]) / 2) + moved[:, 2]
            half = (box[2:] - box[:2]) / 2 * np.hypot(moved[0, 0], moved[1, 0])
            box = np.concatenate([centre - half, centre + half])
        reach = REACH * (box[2:] - box[:2])
        return box + np.tile(np.clip(self.velocity * (now - self.seen), -reach, reach), 2)

    def move(self, face: Face, now: float) -> None:
        """Take over where the face is now."""
        if now > self.seen:
            step = (_centre(face) - _centre(self.face)) / (now - self.seen)
            self.velocity = (self.velocity + step) / 2
        self.face, self.seen = face, now


@dataclass
class _Search:
    """A full search under way: its pieces, and where the followed faces were in its picture."""

    pieces: Generator[None, None, list[Face]]
    boxes: dict[int, np.ndarray]


class Follower:
    """Finds the faces of one camera, frame by frame, and gives them ids.

    Args:
        detector: searches, and refines.
        tracker: gives ids, and remembers for a moment who is not seen.
        every: seconds between two full searches; 0 searches each frame, and follows nobody.
    """

    def __init__(self, detector: Detector, tracker: Tracker, every: float = 1.0) -> None:
        self.detector, self.tracker, self.every = detector, tracker, every
        self._followed: dict[int, _Followed] = {}
        self._search: _Search | None = None
        self._searched = -np.inf  # when the last search began
        self._motion, self._rest = Motion(), MOTION_REST
        self._stirred: Area | None = None  # where it moved since the last closer look
        self._looked = -np.inf  # when that was
        self.searches = 0

    def update(self, frame: Frame) -> Tracked:
        """Return the faces of the next frame.

        Raises:
            InputError: the detector cannot use the picture.
        """
        now, image = frame.mono, frame.image
        if not self._motion.look(image) or frame.still or self.every <= 0:
            self.forget()
            return self._take(self._whole(image, now), {}, now)
        seen, lost = self._look(image, now)
        if lost or (not seen and (self._due(now) or self._entered(image, now))):
            return self._take(self._whole(image, now), seen, now)
        if not seen:
            return self._keep({}, [], now)
        if self._search is None and self._wanted(now, seen):
            self._begin(image, now)
        new = self._advance(image, seen)
        return self._keep(seen, new, now)

    def forget(self) -> None:
        """Follow nobody: the next frame is searched at once. Ids are kept as long as the tracker keeps them."""
        self._followed.clear()
        self._search, self._stirred = None, None
        self._motion.forget()

    def lapse(self, now: float) -> tuple[int, ...]:
        """End the tracks whose time is over though no frame has come; return their ids."""
        left = self.tracker.lapse(now)
        if left:
            self.forget()
        return left

    def finish(self) -> tuple[int, ...]:
        """End all tracks and return their ids: the source has ended."""
        self.forget()
        return self.tracker.finish()

    def _look(self, image: np.ndarray, now: float) -> tuple[dict[int, Face], bool]:
        """Refine every followed face; return those seen by id, and whether one was lost."""
        ids = list(self._followed)
        boxes = np.array([self._followed[track].expected(now) for track in ids]).reshape(-1, 4)
        seen: dict[int, Face] = {}
        for track, face in zip(ids, self.detector.refine(image, boxes), strict=True):
            if face is not None and not _covered(face, seen):
                seen[track] = replace(face, track=track)
                self._followed[track].move(face, now)
        for track in ids:
            if track not in seen:
                del self._followed[track]
        return seen, len(seen) < len(ids)

    def _wanted(self, now: float, seen: dict[int, Face]) -> bool:
        """Whether it is time for a full search."""
        if self._due(now) or len(self.tracker.known) > len(seen) or any(f.doubts for f in self._followed.values()):
            return True
        if now - self._searched < self.every * MOTION_REST:
            return False
        followed = self._followed
        if any(face.score < WEAK * followed[track].reference.score for track, face in seen.items()):
            return True
        return now - self._searched >= self.every * self._rest and self._moves()

    def _moves(self) -> bool:
        """Whether the picture changed outside the faces since the last search began."""
        faces = [box for each in self._followed.values() for box in (each.face.box, each.reference.box)]
        return self._motion.change(faces).share > RESTLESS

    def _due(self, now: float) -> bool:
        return now - self._searched >= self.every

    def _begin(self, image: np.ndarray, now: float) -> None:
        """Start a full search of this picture."""
        self._search = _Search(in_pieces(self.detector, image), {t: f.face.box for t, f in self._followed.items()})
        self._searched, self.searches, self._stirred = now, self.searches + 1, None
        self._motion.settle()

    def _whole(self, image: np.ndarray, now: float) -> list[Face]:
        """Search the picture at once; what was under way is given up."""
        self._begin(image, now)
        self._search, self._rest = None, MOTION_REST
        return self.detector.detect(image)

    def _entered(self, image: np.ndarray, now: float) -> bool:
        """Whether there is a face where the picture changed since that place was last looked at.

        A part of the picture costs little, and at half its size less: small faces wait for the next closer look. What
        is a face is left to a search of the whole, which has another pyramid.
        """
        change = self._motion.change([])
        moved = change.area if change.share > AWAKE else None
        if moved is not None:
            self._motion.settle(moved)
            self._stirred = moved if self._stirred is None else _union(self._stirred, moved)
        if self._stirred is not None and now - self._looked >= CLOSER:
            area, self._stirred, self._looked = self._stirred, None, now
            return bool(self.detector.detect(_part(image, area)))
        if moved is None:
            return False
        part = _part(image, moved)
        half = cv2.resize(part, (-(-part.shape[1] // 2), -(-part.shape[0] // 2)), interpolation=cv2.INTER_AREA)
        return bool(self.detector.detect(half))

    def _advance(self, image: np.ndarray, seen: dict[int, Face]) -> list[tuple[Face, Face]]:
        """Do one piece of the search under way.

        Returns:
            at its end who is new: as found in the search's picture, and as seen now. Empty otherwise.
        """
        if self._search is None:
            return []
        try:
            next(self._search.pieces)
        except StopIteration as end:
            boxes, self._search = self._search.boxes, None
            new = self._compare(image, end.value, boxes, seen)
            self._rest = min(2 * self._rest, 1.0) if self._moves() and not new else MOTION_REST
            return new
        return []

    def _compare(
        self, image: np.ndarray, found: list[Face], boxes: dict[int, np.ndarray], seen: dict[int, Face]
    ) -> list[tuple[Face, Face]]:
        """Set what a finished search found against what was followed when it began."""
        ids = list(boxes)
        pairs = match(_boxes(found), np.array(list(boxes.values())).reshape(-1, 4), self.tracker.overlap)
        confirmed = {ids[place]: found[index] for index, place in pairs.items()}
        self._confirm(confirmed, ids, seen)
        strangers = [face for index, face in enumerate(found) if index not in pairs]
        refined = self.detector.refine(image, _boxes(strangers))
        return [
            (before, face)
            for before, face in zip(strangers, refined, strict=True)
            if face is not None and not _covered(face, seen)
        ]

    def _confirm(self, confirmed: dict[int, Face], ids: list[int], seen: dict[int, Face]) -> None:
        """Take over as reference what a search found again; let go what several searches did not find."""
        for track in ids:
            followed = self._followed.get(track)
            if followed is None:
                continue
            if track in confirmed:
                followed.reference, followed.doubts = confirmed[track], 0
                continue
            followed.doubts += 1
            if followed.doubts >= DOUBTS:
                del self._followed[track], seen[track]

    def _take(self, found: list[Face], seen: dict[int, Face], now: float) -> Tracked:
        """Follow what a search of this very picture found, and what it did not refute."""
        ids = list(seen)
        pairs = match(_boxes(found), _boxes(list(seen.values())), self.tracker.overlap)
        known = {ids[place]: replace(found[index], track=ids[place]) for index, place in pairs.items()}
        self._confirm(known, ids, seen)
        seen |= known
        return self._keep(seen, [(face, face) for index, face in enumerate(found) if index not in pairs], now)

    def _keep(self, seen: dict[int, Face], new: list[tuple[Face, Face]], now: float) -> Tracked:
        """Give ids to the new ones and follow them too."""
        tracked = self.tracker.update([*seen.values(), *(face for _, face in new)], now)
        for (reference, _), face in zip(new, tracked.faces[len(seen) :], strict=True):
            self._followed[face.track] = _Followed(reference, face, now)
        for track, face in seen.items():
            self._followed[track].face = face
        return tracked


def _part(image: np.ndarray, area: Area) -> np.ndarray:
    x1, y1, x2, y2 = area
    return image[y1:y2, x1:x2]


def _union(one: Area, other: Area) -> Area:
    """Return the least area that holds both."""
    (a, b, c, d), (e, f, g, h) = one, other
    return min(a, e), min(b, f), max(c, g), max(d, h)


def _boxes(faces: list[Face]) -> np.ndarray:
    return np.array([face.box for face in faces], np.float32).reshape(-1, 4)


def _centre(face: Face) -> np.ndarray:
    """Return the `(2,)` middle of the landmarks, or of the box where they are missing."""
    if np.isfinite(face.landmarks).all():
        middle: np.ndarray = face.landmarks.mean(axis=0)
        return middle
    centre: np.ndarray = (face.box[:2] + face.box[2:]) / 2
    return centre


def _covered(face: Face, seen: dict[int, Face]) -> bool:
    """Whether the face is one that is seen already."""
    return bool(seen) and bool((iou(face.box[None], _boxes(list(seen.values()))) > SAME).any())
