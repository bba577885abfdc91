"""MTCNN: empty pictures first, then the geometry against plain references, real faces, and facenet-pytorch."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.detect import load_detector
from edge.detect.area import AreaSampler
from edge.detect.boxes import shift, square, suppress, suppress_inner, windows
from edge.detect.mtcnn import Mtcnn
from edge.errors import InputError


@pytest.fixture(scope="module")
def detector() -> Mtcnn:
    return Mtcnn()


@pytest.fixture(scope="module")
def face_picture(portrait: Path) -> np.ndarray:
    image = cv2.imread(str(portrait), cv2.IMREAD_COLOR)
    assert image is not None, f"the bundled portrait {portrait} does not read"
    return image


@pytest.mark.parametrize(
    "shape", [(480, 640), (1, 1), (11, 11), (12, 12), (39, 500), (40, 40), (41, 41), (0, 0), (0, 10), (3, 2000)]
)
def test_nothing_in_a_black_picture_of_any_size(detector: Mtcnn, shape: tuple[int, int]) -> None:
    assert detector.detect(np.zeros((*shape, 3), np.uint8)) == []


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((80, 80), np.uint8),
        np.zeros((80, 80, 1), np.uint8),
        np.zeros((80, 80, 4), np.uint8),
        np.zeros((80, 80, 3), np.float32),
        None,
    ],
    ids=["gray", "one channel", "alpha", "float", "unread"],
)
def test_refuses_what_is_no_bgr_picture(detector: Mtcnn, image: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"expected \(H, W, 3\) uint8 BGR"):
        detector.detect(image)


def test_load_detector_says_what_it_knows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='no detector "dlib": choose one of mtcnn'):
        load_detector("dlib")
    with pytest.raises(InputError, match="min_face is 11"):
        load_detector(min_face=11)
    with pytest.raises(InputError, match="threads is 0"):
        load_detector(threads=0)
    with pytest.raises(InputError, match=r"pnet\.onnx: no such file"):
        Mtcnn(models=tmp_path)
    (tmp_path / "pnet.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"pnet\.onnx is no ONNX file") as caught:
        Mtcnn(models=tmp_path)
    assert "\n" not in str(caught.value)


def test_suppress_nothing() -> None:
    empty, none = np.empty((0, 4), np.float32), np.empty(0, np.float32)
    assert suppress(empty, none, 0.5).tolist() == []
    assert suppress_inner(empty, none, 0.5).tolist() == []
    assert windows(empty, 10, 10)[0].shape == (0, 4)


@pytest.mark.parametrize("seed", range(20))
def test_suppress_against_a_plain_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 120))
    corner = rng.uniform(-20, 80, (count, 2))
    boxes = np.hstack([corner, corner + rng.uniform(5, 60, (count, 2))]).astype(np.float32)
    scores = rng.uniform(0.1, 1, count).astype(np.float32)
    groups = rng.integers(0, 3, count)
    limit = float(rng.uniform(0.2, 0.8))
    assert suppress(boxes, scores, limit).tolist() == plain_suppress(boxes, scores, limit, np.zeros(count), 0, False)
    assert suppress(boxes, scores, limit, groups).tolist() == plain_suppress(boxes, scores, limit, groups, 0, False)
    assert suppress_inner(boxes, scores, limit).tolist() == plain_suppress(
        boxes, scores, limit, np.zeros(count), 1, True
    )


def plain_suppress(
    boxes: np.ndarray, scores: np.ndarray, limit: float, groups: np.ndarray, inclusive: int, of_smaller: bool
) -> list[int]:
    """Greedy suppression as one would say it: take the best, drop what overlaps it too much, and again."""
    left = sorted(range(len(boxes)), key=lambda index: -scores[index])
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [
            other
            for other in left
            if groups[other] != groups[best] or plain_overlap(boxes[best], boxes[other], inclusive, of_smaller) <= limit
        ]
    return kept


def plain_overlap(a: np.ndarray, b: np.ndarray, inclusive: int, of_smaller: bool) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + inclusive)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + inclusive)
    area_a = (a[2] - a[0] + inclusive) * (a[3] - a[1] + inclusive)
    area_b = (b[2] - b[0] + inclusive) * (b[3] - b[1] + inclusive)
    whole = min(area_a, area_b) if of_smaller else area_a + area_b - width * height
    return width * height / whole


def test_box_geometry() -> None:
    boxes = np.array([[10, 20, 30, 60]], np.float32)
    assert square(boxes).tolist() == [[0, 20, 40, 60]]
    assert shift(boxes, np.array([[0.5, 0, 0, -0.25]]), inclusive=0).tolist() == [[20, 20, 30, 50]]
    cut, kept = windows(np.array([[-5.5, 0, 10.9, 7], [50, 50, 60, 60], [8, 8, 30, 30]]), 20, 20)
    assert cut.tolist() == [[0, 0, 10, 7], [7, 7, 20, 20]]
    assert kept.tolist() == [0, 2]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (20, 31), (40, 62)], ids=str)  # smaller, the same, and larger
def test_area_averages_against_a_plain_reference(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    assert np.allclose(AreaSampler(image).shrink(*size)[0], plain_area(image, *size), atol=1e-4)


def test_area_windows_against_a_plain_reference() -> None:
    image = np.random.default_rng(1).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    areas = np.array([[0, 0, 70, 90], [3, 5, 4, 6], [10, 20, 34, 44], [5, 80, 70, 90]])
    crops = AreaSampler(image).cut(areas, 24)
    for (x1, y1, x2, y2), crop in zip(areas, crops, strict=True):
        assert np.allclose(crop, plain_area(image[y1:y2, x1:x2], 24, 24), atol=1e-4)


def test_area_sums_survive_the_table_wrapping() -> None:
    # 4000 x 3000 x 255 is beyond int32.
    averages = AreaSampler(np.full((3000, 4000, 3), 255, np.uint8)).shrink(30, 40)
    assert np.allclose(averages, 255, atol=1e-3)


def plain_area(image: np.ndarray, height: int, width: int) -> np.ndarray:
    averages = np.empty((height, width, 3))
    for row in range(height):
        top, bottom = row * image.shape[0] // height, -(-(row + 1) * image.shape[0] // height)
        for column in range(width):
            left, right = column * image.shape[1] // width, -(-(column + 1) * image.shape[1] // width)
            averages[row, column] = image[top:bottom, left:right].mean(axis=(0, 1))
    return averages


def test_the_portrait_is_found_once(detector: Mtcnn, face_picture: np.ndarray) -> None:
    (face,) = detector.detect(face_picture)
    assert face.score > 0.99
    assert (face.detector, face.track) == ("mtcnn", -1)
    assert (face.box.dtype, face.box.shape) == (np.float32, (4,))
    assert (face.landmarks.dtype, face.landmarks.shape) == (np.float32, (5, 2))
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert ((face.landmarks > face.box[:2]) & (face.landmarks < face.box[2:])).all()


def test_a_view_is_as_good_as_a_copy(detector: Mtcnn, face_picture: np.ndarray) -> None:
    mirrored = face_picture[:, ::-1]
    (seen,), (copied,) = detector.detect(mirrored), detector.detect(mirrored.copy())
    assert np.array_equal(seen.box, copied.box)
    assert np.array_equal(seen.landmarks, copied.landmarks)


def test_a_face_at_the_border_is_still_found(detector: Mtcnn, face_picture: np.ndarray) -> None:
    (whole,) = detector.detect(face_picture)
    corner = (whole.box[:2] + 0.15 * (whole.box[2:] - whole.box[:2])).astype(int)
    (cut,) = detector.detect(face_picture[corner[1] :, corner[0] :])
    # Half of it: MTCNN stretches what is left of a cut face to its input, and its landmarks wander.
    assert plain_overlap(cut.box + np.tile(corner, 2), whole.box, 0, False) > 0.5


@pytest.mark.parametrize("seed", range(12))
def test_no_crop_of_a_picture_stops_it(detector: Mtcnn, face_picture: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = face_picture.shape[:2]
    x1, y1 = rng.integers(0, width - 1), rng.integers(0, height - 1)
    crop = face_picture[y1 : rng.integers(y1 + 1, height + 1), x1 : rng.integers(x1 + 1, width + 1)]
    noise = rng.integers(0, 256, crop.shape, dtype=np.uint8)
    for image in (crop, noise):
        scores = [face.score for face in detector.detect(image)]
        assert scores == sorted(scores, reverse=True)
        assert all(0.7 < score <= 1 for score in scores)


def test_five_faces_best_first(detector: Mtcnn, clips: Path) -> None:
    faces = detector.detect(cv2.imread(str(clips / "multi_face.jpg")))
    assert len(faces) == 5
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)


def test_the_same_faces_as_facenet_pytorch(clips: Path) -> None:
    theirs = facenet()
    for name in ("multi_face.jpg", "pexels-alex-green-5700201.jpg", "face-demographics-walking-and-pause.gif"):
        image = cv2.VideoCapture(str(clips / name)).read()[1]
        for min_face in (40, 80):
            theirs.min_face_size = min_face
            boxes, scores, landmarks = theirs.detect(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), landmarks=True)
            faces = Mtcnn(min_face=min_face).detect(image)
            if boxes is None:  # its way to say that there are none
                assert faces == [], name
                continue
            assert len(faces) == len(boxes), name
            # From left to right: scores so near 1 can change places by a last bit.
            faces.sort(key=lambda face: float(face.box[0]))
            order = np.argsort(boxes[:, 0].astype(float))
            # Far within IoU 0.99 and half a pixel: what is left is float32's rounding.
            for face, index in zip(faces, order, strict=True):
                assert np.abs(face.box - boxes[index].astype(float)).max() < 0.01, name
                assert np.abs(face.landmarks - landmarks[index].astype(float)).max() < 0.01, name
                assert abs(face.score - scores[index]) < 1e-5, name


def test_the_shipped_nets_are_what_the_export_makes(tmp_path: Path) -> None:
    facenet()
    import onnxruntime as ort

    from train.mtcnn import export_mtcnn

    rng = np.random.default_rng(0)
    paths = export_mtcnn(tmp_path)
    assert [path.name for path in paths] == ["pnet.onnx", "rnet.onnx", "onet.onnx"]
    assert sum(path.stat().st_size for path in paths) < 2_000_000
    shipped = Path(sys.modules[Mtcnn.__module__].__file__ or "").parent.parent / "models" / "mtcnn"
    for path, size in zip(paths, (30, 24, 48), strict=True):
        picture = rng.uniform(0, 255, (2, size, size, 3)).astype(np.float32)
        made, kept = (
            ort.InferenceSession(str(file), providers=["CPUExecutionProvider"]) for file in (path, shipped / path.name)
        )
        for fresh, old in zip(made.run(None, {"input": picture}), kept.run(None, {"input": picture}), strict=True):
            assert np.array_equal(fresh, old), path.name
        assert made.get_modelmeta().custom_metadata_map["licence"] == "MIT"
    assert "Copyright (c) 2019 Timothy Esler" in (tmp_path / "LICENSE").read_text()


def test_export_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facenet()
    from train.mtcnn import export_mtcnn

    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)  # Python's own way to have an import fail
    with pytest.raises(InputError, match=r"pip install --no-deps facenet-pytorch==2\.6\.0"):
        export_mtcnn(tmp_path)
    assert list(tmp_path.iterdir()) == []


def facenet():  # type: ignore[no-untyped-def]
    """Return facenet-pytorch's MTCNN, or skip where it is not installed."""
    pytest.importorskip("torch", reason="torch is not installed (train extra): no facenet-pytorch to compare with")
    pytest.importorskip(
        "train.torchvision_cpu", reason="torchvision does not import: no facenet-pytorch to compare with"
    )
    module = pytest.importorskip("facenet_pytorch", reason="facenet-pytorch is not installed: nothing to compare with")
    return module.MTCNN(keep_all=True, min_face_size=40, device="cpu")
