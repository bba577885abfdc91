"""Minutes in figures: face-seconds add up, at every frame rate, through gaps and jumps of the clock."""

from __future__ import annotations

import itertools
import json

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.events import Minute, Minutes, schema
from edge.values import Emotion, Frame

LABELS = ("happy", "sad")
EMOTIONS = {label: Emotion(label, 0.9, {"happy": 0.9, "sad": 0.1}) for label in (*LABELS, "uncertain")}
EMOTIONS["small"] = Emotion(None, None, {}, skipped="small")
PICTURE = np.zeros((48, 64, 3), np.uint8)
WHOLE_MINUTE = 1_800_000_000.0
"""A wall clock at a whole minute."""


def frame(mono: float, wall: float | None = None) -> Frame:
    """A frame at a time; the wall clock is at a whole minute when the monotonic one is at 0."""
    return Frame(PICTURE, 0, WHOLE_MINUTE + mono if wall is None else wall, mono, "front")


def minutes() -> Minutes:
    """A camera's."""
    return Minutes("hall", "front", "m@1", LABELS)


def feed(counting: Minutes, frames: list[tuple[float, dict[int, str]]]) -> list[Minute]:
    """Feed times and what is said of which face; return all minutes."""
    told = [counting.add(frame(t), list(faces), [EMOTIONS[e] for e in faces.values()]) for t, faces in frames]
    return [minute for minute in [*told, counting.finish()] if minute is not None]


def check(minute: Minute) -> None:
    """Hold a minute against its schema."""
    jsonschema.validate(json.loads(minute.to_json()), schema("summary"))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema("summary"))


def test_no_frame_no_minute() -> None:
    counting = minutes()
    assert counting.finish() is None
    assert counting.over(1e9) is None


def test_nobody_is_a_minute_too() -> None:
    (minute,) = feed(minutes(), [(0.0, {}), (1.0, {})])
    check(minute)
    assert (minute.tracks, minute.most, minute.emotions) == (0, 0, {"happy": 0.0, "sad": 0.0, "uncertain": 0.0})
    assert (minute.seconds, minute.frames) == (1.0, 2)


def test_a_minute_by_hand() -> None:
    shown: dict[float, dict[int, str]] = {
        0.0: {1: "happy"}, 0.5: {1: "happy", 2: "sad"}, 1.5: {2: "uncertain", 3: "small"}, 2.0: {3: "happy"}, 2.25: {},
    }  # fmt: skip
    (minute,) = feed(minutes(), list(shown.items()))
    check(minute)
    assert minute.to_dict() == {
        "v": 1, "device": "hall", "camera": "front", "ts": "2027-01-15T08:00:00.000Z", "seconds": 2.25, "frames": 5,
        "tracks": 3, "most": 2, "emotions": {"happy": 1.75, "sad": 1.0, "uncertain": 0.5}, "not_classified": 0.5,
        "model": "m@1",
    }  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.001, 40), st.dictionaries(st.integers(1, 5), st.sampled_from(sorted(EMOTIONS)))),
        min_size=1,
        max_size=60,
    ),
    st.floats(0, 1e6),
)
def test_face_seconds_add_up(steps: list[tuple[float, dict[int, str]]], start: float) -> None:
    """Over all minutes, each frame's faces count for the time to the next frame, a second at most; none twice."""
    frames, now = [], start
    for step, faces in steps:
        frames.append((now, faces))
        now += step
    told = feed(minutes(), frames)
    expected = dict.fromkeys(EMOTIONS, 0.0)
    for (step, faces), _ in itertools.pairwise(steps):
        for said in faces.values():
            expected[said] += min(step, 1.0)
    for label in (*LABELS, "uncertain"):
        assert sum(minute.emotions[label] for minute in told) == pytest.approx(expected[label], abs=1e-6)
    assert sum(minute.not_classified for minute in told) == pytest.approx(expected["small"], abs=1e-6)
    assert sum(minute.frames for minute in told) == len(steps)
    assert sum(minute.seconds for minute in told) == pytest.approx(sum(min(s, 1) for s, _ in steps[:-1]), abs=1e-6)
    for minute in told:
        assert minute.seconds <= 61
        assert minute.most <= minute.tracks
        assert sum(minute.emotions.values()) + minute.not_classified <= minute.most * minute.seconds + 1e-6
    for minute in told[1:]:
        assert abs((minute.time + 30) % 60 - 30) < 1e-3
    check(told[-1])


@pytest.mark.parametrize("rate", [1, 5, 30])
def test_the_frame_rate_does_not_matter(rate: int) -> None:
    frames = [(n / rate, {1: "happy" if n < 40 * rate else "sad"}) for n in range(90 * rate + 1)]
    first, second = feed(minutes(), frames)
    assert first.emotions == pytest.approx({"happy": 40, "sad": 20, "uncertain": 0})
    assert second.emotions == pytest.approx({"happy": 0, "sad": 30, "uncertain": 0})
    assert (first.seconds, second.seconds) == pytest.approx((60, 30))
    assert (first.tracks, first.most, second.tracks) == (1, 1, 1)


def test_minutes_begin_with_whole_minutes_of_the_clock() -> None:
    told = feed(minutes(), [(t, {1: "happy"}) for t in range(17, 200)])
    assert [minute.time - WHOLE_MINUTE for minute in told] == [17, 60, 120, 180]
    assert [round(minute.seconds) for minute in told] == [43, 60, 60, 19]


def test_a_long_gap_counts_a_second_and_its_minutes_are_not_told() -> None:
    told = feed(minutes(), [(0.0, {1: "happy"}), (30.0, {1: "happy"}), (3635.0, {2: "sad"}), (3636.0, {})])
    assert [minute.time - WHOLE_MINUTE for minute in told] == [0, 3600]
    assert [minute.emotions["happy"] for minute in told] == [2.0, 0.0]
    assert told[1].emotions["sad"] == 1.0


def test_a_camera_that_falls_silent_has_its_minute_told() -> None:
    counting = minutes()
    counting.add(frame(10.0), [1], [EMOTIONS["happy"]])
    assert counting.over(59.9) is None
    minute = counting.over(60.0)
    assert minute is not None
    assert minute.emotions["happy"] == 1.0
    assert counting.over(180.0) is None
    assert counting.add(frame(200.0), [], []) is None


def test_the_clock_may_jump_and_a_file_may_run_fast() -> None:
    counting, told = minutes(), []
    for n in range(300):  # five minutes of frames, read in three seconds while the clock was set
        wall = WHOLE_MINUTE + n / 100 + 1e7 * (n > 100)
        told.append(counting.add(frame(float(n), wall), [1], [EMOTIONS["sad"]]))
    done = [minute for minute in told if minute is not None]
    assert [minute.frames for minute in done] == [60] * 4
    assert [minute.seconds for minute in done] == [60.0] * 4
    assert done[3].time - done[0].time > 1e7


def test_a_clip_that_is_played_slowly_beside_a_camera_is_not_told_again_and_again() -> None:
    """Whoever asks by a clock that is ahead of the frames' own hears of each minute once."""
    counting = minutes()
    told = []
    for second in range(180):
        told.append(counting.over(2.0 * second))
        told.append(counting.add(frame(second / 25), [1], [EMOTIONS["happy"]]))
    assert sum(minute is not None for minute in told) <= 6
