"""BlazeFace, MediaPipe, YuNet and Haar: empty pictures first, then loading, geometry, and real faces."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.detect import Detector, load_detector
from edge.detect.blazeface import (
    ANCHORS,
    FRAMING,
    MODEL,
    NOTHING,
    BlazeFace,
    Detections,
    blend,
    decode,
    tile_starts,
    to_faces,
)
from edge.detect.framing import Framing, measure_framing
from edge.detect.haar import Haar
from edge.detect.names import AUTO, DETECTORS
from edge.detect.near import best, neighbourhoods, refine_near
from edge.detect.yunet import YuNet
from edge.errors import InputError
from edge.interpreter import installed
from edge.track import iou
from edge.values import Face

needs_runtime = pytest.mark.skipif(not installed(), reason="no TFLite runtime is installed: pip install ai-edge-litert")
HERE = [pytest.param("blazeface", marks=needs_runtime), "haar"]
"""The detectors that need no further file or package."""


@pytest.fixture(scope="module", params=HERE)
def detector(request: pytest.FixtureRequest) -> Detector:
    return load_detector(request.param)


@pytest.fixture(scope="module")
def blazeface() -> BlazeFace:
    if not installed():
        pytest.skip("no TFLite runtime is installed: pip install ai-edge-litert")
    return BlazeFace()


@pytest.fixture(scope="module")
def picture(portrait: Path) -> np.ndarray:
    image = cv2.imread(str(portrait), cv2.IMREAD_COLOR)
    assert image is not None, f"the bundled portrait {portrait} does not read"
    return image


@pytest.fixture(scope="module")
def truth(picture: np.ndarray) -> Face:
    """The portrait's face as MTCNN sees it."""
    (face,) = load_detector("mtcnn").detect(picture)
    return face


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(iou(a[None], b[None])[0, 0])


# What every detector does


@pytest.mark.parametrize("shape", [(480, 640), (1, 1), (23, 23), (40, 40), (39, 500), (0, 0), (0, 10), (3, 2000)])
def test_nothing_in_a_black_picture_of_any_size(detector: Detector, shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    assert detector.detect(image) == []
    assert detector.refine(image, np.zeros((0, 4), np.float32)) == []
    boxes = np.array([[-50, -50, -10, -10], [10, 10, 60, 60], [600, 400, 900, 900], [5, 5, 5, 5]], np.float32)
    assert detector.refine(image, boxes) == [None] * 4


@pytest.mark.parametrize("image", [np.zeros((80, 80), np.uint8), np.zeros((80, 80, 3), np.float32), None], ids=str)
def test_refuses_what_is_no_bgr_picture(detector: Detector, image: np.ndarray) -> None:
    for look in (detector.detect, lambda image: detector.refine(image, np.zeros((1, 4), np.float32))):
        with pytest.raises(InputError, match=r"expected \(H, W, 3\) uint8 BGR"):
            look(image)


def test_the_portrait_is_found_once_where_mtcnn_sees_it(detector: Detector, picture: np.ndarray, truth: Face) -> None:
    (face,) = detector.detect(picture)
    # Two thirds: what the raw boxes, which are square and lie lower, do not reach.
    assert overlap(face.box, truth.box) > 0.67
    assert 0 < face.score <= 1
    assert (face.detector, face.track) == (detector.name, -1)
    assert (face.box.dtype, face.landmarks.dtype) == (np.float32, np.float32)
    assert (face.box.shape, face.landmarks.shape) == ((4,), (5, 2))


def test_a_face_is_found_again_near_its_box(detector: Detector, picture: np.ndarray, truth: Face) -> None:
    width = truth.box[2] - truth.box[0]
    boxes = truth.box + np.array([[0.0], [0.15], [-0.15], [4.0]], np.float32) * width  # the last is on the wall
    *near, far = detector.refine(picture, boxes)
    assert far is None
    for face in near:
        assert face is not None
        assert overlap(face.box, truth.box) > 0.6
        assert face.detector == detector.name


def test_small_faces_are_left_out_when_told_so(picture: np.ndarray) -> None:
    for name in ("blazeface", "haar") if installed() else ("haar",):
        assert load_detector(name, min_face=250).detect(picture) == []


@pytest.mark.parametrize("seed", range(6))
def test_no_crop_of_a_picture_stops_it(detector: Detector, picture: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = picture.shape[:2]
    x1, y1 = rng.integers(0, width - 1), rng.integers(0, height - 1)
    crop = picture[y1 : rng.integers(y1 + 1, height + 1), x1 : rng.integers(x1 + 1, width + 1)]
    for image in (crop, rng.integers(0, 256, crop.shape, dtype=np.uint8)):
        scores = [face.score for face in detector.detect(image)]
        assert scores == sorted(scores, reverse=True)


def test_most_faces_of_a_clip_are_found_where_mtcnn_finds_them(detector: Detector, clips: Path) -> None:
    mtcnn, seen, found = load_detector("mtcnn"), 0, 0
    for frame in frames(clips / "WolfgangLanger_Pexels.mp4", 60):
        boxes = np.array([face.box for face in detector.detect(frame)], np.float32).reshape(-1, 4)
        for face in mtcnn.detect(frame):
            seen += 1
            found += bool(len(boxes)) and iou(boxes, face.box[None]).max() > 0.5
    assert seen >= 8
    assert found >= 0.75 * seen


def frames(path: Path, every: int) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    index = 0
    while capture.grab():
        if index % every == 0:
            yield capture.retrieve()[1]
        index += 1


# Loading


@pytest.mark.parametrize("name", ["dlib", "", "MTCNN", "fallback"])
def test_an_unknown_name_says_what_is_known(name: str) -> None:
    with pytest.raises(InputError, match=rf'no detector "{name}": choose one of mtcnn, blazeface, .*haar, or auto'):
        load_detector(name)


@pytest.mark.parametrize("name", [*DETECTORS, AUTO])
def test_numbers_out_of_range_are_refused_before_anything_is_loaded(name: str) -> None:
    with pytest.raises(InputError, match="min_face is 11"):
        load_detector(name, min_face=11)
    with pytest.raises(InputError, match="threads is 0"):
        load_detector(name, threads=0)


def test_naming_detectors_loads_no_runtime() -> None:
    code = (
        "import sys; from edge.detect.names import check_name, DETECTORS; from edge.config import DetectConfig;"
        "[check_name(name) for name in DETECTORS]; DetectConfig(detector='auto');"
        "print([m for m in ('onnxruntime', 'cv2', 'ai_edge_litert', 'mediapipe') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_missing_or_foreign_file_is_one_clear_line(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.bin"
    foreign.write_bytes(b"no model")
    for load, says in [
        (lambda: BlazeFace(model=tmp_path / "none"), "no such file; it is part of the package"),
        (lambda: Haar(cascade=tmp_path / "none"), "no such file; OpenCV 4"),
        (lambda: Haar(cascade=foreign), "no cascade that OpenCV"),
        (lambda: YuNet(None), r"ships without a model: name its file, \[detect\] yunet_model"),
        (lambda: YuNet(tmp_path / "none"), r"no such file; \[detect\] yunet_model"),
        (lambda: YuNet(foreign), "is no YuNet model that OpenCV"),
        (lambda: YuNet(Path(__file__).parent.parent / "edge/models/mtcnn/pnet.onnx"), "is no YuNet model"),
        (lambda: load_detector("yunet"), "ships without a model"),
        (lambda: load_detector(AUTO, yunet_model=tmp_path / "none"), "no such file"),
    ]:
        with pytest.raises(InputError, match=says) as caught:
            load()
        assert "\n" not in str(caught.value)


@needs_runtime
def test_another_tflite_model_is_not_taken_for_blazeface(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(MODEL.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"no TFLite file that .* can run"):
        BlazeFace(model=damaged)


def test_without_a_runtime_blazeface_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['ai_edge_litert.interpreter', 'tflite_runtime.interpreter']));"
        "from edge.detect import load_detector; load_detector('blazeface')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert "InputError" in done.stderr
    assert "pip install ai-edge-litert" in done.stderr


# Framing and refining


def test_framing_of_no_boxes() -> None:
    assert Framing(1.2, 1.3, 0.1, 0.1).apply(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_a_framing_that_was_measured_is_undone() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 300, (50, 2))
    boxes = np.hstack([corner, corner + rng.uniform(40, 200, (50, 1))])
    framing = Framing(width=0.9, height=1.2, x=-0.02, y=0.1)
    assert framing.apply(np.array([[0, 0, 100, 100]], np.float32)).tolist() == [[3, 0, 93, 120]]
    assert measure_framing(boxes, framing.apply(boxes)) == framing
    assert framing.size_before(120) == 100


def test_neighbourhoods_are_squares_about_the_boxes() -> None:
    assert neighbourhoods(np.array([[10.0, 20, 30, 60]]), 2.0).tolist() == [[-20, 0, 80]]
    assert neighbourhoods(np.zeros((0, 4)), 2.0).shape == (0, 3)


def test_the_best_overlap_wins_and_what_hardly_touches_does_not_count() -> None:
    box = np.array([0, 0, 10, 10], np.float32)
    near, far = Face(box + 2, 0.5), Face(box + 8, 0.9)
    assert best([], box) is None
    assert best([far], box) is None
    assert best([far, near], box) is near


def test_what_is_found_in_a_neighbourhood_is_said_in_the_pictures_pixels() -> None:
    def corner(piece: np.ndarray) -> list[Face]:  # "finds" the one white square
        y, x = np.argwhere(piece[..., 0] == 255).min(axis=0)
        points = np.full((5, 2), np.nan, np.float32)
        points[0] = x, y
        return [Face(np.array([x, y, x + 20, y + 20], np.float32), 1.0, points)]

    image = np.zeros((100, 120, 3), np.uint8)
    image[60:80, 70:90] = 255
    (face,) = refine_near(corner, image, np.array([[65, 55, 85, 75]], np.float32))
    assert face is not None
    assert face.box.tolist() == [70, 60, 90, 80]
    assert face.landmarks[0].tolist() == [70, 60]
    assert np.isnan(face.landmarks[1:]).all()


# BlazeFace


def test_anchors_are_the_centres_of_two_grids() -> None:
    assert ANCHORS.shape == (896, 2)
    assert ANCHORS[0].tolist() == ANCHORS[1].tolist() == [1 / 32, 1 / 32]  # 16 cells a side, 2 anchors each
    assert ANCHORS[2].tolist() == [3 / 32, 1 / 32]  # along the row first
    assert ANCHORS[512].tolist() == ANCHORS[517].tolist() == [1 / 16, 1 / 16]  # then 8 cells a side, 6 each
    assert ANCHORS[-1].tolist() == [15 / 16, 15 / 16]


def test_decoding_nothing_and_one_anchor() -> None:
    regressors, logits = np.zeros((896, 16), np.float32), np.full(896, -200, np.float32)
    assert decode(regressors, logits, 0.5) is NOTHING
    logits[0], regressors[0, 2:6] = 100, (64, 32, 12.8, 0)
    found = decode(regressors, logits, 0.5)
    assert np.allclose(found.boxes, [[1 / 32 - 0.25, 1 / 32 - 0.125, 1 / 32 + 0.25, 1 / 32 + 0.125]])
    assert np.allclose(found.points[0, 0], [1 / 32 + 0.1, 1 / 32])
    assert np.allclose(found.scores, 1)


def test_overlapping_detections_become_their_weighted_mean() -> None:
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]], np.float32)
    points = np.arange(36, dtype=np.float32).reshape(3, 6, 2)
    blended = blend(Detections(boxes, np.array([0.9, 0.6, 0.5], np.float32), points), 0.3)
    assert np.allclose(blended.boxes, [[0.8, 0, 10.8, 10], [50, 50, 60, 60]])
    assert np.allclose(blended.scores, [0.9, 0.5])
    assert np.allclose(blended.points[0], 0.6 * points[0] + 0.4 * points[1])


@pytest.mark.parametrize(
    ("length", "side", "starts"),
    [(480, 480, []), (640, 480, [0, 160]), (1280, 720, [0, 280, 560]), (10, 0, []), (2000, 3, []), (400, 100, 7)],
)
def test_tiles_cover_the_longer_side_and_overlap_by_half(length: int, side: int, starts: list[float] | int) -> None:
    made = tile_starts(length, side)
    assert (len(made) if isinstance(starts, int) else made) == starts
    assert all(b - a <= side / 2 for a, b in pairwise(made))


def test_blazeface_knows_eyes_and_nose_left_first_and_no_mouth(
    blazeface: BlazeFace, picture: np.ndarray, truth: Face
) -> None:
    (face,) = blazeface.detect(picture)
    left_eye, right_eye, nose = face.landmarks[:3]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert np.isnan(face.landmarks[3:]).all()
    eyes = np.linalg.norm(truth.landmarks[1] - truth.landmarks[0])
    assert np.linalg.norm(face.landmarks[:3] - truth.landmarks[:3], axis=1).max() < 0.2 * eyes


def test_a_face_in_a_wide_picture_is_found_once_in_its_place(
    blazeface: BlazeFace, picture: np.ndarray, truth: Face
) -> None:
    """Tiles see it twice and the whole once; turned on its side the picture has its tiles one above the other."""
    height, width = picture.shape[:2]
    wide = np.zeros((height, 2 * width, 3), np.uint8)
    wide[:, width:] = picture
    (face,) = blazeface.detect(wide)
    assert overlap(face.box - [width, 0, width, 0], truth.box) > 0.67
    tall = np.zeros((2 * height, width, 3), np.uint8)
    tall[height:] = picture
    (face,) = blazeface.detect(tall)
    assert overlap(face.box - [0, height, 0, height], truth.box) > 0.67


def test_tiles_find_faces_that_one_look_misses(blazeface: BlazeFace, clips: Path) -> None:
    image = cv2.imread(str(clips / "multi_face.jpg"))
    assert image is not None
    mtcnn = np.array([face.box for face in load_detector("mtcnn").detect(image)])

    def recall(faces: list[Face]) -> int:
        return int((iou(mtcnn, np.array([face.box for face in faces])).max(axis=1) > 0.5).sum())

    assert recall(blazeface.detect(image)) > recall(BlazeFace(tiles=False).detect(image))


def test_the_framing_moves_the_box_and_no_landmark(blazeface: BlazeFace, picture: np.ndarray) -> None:
    raw = blazeface.raw(picture)
    (face,) = to_faces(raw, "blazeface")
    assert np.array_equal(face.box, FRAMING.apply(raw.boxes)[0])
    assert np.array_equal(face.landmarks[:3], raw.points[0, :3])


# MediaPipe


def test_blazeface_agrees_with_mediapipes_own(blazeface: BlazeFace, picture: np.ndarray, clips: Path) -> None:
    """scripts/proofs/blazeface.py does it on every tenth frame of the clips."""
    pytest.importorskip("mediapipe", reason='mediapipe is not installed: pip install "emotion-edge[mediapipe]"')
    from edge.detect.mediapipe import MediaPipe

    theirs = MediaPipe()
    pictures = [picture, *(cv2.imread(str(path)) for path in sorted(clips.glob("*.jpg")))]
    assert len(pictures) >= 4
    for image in pictures:
        mine, other = blazeface.raw(image), theirs.raw(image)
        assert len(mine.boxes) == len(other.boxes) >= 1
        corner = np.trunc(mine.boxes[:, :2])  # MediaPipe cuts its boxes to whole pixels
        cut = np.hstack([corner, corner + np.trunc(mine.boxes[:, 2:] - mine.boxes[:, :2])])
        assert np.diagonal(iou(cut, other.boxes)).min() >= 0.95
        assert np.allclose(mine.points, other.points, atol=1)
    (face,) = theirs.detect(picture)
    assert face.detector == "mediapipe"
    (again,) = theirs.refine(picture, face.box[None])
    assert again is not None
    assert overlap(again.box, face.box) > 0.7
    theirs.close()


def test_without_mediapipe_its_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['mediapipe'] = None;from edge.detect import load_detector; load_detector('mediapipe')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert 'InputError: the detector "mediapipe"' in done.stderr


# YuNet


POINTS = [(0.2, 0.3), (0.8, 0.3), (0.5, 0.5), (0.3, 0.8), (0.7, 0.8)]
"""Where the stand-in puts its points, in cells of 32 pixels."""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net with YuNet's inputs and outputs that takes each white cell of 32 pixels for a face of 64: no file ships."""
    onnx = pytest.importorskip("onnx", reason="the stand-in for YuNet is built with onnx, which is not installed")
    helper, arrays = onnx.helper, onnx.numpy_helper
    nodes, constants, outputs = [], [], []

    def add(name: str, array: np.ndarray) -> str:
        constants.append(arrays.from_array(array, name))
        return name

    for kind, bias in {
        "cls": [0.0], "obj": [1.0], "bbox": [0.5, 0.5, np.log(2), np.log(2)], "kps": np.ravel(POINTS)
    }.items():  # fmt: skip
        for stride in (8, 16, 32):
            name, count = f"{kind}_{stride}", len(bias)
            white = 1 / (3 * 255 * stride**2) if kind == "cls" and stride == 32 else 0.0
            weights = add(f"{name}_w", np.full((count, 3, stride, stride), white, np.float32))
            biases = add(f"{name}_b", np.array(bias, np.float32))
            nodes += [
                helper.make_node("Conv", ["input", weights, biases], [f"{name}_c"], strides=[stride] * 2,
                                 kernel_shape=[stride] * 2),
                helper.make_node("Transpose", [f"{name}_c"], [f"{name}_t"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_t", add(f"{name}_s", np.array([1, -1, count]))], [name]),
            ]  # fmt: skip
            outputs.append(helper.make_tensor_value_info(name, 1, [1, None, count]))
    picture = helper.make_tensor_value_info("input", 1, [1, 3, 320, 320])
    graph = helper.make_graph(nodes, "stand_in", [picture], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
    path = tmp_path_factory.mktemp("yunet") / "stand_in.onnx"
    onnx.save(model, path)
    return path


def test_yunets_rows_become_faces_left_eye_first(stand_in: Path) -> None:
    detector = load_detector("yunet", yunet_model=stand_in)
    for height, width in ((480, 640), (33, 70), (320, 320)):
        image = np.zeros((height, width, 3), np.uint8)
        assert detector.detect(image) == []
        image[0:32, 32:64] = 255
        (face,) = detector.detect(image)
        assert face.box.tolist() == pytest.approx([16, -16, 80, 48], abs=0.1)
        assert np.allclose(face.landmarks, np.array(POINTS) * 32 + (32, 0), atol=0.1)
        assert (face.detector, face.score) == ("yunet", pytest.approx(1, abs=0.01))
    assert detector.detect(np.zeros((8, 8, 3), np.uint8)) == []
    assert YuNet(stand_in, min_face=65).detect(image) == []


def test_yunet_looks_again_near_a_box(stand_in: Path) -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[96:160, 96:160] = 255  # four cells, of the whole picture as of the square about the box
    near, far = YuNet(stand_in).refine(image, np.array([[96, 96, 160, 160], [400, 300, 464, 364]], np.float32))
    assert far is None
    assert near is not None
    assert iou(near.box[None], np.array([[96.0, 96, 160, 160]])).max() > 0.3


def test_auto_takes_yunet_in_where_its_file_is_named(stand_in: Path) -> None:
    from edge.detect.fallback import Fallback

    for model, names in ((stand_in, ["mtcnn", "blazeface", "yunet", "haar"]), (None, ["mtcnn", "blazeface", "haar"])):
        detector = load_detector(AUTO, yunet_model=model)
        assert isinstance(detector, Fallback)
        assert list(detector.names) == names
