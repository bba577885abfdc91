"""Which faces are not worth classifying: measures that mean one thing, on real faces and by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.align import align
from edge.config import ClassifyConfig, Config, QualityConfig
from edge.detect import load_detector
from edge.model import load_model
from edge.model.flip import Flipped
from edge.quality import BACK, Limits, sharpness, side, turn, why_skipped
from edge.read import Reader
from edge.values import Face, Frame

FRONTAL = np.array([[-1, 0], [1, 0], [0, 1.2], [-0.8, 2.2], [0.8, 2.2]], np.float32)
DEFAULT = Limits(QualityConfig().min_side, QualityConfig().sharpness, QualityConfig().turn)
OFF = Limits()


def face(side: float = 100, landmarks: np.ndarray | None = None) -> Face:
    """A face with a box of that side."""
    box = np.array([10, 20, 10 + side * 0.8, 20 + side], np.float32)
    return Face(box, 0.9) if landmarks is None else Face(box, 0.9, landmarks)


@pytest.fixture(scope="module")
def real(portrait: Path) -> tuple[Face, np.ndarray]:
    """The bundled portrait's face and its crop."""
    image = cv2.imread(str(portrait))
    found = load_detector().detect(image)[0]
    return found, align(image, found.box, found.landmarks, load_model().info.crop)


def test_without_limits_and_without_landmarks_nothing_is_left_out() -> None:
    nothing = np.zeros((96, 96, 3), np.uint8)
    assert why_skipped(face(1), OFF, nothing) is None
    assert why_skipped(face(), DEFAULT) is None, "landmarks that are not known are not judged, nor is a crop"
    assert np.isnan(turn(np.full((5, 2), np.nan)))
    assert np.isnan(turn(np.where(np.arange(5)[:, None] == 2, np.nan, FRONTAL)))
    assert np.isnan(turn(np.zeros((5, 2))))


def test_a_good_face_is_classified(real: tuple[Face, np.ndarray]) -> None:
    found, crop = real
    assert why_skipped(found, DEFAULT, crop) is None
    assert turn(found.landmarks) < 0.3
    assert sharpness(crop) > 0.3


def test_each_limit_by_itself(real: tuple[Face, np.ndarray]) -> None:
    found, crop = real
    blurred = cv2.GaussianBlur(crop, (0, 0), 6)
    profile = FRONTAL + np.array([[0, 0], [0, 0], [1.2, 0], [0, 0], [0, 0]], np.float32)
    assert why_skipped(face(DEFAULT.min_side - 1), DEFAULT) == "small"
    assert why_skipped(face(DEFAULT.min_side), DEFAULT) is None
    assert why_skipped(found, DEFAULT, blurred) == "blurred"
    assert why_skipped(face(landmarks=50 + 20 * profile), DEFAULT) == "turned"
    for limits, why in (
        (Limits(min_side=10_000), "small"),
        (Limits(sharpness=1.0), "blurred"),
        (Limits(turn=1e-6), "turned"),
    ):
        assert why_skipped(found, limits, crop) == why


def test_a_face_at_the_limit_is_not_read_by_glimpses(real: tuple[Face, np.ndarray], portrait: Path) -> None:
    """Landmarks jump: of a face about as far away as the limit, what is seen in between is no reading."""
    found = replace(real[0], track=1)
    image, limit = cv2.imread(str(portrait)), turn(found.landmarks)
    config = replace(Config(), classify=ClassifyConfig(rate=0), quality=QualityConfig(turn=limit * 1.05))
    reader, nose = Reader(load_model(), config), found.landmarks[2]
    eyes = found.landmarks[1] - found.landmarks[0]

    def at(share: float, second: float, still: bool = False) -> tuple[str | None, int]:
        """Read it with the nose set so that it is turned by this share of the limit."""
        sign = 1 if turn(_nosed(found, nose + 0.01 * eyes).landmarks) > limit else -1
        moved = _nosed(found, nose + sign * eyes * (share * limit * 1.05 - limit) / 2)
        assert turn(moved.landmarks) == pytest.approx(share * limit * 1.05, rel=0.02)
        emotions, read = reader.read(Frame(image, 0, second, second, "front", still), [moved])
        return emotions[0].skipped, read

    assert at(0.97, 0.0) == (None, 1), "not yet turned away"
    assert at(1.1, 1.0) == ("turned", 0)
    assert at(0.97, 2.0) == ("turned", 0), "a glimpse"
    assert at(0.97, 3.0, still=True) == (None, 1), "a picture of its own knows no other"
    assert at(1.1, 4.0) == ("turned", 0)
    assert at(BACK * 0.95, 5.0) == (None, 1), "back"
    assert at(0.97, 6.0) == (None, 1)
    assert at(1.1, 7.0) == ("turned", 0)
    reader.forget(1)
    assert at(0.97, 8.0) == (None, 1), "somebody else"


def _nosed(face: Face, nose: np.ndarray) -> Face:
    """The face with its nose elsewhere."""
    return replace(face, landmarks=np.stack([*face.landmarks[:2], nose, *face.landmarks[3:]]))


def test_the_side_is_the_longer_one() -> None:
    assert side(np.array([0, 0, 30, 40.0])) == side(np.array([5, 5, 45, 35.0])) == 40


def test_sharpness_falls_with_blur_and_knows_neither_contrast_nor_brightness(real: tuple[Face, np.ndarray]) -> None:
    crop = real[1]
    fall = [sharpness(cv2.GaussianBlur(crop, (0, 0), sigma)) for sigma in (0.5, 1, 2, 3, 4, 6)]
    assert fall == sorted(fall, reverse=True)
    assert fall[-1] < fall[0] / 3
    pale = (crop * 0.3 + 140).astype(np.uint8)
    assert sharpness(pale) == pytest.approx(sharpness(crop), abs=0.04)
    larger = cv2.resize(crop, (192, 192), interpolation=cv2.INTER_LINEAR)
    assert sharpness(larger) == pytest.approx(sharpness(crop), abs=0.03)


def test_a_face_that_moves_is_blurred_along_its_way_alone(real: tuple[Face, np.ndarray]) -> None:
    kernel = np.zeros((21, 21), np.float32)
    kernel[10] = 1 / 21
    along, across = (sharpness(cv2.filter2D(real[1], -1, k)) for k in (kernel, kernel.T))
    assert along < sharpness(real[1]) / 2
    assert across < sharpness(real[1]) / 2


@pytest.mark.parametrize("gray", [0, 127, 255])
def test_an_empty_crop_has_no_sharpness(gray: int) -> None:
    assert sharpness(np.full((96, 96, 3), gray, np.uint8)) == 0.0


@settings(deadline=None)
@given(st.floats(-180, 180), st.floats(3, 300), st.floats(-50, 500), st.floats(-2, 2), st.floats(0.3, 2.0))
def test_turn_is_the_nose_between_the_eyes_however_the_head_leans(
    lean: float, scale: float, shift: float, nose: float, height: float
) -> None:
    """Roll, size and place do not matter, nor how high the nose stands; the nose's way to the side is what is told."""
    points = FRONTAL.astype(np.float64)
    points[2] = [nose, height]
    angle = np.deg2rad(lean)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert turn(points @ matrix.T * scale + shift) == pytest.approx(abs(nose), abs=1e-6)


def test_two_views_are_one_answer(real: tuple[Face, np.ndarray]) -> None:
    classifier = load_model()
    flipped = Flipped(classifier)
    crop = real[1]
    assert flipped.classify(np.empty((0, *crop.shape), np.uint8)).shape == (0, len(classifier.info.labels))
    assert (flipped.info, flipped.runtime) == (classifier.info, classifier.runtime)
    mirrored = np.ascontiguousarray(crop[:, ::-1])
    answers = flipped.classify(np.stack([crop, mirrored, crop // 2]))
    alone = classifier.classify(np.stack([crop, mirrored]))
    assert answers.dtype == np.float32
    assert np.allclose(answers[0], alone.mean(axis=0), atol=1e-6)
    assert np.allclose(answers[0], answers[1], atol=1e-6), "left and right are the same to it"
    assert np.allclose(answers.sum(axis=1), 1, atol=1e-4)
