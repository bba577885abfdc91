"""What goes out when, and that what stays in uses up no number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import InputError
from edge.events import Event, EventMaker, Policy, new_stream
from edge.track import Tracker
from edge.values import Emotion, Face, Frame

MS = {"detect": 6.2, "classify": 1.9, "total": 9.4}
HAPPY, SAD = Emotion("happy", 0.8, {"happy": 0.8, "sad": 0.2}), Emotion("sad", 0.9, {"happy": 0.1, "sad": 0.9})
HAPPIER = Emotion("happy", 0.9, {"happy": 0.9, "sad": 0.1})
SMALL, BLURRED = (Emotion(None, None, {}, skipped=why) for why in ("small", "blurred"))


def sent(policy: Policy, emotions: list[Emotion], rate: float = 10) -> list[int]:
    """Ask for one face, `rate` times a second; return the numbers of what goes out."""
    return [n for n, emotion in enumerate(emotions) if policy.wanted(1, emotion, n / rate)]


@pytest.mark.parametrize("when", ["change", "interval", "every"])
def test_who_enters_is_told_of_at_once(when: str) -> None:
    policy = Policy(when, 60)
    assert len(policy) == 0
    policy.forget(1)
    assert policy.wanted(1, HAPPY, 0.0)
    assert policy.wanted(2, HAPPY, 0.0)
    policy.forget(1)
    assert policy.wanted(1, HAPPY, 0.1), "a number that comes again is a new face"
    policy.forget(1)
    policy.forget(2)
    assert len(policy) == 0


def test_a_change_of_the_label_or_of_why_there_is_none() -> None:
    shown = [HAPPY, HAPPIER, HAPPY, SAD, SAD, SMALL, SMALL, BLURRED, HAPPY, HAPPY]
    assert sent(Policy("change"), shown) == [0, 3, 5, 7, 8]


def test_at_most_every_so_often_whatever_changes() -> None:
    assert sent(Policy("interval", 1.0), [HAPPY, SAD] * 20) == [0, 10, 20, 30]
    assert sent(Policy("interval", 0.25), [HAPPY] * 10) == [0, 3, 6, 9]


def test_every_frame() -> None:
    assert sent(Policy("every", 60), [HAPPY] * 5) == [0, 1, 2, 3, 4]


def test_another_word_is_refused() -> None:
    with pytest.raises(InputError, match="it must be one of change, interval, every"):
        Policy("often")


@settings(deadline=None)
@given(
    st.sampled_from(["change", "interval", "every"]),
    st.floats(0, 3),
    st.lists(st.lists(st.sampled_from([HAPPY, HAPPIER, SAD, SMALL]), max_size=3), max_size=40),
)
def test_numbers_have_no_gaps_and_a_face_has_one_story(when: str, seconds: float, shown: list[list[Emotion]]) -> None:
    """Faces come and go; whatever the policy leaves out: enter, updates, leave, numbered through."""
    tracker, maker, policy = Tracker(keep=0.25), EventMaker("hall", new_stream(), "m@1"), Policy(when, seconds)
    events: list[Event] = []
    last: dict[int, Emotion] = {}
    frame = None
    for n, emotions in enumerate(shown):
        frame = Frame(np.zeros((48, 64, 3), np.uint8), n, 1.7e9 + n / 10, n / 10, "front")
        faces = [Face(np.array([100 * i, 0, 100 * i + 50, 50], np.float32), 1.0) for i in range(len(emotions))]
        tracked = tracker.update(faces, frame.mono)
        for track in tracked.left:
            events.append(maker.left(frame, track))
            policy.forget(track)
        for face, emotion in zip(tracked.faces, emotions, strict=True):
            last[face.track] = emotion
            if policy.wanted(face.track, emotion, frame.mono):
                events.append(maker.seen(frame, face, emotion, MS, entered=face.track in tracked.entered))
            else:
                maker.note(face, emotion, MS)
    events += [maker.left(frame, track) for track in tracker.finish() if frame is not None]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    for track in last:
        story = [event.type for event in events if event.track == track]
        assert story == ["enter", *["update"] * (len(story) - 2), "leave"]
    assert all(event.emotion == last[event.track] for event in events if event.type == "leave")


def test_a_leave_repeats_what_was_not_published() -> None:
    maker, frame = EventMaker("hall", new_stream(), "m@1"), Frame(np.zeros((48, 64, 3), np.uint8), 0, 1.7e9, 0.0, "c")
    here, there = (Face(np.array([x, 0, x + 50, 50], np.float32), 1.0, track=7) for x in (0, 10))
    with pytest.raises(KeyError):
        maker.note(here, HAPPY, MS)
    maker.seen(frame, here, HAPPY, MS, entered=True)
    maker.note(there, SAD, {**MS, "total": 1.0})
    leave = maker.left(frame, 7)
    assert (leave.seq, leave.emotion, leave.face, leave.ms["total"]) == (2, SAD, there, 1.0)
