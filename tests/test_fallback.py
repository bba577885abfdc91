"""The ladder of detectors: what is missing, throws or is slow is left and tried again; the clock is the test's."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.detect import Detector, load_detector
from edge.detect.fallback import LADDER, LONGEST_WAIT, REMEMBERED, Fallback, Switch
from edge.detect.haar import Haar
from edge.detect.mtcnn import MODELS, Mtcnn
from edge.detect.names import AUTO
from edge.errors import EdgeError, InputError
from edge.follow import Follower
from edge.track import Tracker
from edge.values import Face, Frame

BLACK = np.zeros((60, 80, 3), np.uint8)
BOX = np.array([[10, 10, 50, 50]], np.float32)


class Clock:
    """Seconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """Detectors whose speed and health the test sets, on one clock; what it says of a face is its name alone."""

    def __init__(self, **ms: float) -> None:
        self.clock, self.ms = Clock(), ms
        self.missing: set[str] = set()
        self.broken: set[str] = set()
        self.pieces = 0
        self.loads: list[str] = []
        self.said: list[str] = []

    def load(self, name: str) -> Detector:
        self.loads.append(name)
        if name in self.missing:
            raise InputError(f"{name}: no such file")
        return Staged(self, name)

    def ladder(self, **settings: float | None) -> Fallback:
        return Fallback(list(self.ms), self.load, clock=self.clock, say=self.said.append, **settings)  # type: ignore[arg-type]

    def frames(self, fallback: Fallback, seconds: float, interval: float = 0.5) -> list[str]:
        """Run so many seconds of frames; return which detector did each."""
        end, seen = self.clock.now + seconds, []
        while self.clock.now < end:
            began = self.clock.now
            seen.append(fallback.detect(BLACK)[0].detector)
            self.clock.now = max(self.clock.now, began + interval)
        return seen


class Staged:
    """One detector of the bench."""

    def __init__(self, bench: Bench, name: str) -> None:
        self._bench, self.name = bench, name

    def detect(self, image: np.ndarray) -> list[Face]:
        return [face for face in self.refine(image, BOX) if face is not None]

    def search(self, image: np.ndarray) -> Generator[None, None, list[Face]]:
        for _ in range(self._bench.pieces):
            self._spend(self._bench.ms[self.name] / self._bench.pieces)
            yield
        return self.detect(image) if not self._bench.pieces else [Face(BOX[0], 1.0, detector=self.name)]

    def refine(self, image: np.ndarray, boxes: np.ndarray) -> list[Face | None]:
        self._spend(self._bench.ms[self.name])
        return [Face(box, 1.0, detector=self.name) for box in boxes]

    def _spend(self, ms: float) -> None:
        self._bench.clock.now += ms / 1000
        if self.name in self._bench.broken:
            raise RuntimeError(f"{self.name} broke\nin two lines")


def test_no_names_and_no_numbers() -> None:
    with pytest.raises(InputError, match="name one at least"):
        Fallback([], lambda name: Haar(), clock=Clock())
    for settings in ({"budget_ms": 0}, {"budget_ms": float("nan")}, {"slow_for": -1}, {"retry_after": 0}):
        with pytest.raises(InputError, match="expected numbers above 0"):
            Bench(a=1).ladder(**settings)


def test_the_first_is_used_and_nothing_else_is_loaded() -> None:
    bench = Bench(a=10, b=5)
    fallback = bench.ladder(budget_ms=20)
    assert set(bench.frames(fallback, 3600, 10)) == {"a"}
    assert (fallback.name, fallback.switches, bench.said, bench.loads) == ("a", [], [], ["a"])
    assert fallback.ms == pytest.approx(10)
    assert fallback.refine(BLACK, BOX)[0].detector == "a"


def test_nothing_to_refine_asks_nobody() -> None:
    bench = Bench(a=10)
    fallback = bench.ladder()
    before = bench.clock.now
    assert fallback.refine(BLACK, BOX[:0]) == []
    assert bench.clock.now == before


def test_what_is_missing_at_the_start_is_passed_over_and_said() -> None:
    bench = Bench(a=1, b=1, c=1)
    bench.missing = {"a", "b"}
    fallback = bench.ladder()
    assert fallback.name == "c"
    why = "a cannot be loaded: a: no such file; b cannot be loaded: b: no such file"
    assert fallback.switches == [Switch(100.0, "a", "c", why)]
    assert bench.said == [f"detector a -> c: {why}"]


def test_when_none_can_be_loaded_it_says_so_at_once() -> None:
    bench = Bench(a=1, b=1)
    bench.missing = {"a", "b"}
    with pytest.raises(InputError, match=r"no detector works here: a cannot be loaded.*; b cannot be loaded") as caught:
        bench.ladder()
    assert "\n" not in str(caught.value)


def test_one_that_throws_is_left_within_the_same_call_and_loaded_anew_later() -> None:
    bench = Bench(a=1, b=1)
    fallback = bench.ladder(retry_after=60)
    bench.broken = {"a"}
    assert [face.detector for face in fallback.detect(BLACK)] == ["b"]
    assert bench.said == ["detector a -> b: a failed: a broke"]
    assert set(bench.frames(fallback, 59)) == {"b"}
    bench.broken = set()
    assert bench.frames(fallback, 3)[-1] == "a"
    assert bench.loads == ["a", "b", "a"]
    assert [(each.old, each.new) for each in fallback.switches] == [("a", "b"), ("b", "a")]
    assert fallback.switches[-1].why == "a is tried again after 60 s"


def test_refining_steps_down_as_well() -> None:
    bench = Bench(a=1, b=1)
    fallback = bench.ladder()
    bench.broken = {"a"}
    (face,) = fallback.refine(BLACK, BOX)
    assert face is not None
    assert face.detector == "b"


def test_a_search_goes_on_piece_by_piece_and_past_a_detector_that_throws() -> None:
    bench = Bench(a=30, b=1)
    bench.pieces = 4
    fallback = bench.ladder(budget_ms=20, slow_for=10)
    assert len(list(fallback.search(BLACK))) == 4
    assert finished(fallback.search(BLACK)) == ["a"]
    search = fallback.search(BLACK)
    next(search)
    bench.broken = {"a"}
    assert finished(search) == ["b"]
    assert [each.new for each in fallback.switches] == ["b"]
    with pytest.raises(InputError, match="expected"):
        next(fallback.search(np.zeros((5, 5), np.uint8)))


def test_a_search_under_way_outlives_a_switch() -> None:
    bench = Bench(a=1, b=1)
    bench.pieces = 4
    fallback = bench.ladder()
    search = fallback.search(BLACK)
    next(search)
    bench.broken = {"a"}
    assert fallback.detect(BLACK)[0].detector == "b"
    assert finished(search) == ["b"]
    assert len(fallback.switches) == 1  # it throws once more, but has been left already


def test_slow_pieces_count_as_slow_calls() -> None:
    bench = Bench(a=120, b=1)
    bench.pieces = 4
    fallback = bench.ladder(budget_ms=40, slow_for=5)
    while bench.clock.now < 105:
        finished(fallback.search(BLACK))
        bench.clock.now += 0.1
    assert fallback.name == "a"  # 30 ms a piece
    bench.ms["a"] = 200
    while bench.clock.now < 115:
        finished(fallback.search(BLACK))
        bench.clock.now += 0.1
    assert fallback.name == "b"


def finished(search: Generator[None, None, list[Face]]) -> list[str]:
    """Run a search to its end; return which detector found each face."""
    while True:
        try:
            next(search)
        except StopIteration as end:
            return [face.detector for face in end.value]


def test_waits_double_up_to_a_limit_and_start_anew_after_it_has_held() -> None:
    bench = Bench(a=1, b=1)
    bench.broken = {"a"}
    fallback = bench.ladder(retry_after=60)
    bench.frames(fallback, 6 * 3600, 1)
    downs = [switch.when for switch in fallback.switches if switch.new == "b"]
    waits = np.diff(downs)
    assert waits[:6].tolist() == pytest.approx([60, 120, 240, 480, 960, 1920], abs=2)
    assert waits[6:].max() <= LONGEST_WAIT + 2
    bench.broken = set()
    bench.frames(fallback, LONGEST_WAIT + 10, 1)
    assert fallback.name == "a"
    bench.frames(fallback, 2 * LONGEST_WAIT, 1)  # it holds for longer than it had to wait
    bench.broken = {"a"}
    bench.frames(fallback, 1, 1)
    bench.broken = set()
    assert set(bench.frames(fallback, 58, 1)) == {"b"}
    assert bench.frames(fallback, 5, 1)[-1] == "a"


def test_when_all_throw_the_caller_hears_it_and_the_next_frame_is_tried_again() -> None:
    bench = Bench(a=1, b=1)
    fallback = bench.ladder()
    bench.broken = {"a", "b"}
    for _ in range(3):
        with pytest.raises(EdgeError, match=r"no detector works here: . failed: . broke") as caught:
            fallback.detect(BLACK)
        assert not isinstance(caught.value, InputError)
    bench.broken = {"a"}
    assert fallback.detect(BLACK)[0].detector == "b"


def test_a_bad_picture_is_the_callers_fault_and_no_reason_to_step_down() -> None:
    bench = Bench(a=1, b=1)
    fallback = bench.ladder()
    for look in (fallback.detect, lambda image: fallback.refine(image, BOX)):
        with pytest.raises(InputError, match="expected"):
            look(np.zeros((5, 5), np.uint8))
    assert fallback.switches == []


def test_a_slow_one_is_left_only_after_it_has_been_slow_for_long() -> None:
    bench = Bench(a=30, b=5)
    fallback = bench.ladder(budget_ms=20, slow_for=10)
    assert set(bench.frames(fallback, 9)) == {"a"}
    assert "b" in bench.frames(fallback, 5)
    assert bench.said == ["detector a -> b: a takes 30 ms, the budget is 20 ms"]


def test_a_few_slow_calls_do_not_count() -> None:
    bench = Bench(a=10, b=5)
    fallback = bench.ladder(budget_ms=20, slow_for=5)
    for _ in range(20):
        bench.ms["a"] = 500
        bench.frames(fallback, 1.5)
        bench.ms["a"] = 10
        bench.frames(fallback, 6)
    assert fallback.switches == []


def test_without_a_budget_slowness_is_no_reason() -> None:
    bench = Bench(a=5000, b=5)
    fallback = bench.ladder()
    assert set(bench.frames(fallback, 600)) == {"a"}


def test_a_slow_one_is_tried_again_and_stays_when_it_has_become_fast() -> None:
    bench = Bench(a=30, b=5)
    fallback = bench.ladder(budget_ms=20, slow_for=10, retry_after=60)
    bench.frames(fallback, 30)
    assert fallback.name == "b"
    bench.ms["a"] = 15  # the device has cooled down
    seen = bench.frames(fallback, 300)
    assert seen[0] == "b"
    assert seen[-1] == "a"
    assert len(fallback.switches) == 2
    assert bench.loads == ["a", "b"]  # being slow is no reason to load it anew


def test_where_all_are_too_slow_the_fastest_stays_until_the_next_try() -> None:
    bench = Bench(a=90, b=30, c=60)
    fallback = bench.ladder(budget_ms=20, slow_for=5, retry_after=600)
    bench.frames(fallback, 60)
    assert fallback.name == "b"
    assert [(each.old, each.new) for each in fallback.switches] == [("a", "b"), ("b", "c"), ("c", "b")]
    assert "no other is within it: b is the fastest" in fallback.switches[-1].why
    assert set(bench.frames(fallback, 300)) == {"b"}


def test_the_only_one_stays_however_slow() -> None:
    bench = Bench(a=90)
    fallback = bench.ladder(budget_ms=20, slow_for=5)
    assert set(bench.frames(fallback, 600)) == {"a"}
    assert fallback.switches == []


def test_the_list_of_switches_is_bounded() -> None:
    bench = Bench(a=1, b=1)
    fallback = bench.ladder(retry_after=1)
    for _ in range(REMEMBERED):
        bench.broken = {fallback.name}
        fallback.detect(BLACK)
        bench.clock.now += 10_000
    assert len(fallback.switches) == REMEMBERED
    assert fallback.switches[-1].when == max(each.when for each in fallback.switches)


# With the real ones


@pytest.fixture(scope="module")
def picture(portrait: Path) -> np.ndarray:
    image = cv2.imread(str(portrait), cv2.IMREAD_COLOR)
    assert image is not None, f"the bundled portrait {portrait} does not read"
    return image


def test_auto_is_mtcnn_where_all_is_well(picture: np.ndarray) -> None:
    detector = load_detector(AUTO)
    assert detector.name == LADDER[0] == "mtcnn"
    (face,) = detector.detect(picture)
    assert face.detector == "mtcnn"


def test_a_real_detector_made_slow_and_fast_again(picture: np.ndarray) -> None:
    """MTCNN finds what it finds, but the clock says that it took long: it hands over to Haar, and comes back."""
    clock, slow = Clock(), [0.3]

    class SlowMtcnn(Mtcnn):
        def detect(self, image: np.ndarray) -> list[Face]:
            clock.now += slow[0]
            return super().detect(image)

    makers: dict[str, Callable[[], Detector]] = {"mtcnn": SlowMtcnn, "haar": Haar}  # type: ignore[dict-item]
    fallback = Fallback(
        ["mtcnn", "haar"], lambda name: makers[name](), clock=clock, budget_ms=100, slow_for=2, retry_after=30
    )
    seen = []
    for _ in range(40):
        (face,) = fallback.detect(picture)
        seen.append(face.detector)
        clock.now += 1
        slow[0] = 0.3 if len(seen) < 12 else 0.01
    assert seen[0] == "mtcnn"
    assert seen[11] == "haar"
    assert seen[-1] == "mtcnn"
    assert [(each.old, each.new) for each in fallback.switches] == [("mtcnn", "haar"), ("haar", "mtcnn")]


def test_a_real_detector_whose_files_are_gone_and_come_back(picture: np.ndarray, tmp_path: Path) -> None:
    clock, said = Clock(), list[str]()
    makers: dict[str, Callable[[], Detector]] = {"mtcnn": lambda: Mtcnn(models=tmp_path), "haar": Haar}  # type: ignore[dict-item,return-value]
    fallback = Fallback(["mtcnn", "haar"], lambda name: makers[name](), clock=clock, say=said.append, retry_after=30)
    assert fallback.name == "haar"
    assert "pnet.onnx: no such file" in said[0]
    for path in MODELS.glob("*.onnx"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert fallback.detect(picture)[0].detector == "haar"
    clock.now += 31
    assert fallback.detect(picture)[0].detector == "mtcnn"
    assert said[1:] == ["detector haar -> mtcnn: mtcnn is tried again after 30 s"]


def test_a_followed_face_keeps_its_id_when_the_detector_changes(portrait_clip: Path) -> None:
    """MTCNN breaks in the middle of a clip and is whole again later: same face, same id, boxes in the same framing."""
    clock, broken, said = Clock(), [False], list[str]()

    class Breakable(Mtcnn):
        def refine(self, image: np.ndarray, boxes: np.ndarray) -> list[Face | None]:
            if broken[0]:
                raise RuntimeError("the driver has gone")
            return super().refine(image, boxes)

    makers: dict[str, Callable[[], Detector]] = {"mtcnn": Breakable, "haar": Haar}
    fallback = Fallback(["mtcnn", "haar"], lambda name: makers[name](), clock=clock, say=said.append, retry_after=1)
    follower = Follower(fallback, Tracker(), every=1.0)
    capture = cv2.VideoCapture(str(portrait_clip))
    ids, detectors = set(), []
    for index in range(45):  # the face stands in the picture all the while
        frame = Frame(capture.read()[1], index, clock.now, clock.now, "clip")
        broken[0] = 15 <= index < 30
        for face in follower.update(frame).faces:
            ids.add(face.track)
            detectors.append(face.detector)
        clock.now += 1 / 15
    capture.release()
    assert len(ids) == 1
    assert len(detectors) >= 40
    assert detectors[0] == detectors[-1] == "mtcnn"
    assert detectors.count("haar") >= 10
    assert [line.split(":")[0] for line in said] == ["detector mtcnn -> haar", "detector haar -> mtcnn"]
