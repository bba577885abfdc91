"""Track ids by overlap."""

from __future__ import annotations

import numpy as np

from edge.track import Tracker, iou, match
from edge.values import Face


def face(x: float, y: float, side: float = 100) -> Face:
    """A face with its corner at x, y."""
    return Face(np.array([x, y, x + side, y + side], np.float32), 0.9)


def test_nothing_gives_nothing() -> None:
    tracker = Tracker()
    outcome = tracker.update([], 0.0)
    assert (outcome.faces, outcome.entered, outcome.left) == ([], frozenset(), ())
    assert tracker.finish() == ()
    assert iou(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)


def test_overlap_by_hand() -> None:
    table = iou(np.array([[0, 0, 10, 10.0]]), np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30.0]]))
    assert np.allclose(table, [[1, 50 / 150, 0]])


def test_a_moving_face_keeps_its_id_and_two_do_not_swap() -> None:
    tracker = Tracker()
    for step in range(10):
        outcome = tracker.update([face(10 + 8 * step, 50), face(400 - 8 * step, 50)], step / 10)
        assert [f.track for f in outcome.faces] == [1, 2]
        assert outcome.entered == (frozenset({1, 2}) if step == 0 else frozenset())


def test_order_of_faces_does_not_matter() -> None:
    tracker = Tracker()
    tracker.update([face(0, 0), face(300, 0)], 0)
    assert [f.track for f in tracker.update([face(302, 0), face(2, 0)], 0.1).faces] == [2, 1]


def test_a_short_gap_is_bridged_and_a_long_one_is_a_leave() -> None:
    tracker = Tracker(keep=0.5)
    tracker.update([face(0, 0)], 0.0)
    assert tracker.update([], 0.4).left == ()
    assert tracker.update([face(4, 0)], 0.45).faces[0].track == 1
    assert tracker.update([], 0.9).left == ()
    assert tracker.update([], 1.0).left == (1,)
    assert tracker.update([face(0, 0)], 1.1).faces[0].track == 2, "ids are not used twice"


def test_finish_ends_what_is_left() -> None:
    tracker = Tracker()
    tracker.update([face(0, 0), face(300, 0)], 0)
    assert tracker.finish() == (1, 2)
    assert tracker.finish() == ()


def test_best_overlap_wins_over_order() -> None:
    known = np.array([[0, 0, 100, 100], [60, 0, 160, 100.0]])
    found = np.array([[50, 0, 150, 100.0]])
    assert match(found, known, 0.1) == {0: 1}
