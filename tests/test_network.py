"""Cameras on the network: a real RTSP server, MJPEG over HTTP, a server that never answers; no password anywhere."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from mosquitto import PATIENCE, free_port
from rtsp import RtspCamera, States

from edge.broker import Credentials
from edge.config import CameraConfig
from edge.errors import InputError, OutsideError
from edge.sources import open_cameras
from edge.sources.capture import Capture
from edge.sources.names import kind_of, shown, with_credentials
from edge.sources.network import LONGEST, InItsTime, NetworkCamera
from edge.sources.stream import OpenCvStream
from edge.values import Frame

SECRET = "s3cr:t/@ü"
FROZEN_AFTER = 1.5
"""Seconds; short, that the tests are."""


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("", ""),
        ("clip.mp4", "clip.mp4"),
        ("rtsp://camera/1", "rtsp://camera/1"),
        ("rtsp://bob@camera/1", "rtsp://bob@camera/1"),
        ("rtsp://bob:pw@camera:554/1", "rtsp://bob:***@camera:554/1"),
        ("rtsp://bob:p@ss/w:rd@camera/1", "rtsp://bob:***@camera/1"),
        ("http://camera/video?user=bob&pwd=pw", "http://camera/video?***"),
        (
            "rtsp://camera/user=bob_password=pw_channel=1&stream=0.sdp",
            "rtsp://camera/user=bob_password=***&stream=0.sdp",
        ),
        ("rtsp:/bob:pw@camera/1", "***@camera/1"),
        ("rtsp//bob:pw@camera/1?pwd=pw", "***@camera/1?***"),
        (" RTSP://bob:pw@camera/1", " RTSP://bob:***@camera/1"),
        ("bob:pw@camera/1", "***@camera/1"),
        ("rtsp:bob:p?w@camera", "***@camera"),
        ("rtsp:/camera/1?pwd=pw", "rtsp:/camera/1?***"),
        ("rtsp://bob:p?w@camera/1", "rtsp://***@camera/1"),
        ("rtsp://bob:pw", "rtsp://bob:***"),
        ("rtsp://bob:p/w", "rtsp://bob:***"),
        ("rtsp://[::1]:554/1", "rtsp://[::1]:554/1"),
        ("C:\\clips\\me@home.mp4", "***@home.mp4"),
        ("clips/me@home.mp4", "clips/me@home.mp4"),
        ("http://camera/video?mail=bob@home", "http://camera/video?***"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, safe: str) -> None:
    assert shown(url) == safe


@pytest.mark.parametrize(
    ("source", "kind"),
    [("0", "usb"), ("/dev/video2", "usb"), ("csi", "csi"), ("csi:1", "csi"), ("RTSP://h/1", "network"),
     ("https://h:8080/x", "network"), ("clip.mp4", "file"), ("csi.mp4", "file"), ("C:\\clip.mp4", "file")],
)  # fmt: skip
def test_a_name_tells_the_kind(source: str, kind: str) -> None:
    assert kind_of(source) == kind


@pytest.mark.parametrize(
    ("source", "says"),
    [("", "plain text"), ("ftp://bob:pw@h/x", "ftp:// is not read"), ("rtsp:///live", "it names no host"),
     ("rtsp://bob:pw@/live", "it names no host"), ("rtsp://bob:p\udc80@h/1", "plain text"),
     ("rtsp:/bob:pw@h/1", "is written rtsp://HOST"), ("rtsp//bob:pw@h/1", "is written rtsp://HOST"),
     (" RTSP://bob:pw@h/1", "is written rtsp://HOST"), ("http:bob:pw@h", "is written rtsp://HOST")],
)  # fmt: skip
def test_a_name_of_no_kind_is_refused_without_its_password(source: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        kind_of(source)
    assert says in str(caught.value)
    assert "pw" not in str(caught.value)


def test_credentials_stand_in_the_url_for_ffmpeg_alone() -> None:
    login = Credentials("bob", SECRET)
    assert with_credentials("rtsp://h/1", None) == "rtsp://h/1"
    assert with_credentials("rtsp://h/1", login) == "rtsp://bob:s3cr%3At%2F%40%C3%BC@h/1"
    with pytest.raises(InputError, match="it holds a user, and username is set beside it"):
        with_credentials("rtsp://eve:pw@h/1", login)
    camera = NetworkCamera("rtsp://h/1", credentials=login)
    assert "s3cr" not in camera.name


class Watch:
    """A capture of a network camera whose states and lines are kept; it tries again quickly."""

    def __init__(self, camera: NetworkCamera, states: States, **options: Any) -> None:
        self.lines: list[str] = []
        self._stop = threading.Event()
        self.capture = Capture(
            camera, "door", on_state=states, say=self.lines.append, wait=lambda s: self._stop.wait(min(s, 0.1)),
            frozen_after=FROZEN_AFTER, **options,
        )  # fmt: skip

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self.capture.close()

    def until(self, wanted: Callable[[Frame], bool]) -> Frame:
        """Take pictures until one is as wanted."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            frame = self.capture.take()
            if frame is not None and wanted(frame):
                return frame
            time.sleep(0.005)
        raise AssertionError(f"no picture was as wanted; {self.capture.stats()}")


def watch(rtsp: RtspCamera, states: States, **options: Any) -> Watch:
    """Watch an RTSP camera."""
    return Watch(NetworkCamera(rtsp.url, open_seconds=3, read_seconds=FROZEN_AFTER, **options), states)


def square(frame: Frame) -> int | None:
    """Left edge of the bright square that the server moves, or None where it is not to be seen."""
    bright = frame.image[88:152, :, 0] > 150
    columns = np.flatnonzero(bright.mean(axis=0) > 0.9)
    return int(columns[0]) if 56 <= len(columns) <= 72 and bright.mean() < 0.25 else None


def moves(watched: Watch) -> None:
    """Wait until the square has been seen in two places."""
    first = square(watched.until(lambda frame: square(frame) is not None))
    watched.until(lambda frame: square(frame) not in (None, first))


def test_an_rtsp_camera_gives_its_pictures(rtsp: RtspCamera, states: States) -> None:
    with watch(rtsp, states) as watched:
        moves(watched)
        frame = watched.until(lambda frame: True)
        assert frame.size == (320, 240)
        assert frame.camera == "door"
        assert watched.capture.fps == 25
        assert watched.lines == [f"camera {rtsp.url} (320×240, 25 frames/s) answers"]
    assert [state.state for state in states.seen] == ["running", "ended"]


def test_an_rtsp_camera_that_stops_is_waited_for(rtsp: RtspCamera, states: States) -> None:
    with watch(rtsp, states) as watched:
        moves(watched)
        rtsp.kill()
        states.wait("running", "waiting", turn=watched.capture.take)
        rtsp.start()
        states.wait("waiting", "running", turn=watched.capture.take)
        moves(watched)


@pytest.mark.parametrize(("mode", "says"), [("freeze", "the very same picture for 1.5 s"), ("stall", "no picture for")])
def test_an_rtsp_camera_that_freezes_is_opened_anew(mode: str, says: str, rtsp: RtspCamera, states: States) -> None:
    with watch(rtsp, states) as watched:
        moves(watched)
        rtsp.tell(mode)
        frozen = states.wait("running", "frozen", turn=watched.capture.take)
        assert frozen.reason is not None
        assert says in frozen.reason
        rtsp.tell("move")
        states.wait("frozen", "running", turn=watched.capture.take)
        moves(watched)


def test_an_rtsp_camera_that_sends_garbage_and_comes_back(rtsp: RtspCamera, states: States) -> None:
    with watch(rtsp, states) as watched:
        moves(watched)
        rtsp.tell("garbage")
        end = time.monotonic() + 3
        while time.monotonic() < end:  # whatever comes of it, nothing may be raised
            watched.capture.take()
            time.sleep(0.01)
        rtsp.tell("move")
        moves(watched)
        assert watched.capture.stats().state == "running"


def test_a_password_opens_and_is_never_shown(
    new_rtsp: Callable[..., RtspCamera], states: States, tmp_path: Path
) -> None:
    rtsp = new_rtsp("bob", SECRET).start()
    with watch(rtsp, states, credentials=Credentials("bob", "wrong")) as watched:
        waiting = states.wait("waiting", turn=watched.capture.take)
    assert waiting.reason == "it refuses, or sends no video: are host, path, user and password right?"
    (tmp_path / "password").write_text(SECRET + "\n")
    config = CameraConfig(rtsp.url, "door", username="bob", password_file=str(tmp_path / "password"))
    lines: list[str] = []
    with open_cameras([config], on_state=states, say=lines.append) as cameras:
        assert cameras.next(PATIENCE) is not None
        rtsp.kill()
        states.wait("waiting", "running", "waiting", turn=lambda: cameras.next(0.01))
    assert "s3cr" not in f"{lines} {states.seen} {watched.lines}"


# No OPENCV_LOG_LEVEL here: nothing hushes OpenCV in a program that embeds the kit.
PROGRAM = """
import sys, edge
try:
    edge.open_source(sys.argv[1], fail_fast=True)
except edge.OutsideError as error:
    print(error)
"""


@pytest.mark.parametrize("how", ["command", "program"])
def test_neither_command_nor_program_prints_a_password(how: str) -> None:
    url = f"rtsp://bob:s3cr%2Ft@127.0.0.1:{free_port()}/live?key=s3cr"
    command = ["-m", "edge.cli", "run", "--fail-fast", "--source", url] if how == "command" else ["-c", PROGRAM, url]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV")}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert "does not answer: it refuses, or sends no video" in done.stdout + done.stderr
    assert "bob:***@127.0.0.1" in done.stdout + done.stderr
    assert "s3cr" not in done.stdout + done.stderr
    assert done.returncode == (3 if how == "command" else 0)


def test_a_server_that_never_answers_does_not_hold_the_loop(states: States) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        url = f"rtsp://127.0.0.1:{port}/live"
        with Watch(NetworkCamera(url, open_seconds=1), states) as watched:
            began = time.monotonic()
            assert watched.capture.take() is None
            assert time.monotonic() - began < 0.5, "take waits for nobody"
            assert states.wait("waiting", turn=watched.capture.take).reason == (
                "no answer within 1 s: is it on, and in this network?"
            )
        with pytest.raises(OutsideError, match="does not answer: no answer within 1 s"):
            Capture(NetworkCamera(url, open_seconds=1), "door", fail_fast=True)


# HTTP


class Mjpeg(BaseHTTPRequestHandler):
    """Sends numbered pictures for ever, as network cameras do; 401 unless the server's login is given."""

    login: str | None = None

    def do_GET(self) -> None:
        """Send pictures until the client goes or the server stops."""
        wanted = self.login and "Basic " + base64.b64encode(self.login.encode()).decode()
        if wanted and self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        stop: threading.Event = self.server.stop  # type: ignore[attr-defined]
        number = 0
        try:
            while not stop.wait(0.02):
                picture = np.full((120, 160, 3), 40, np.uint8)
                picture[:, number % 80 : number % 80 + 40] = 220
                number += 1
                data = cv2.imencode(".jpg", picture)[1].tobytes()
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
                self.wfile.write(data + b"\r\n")
        except OSError:
            pass

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@contextmanager
def serving(handler: Any, port: int = 0) -> Iterator[int]:
    """An HTTP server on loopback; its port."""
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        server.daemon_threads = True
        server.stop = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.stop.set()  # type: ignore[attr-defined]
            server.shutdown()
            thread.join()


def test_mjpeg_over_http_goes_and_comes_back(states: States) -> None:
    with ExitStack() as stack:
        with serving(Mjpeg) as port:
            camera = NetworkCamera(f"http://127.0.0.1:{port}/video", open_seconds=3, read_seconds=FROZEN_AFTER)
            watched = stack.enter_context(Watch(camera, states))
            assert watched.until(lambda frame: frame.index > 10).size == (160, 120)
        states.wait("running", "waiting", turn=watched.capture.take)
        with serving(Mjpeg, port):
            states.wait("waiting", "running", turn=watched.capture.take)
            watched.until(lambda frame: True)
            watched.__exit__()


def test_a_camera_behind_http_basic_login(states: States) -> None:
    handler = type("Locked", (Mjpeg,), {"login": f"bob:{SECRET}"})
    with serving(handler) as port:
        url = f"http://127.0.0.1:{port}/video"
        with pytest.raises(OutsideError, match="it refuses"):
            NetworkCamera(url, open_seconds=3).open()
        with Watch(NetworkCamera(url, credentials=Credentials("bob", SECRET), open_seconds=3), states) as watched:
            watched.until(lambda frame: True)


def files_of(folder: Path) -> type[SimpleHTTPRequestHandler]:
    """Serves a folder's files."""

    class Files(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    return Files


@pytest.mark.parametrize(("part", "plays"), [(0.95, 1), (0.6, 2)], ids=["a little", "much"])
def test_a_video_at_a_url_that_is_cut_off_ends_all_the_same(
    part: float, plays: int, states: States, tmp_path: Path
) -> None:
    """Its header says 40 frames. What stops long before may be a bad line: it is tried once more."""
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    noise = np.random.default_rng(7)
    for _ in range(40):
        writer.write(noise.integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    data = (tmp_path / "clip.avi").read_bytes()
    (tmp_path / "clip.avi").write_bytes(data[: int(len(data) * part)])
    with serving(files_of(tmp_path)) as port:
        with Watch(NetworkCamera(f"http://127.0.0.1:{port}/clip.avi", open_seconds=3), states) as watched:
            assert states.wait("ended", turn=watched.capture.take).reason == "the video has ended"
            assert watched.capture.ended
        assert [state.state for state in states.seen].count("running") == plays


def test_a_video_at_a_url_plays_in_its_time_and_ends(states: States, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 50, (64, 48))
    for number in range(40):
        writer.write(np.full((48, 64, 3), number * 5, np.uint8))
    writer.release()

    with serving(files_of(tmp_path)) as port:
        watched = Watch(NetworkCamera(f"http://127.0.0.1:{port}/clip.mp4", open_seconds=3), states)
        seen = []
        while (frame := watched.capture.read()) is not None:
            seen.append((frame.index, frame.mono))
        assert seen[-1][0] == 39
        # 40 frames at 50 a second are 0.78 s from first to last; as fast as they come it would be a few milliseconds.
        assert seen[-1][1] - seen[0][1] > 0.6
        assert (states.seen[-1].state, states.seen[-1].reason) == ("ended", "the video has ended")


def test_a_slow_recording_at_a_url_is_taken_a_little_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait of ten seconds for a frame would pass for a frozen camera."""
    path = str(tmp_path / "slow.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 0.1, (64, 48))
    for number in range(4):
        writer.write(np.full((48, 64, 3), number * 5, np.uint8))
    writer.release()
    recorded = InItsTime(OpenCvStream(cv2.VideoCapture(path), tolerance=1, count=4))
    waits: list[float] = []
    monkeypatch.setattr("edge.sources.network.time", SimpleNamespace(monotonic=lambda: sum(waits), sleep=waits.append))
    recorded._due = 0.0
    assert [recorded.grab() for _ in range(4)] == [True] * 4
    assert waits == pytest.approx([LONGEST] * 3)
    assert recorded.over
    recorded.close()


def test_a_stream_of_too_large_frames_is_waited_for_and_said(states: States) -> None:
    data = cv2.imencode(".jpg", np.zeros((4200, 4200, 3), np.uint8))[1].tobytes()

    class Large(Mjpeg):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with suppress(OSError):
                while not self.server.stop.wait(0.02):  # type: ignore[attr-defined]
                    self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
                    self.wfile.write(data + b"\r\n")

    with serving(Large) as port:
        camera = NetworkCamera(f"http://127.0.0.1:{port}/video", open_seconds=5)
        with Watch(camera, states) as watched:
            reason = states.wait("waiting", turn=watched.capture.take).reason
    assert str(reason).startswith("its frames have 18 megapixels, and at most 16 are taken")


# Two at once


def test_a_file_and_a_stream_at_once(rtsp: RtspCamera, portrait_clip: Path, states: States) -> None:
    """Both at their rate: the file plays every frame at 40 a second, the stream loses none of its 25."""
    configs = [CameraConfig(str(portrait_clip), "clip", fps=40), CameraConfig(rtsp.url, "door")]
    seen: dict[str, list[tuple[int, float]]] = {"clip": [], "door": []}
    with open_cameras(configs, on_state=states) as cameras:
        while cameras.stats()["clip"].state != "ended":
            frame = cameras.next(PATIENCE)
            if frame is not None:
                seen[frame.camera].append((frame.index, frame.mono))
        assert not cameras.ended, "the stream goes on"
    assert [index for index, _ in seen["clip"]] == list(range(240))
    # What piled up while the stream was opened comes in a burst, of which the newest wins: counted from a second later.
    steady = [(index, mono) for index, mono in seen["door"] if mono > seen["door"][0][1] + 1]
    (first, began), (last, ended) = steady[0], steady[-1]
    assert (len(steady) - 1) / (ended - began) > 12  # 25, and less where the server itself has no processor left
    assert len(steady) > 0.9 * (last - first + 1), "pictures of the stream were dropped"
    assert [state.state for state in states.seen if state.camera == "clip"] == ["running", "ended"]
    states.wait("running", "ended", camera="door")
