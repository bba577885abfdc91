"""A real RTSP camera on a free loopback port, in a process of the system's Python; and states to wait on."""

from __future__ import annotations

import functools
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mosquitto import PATIENCE, free_port

from edge.sources.state import CameraState

SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_server.py")
PACKAGES = "gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"


@functools.cache
def why_no_server() -> str | None:
    """What the system's Python lacks to run the server, in one line; None where it lacks nothing."""
    try:
        done = subprocess.run([SYSTEM_PYTHON, str(SERVER), "--check"], capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it ends"])[-1]


class RtspCamera:
    """One server process of our own; `start` after `kill` keeps the port."""

    def __init__(self, *login: str) -> None:
        self.port = free_port()
        self.url = f"rtsp://127.0.0.1:{self.port}/live"
        self._login = login
        self._process: subprocess.Popen[str] | None = None
        self._changed = threading.Condition()
        self._said: list[str] = []

    def start(self) -> RtspCamera:
        """Start it and wait until it takes clients."""
        self._said.clear()
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(SERVER), str(self.port), *self._login],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        self.wait("ready")
        return self

    def wait(self, word: str) -> None:
        """Wait until it says this."""
        with self._changed:
            assert self._changed.wait_for(lambda: word in self._said, PATIENCE), self._said

    def tell(self, mode: str) -> None:
        """`move`, `freeze`, `stall`, `garbage`, `show FILE` or `flash N`, as the server explains."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(mode + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it without a goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process = None

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with self._changed:
                    self._said.append(line.strip())
                    self._changed.notify_all()


@pytest.fixture
def new_rtsp() -> Iterator[Callable[..., RtspCamera]]:
    """Make RTSP cameras, not yet started; user and password may be given. All are ended after the test."""
    if lack := why_no_server():
        pytest.skip(f"NO RTSP SERVER ({lack}): apt-get install -y --no-install-recommends python3-gi {PACKAGES}")
    made: list[RtspCamera] = []

    def make(*login: str) -> RtspCamera:
        made.append(RtspCamera(*login))
        return made[-1]

    yield make
    for camera in made:
        camera.kill()


@pytest.fixture
def rtsp(new_rtsp: Callable[..., RtspCamera]) -> RtspCamera:
    """A running RTSP camera that lets everyone in."""
    return new_rtsp().start()


class States:
    """A camera's states, to wait on."""

    def __init__(self) -> None:
        self.seen: list[CameraState] = []
        self._changed = threading.Condition()

    def __call__(self, state: CameraState) -> None:
        with self._changed:
            self.seen.append(state)
            self._changed.notify_all()

    def wait(self, *names: str, camera: str | None = None, turn: Callable[[], object] | None = None) -> CameraState:
        """Wait until these states have come one after the other, among others; return the last of them.

        Args:
            names: states in their order.
            camera: count the states of this camera alone.
            turn: called again and again meanwhile, as the loop does that waits for pictures.
        """
        with self._changed:
            waited = 0.0
            while (found := self._find(names, camera)) is None:
                assert waited < 2 * PATIENCE, f"no {names} in {self.seen}"
                self._changed.wait(0.05)
                waited += 0.05
                if turn is not None:
                    self._changed.release()
                    try:
                        turn()
                    finally:
                        self._changed.acquire()
            return found

    def _find(self, names: tuple[str, ...], camera: str | None) -> CameraState | None:
        wanted = list(names)
        for state in self.seen:
            if camera in (None, state.camera) and state.state == wanted[0]:
                wanted.pop(0)
                if not wanted:
                    return state
        return None


@pytest.fixture
def states() -> States:
    """Takes states."""
    return States()
