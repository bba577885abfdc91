"""Sources: images, folders, videos, cameras that are not there, and everything that is none of these."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import InputError, OutsideError
from edge.sources import Source, open_source
from edge.values import Frame


def frames(source: Source) -> list[Frame]:
    """Read a source to its end."""
    seen = []
    while (frame := source.read()) is not None:
        seen.append(frame)
    source.close()
    return seen


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image in this folder"):
        open_source(str(tmp_path))


def test_an_image_is_one_frame(portrait: Path) -> None:
    (frame,) = frames(open_source(str(portrait), "front"))
    assert frame.size == (512, 512)
    assert frame.index == 0
    assert frame.camera == "front"
    assert frame.image.dtype == np.uint8


def test_a_folder_goes_by_name_and_counts_the_broken(tmp_path: Path) -> None:
    for name, value in (("b.png", 20), ("a.png", 10), ("c.png", 30)):
        cv2.imwrite(str(tmp_path / name), np.full((8, 8, 3), value, np.uint8))
    (tmp_path / "b2.jpg").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("x")
    source = open_source(str(tmp_path))
    seen = frames(source)
    assert [int(f.image[0, 0, 0]) for f in seen] == [10, 20, 30]
    assert source.broken == 1
    assert [f.index for f in seen] == [0, 1, 3]


def test_the_bundled_clip_reads_whole(portrait_clip: Path) -> None:
    source = open_source(str(portrait_clip))
    seen = frames(source)
    assert len(seen) > 100
    assert source.broken == 0
    assert source.fps
    assert not source.live
    assert [f.index for f in seen] == list(range(len(seen)))
    assert all(a.mono <= b.mono for a, b in itertools.pairwise(seen))


def test_a_clip_cut_off_gives_what_it_has(portrait_clip: Path, tmp_path: Path) -> None:
    """Either the container says that it is damaged, or the frames that are there come out; never a crash."""
    data = portrait_clip.read_bytes()
    for share in (0.3, 0.7, 0.95):
        path = tmp_path / "cut.mp4"
        path.write_bytes(data[: int(len(data) * share)])
        try:
            seen = frames(open_source(str(path)))
        except InputError as error:
            assert "cut.mp4" in str(error)
        else:
            assert seen


def test_a_clip_with_damage_inside_skips_frames(portrait_clip: Path, tmp_path: Path) -> None:
    data = bytearray(portrait_clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = np.random.default_rng(0).integers(0, 256, 4000, np.uint8).tobytes()
    path = tmp_path / "damaged.mp4"
    path.write_bytes(bytes(data))
    whole = len(frames(open_source(str(portrait_clip))))
    source = open_source(str(path))
    seen = frames(source)
    assert whole // 2 < len(seen) <= whole
    assert len(seen) + source.broken <= whole


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.mp4", None, "no such file"),
        ("empty.mp4", b"", "the file is empty"),
        ("text.mp4", b"hello" * 100, "no video that OpenCV can read"),
        ("none.png", None, "no such file"),
    ],
)
def test_what_is_no_source_is_named(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        open_source(str(path))


def test_a_broken_single_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no png")
    with pytest.raises(InputError, match="no image that OpenCV can read"):
        open_source(str(tmp_path / "x.png")).read()


def test_a_url_that_is_not_read_is_refused_in_words() -> None:
    with pytest.raises(InputError, match="ftp:// is not read; give a camera, a file, a folder, or a URL"):
        open_source("ftp://camera/1")


def test_a_camera_that_is_not_there_is_waited_for_with_back_off() -> None:
    """Device 63 exists on no machine that runs tests; the waits are passed in, so none is slept."""
    waits: list[float] = []
    said: list[str] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 7  # told to stop

    source = open_source("/dev/video63", wait=wait, say=said.append)
    assert source.live
    assert source.read() is None
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert len(said) == 1
    assert "does not answer" in said[0]
    with pytest.raises(OutsideError, match="/dev/video63 does not answer"):
        open_source("/dev/video63", fail_fast=True)
