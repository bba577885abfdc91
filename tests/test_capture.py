"""The capture thread: the newest picture wins, nothing is overwritten, and whatever a camera does it is opened anew.

The camera is a real process that writes real pictures, as a CSI camera's does; only what draws them is ours.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mosquitto import PATIENCE
from rtsp import States

from edge.errors import OutsideError
from edge.sources import camera as usb
from edge.sources import open_source
from edge.sources.camera import UsbCamera, choose_form, fourcc, letters, why_not
from edge.sources.capture import Capture
from edge.sources.picamera import CHILD, SYSTEM_PYTHON, CsiCamera
from edge.sources.state import CameraState, Rate
from edge.sources.still import Stillness
from edge.sources.worker import GRACE, MOST_HANGING
from edge.values import Frame

DRAW = """
import importlib.util, os, signal, sys, time

spec = importlib.util.spec_from_file_location("child", sys.argv[1])
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)
LINES = {PICTURES}

def pictures(index, width, height, fps):
    width, height = width or 64, height or 48
    yield width, height, fps or 30.0
    number = 0
    while True:
        number += 1
        picture = bytes([number % 256]) * (width * height * 3)
        {BODY}
        yield picture

if {WATCHED}:
    import threading
    threading.Thread(target=child._end_with_the_parent, daemon=True).start()
with open(1, "wb", buffering=0, closefd=False) as pipe:
    sys.exit(child.main(sys.argv[2:], pipe, pictures))
"""


def drawn(body: str, *, watched: bool = True, **size: Any) -> CsiCamera:
    """A camera whose process draws picture after picture, each of one gray, and does `body` before each."""
    code = DRAW.replace("{BODY}", body).replace("{WATCHED}", str(watched)).replace("LINES = {PICTURES}\n", "")
    return CsiCamera("csi", command=(sys.executable, "-c", code, str(CHILD)), **size)


def until(condition: Callable[[], object]) -> None:
    """Wait for what has no event of its own."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def next_of(capture: Capture) -> Frame:
    """The next picture of a capture, which must have one."""
    frame = capture.read()
    assert frame is not None
    return frame


@pytest.fixture
def capture_of(states: States) -> Iterator[Callable[..., Capture]]:
    """Make captures whose states go to `states`; all are closed after the test."""
    made: list[Capture] = []
    stop = threading.Event()

    def make(device: Any, **options: Any) -> Capture:
        options = {"wait": lambda seconds: stop.wait(min(seconds, 0.05)), "on_state": states, **options}
        made.append(Capture(device, "door", **options))
        return made[-1]

    yield make
    stop.set()
    for capture in made:
        capture.close()


# The slot


def test_the_newest_picture_wins_and_what_was_handed_out_stays(capture_of: Callable[..., Capture]) -> None:
    capture = capture_of(drawn("time.sleep(0.002)"))
    first = next_of(capture)
    value = int(first.image[0, 0, 0])
    until(lambda: capture.captured >= 60)
    assert (first.image == value).all(), "handed out, and overwritten"
    second = next_of(capture)
    assert second.index - first.index >= 55
    assert int(second.image[0, 0, 0]) == (second.index + 1) % 256
    assert (second.image == second.image[0, 0, 0]).all()
    stats = capture.stats()
    assert stats.dropped >= 55
    assert stats.broken == 0
    assert stats.fps > 0
    assert stats.given == "64×48 CSI, 30 frames/s"
    assert stats.state == "running"


def test_buffers_are_used_again(capture_of: Callable[..., Capture]) -> None:
    capture = capture_of(drawn("time.sleep(0.002)"))
    places = {next_of(capture).image.__array_interface__["data"][0] for _ in range(100)}
    assert len(places) <= 4  # handed out, newest, being written, and one more while they change hands


def test_pictures_that_come_faster_than_wanted_are_dropped(capture_of: Callable[..., Capture]) -> None:
    capture = capture_of(drawn("time.sleep(0.002)"))
    capture.max_fps = 20
    times = [next_of(capture).mono for _ in range(12)]
    assert np.diff(times)[1:].mean() > 0.04
    assert capture.dropped > 12
    capture.max_fps = None
    indices = [next_of(capture).index for _ in range(12)]
    assert min(np.diff(indices)[1:]) == 1, "none is left out any more"


def test_rate_counts_the_last_seconds() -> None:
    now = [0.0]
    rate = Rate(lambda: now[0], window=5)
    assert rate() == 0
    for _ in range(100):
        now[0] += 0.1
        rate.add()
    assert rate() == pytest.approx(10, rel=0.05)
    now[0] += 100
    assert rate() == 0


# Away, frozen, stuck


def test_a_camera_that_is_not_there_is_waited_for(states: States, capture_of: Callable[..., Capture]) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 7

    capture = capture_of(UsbCamera("/dev/video63"), wait=wait)
    assert capture.read() is None
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert capture.ended
    assert [(state.state, state.reason) for state in states.seen] == [
        ("waiting", "it is not there: plug it in, or name another (ls /dev/video* lists them)"),
        ("ended", "stopped"),
    ]


def test_closing_ends_a_long_wait_at_once() -> None:
    capture = Capture(UsbCamera("/dev/video63"), "door")
    capture.start()
    until(lambda: capture.state.reason)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "capture door")
    capture.close()
    assert not thread.is_alive()
    assert capture.ended
    assert capture.take() is None


def test_a_camera_that_goes_away_is_opened_anew(states: States, capture_of: Callable[..., Capture]) -> None:
    """The process dies at its tenth picture, as when the ribbon is pulled; the next one gives pictures again."""
    lines: list[str] = []
    capture = capture_of(drawn("time.sleep(0.01); number < 10 or os._exit(7)"), say=lines.append)
    states.wait("running", "waiting", "running", turn=capture.take)
    assert lines[:2] == [
        "camera csi (64×48 CSI, 30 frames/s) answers",
        "camera csi does not answer: it gives no more pictures; it is tried again until it does",
    ]
    assert capture.broken >= 1


@pytest.mark.parametrize("body", ["os.kill(os.getpid(), signal.SIGSTOP) if number == 5 else time.sleep(0.01)"])
def test_a_read_that_hangs_does_not_hold_the_loop(
    body: str, states: States, capture_of: Callable[..., Capture]
) -> None:
    """The process is stopped in the middle: its pipe stays open and nothing comes."""
    ahead = [0.0]
    capture = capture_of(drawn(body), clock=lambda: time.monotonic() + ahead[0])
    states.wait("running", turn=capture.take)
    until(lambda: capture.captured == 4)
    began = time.monotonic()
    while capture.take() is not None:
        pass
    assert time.monotonic() - began < 1, "take waits for nobody"
    ahead[0] += 10 + GRACE + 1  # what a hanging read is given
    frozen = states.wait("running", "frozen", turn=capture.take)
    assert frozen.reason == "reading it hangs; it is opened anew"
    states.wait("frozen", "running", turn=capture.take)


def test_the_very_same_picture_for_long_is_a_frozen_camera(
    states: States, capture_of: Callable[..., Capture], tmp_path: Path
) -> None:
    """Frozen across reopening, its pictures are kept back; the first that differs is given at once."""
    thawed = tmp_path / "thawed"
    body = f"time.sleep(0.01); picture = picture if os.path.exists({str(thawed)!r}) else bytes([9]) * len(picture)"
    capture = capture_of(drawn(body), frozen_after=1.2)
    frozen = states.wait("running", "frozen", turn=capture.take)
    assert frozen.reason == "the very same picture for 1.2 s"
    while capture.take() is not None:
        pass
    grabbed = capture._index
    until(lambda: capture._index > grabbed + 20)
    assert capture.take() is None
    thawed.touch()
    states.wait("frozen", "running", turn=lambda: None)
    until(lambda: (frame := capture.take()) is not None and frame.image[0, 0, 0] != 9)


def test_a_still_picture_may_be_allowed(states: States, capture_of: Callable[..., Capture]) -> None:
    capture = capture_of(drawn("time.sleep(0.01); picture = bytes(len(picture))"), frozen_after=0)
    began = next_of(capture).mono
    while next_of(capture).mono < began + 2.5:
        pass
    assert [state.state for state in states.seen] == ["running"]


def test_stillness_sees_a_single_pixel() -> None:
    still = Stillness()
    image = np.zeros((48, 64, 3), np.uint8)
    assert [still.seconds(image, now) for now in (5.0, 5.5, 6.2, 7.5)] == [0.0, 0.5, pytest.approx(1.2), 2.5]
    image[16, 16] = 1  # one that the sparse look sees
    assert still.seconds(image, 8.0) == 0.0
    still.seconds(image, 9.1)
    image[17, 17] = 1  # one that it does not
    assert still.seconds(image, 10.2) == 0.0
    assert still.seconds(image, 11.0) == pytest.approx(0.8)
    still.reset()
    assert still.seconds(image, 20.0) == 0.0


class Deaf:
    """A camera whose first openings give a stream that reads a pipe into which nobody writes; nothing can wake it."""

    name, open_seconds, fps, given, over, tolerance = "deaf", 1.0, None, "nothing", False, 1

    def __init__(self, times: int) -> None:
        self.times, self.opened = times, 0
        self.reader, self.writer = os.pipe()

    def open(self) -> Any:
        self.opened += 1
        return self if self.opened <= self.times else drawn("time.sleep(0.01)").open()

    def grab(self) -> bool:
        return bool(os.read(self.reader, 1))

    def retrieve(self, into: np.ndarray | None) -> np.ndarray | None:
        return np.full((48, 64, 3), (7, 8, 9), np.uint8)

    def interrupt(self) -> None:
        """Nothing does it."""

    def close(self) -> None:
        """Nothing is held."""


def test_a_thread_that_never_returns_is_left_behind(states: States, capture_of: Callable[..., Capture]) -> None:
    device, ahead = Deaf(1), [0.0]
    capture = capture_of(device, clock=lambda: time.monotonic() + ahead[0])
    capture.start()
    until(lambda: device.opened == 1)
    hanging = capture._worker
    assert hanging is not None
    until(lambda: hanging.deadline < 1e9)
    ahead[0] += 10 + GRACE + 1
    states.wait("frozen", "running", turn=capture.take)
    assert hanging.thread is not None
    assert hanging.thread.is_alive()
    os.write(device.writer, b"!")  # it comes back after all: what it brings is of no use any more
    hanging.thread.join(PATIENCE)
    assert not hanging.thread.is_alive()
    assert not any((next_of(capture).image[0, 0] == (7, 8, 9)).all() for _ in range(5))
    assert capture.state.state == "running"


def test_no_more_than_a_few_threads_may_hang(states: States, capture_of: Callable[..., Capture]) -> None:
    device, ahead = Deaf(MOST_HANGING), [0.0]
    capture = capture_of(device, clock=lambda: time.monotonic() + ahead[0])
    for times in range(1, MOST_HANGING + 1):
        capture.start()
        until(lambda: capture.take() is None and device.opened == times)  # noqa: B023
        worker = capture._worker
        assert worker is not None
        until(lambda: worker.deadline < 1e9 and worker.stream is not None)  # noqa: B023
        ahead[0] += 10 + GRACE + 1
        capture.take()
    state = states.wait("frozen", "waiting", turn=capture.take)
    assert state.reason == f"{MOST_HANGING} calls to it hang; it is opened when one of them comes back"
    assert device.opened == MOST_HANGING
    os.write(device.writer, b"!")
    states.wait("waiting", "running", turn=capture.take)
    os.write(device.writer, b"!!!")


def test_fail_fast_raises_instead_of_waiting(capture_of: Callable[..., Capture]) -> None:
    with pytest.raises(OutsideError, match="camera /dev/video63 does not answer: it is not there"):
        capture_of(UsbCamera("/dev/video63"), fail_fast=True)
    capture = capture_of(drawn("number < 3 or os._exit(1)"), fail_fast=True)
    with pytest.raises(OutsideError, match="camera csi does not answer: it gives no more pictures"):
        list(iter(capture.read, None))


def test_a_bug_is_not_swallowed(capture_of: Callable[..., Capture]) -> None:
    class Wrong:
        name, open_seconds = "wrong", 1.0

        def open(self) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        capture_of(Wrong()).read()


# The child process of a CSI camera


def test_size_and_rate_reach_the_child(capture_of: Callable[..., Capture]) -> None:
    capture = capture_of(drawn("time.sleep(0.01)", width=96, height=32, fps=12.5))
    assert next_of(capture).image.shape == (32, 96, 3)
    assert (capture.fps, capture.given) == (12.5, "96×32 CSI, 12.5 frames/s")


def test_without_picamera2_it_says_what_to_install() -> None:
    # -S hides the system's packages, and with them a picamera2 that may be there.
    camera = CsiCamera("csi:1", command=(sys.executable, "-I", "-S", str(CHILD)))
    with pytest.raises(OutsideError, match=r"picamera2 is not installed for .* \(apt install python3-picamera2\)"):
        camera.open()
    with pytest.raises(OutsideError, match="/nowhere/python3 cannot be started"):
        CsiCamera("csi", command=("/nowhere/python3", str(CHILD))).open()
    assert CsiCamera("csi:1")._command[:3] == [SYSTEM_PYTHON, "-I", str(CHILD)]
    assert CsiCamera("csi:1")._command[3:] == ["1", "0", "0", "0.0"]


@pytest.mark.parametrize(
    ("code", "says"),
    [("print('hello, this is no camera at all')", "does not speak as it should"),
     ("import os; os._exit(4)", "its process has ended"),
     ("raise SystemExit('x')", "its process has ended")],
)  # fmt: skip
def test_a_child_that_speaks_otherwise(code: str, says: str) -> None:
    with pytest.raises(OutsideError, match=says):
        CsiCamera("csi", command=(sys.executable, "-c", code)).open()


PICAMERA2 = """
class Picamera2:
    def __init__(self, index):
        self.index = index
    @staticmethod
    def global_camera_info():
        return [{"Num": 0}]
    def create_video_configuration(self, main, controls, buffer_count, queue):
        return {"main": main, "controls": controls}
    def configure(self, setting):
        self.setting = setting
    def start(self):
        pass
    def camera_configuration(self):
        return self.setting
    def capture_array(self, name):
        width, height = self.setting[name]["size"]
        assert self.setting[name]["format"] == "RGB888" and self.setting["controls"] == {"FrameRate": 15.0}
        return memoryview(bytes(range(1, 4)) * (width * height)).cast("B", (height, width, 3))
"""


def test_the_shipped_child_asks_picamera2_as_it_should(tmp_path: Path) -> None:
    """A stand-in with picamera2's names; the real one is only on a Raspberry Pi."""
    (tmp_path / "picamera2.py").write_text(PICAMERA2)
    run = f"import runpy, sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = sys.argv[1:]; "
    command = (sys.executable, "-c", run + "runpy.run_path(sys.argv[0], run_name='__main__')", str(CHILD))
    stream = CsiCamera("csi", width=32, height=16, fps=15, command=command).open()
    try:
        assert stream.given == "32×16 CSI, 15 frames/s"
        assert stream.grab()
        assert stream.grab(), "one that nobody retrieves is read over"
        image = stream.retrieve(None)
        assert image is not None
        assert image.shape == (16, 32, 3)
        assert image[3, 5].tolist() == [1, 2, 3]
        assert stream.grab()
        assert stream.retrieve(image) is image
    finally:
        stream.close()
    with pytest.raises(OutsideError, match="no camera is found at this connector"):
        CsiCamera("csi:3", command=command).open()


def test_the_child_ends_with_its_parent() -> None:
    """No picture comes that could tell it: standard input does."""
    body = "time.sleep(1000)"
    camera = drawn(body)
    child = subprocess.Popen(
        camera._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.read(20) == struct.pack("<4sIIIf", b"edge", 0, 64, 48, 30.0)
        child.stdin.close()
        assert child.wait(PATIENCE) == 0


def test_the_child_needs_the_standard_library_alone() -> None:
    spec = importlib.util.spec_from_file_location("child", CHILD)
    assert spec is not None
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import runpy; runpy.run_path({str(CHILD)!r})"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


# USB


def test_why_a_device_gives_no_pictures(tmp_path: Path) -> None:
    assert str(why_not(str(tmp_path / "video7"))).startswith("it is not there")
    (tmp_path / "video8").write_text("no device")
    assert str(why_not(str(tmp_path / "video8"))).startswith("it is no camera")
    assert str(why_not("/dev/null")).startswith("it is no camera")


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.EBUSY, "it is busy: another program holds it"), (errno.EACCES, "add the user to the group video"),
     (errno.ENODEV, "it is not there"), (errno.EIO, "it does not answer: ")],
)  # fmt: skip
def test_an_error_of_the_driver_in_words(number: int, says: str) -> None:
    assert says in usb._reason(OSError(number, os.strerror(number)))


@pytest.mark.parametrize(
    ("asked", "form"),
    [(("auto", None, None, None), None), (("auto", 640, 480, None), "yuyv"), (("auto", 1280, 720, None), "mjpg"),
     (("auto", 1280, 720, 5.0), "yuyv"), (("mjpg", None, None, None), "mjpg"), (("yuyv", 1920, 1080, 30.0), "yuyv")],
)  # fmt: skip
def test_the_form_that_a_camera_is_asked_for(asked: tuple[Any, ...], form: str | None) -> None:
    assert choose_form(*asked) == form


def test_four_letters() -> None:
    assert letters(fourcc("MJPG")) == "MJPG"
    assert letters(0) == letters(-1) == ""


def test_open_source_tells_states_too() -> None:
    seen: list[CameraState] = []
    source = open_source("/dev/video63", "door", wait=lambda seconds: True, on_state=seen.append)
    assert source.live
    assert source.read() is None
    assert [(state.camera, state.state) for state in seen] == [("door", "waiting"), ("door", "ended")]
    source.close()
