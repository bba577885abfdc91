"""The frame loop on real pictures: when a face is read, what goes out, cameras apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.config import Config
from edge.detect import load_detector
from edge.events import Event, EventMaker
from edge.loop import Loop, Step
from edge.model import Classifier, load_model
from edge.read import classify_faces
from edge.values import Frame

FPS = 24.0


class Counting:
    """The model that ships, with a count of the crops it was given and of the batches."""

    def __init__(self) -> None:
        self._model = load_model(None)
        self.info, self.runtime = self._model.info, self._model.runtime
        self.batches: list[int] = []

    def classify(self, crops: np.ndarray) -> np.ndarray:
        self.batches.append(len(crops))
        return self._model.classify(crops)


@pytest.fixture
def model() -> Counting:
    return Counting()


@pytest.fixture(scope="module")
def picture(portrait: Path) -> np.ndarray:
    """The portrait, alone in a wide picture."""
    wide = np.full((480, 640, 3), 110, np.uint8)
    wide[:, 60:540] = cv2.resize(cv2.imread(str(portrait)), (480, 480))
    return wide


def a_loop(model: Classifier, **settings: object) -> Loop:
    """A loop on MTCNN; sections by name, such as `publish={"when": "every"}`."""
    config = Config()
    for section, values in settings.items():
        assert isinstance(values, dict)
        config = replace(config, **{section: replace(getattr(config, section), **values)})
    return Loop(load_detector("mtcnn"), model, EventMaker("hall", "0" * 16, model.info.id), config)


def play(loop: Loop, pictures: Iterator[np.ndarray], camera: str = "front", fps: float = FPS) -> list[Step]:
    """Run pictures through as one camera's frames."""
    return [loop.step(Frame(image, i, i / fps, i / fps, camera)) for i, image in enumerate(pictures)]


def events(steps: list[Step]) -> list[Event]:
    return [event for step in steps for event in step.events]


def test_nothing_seen_is_nothing_said(model: Counting) -> None:
    loop = a_loop(model)
    steps = play(loop, iter([np.full((480, 640, 3), 110, np.uint8)] * 3))
    assert events(steps) == loop.finish() == []
    assert model.batches == []
    assert [step.read for step in steps] == [0, 0, 0]


def test_a_face_is_read_as_often_as_asked(model: Counting, picture: np.ndarray) -> None:
    steps = play(a_loop(model, classify={"rate": 8.0}), iter([picture] * 25))
    assert [index for index, step in enumerate(steps) if step.read] == [0, 3, 6, 9, 12, 15, 18, 21, 24]
    assert all(step.emotions == steps[0].emotions or step.emotions[0].label == "happy" for step in steps)


def test_zero_reads_every_frame(model: Counting, picture: np.ndarray) -> None:
    assert [step.read for step in play(a_loop(model, classify={"rate": 0.0}), iter([picture] * 5))] == [1] * 5


@pytest.mark.parametrize(
    ("publish", "sent"),
    [({"when": "every"}, 24), ({"when": "interval", "seconds": 0.25}, 4), ({"when": "change"}, 1)],
)
def test_what_goes_out_is_chosen_and_numbered_without_gaps(
    model: Counting, picture: np.ndarray, publish: dict[str, object], sent: int
) -> None:
    loop = a_loop(model, publish=publish)
    said = events(play(loop, iter([picture] * 24)))
    said += loop.finish()
    assert [event.type for event in said] == ["enter", *["update"] * (sent - 1), "leave"]
    assert [event.seq for event in said] == list(range(1, sent + 2))
    assert said[-1].emotion.label == "happy"


def test_leave_repeats_what_was_last_seen_though_it_did_not_go_out(model: Counting, picture: np.ndarray) -> None:
    loop = a_loop(model, publish={"when": "change"})
    moved = [np.roll(picture, 4 * step, axis=1) for step in range(10)]
    steps = play(loop, iter(moved))
    (leave,) = loop.finish()
    assert np.array_equal(leave.face.box, steps[-1].faces[0].box)
    assert leave.face.box[0] > events(steps)[0].face.box[0] + 30


def test_two_cameras_are_followed_apart(model: Counting, picture: np.ndarray) -> None:
    loop = a_loop(model, publish={"when": "every"})
    empty = np.full((480, 640, 3), 110, np.uint8)
    for index in range(6):
        for camera, image in (("front", picture), ("back", picture[:, ::-1].copy() if index < 3 else empty)):
            step = loop.step(Frame(image, index, index / 5, index / 5, camera))
            assert {event.camera for event in step.events} <= {camera}
            assert {face.track for face in step.faces} <= ({1} if camera == "front" else {2})
    assert [(event.camera, event.track) for event in loop.finish()] == [("front", 1)]


def test_a_face_too_small_is_said_to_be(model: Counting, picture: np.ndarray) -> None:
    loop = a_loop(model, quality={"min_side": 400.0})
    (event,) = play(loop, iter([picture]))[0].events
    assert (event.emotion.label, event.emotion.skipped) == (None, "small")
    assert event.to_dict()["skipped"] == "small"
    assert model.batches == []


def test_a_blurred_face_is_said_to_be(model: Counting, picture: np.ndarray) -> None:
    loop = a_loop(model, quality={"sharpness": 0.9})
    (emotion,) = play(loop, iter([picture]))[0].emotions
    assert emotion.skipped == "blurred"


def test_a_picture_of_its_own_is_read_unsmoothed(model: Counting, picture: np.ndarray) -> None:
    loop = a_loop(model)
    mirrored = picture[:, ::-1].copy()
    for index, image in enumerate((picture, mirrored)):
        step = loop.step(Frame(image, index, 0.0, index / 100, "front", still=True))
        assert step.read == 1
        assert step.emotions == classify_faces(image, step.faces, model)


def test_flip_reads_two_views(model: Counting, picture: np.ndarray) -> None:
    play(a_loop(model, classify={"flip": True}), iter([picture]))
    assert model.batches == [2]


def test_time_is_taken_step_by_step(model: Counting, picture: np.ndarray) -> None:
    ticks = iter(range(100))
    loop = Loop(load_detector("mtcnn"), model, EventMaker("hall", "0" * 16, "m"), clock=lambda: float(next(ticks)))
    assert loop.step(Frame(picture, 0, 0.0, 0.0, "front")).ms == {"detect": 1000, "classify": 1000, "total": 2000}


def test_behind_a_frame_that_broke_the_face_is_the_same(model: Counting, picture: np.ndarray) -> None:
    """What `edge run` does for a camera when something throws: look for everybody anew, keep the ids."""
    loop = a_loop(model)
    play(loop, iter([picture] * 3))
    loop.stumble(Frame(picture, 3, 0.125, 0.125, "front"))
    step = loop.step(Frame(picture, 4, 0.16, 0.16, "front"))
    assert [face.track for face in step.faces] == [1]


def test_who_is_overdue_leaves_though_no_frame_comes(model: Counting, picture: np.ndarray) -> None:
    loop = a_loop(model, track={"keep": 2.0})
    assert loop.lapse("front", 9.0, 9.0) == [], "a camera of which no frame has come"
    (step,) = play(loop, iter([picture]))
    assert loop.lapse("front", 2.0, 1002.0) == []
    assert loop.lapse("back", 2.1, 1002.1) == []
    (leave,) = loop.lapse("front", 2.1, 1002.1)
    assert (leave.type, leave.track, leave.mono, leave.time) == ("leave", step.faces[0].track, 2.1, 1002.1)
    assert loop.lapse("front", 9.0, 1009.0) == []
    back = loop.step(Frame(picture, 1, 1010.0, 10.0, "front"))
    assert [(event.type, event.track) for event in back.events] == [("enter", 2)]
    assert loop.lapse("front", 10.1, 1010.1) == []


def test_a_camera_that_has_ended_ends_its_tracks_alone(model: Counting, picture: np.ndarray) -> None:
    loop = a_loop(model)
    for camera in ("front", "back"):
        play(loop, iter([picture]), camera)
    assert [(event.type, event.camera) for event in loop.finish("front")] == [("leave", "front")]
    assert loop.finish("front") == []
    assert [(event.type, event.camera) for event in loop.finish()] == [("leave", "back")]


def test_a_minute_of_a_camera_that_is_away_is_over_though_another_goes_on(model: Counting, picture: np.ndarray) -> None:
    loop = a_loop(model, publish={"summary": True})
    for camera in ("front", "file"):
        play(loop, iter([picture]), camera)
    assert loop.minutes(59.0, {"front"}) == []
    assert [(minute.camera, minute.frames) for minute in loop.minutes(61.0, {"front"})] == [("front", 1)]
    assert loop.minutes(61.0, {"front"}) == []
    assert [minute.camera for minute in loop.minutes()] == ["file"], "its clock is the file's: it ends with it"


def test_who_comes_back_in_time_is_the_same(model: Counting, picture: np.ndarray) -> None:
    loop = a_loop(model, track={"keep": 30.0})
    play(loop, iter([picture] * 3))
    assert loop.lapse("front", 25.0, 25.0) == []
    back = loop.step(Frame(picture, 3, 25.0, 25.0, "front"))
    assert ([face.track for face in back.faces], [event.type for event in back.events]) == ([1], [])


class Failing(Counting):
    """The model that ships, which throws when it is told to."""

    fails = False

    def classify(self, crops: np.ndarray) -> np.ndarray:
        if self.fails:
            raise ValueError("broken")
        return super().classify(crops)


def test_a_frame_that_breaks_loses_neither_an_enter_nor_a_leave(picture: np.ndarray) -> None:
    model = Failing()
    loop = a_loop(model, classify={"rate": 0.0}, track={"keep": 0.1})
    (first,) = play(loop, iter([picture]))
    assert [(event.type, event.track) for event in first.events] == [("enter", 1)]
    other = np.full_like(picture, 110)
    other[200:440, 380:620] = cv2.resize(picture[:, 60:540], (240, 240))
    model.fails = True
    for index, at in ((1, 1.0), (2, 1.05)):  # 1 leaves in a frame that breaks, 2 enters
        frame = Frame(other, index, at, at, "front")
        with pytest.raises(ValueError, match="broken"):
            loop.step(frame)
        loop.stumble(frame)
    model.fails = False
    after = loop.step(Frame(other, 3, 1.1, 1.1, "front"))
    assert [(event.type, event.track) for event in after.events] == [("leave", 1), ("enter", 2)]
