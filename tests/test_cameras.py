"""Several cameras at once: turns, ends, figures; a file gives every frame, in order, however slowly it is taken."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from mosquitto import PATIENCE
from rtsp import States
from test_capture import drawn, until

from edge.config import CameraConfig
from edge.errors import InputError, OutsideError
from edge.sources import open_cameras, open_source
from edge.sources.cameras import Cameras
from edge.sources.capture import Capture
from edge.sources.reading import AHEAD, Reading


def clip(path: Path, frames: int, fps: int = 50) -> str:
    """Write a clip whose frames are one gray each, 5 more than the last."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), number * 5 % 250, np.uint8))
    writer.release()
    return str(path)


def threads() -> list[str]:
    """Names of the threads that read cameras and files."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("capture ", "read "))]


def test_no_camera_is_said() -> None:
    with pytest.raises(InputError, match="no camera"):
        open_cameras([])


def test_every_frame_of_a_file_in_order_with_back_pressure(tmp_path: Path, states: States) -> None:
    with open_cameras([CameraConfig(clip(tmp_path / "a.mp4", 40), "a")], on_state=states) as cameras:
        (opened,) = cameras.opened
        first = cameras.next(PATIENCE)
        assert first is not None
        until(lambda: opened.captured == 1 + AHEAD)
        time.sleep(0.05)  # it has had the time to read on, and must not
        assert opened.captured == 1 + AHEAD
        indices, grays = [first.index], [int(first.image.mean())]
        while (frame := cameras.next(PATIENCE)) is not None:
            indices.append(frame.index)
            grays.append(int(frame.image.mean()))
        assert cameras.ended
        assert indices == list(range(40))
        assert np.abs(np.diff(grays)[1:] - 5).max() <= 1  # what the codec loses
        stats = cameras.stats()["a"]
        assert (stats.captured, stats.dropped, stats.broken, stats.state) == (40, 0, 0, "ended")
    assert [(state.state, state.reason) for state in states.seen] == [
        ("running", None), ("ended", "the file has ended"),
    ]  # fmt: skip
    assert threads() == []


def test_files_have_their_turns(tmp_path: Path) -> None:
    configs = [CameraConfig(clip(tmp_path / f"{name}.mp4", 30), name) for name in "abc"]
    with open_cameras(configs) as cameras:
        for one in cameras.opened:
            until(lambda: one.captured == AHEAD)  # noqa: B023
        order = []
        while (frame := cameras.next(PATIENCE)) is not None:
            order.append(frame.camera)
            for one in cameras.opened:  # all have one ready, so that the turns alone decide
                until(lambda: one._ahead or one.ended)  # type: ignore[union-attr]  # noqa: B023
    assert order == list("abc") * 30


def test_a_fast_file_leaves_a_camera_its_pictures(tmp_path: Path) -> None:
    """The camera gives 50 a second; the file could give thousands."""
    camera = Capture(drawn("time.sleep(0.02)"), "door")
    file = Reading(open_source(clip(tmp_path / "a.mp4", 3000), "a"))
    with Cameras([file, camera]) as cameras:
        seen: Counter[str] = Counter()
        while seen["door"] < 40:
            frame = cameras.next(PATIENCE)
            assert frame is not None
            seen[frame.camera] += 1
        assert camera.dropped <= 4
        if not file.ended:
            assert seen["a"] > 40


def test_next_gives_up_in_time_and_wakes_at_once() -> None:
    camera = Capture(drawn("time.sleep(0.3) if number > 1 else None"), "door", frozen_after=5)
    with Cameras([camera]) as cameras:
        assert cameras.next() is not None
        assert cameras.next(0.0) is None
        assert not cameras.ended
        assert cameras.next(PATIENCE) is not None


def test_closing_is_quick_whatever_the_cameras_do(tmp_path: Path, states: States) -> None:
    """One waits for a device, one for a process that says nothing, one plays a file, one file is not taken."""
    configs = [
        CameraConfig("/dev/video63", "absent"),
        CameraConfig(clip(tmp_path / "a.mp4", 30), "slow", fps=1),
        CameraConfig(clip(tmp_path / "b.mp4", 30), "full"),
    ]
    cameras = open_cameras(configs, on_state=states)
    mute = Capture(drawn("time.sleep(1000)"), "mute", on_state=states)
    mute.start()
    until(lambda: mute.given)
    states.wait("waiting", camera="absent")
    began = time.monotonic()
    cameras.close()
    mute.close()
    assert time.monotonic() - began < PATIENCE / 3
    until(lambda: threads() == [])
    assert cameras.ended
    assert cameras.next(1.0) is None
    for name in ("absent", "mute"):
        assert states.wait("ended", camera=name).reason == "stopped"


def test_a_rate_plays_a_file_in_its_time(tmp_path: Path) -> None:
    with open_cameras([CameraConfig(clip(tmp_path / "a.mp4", 30), "a", fps=50)]) as cameras:
        began = time.monotonic()
        while cameras.next(PATIENCE) is not None:
            pass
        assert time.monotonic() - began > 0.55  # 29 gaps of 20 ms


def test_a_limit_is_for_live_cameras_alone(tmp_path: Path) -> None:
    camera = Capture(drawn("time.sleep(0.01)"), "door")
    file = Reading(open_source(clip(tmp_path / "a.mp4", 30), "a"))
    with Cameras([camera, file]) as cameras:
        cameras.limit(5)
        seen: Counter[str] = Counter()
        times = []
        while seen["door"] < 4:
            frame = cameras.next(PATIENCE)
            assert frame is not None
            seen[frame.camera] += 1
            if frame.camera == "door":
                times.append(frame.mono)
        assert seen["a"] == 30
        assert np.diff(times)[1:].mean() > 0.17


def test_what_goes_wrong_is_raised(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    with open_cameras([CameraConfig(str(tmp_path), "a")]) as cameras:
        with pytest.raises(InputError, match="not one of its 2 images can be read"):
            cameras.next(PATIENCE)
    good = clip(tmp_path / "a.mp4", 5)
    with pytest.raises(OutsideError, match="/dev/video63 does not answer"):
        open_cameras([CameraConfig(good, "a"), CameraConfig("/dev/video63", "b")], fail_fast=True)
    with pytest.raises(InputError, match="no such file"):
        open_cameras([CameraConfig(good, "a"), CameraConfig(str(tmp_path / "none.mp4"), "b")], fail_fast=True)
    with pytest.raises(InputError, match='two cameras are named "a"'):
        open_cameras([CameraConfig(good, "a"), CameraConfig(good, "a")])
    assert threads() == []


def test_a_file_that_fails_leaves_the_others_their_turns(tmp_path: Path, states: States) -> None:
    bad = tmp_path / "pictures"
    bad.mkdir()
    (bad / "a.png").write_bytes(b"no picture")
    configs = [
        CameraConfig(str(tmp_path / "none.mp4"), "gone"),
        CameraConfig(str(bad), "bad"),
        CameraConfig(clip(tmp_path / "a.mp4", 20), "good"),
    ]
    said: list[str] = []
    with open_cameras(configs, say=said.append, on_state=states) as cameras:
        seen = [frame.index for frame in iter(lambda: cameras.next(PATIENCE), None)]
        assert cameras.ended
        assert seen == list(range(20))
        assert sorted(cameras.failed) == ["bad", "gone"]
        assert "no such file" in str(cameras.stats()["gone"].reason)
        assert "not one of its 1 images" in str(cameras.stats()["bad"].reason)
    assert [line.partition(":")[0] for line in said] == ["camera gone has failed", "camera bad has failed"]
    ended = [state.camera for state in states.seen if state.state == "ended"]
    assert sorted(ended) == ["bad", "gone", "good"]
    assert threads() == []
    with open_cameras(configs[1:], fail_fast=True) as cameras, pytest.raises(InputError, match="not one of its 1"):
        list(iter(lambda: cameras.next(PATIENCE), None))


def test_a_path_that_cannot_be_looked_at_fails_as_one_that_is_not_there(tmp_path: Path, states: States) -> None:
    """A folder on the way may be locked; a name that is too long is refused by the system in the same way."""
    long = CameraConfig("x" * 300 + ".mp4", "long")
    configs = [long, CameraConfig(clip(tmp_path / "a.mp4", 5), "good")]
    with open_cameras(configs, on_state=states) as cameras:
        assert len(list(iter(lambda: cameras.next(PATIENCE), None))) == 5
        assert cameras.failed == ["long"]
        assert str(cameras.stats()["long"].reason).startswith("source xxx")
    for fail_fast, several in ((True, configs), (False, [long])):
        with pytest.raises(InputError, match=r"source x+\.mp4: "):
            open_cameras(several, fail_fast=fail_fast)


def test_a_limit_does_not_lift_a_cameras_own_rate() -> None:
    camera = Capture(drawn("time.sleep(0.01)"), "door")
    camera.max_fps = 5.0
    with Cameras([camera]) as cameras:
        rates = []
        for limit in (None, 50.0, 2.0, None):
            cameras.limit(limit)
            rates.append(camera.max_fps)
    assert rates == [5.0, 5.0, 2.0, 5.0]
