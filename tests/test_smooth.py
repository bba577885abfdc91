"""Emotion over time: the same at every frame rate, a change told in time, labels that do not flicker."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.align import Crop
from edge.model.answers import to_emotions
from edge.model.contract import ModelInfo
from edge.smooth import Smoother, settle
from edge.values import UNCERTAIN, Emotion

LABELS = ("happy", "sad", "neutral")
HAPPY, SAD, MIXED = (np.array(row) for row in ([0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.36, 0.34, 0.3]))
THRESHOLD, TAU, MARGIN = 0.5, 1.0, 0.1


def smoother(time_constant: float = TAU, margin: float = MARGIN, threshold: float = THRESHOLD) -> Smoother:
    """One for three labels."""
    return Smoother(LABELS, threshold, time_constant, margin)


@st.composite
def shares(draw: st.DrawFn, labels: int = 3) -> np.ndarray:
    """Probabilities over the labels."""
    parts = np.array(draw(st.lists(st.floats(0.001, 1), min_size=labels, max_size=labels)))
    return parts / parts.sum()


def test_nothing_is_remembered_of_nobody() -> None:
    empty = smoother()
    assert len(empty) == 0
    assert empty.last(1) is None
    empty.forget(1)
    assert empty.unread(1, "small", 0.0) == Emotion(None, None, {}, skipped="small")
    assert len(empty) == 0


def test_the_first_reading_is_taken_whole() -> None:
    assert smoother().update(1, HAPPY, 5.0) == Emotion("happy", 0.9, {"happy": 0.9, "sad": 0.05, "neutral": 0.05})
    assert smoother().update(1, MIXED, 5.0).label == UNCERTAIN
    assert smoother().update(1, MIXED, 5.0).confidence == pytest.approx(0.36)


def test_after_a_time_constant_all_but_one_part_in_e_is_forgotten() -> None:
    one = smoother()
    one.update(1, HAPPY, 0.0)
    scores = one.update(1, SAD, TAU).scores
    expected = SAD + (HAPPY - SAD) / math.e
    assert np.allclose([scores[label] for label in LABELS], expected)
    assert np.allclose(list(one.update(1, HAPPY, 60.0).scores.values()), HAPPY), "a long gap forgets all"


@st.composite
def stretches(draw: st.DrawFn) -> list[tuple[np.ndarray, int]]:
    """What a face shows, one after the other: scores, and for how many fifths of a second."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return [(rng.dirichlet([0.6] * len(LABELS)), int(rng.integers(1, 15))) for _ in range(int(rng.integers(1, 8)))]


def watch(smooth: Smoother, shown: list[tuple[np.ndarray, int]], reads: int) -> list[Emotion]:
    """Read a face `5 * reads` times a second; return what is said at each fifth of a second."""
    said = [smooth.update(1, shown[0][0], 0.0)]
    fifths = 0
    for scores, length in shown:
        for _ in range(length):
            for read in range(1, reads + 1):
                emotion = smooth.update(1, scores, (fifths + read / reads) / 5)
            said.append(emotion)
            fifths += 1
    return said


@settings(deadline=None)
@given(stretches(), st.sampled_from([0.4, 0.6, 1.0, 2.0]))
def test_the_same_is_said_at_5_and_at_30_frames_a_second(shown: list[tuple[np.ndarray, int]], tau: float) -> None:
    slow, fast = watch(smoother(tau), shown, 1), watch(smoother(tau), shown, 6)
    assert [each.label for each in slow] == [each.label for each in fast]
    for a, b in zip(slow, fast, strict=True):
        assert a.scores == pytest.approx(b.scores)


def test_a_label_between_two_does_not_stop_what_the_readings_ask_for() -> None:
    """The average passes "uncertain" a moment before the readings have asked for happy a time constant long.

    At five readings a second nobody sees that moment; at thirty it must not begin the time constant anew.
    """
    shown = [
        (np.array([0.03465343, 0.92240069, 0.04294588]), 11), (np.array([0.04036768, 0.13561409, 0.82401823]), 4),
        (np.array([0.50183693, 0.12573132, 0.37243175]), 4), (np.array([0.70521459, 0.28975023, 0.00503518]), 11),
    ]  # fmt: skip
    slow, fast = (watch(smoother(2.0), shown, reads) for reads in (1, 6))
    assert [each.label for each in slow] == [each.label for each in fast] == ["sad"] * 25 + ["happy"] * 6


@settings(deadline=None)
@given(
    shares(),
    st.lists(shares(), min_size=1, max_size=20),
    shares(),
    st.sampled_from([0.25, 0.6, 1.0]),
    st.sampled_from([5, 12.5, 30]),
)
def test_a_clean_change_is_told_in_one_step_and_in_time(
    first: np.ndarray, before: list[np.ndarray], after: np.ndarray, tau: float, rate: float
) -> None:
    """Whatever was seen before: when each reading alone would change what is said, it changes in a time constant."""
    smooth = smoother(tau)
    said = smooth.update(1, first, 0.0).label
    now = 0.0
    for scores in before:
        now += 1 / rate
        said = smooth.update(1, scores, now).label
    now += 1 / rate  # a last reading that agrees with what is said: what comes then is the change
    agrees = np.eye(3)[LABELS.index(said)] if said in LABELS else np.full(3, 1 / 3)
    assert smooth.update(1, agrees, now).label == said
    new = settle(LABELS, after, said, THRESHOLD, MARGIN)
    began = now + 1 / rate
    while now + 1 / rate <= began + tau + 1e-6:
        now += 1 / rate
        label = smooth.update(1, after, now).label
        assert label in (said, new)
        said = label
    assert said == new
    assert smooth.update(1, after, now + 1 / rate).label == new, "and it stays"


def test_a_weak_expression_after_a_strong_one_is_not_late() -> None:
    """An average alone would need ln((0.98 + 0.22) / (0.22 - 0.1)) = 2.3 time constants."""
    smooth, strong, weak = smoother(threshold=0.3), np.array([0.98, 0.0, 0.02]), np.array([0.28, 0.5, 0.22])
    smooth.update(1, strong, 0.0)
    told = next(n for n in range(1, 100) if smooth.update(1, weak, n / 30).label == "sad")
    assert (told - 1) / 30 <= TAU + 1e-9


@settings(deadline=None)
@given(st.lists(shares(), min_size=1, max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_no_time_constant_is_every_reading_as_it_is(rows: list[np.ndarray], threshold: float, margin: float) -> None:
    table = np.array(rows, np.float32)
    crop = Crop(96, np.zeros((5, 2), np.float32), 1.0)
    info = ModelInfo("m", "n", "fp32", LABELS, crop, False, 1.0, threshold, "", {}, "", "")
    smooth = smoother(0.0, margin, threshold)
    assert [smooth.update(1, row, n / 30) for n, row in enumerate(table)] == to_emotions(table, info)


@settings(deadline=None)
@given(st.lists(shares(), min_size=1, max_size=60), st.floats(0, 1), st.floats(0, 0.5))
def test_what_is_said_is_an_answer(rows: list[np.ndarray], threshold: float, margin: float) -> None:
    smooth = smoother(0.5, margin, threshold)
    for n, row in enumerate(rows):
        emotion = smooth.update(1, row, n / 30, weight=(n % 3) / 2)
        assert sum(emotion.scores.values()) == pytest.approx(1)
        assert emotion.confidence is not None
        assert emotion.confidence == max(emotion.scores.values()) or emotion.scores[str(emotion.label)]
        assert smooth.last(1) == emotion


def test_a_reading_alone_changes_nothing_and_doubtful_ones_do_not_flicker() -> None:
    smooth = smoother()
    for n in range(30):
        scores = SAD if n == 15 else HAPPY
        assert smooth.update(1, scores, n / 30).label == "happy"
    before, after = np.array([0.48, 0.44, 0.08]), np.array([0.44, 0.48, 0.08])
    smooth = smoother(threshold=0.4)
    said = {smooth.update(1, after if n % 2 else before, n / 30).label for n in range(300)}
    assert said == {"happy"}


def test_readings_that_agree_on_nothing_do_not_hold_the_old_label_for_ever() -> None:
    """Now this, now that, never again what is said: after a time constant the average is believed."""
    smooth, neutral = smoother(), np.array([0.1, 0.1, 0.8])
    smooth.update(1, HAPPY, 0.0)
    said = [smooth.update(1, SAD if n % 2 else neutral, n / 30).label for n in range(1, 60)]
    assert said[:10] == ["happy"] * 10
    assert set(said[31:]) == {UNCERTAIN}


@pytest.mark.parametrize(
    ("scores", "present", "said"),
    [
        ([0.6, 0.3, 0.1], None, "happy"),
        ([0.4, 0.3, 0.3], None, UNCERTAIN),
        ([0.4, 0.3, 0.3], "happy", "happy"),  # below the threshold, not below it by the margin
        ([0.39, 0.3, 0.31], "happy", UNCERTAIN),
        ([0.4, 0.3, 0.3], UNCERTAIN, UNCERTAIN),
        ([0.5, 0.3, 0.2], UNCERTAIN, "happy"),
        ([0.51, 0.44, 0.05], "sad", "sad"),  # not ahead by the margin
        ([0.53, 0.42, 0.05], "sad", "happy"),
        ([0.49, 0.01, 0.5], "sad", "neutral"),
    ],
)
def test_hysteresis_by_hand(scores: list[float], present: str | None, said: str) -> None:
    assert settle(LABELS, np.array(scores), present, THRESHOLD, MARGIN) == said


def test_a_bad_crop_counts_less_beside_good_ones_and_as_much_among_bad_ones() -> None:
    good, bad, all_bad = smoother(), smoother(), smoother()
    for n in range(30):
        good.update(1, HAPPY, n / 30)
        bad.update(1, HAPPY, n / 30)
        all_bad.update(1, HAPPY, n / 30, weight=0.1)
    plain = good.update(1, SAD, 1.0).scores["sad"]
    assert bad.update(1, SAD, 1.0, weight=0.1).scores["sad"] < plain
    assert all_bad.update(1, SAD, 1.0, weight=0.1).scores["sad"] == pytest.approx(plain)
    assert smoother().update(1, HAPPY, 0.0, weight=0.0).label == "happy", "it is all there is"


def test_a_time_that_does_not_go_on_adds_nothing() -> None:
    smooth = smoother()
    said = smooth.update(1, HAPPY, 10.0)
    assert smooth.update(1, SAD, 10.0) == said
    assert smooth.update(1, SAD, 9.0) == said


def test_a_face_that_cannot_be_read_for_a_moment_keeps_its_emotion() -> None:
    smooth = smoother(0.5)
    happy = smooth.update(1, HAPPY, 1.0)
    assert smooth.unread(1, "blurred", 1.4) == happy
    assert smooth.unread(1, "blurred", 1.5) == Emotion(None, None, {}, skipped="blurred")
    assert smooth.unread(1, "turned", 1.6).skipped == "turned"
    assert smooth.last(1) == Emotion(None, None, {}, skipped="turned")
    assert smooth.update(1, SAD, 2.6).label == "sad", "nothing is said any more that would have to be overcome"
    none = smoother(0.0)
    none.update(1, HAPPY, 1.0)
    assert none.unread(1, "blurred", 1.0).skipped == "blurred", "without smoothing nothing is held"


def test_faces_do_not_mix_and_who_left_is_forgotten() -> None:
    smooth = smoother()
    for track in range(1, 2001):
        assert smooth.update(track, HAPPY if track % 2 else SAD, 1.0).label == ("happy" if track % 2 else "sad")
    assert len(smooth) == 2000
    for track in range(1, 2001):
        smooth.forget(track)
    assert len(smooth) == 0
    assert smooth.last(7) is None
    assert smooth.update(7, SAD, 1.1).scores["sad"] == 0.8, "a number that comes again is a new face"
