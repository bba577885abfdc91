"""Where a picture changed: noise is none, a change has room for a face about it, and what was searched is calm."""

from __future__ import annotations

import numpy as np
import pytest

from edge.motion import ROOM, STIR, Motion

GRAY = 110


def picture(*blocks: tuple[int, int, int, int], height: int = 480, width: int = 640) -> np.ndarray:
    """A gray picture with lighter blocks: x, y, width, height."""
    image = np.full((height, width, 3), GRAY, np.uint8)
    for x, y, w, h in blocks:
        image[y : y + h, x : x + w] = GRAY + STIR + 10
    return image


def settled(*blocks: tuple[int, int, int, int]) -> Motion:
    """One that has searched such a picture."""
    motion = Motion()
    motion.look(picture(*blocks))
    motion.settle()
    return motion


def test_nothing_to_compare_with() -> None:
    motion = Motion()
    assert not motion.look(picture())
    with pytest.raises(ValueError, match="no picture was searched"):
        motion.change([])
    motion.settle()
    assert motion.look(picture())
    motion.forget()
    assert not motion.look(picture())


def test_a_picture_of_another_size_has_nothing_to_compare_with() -> None:
    assert not settled().look(picture(width=1280, height=720))


def test_a_still_picture_has_not_changed() -> None:
    motion = settled((200, 200, 80, 80))
    motion.look(picture((200, 200, 80, 80)))
    assert motion.change([]).share == 0
    assert motion.change([]).area is None


def test_what_changed_lies_in_the_area_with_room_about_it() -> None:
    motion = settled()
    motion.look(picture((200, 160, 80, 96)))
    change = motion.change([])
    assert change.share == pytest.approx(80 * 96 / (640 * 480), rel=0.01)
    assert change.area == (200 - ROOM, 160 - ROOM, 280 + ROOM, 256 + ROOM)


def test_the_room_ends_with_the_picture() -> None:
    motion = settled()
    motion.look(picture((0, 0, 64, 64), (576, 416, 64, 64)))
    assert motion.change([]).area == (0, 0, 640, 480)


def test_a_single_pixel_is_noise() -> None:
    motion = settled()
    motion.look(picture((200, 160, 80, 96), (600, 40, 8, 8)))
    assert motion.change([]).area == (200 - ROOM, 160 - ROOM, 280 + ROOM, 256 + ROOM)
    motion.look(picture((600, 40, 8, 8)))
    assert motion.change([]).share > 0
    assert motion.change([]).area is None


def test_faces_may_move() -> None:
    motion = settled()
    motion.look(picture((200, 160, 80, 96)))
    assert motion.change([np.array([196.0, 150.0, 284.0, 260.0])]).share == 0


def test_a_box_past_the_edge_hides_no_more_than_itself() -> None:
    motion = settled()
    motion.look(picture((560, 400, 80, 80)))
    assert motion.change([np.array([-90.0, -90.0, -10.0, -10.0])]).share > 0


def test_an_area_that_was_searched_is_calm_and_the_rest_is_not() -> None:
    motion = settled()
    motion.look(picture((80, 80, 64, 64), (480, 320, 64, 64)))
    motion.settle((0, 0, 320, 240))
    change = motion.change([])
    assert change.area == (480 - ROOM, 320 - ROOM, 544 + ROOM, 384 + ROOM)


def test_an_area_that_ends_between_the_compared_pixels_is_calm_to_its_end() -> None:
    motion = settled()
    motion.look(picture((80, 80, 68, 68)))  # every eighth pixel is compared: the one at 144 is within
    motion.settle((80, 80, 148, 148))
    assert motion.change([]).share == 0


def test_slow_motion_adds_up() -> None:
    """Each step is too small to be seen; what was searched is compared with, and not the picture before."""
    motion = settled()
    image = picture()
    for _ in range(3):
        image[160:256, 200:280] += np.uint8(STIR // 2)
        motion.look(image)
    assert motion.change([]).area is not None
