"""Sources: images, folders, videos, cameras that are not there, and everything that is none of these."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.errors import InputError, OutsideError
from edge.sources import Source, open_source
from edge.sources.images import read_image
from edge.sources.size import MOST_PIXELS
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


# Pictures and frames that would fill the memory

LARGE = """
import json, sys
from edge.cli import call
from edge.machine import peak_memory
code = call(["run", "--source", sys.argv[1], "--stdout"])
print(json.dumps({"code": code, "mib": peak_memory()}))
"""


def run_on(path: Path) -> tuple[list[dict[str, Any]], str]:
    """Run on a picture; return its events and, last, exit code and peak memory; and what was said."""
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(path)], capture_output=True, text=True, timeout=300, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory as Linux tells it")
def test_a_picture_of_64_megapixels_is_looked_at_in_bounded_memory(portrait: Path, tmp_path: Path) -> None:
    """Whole it took 1,800 MiB and 45 s; the face is found in it all the same."""
    cv2.imwrite(str(tmp_path / "large.jpg"), cv2.resize(cv2.imread(str(portrait)), (8192, 8192)))
    (enter, _, end), said = run_on(tmp_path / "large.jpg")
    assert end["code"] == 0, said
    width, height = enter["size"]
    assert MOST_PIXELS * 0.99 < width * height <= MOST_PIXELS
    assert (enter["type"], enter["emotion"]) == ("enter", "happy")
    assert end["mib"] < 700


def test_a_large_picture_that_is_no_jpeg_is_refused_in_one_line(tmp_path: Path) -> None:
    """A blank one has few bytes, and would take as much memory as any."""
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((6000, 6000), np.uint8))
    assert (tmp_path / "large.png").stat().st_size < 100_000
    (end,), said = run_on(tmp_path / "large.png")
    assert end["code"] == 2
    assert "more than 33 megapixels" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(("shape", "whole"), [((48, 64), True), ((2896, 2896), True), ((2000, 8000), False)])
def test_a_picture_keeps_its_form_and_fits(shape: tuple[int, int], whole: bool, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full(shape, 90, np.uint8))
    image = read_image(tmp_path / "a.png")
    assert image is not None
    height, width = image.shape[:2]
    assert ((height, width) == shape) is whole
    assert height * width <= MOST_PIXELS
    assert abs(width / height - shape[1] / shape[0]) < 0.01
    assert (image == 90).all()


def test_an_image_file_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as big:
        big.truncate(2**30)  # a hole: it takes no place on the disk
    assert read_image(tmp_path / "a.jpg") is None


def test_a_video_of_too_large_frames_is_refused(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (4200, 4200))
    writer.write(np.zeros((4200, 4200, 3), np.uint8))
    writer.release()
    with pytest.raises(InputError, match="18 megapixels, and at most 16 are taken"):
        open_source(str(tmp_path / "a.avi"))
