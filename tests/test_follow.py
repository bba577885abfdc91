"""Following faces between full searches, on real pictures and clips, against detection on every frame."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.detect.mtcnn import Mtcnn
from edge.follow import CLOSER, DOUBTS, Follower
from edge.track import Tracked, Tracker, iou
from edge.values import Face, Frame

FPS = 24.0


def frames(pictures: Iterator[np.ndarray], fps: float = FPS, still: bool = False) -> Iterator[Frame]:
    """Pictures as the frames of one camera."""
    for index, picture in enumerate(pictures):
        yield Frame(picture, index, index / fps, index / fps, "front", still)


def clip(path: Path) -> Iterator[np.ndarray]:
    """A clip's pictures, 640 pixels wide."""
    capture = cv2.VideoCapture(str(path))
    while (read := capture.read())[0]:
        yield cv2.resize(read[1], (640, 640 * read[1].shape[0] // read[1].shape[1]))


def scene(portrait: Path, *places: tuple[int, int], side: int = 200) -> np.ndarray:
    """The portrait's face, set into a gray 640x480 picture at each place (corner x, y)."""
    face = cv2.resize(cv2.imread(str(portrait))[0:300, 90:390], (side, side))
    picture = np.full((480, 640, 3), 110, np.uint8)
    for x, y in places:
        picture[y : y + side, x : x + side] = face
    return picture


@dataclass
class Counting:
    """MTCNN, with a count of what was asked of it."""

    detector: Mtcnn
    detects: int = 0
    pieces: int = 0
    refined: int = 0
    name: str = "mtcnn"

    def detect(self, image: np.ndarray) -> list[Face]:
        self.detects += 1
        return self.detector.detect(image)

    def search(self, image: np.ndarray) -> Iterator[None]:
        search = self.detector.search(image)
        while True:
            try:
                next(search)
            except StopIteration as end:
                return end.value
            self.pieces += 1
            yield

    def refine(self, image: np.ndarray, boxes: np.ndarray) -> list[Face | None]:
        self.refined += len(boxes)
        return self.detector.refine(image, boxes)


@pytest.fixture(scope="module")
def mtcnn() -> Mtcnn:
    return Mtcnn(min_face=40)


@pytest.fixture
def counting(mtcnn: Mtcnn) -> Counting:
    return Counting(mtcnn)


def run(follower: Follower, pictures: Iterator[np.ndarray], fps: float = FPS) -> list[Tracked]:
    """Follow through all pictures."""
    return [follower.update(frame) for frame in frames(pictures, fps)]


def test_nobody_there(counting: Counting) -> None:
    follower = Follower(counting, Tracker())
    outcomes = run(follower, itertools.repeat(np.full((480, 640, 3), 110, np.uint8), 49))
    assert all(outcome == Tracked([], frozenset(), ()) for outcome in outcomes)
    assert counting.detects == 3, "an empty picture that does not change is searched on the clock alone: 0, 1, 2 s"
    assert follower.finish() == ()


def test_who_comes_into_an_empty_picture_is_found_at_once(counting: Counting, portrait: Path) -> None:
    """Where it moves is looked at in each frame, though the clock's next search is far."""
    follower = Follower(counting, Tracker(), every=60)
    empty = np.full((480, 640, 3), 110, np.uint8)
    outcomes = run(follower, iter([empty] * 5 + [scene(portrait, (200, 120))] * 3))
    assert [len(outcome.faces) for outcome in outcomes] == [0] * 5 + [1] * 3
    (reference,) = counting.detector.detect(scene(portrait, (200, 120)))
    assert np.array_equal(outcomes[5].faces[0].box, reference.box), "the whole picture decides what a face is"


def test_a_small_face_in_an_empty_picture_waits_for_a_closer_look(counting: Counting, portrait: Path) -> None:
    """Between two closer looks what moves is seen at half its size, in which a small face is none."""
    follower = Follower(counting, Tracker(), every=60)
    pictures = [wheel(step) for step in range(10)]
    face = cv2.resize(cv2.imread(str(portrait))[0:300, 90:390], (76, 76))
    for picture in pictures[4:]:
        picture[300:376, 400:476] = face
    assert counting.detector.detect(pictures[4])[0].box[3] < 390
    outcomes = run(follower, iter(pictures), fps=20)
    first = next(index for index, outcome in enumerate(outcomes) if outcome.faces)
    assert 4 < first <= 4 + CLOSER * 20 + 1


def wheel(step: int) -> np.ndarray:
    """A disk that rolls through a gray picture."""
    picture = np.full((480, 640, 3), 110, np.uint8)
    cv2.circle(picture, (120 + 6 * step, 120), 30, (200, 200, 200), -1)
    return picture


def test_what_moves_and_is_no_face_costs_a_part_of_the_picture(mtcnn: Mtcnn) -> None:
    looked: list[int] = []

    class Measuring(Counting):
        def detect(self, image: np.ndarray) -> list[Face]:
            looked.append(image.shape[0] * image.shape[1])
            return super().detect(image)

    run(Follower(Measuring(mtcnn), Tracker(), every=60), (wheel(step) for step in range(20)))
    assert len(looked) == 20, "the first picture whole, then where it moves"
    assert looked[0] == 640 * 480
    assert max(looked[1:]) < 0.35 * looked[0]
    assert np.median(looked[1:]) < 0.1 * looked[0], "and most of the time at half its size"


def test_refine_finds_what_the_cascade_finds_and_nothing_elsewhere(mtcnn: Mtcnn, portrait: Path) -> None:
    picture = scene(portrait, (80, 60), (380, 200))
    found = sorted(mtcnn.detect(picture), key=lambda face: face.box[0])
    boxes = np.stack([found[0].box, [500, 10, 620, 150], found[1].box, [-300, -300, -100, -50]])
    left, empty, right, outside = mtcnn.refine(picture, boxes)
    assert empty is None
    assert outside is None
    for face, reference in ((left, found[0]), (right, found[1])):
        assert face is not None
        assert iou(face.box[None], reference.box[None])[0, 0] > 0.85
        eyes = np.linalg.norm(reference.landmarks[0] - reference.landmarks[1])
        assert np.linalg.norm(face.landmarks - reference.landmarks, axis=1).mean() < 0.06 * eyes
    assert mtcnn.refine(picture, np.zeros((0, 4))) == []


@pytest.mark.parametrize("off", [(-0.15, 0.0), (0.15, 0.1), (0.0, -0.15)])
@pytest.mark.parametrize("grown", [0.8, 1.0, 1.25])
def test_refine_comes_back_from_a_wrong_place(
    mtcnn: Mtcnn, portrait: Path, off: tuple[float, float], grown: float
) -> None:
    picture = scene(portrait, (200, 120))
    (reference,) = mtcnn.detect(picture)
    centre, side = (reference.box[:2] + reference.box[2:]) / 2, (reference.box[2:] - reference.box[:2]) * grown
    box = np.concatenate([centre - side / 2, centre + side / 2]) + np.tile(np.array(off) * side, 2)
    (face,) = mtcnn.refine(picture, box[None])
    assert face is not None
    assert iou(face.box[None], reference.box[None])[0, 0] > 0.75


def test_a_search_in_pieces_finds_the_same(mtcnn: Mtcnn, portrait: Path) -> None:
    picture = scene(portrait, (80, 60), (380, 200))
    expected = mtcnn.detect(picture)
    search, pauses, found = mtcnn.search(picture), 0, None
    while found is None:
        try:
            next(search)
            pauses += 1
            picture[:] = 0  # it is needed for the first piece alone
        except StopIteration as end:
            found = end.value
    assert pauses >= 3, "a search that is one piece spreads nothing"
    assert [face.score for face in found] == [face.score for face in expected]
    assert all(np.array_equal(a.box, b.box) for a, b in zip(found, expected, strict=True))


def test_a_face_that_moves_is_followed_without_searching(counting: Counting, portrait: Path) -> None:
    follower = Follower(counting, Tracker(), every=10)
    outcomes = run(follower, (scene(portrait, (100 + 4 * step, 100)) for step in range(40)))
    assert [[face.track for face in outcome.faces] for outcome in outcomes] == [[1]] * 40
    assert (counting.detects, counting.pieces) == (1, 0)
    first, last = outcomes[0].faces[0], outcomes[-1].faces[0]
    assert np.allclose(last.box - first.box, [156, 0, 156, 0], atol=8)
    assert np.ptp(last.box[2:] - last.box[:2] - (first.box[2:] - first.box[:2])) < 8, "the box keeps its size"


def test_the_box_does_not_shrink_in_a_minute(mtcnn: Mtcnn, portrait: Path) -> None:
    follower = Follower(mtcnn, Tracker(), every=60)
    outcomes = run(follower, itertools.repeat(scene(portrait, (200, 120)), 300), fps=5)
    first, last = outcomes[0].faces[0].box, outcomes[-1].faces[0].box
    assert iou(first[None], last[None])[0, 0] > 0.85


def test_who_comes_is_found_while_another_is_followed(counting: Counting, portrait: Path) -> None:
    """Motion elsewhere starts a search; its pieces are spread, so that a frame has one at most."""
    follower = Follower(counting, Tracker(), every=4)
    alone, both = scene(portrait, (60, 120)), scene(portrait, (60, 120), (380, 120))
    outcomes = run(follower, iter([alone] * 30 + [both] * 15))
    entered = [index for index, outcome in enumerate(outcomes) if 2 in outcome.entered]
    assert entered
    assert 30 < entered[0] < 40
    assert counting.detects == 1, "the loop was stalled by a whole search"
    assert sorted(face.track for face in outcomes[-1].faces) == [1, 2]


def test_motion_that_brings_nobody_is_believed_less(counting: Counting, portrait: Path) -> None:
    """A wheel that never stops starts searches as seldom as the clock in the end; once it rests, motion counts anew."""
    follower = Follower(counting, Tracker(), every=4)

    def picture(step: int, turns: bool) -> np.ndarray:
        image = scene(portrait, (60, 220), side=160)
        cv2.circle(image, (320 + 200 * ((step // 3) % 2 if turns else 0), 80), 50, (220, 220, 220), -1)
        return image

    began = []
    for frame in frames(picture(step, turns=step < 288) for step in range(480)):
        before = follower.searches
        follower.update(frame)
        began += [frame.mono] * (follower.searches - before)
    gaps = np.diff([second for second in began if second < 12])
    assert gaps[0] == pytest.approx(1, abs=0.2), "a quarter of the clock's four seconds"
    assert gaps[1] == pytest.approx(2, abs=0.2)
    assert gaps[2] == pytest.approx(4, abs=0.2)
    last = began[-1]
    both = scene(portrait, (60, 220), (380, 220), side=160)
    late = [Frame(both, 500 + n, 0.0, last + 1.05 + n / FPS, "front") for n in range(12)]
    entered = [frame.mono - late[0].mono for frame in late if follower.update(frame).entered]
    assert entered, "motion after a calm is believed at once"


def test_who_leaves_is_gone_at_once_and_leaves_in_time(mtcnn: Mtcnn, portrait: Path) -> None:
    follower = Follower(mtcnn, Tracker(keep=0.4))
    empty = np.full((480, 640, 3), 110, np.uint8)
    outcomes = run(follower, iter([scene(portrait, (200, 120))] * 10 + [empty] * 14))
    assert [len(outcome.faces) for outcome in outcomes] == [1] * 10 + [0] * 14
    left = next(index for index, outcome in enumerate(outcomes) if outcome.left)
    assert (left - 9) / FPS <= 0.5
    assert outcomes[left].left == (1,)


def test_a_short_occlusion_keeps_the_id(mtcnn: Mtcnn, portrait: Path) -> None:
    follower = Follower(mtcnn, Tracker(keep=0.4))
    face, hidden = scene(portrait, (200, 120)), np.full((480, 640, 3), 110, np.uint8)
    outcomes = run(follower, iter([face] * 10 + [hidden] * 6 + [face] * 10))
    assert {seen.track for outcome in outcomes for seen in outcome.faces} == {1}
    assert not any(outcome.left for outcome in outcomes)


@dataclass
class Credulous:
    """A detector that, once it has seen a face, sees one wherever it is asked to; searches tell the truth."""

    detector: Mtcnn
    name: str = "credulous"

    def detect(self, image: np.ndarray) -> list[Face]:
        return self.detector.detect(image)

    def refine(self, image: np.ndarray, boxes: np.ndarray) -> list[Face | None]:
        return [Face(box.astype(np.float32), 0.99, detector=self.name) for box in boxes]


def test_a_ghost_is_let_go_by_the_searches(mtcnn: Mtcnn, portrait: Path) -> None:
    follower = Follower(Credulous(mtcnn), Tracker(keep=0.0), every=0.5)
    empty = np.full((480, 640, 3), 110, np.uint8)
    outcomes = run(follower, iter([scene(portrait, (200, 120))] * 3 + [empty] * 24))
    assert outcomes[3].faces, "nothing that could be let go"
    assert not outcomes[-1].faces
    assert follower.searches >= 1 + DOUBTS


def test_pictures_of_their_own_are_each_searched(counting: Counting, portrait: Path) -> None:
    follower = Follower(counting, Tracker())
    for frame in frames(iter([scene(portrait, (100, 100))] * 5), still=True):
        assert len(follower.update(frame).faces) == 1
    assert (counting.detects, counting.refined) == (5, 0)


def test_zero_seconds_search_every_frame(counting: Counting, portrait: Path) -> None:
    run(Follower(counting, Tracker(), every=0), iter([scene(portrait, (100, 100))] * 5))
    assert (counting.detects, counting.refined) == (5, 0)


def test_a_camera_that_changes_its_size(mtcnn: Mtcnn, portrait: Path) -> None:
    follower = Follower(mtcnn, Tracker())
    wide = scene(portrait, (100, 100))
    outcomes = run(follower, iter([wide, wide, cv2.resize(wide, (1280, 960)), wide[:, :480].copy()]))
    assert [len(outcome.faces) for outcome in outcomes] == [1, 1, 1, 1]


SEEN_BY_SEARCHING = {
    "WolfgangLanger_Pexels.mp4": 24.0,
    "face_noface.mov": 26.4,
    "face-demographics-walking-and-pause.gif": 12.5,
    "head-pose-face-detection-female-and-male.gif": 12.5,
}


@pytest.mark.parametrize("name", SEEN_BY_SEARCHING)
def test_real_clips_lose_next_to_nothing(mtcnn: Mtcnn, clips: Path, name: str) -> None:
    """Against detection on every frame; scripts/bench measures the same on whole clips and prints the figures."""
    follower = Follower(mtcnn, Tracker(keep=0.4))
    overlaps, errors, wanted, ghosts, count = [], [], 0, 0, 0
    for frame in frames(itertools.islice(clip(clips / name), 120), SEEN_BY_SEARCHING[name]):
        count += 1
        expected, faces = mtcnn.detect(frame.image), follower.update(frame).faces
        wanted += len(expected)
        boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        table = iou(boxes, np.array([face.box for face in expected], np.float32).reshape(-1, 4))
        ghosts += sum(not (row > 0.4).any() for row in table)
        for index, reference in enumerate(expected):
            if len(faces) and table[:, index].max() > 0.4:
                face = faces[int(table[:, index].argmax())]
                overlaps.append(table[:, index].max())
                eyes = np.linalg.norm(reference.landmarks[0] - reference.landmarks[1])
                errors.append(np.linalg.norm(face.landmarks - reference.landmarks, axis=1).mean() / eyes)
    assert len(overlaps) >= 0.99 * wanted
    assert np.median(overlaps) >= 0.85
    assert np.median(errors) <= 0.06
    assert ghosts <= max(1, 0.01 * count)
