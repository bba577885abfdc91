"""The crop: similarity from landmarks, the box where there are none, and no aliasing on the way down."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.align import Crop, align, ready_crop, similarity

TEMPLATE = np.array([[0.32, 0.38], [0.68, 0.38], [0.5, 0.59], [0.35, 0.78], [0.65, 0.78]], np.float32)
CROP = Crop(96, TEMPLATE, margin=1.0)
NO_LANDMARKS = np.full((5, 2), np.nan, np.float32)


def test_similarity_needs_two_points() -> None:
    assert similarity(NO_LANDMARKS, TEMPLATE) is None
    one = NO_LANDMARKS.copy()
    one[0] = [3, 4]
    assert similarity(one, TEMPLATE) is None
    assert similarity(np.zeros((5, 2), np.float32), TEMPLATE) is None, "five equal points give no direction"


@pytest.mark.parametrize(("angle", "scale", "shift"), [(0, 1, (0, 0)), (30, 2.5, (10, -4)), (-170, 0.2, (500, 300))])
def test_similarity_finds_the_transform_that_was_applied(
    angle: float, scale: float, shift: tuple[float, float]
) -> None:
    turn = np.deg2rad(angle)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = TEMPLATE @ linear.T + shift
    found = similarity(TEMPLATE, moved)
    assert found is not None
    assert np.allclose(found[:, :2], linear, atol=1e-5)
    assert np.allclose(found[:, 2], shift, atol=1e-3)


def test_similarity_is_the_least_squares_one() -> None:
    """Against a plain numerical solution of the same four unknowns, on points that no similarity maps exactly."""
    rng = np.random.default_rng(1)
    source, target = rng.uniform(0, 100, (5, 2)), rng.uniform(0, 100, (5, 2))
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    assert np.allclose(similarity(source, target), [[a, -b, tx], [b, a, ty]], atol=1e-6)


def test_landmarks_land_on_the_template() -> None:
    """A dot painted at each landmark appears at the template's place, whatever the face's size and turn."""
    turn = np.deg2rad(20)
    linear = 300 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    landmarks = (TEMPLATE @ linear.T + [200, 60]).astype(np.float32)
    image = np.zeros((480, 640, 3), np.uint8)
    for x, y in landmarks:
        cv2.circle(image, (round(float(x)), round(float(y))), 9, (255, 255, 255), -1)
    crop = align(image, np.zeros(4, np.float32), landmarks, CROP)
    assert crop.shape == (96, 96, 3)
    assert crop.dtype == np.uint8
    assert crop.flags["C_CONTIGUOUS"]
    for x, y in TEMPLATE * 96:
        assert crop[int(y), int(x)].min() > 150


def test_box_alone_gives_the_box_widened_by_the_margin() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[50:110, 100:160] = 255
    box = np.array([100, 50, 160, 110], np.float32)
    assert align(image, box, NO_LANDMARKS, CROP)[1:-1, 1:-1].min() > 200, "the box itself fills the crop"
    wide = align(image, box, NO_LANDMARKS, Crop(96, TEMPLATE, margin=2.0))
    assert wide[48, 48].min() > 200
    assert wide[10, 10].max() < 30


def test_colour_order_is_turned_once() -> None:
    image = np.zeros((96, 96, 3), np.uint8)
    image[:, :, 0] = 255  # blue in BGR
    assert align(image, np.array([0, 0, 96, 96.0]), NO_LANDMARKS, CROP)[48, 48].tolist() == [0, 0, 255]
    assert ready_crop(image, 96)[0, 0].tolist() == [0, 0, 255]


def test_a_face_far_outside_is_black_and_does_not_fail() -> None:
    image = np.full((50, 50, 3), 200, np.uint8)
    crop = align(image, np.array([5000, 5000, 5900, 5900.0]), NO_LANDMARKS, CROP)
    assert crop.max() == 0


def test_large_faces_do_not_alias() -> None:
    """A checkerboard of single pixels, shrunk eight times, becomes even gray and not a pattern of its own."""
    board = (np.indices((768, 768)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = cv2.cvtColor(board, cv2.COLOR_GRAY2BGR)
    crop = align(image, np.array([0, 0, 768, 768.0]), NO_LANDMARKS, CROP)
    assert crop[4:-4, 4:-4].std() < 3


def test_aligned_whole_picture_equals_the_ready_crop() -> None:
    """Training sees ready crops, the device aligned ones: the same pixels where the framing is the same."""
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 2)
    crop = align(image, np.array([0, 0, 48, 48.0]), NO_LANDMARKS, CROP)
    inner = np.abs(crop.astype(int) - ready_crop(image, 96).astype(int))[2:-2, 2:-2]
    assert inner.max() <= 2
