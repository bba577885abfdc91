"""Standard output's reader may stall: a camera's run goes on, a file's waits, and both end when they are told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paho.mqtt.publish as send
import pytest
from mosquitto import PATIENCE, Lines, Mosquitto
from test_capture import until
from test_network import serving

from edge.printer import Printer

fcntl = pytest.importorskip("fcntl", reason="pipes whose size can be set")
if not hasattr(fcntl, "F_SETPIPE_SZ"):
    pytest.skip("pipes whose size can be set", allow_module_level=True)

SMALL = 4096
"""Bytes of the smallest pipe there is."""
LINE = "x" * 600

EDGE = [sys.executable, "-m", "edge.cli"]


class Pipe:
    """A pipe that takes a few lines, with a stream at its one end."""

    def __init__(self) -> None:
        self.out, inward = os.pipe()
        fcntl.fcntl(inward, fcntl.F_SETPIPE_SZ, SMALL)
        self.stream = os.fdopen(inward, "w")

    def full(self) -> bool:
        """Whether no further line fits into it."""
        import array
        import termios

        held = array.array("i", [0])
        fcntl.ioctl(self.out, termios.FIONREAD, held)
        return held[0] > SMALL - len(LINE) - 1

    def close(self) -> None:
        """Close both ends."""
        os.close(self.out)
        self.stream.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A small pipe that nobody reads."""
    made = Pipe()
    yield made
    made.close()


def test_nothing_to_print_starts_nothing(pipe: Pipe) -> None:
    before = threading.active_count()
    printer = Printer(pipe.stream, threading.Event(), patient=True)
    printer.wait()
    assert threading.active_count() == before
    printer.close()
    assert printer.dropped == 0


def test_a_cameras_lines_are_dropped_counted_and_said_once(pipe: Pipe) -> None:
    said = Lines()
    printer = Printer(pipe.stream, threading.Event(), patient=False, say=said, most=10)
    printer.line(LINE)
    until(lambda: printer._thread is not None)
    for _ in range(100):
        printer.line(LINE)
        printer.wait()
    until(pipe.full)
    assert len(printer._lines) <= 10
    assert len(said.lines) == 1
    assert "10 events wait for its reader" in said.lines[0]
    printer.close()
    whole = SMALL // (len(LINE) + 1)
    assert 101 - whole - 1 <= printer.dropped <= 101 - whole
    assert os.read(pipe.out, 2 * SMALL).decode() == (LINE + "\n") * whole


def test_a_files_lines_come_all_and_in_order_however_slowly_they_are_read(pipe: Pipe) -> None:
    printer = Printer(pipe.stream, threading.Event(), patient=True, most=5)
    waited = threading.Event()

    def read() -> None:
        waited.wait(PATIENCE)
        with open(pipe.out, closefd=False) as lines:
            seen.extend(lines.readline() for _ in range(60))

    seen: list[str] = []
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        if len(printer._lines) == 5:
            waited.set()
        printer.wait()
        assert len(printer._lines) < 5
        printer.line(f"{number} {LINE}")
    printer.close()
    reader.join(PATIENCE)
    assert waited.is_set()
    assert [int(line.split()[0]) for line in seen] == list(range(60))
    assert printer.dropped == 0


def test_a_stop_ends_the_wait_of_a_file(pipe: Pipe) -> None:
    stop = threading.Event()
    printer = Printer(pipe.stream, stop, patient=True, most=2)

    def fill() -> bool:
        if len(printer._lines) < 2:
            printer.line(LINE)
        return pipe.full() and len(printer._lines) == 2

    until(fill)
    waiting = threading.Thread(target=printer.wait)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    stop.set()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
    printer.close()
    assert printer.dropped >= 1


# `edge run`


def face_camera(portrait: Path) -> type[BaseHTTPRequestHandler]:
    """A network camera that looks at the portrait and trembles."""
    image = cv2.resize(cv2.imread(str(portrait)), (256, 256))

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            number = 0
            try:
                while not self.server.stop.wait(0.01):  # type: ignore[attr-defined]
                    number += 1
                    data = cv2.imencode(".jpg", np.roll(image, number % 3, axis=1))[1].tobytes()
                    self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
                    self.wfile.write(data + b"\r\n")
            except OSError:
                pass

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    return Camera


@pytest.fixture
def start(pipe: Pipe) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `edge run --stdout` into a pipe that nobody reads; it is ended for certain."""
    made = []

    def started(*arguments: str, **options: Any) -> subprocess.Popen[str]:
        command = [*EDGE, "run", "--stdout", "--publish", "every", *arguments]
        made.append(subprocess.Popen(command, stdout=pipe.stream, stderr=subprocess.PIPE, text=True, **options))
        return made[-1]

    yield started
    for process in made:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_camera_goes_on_though_nobody_reads(start: Callable[..., subprocess.Popen[str]], portrait: Path) -> None:
    with serving(face_camera(portrait)) as port:
        process = start("--source", f"http://127.0.0.1:{port}/video", "--max-frames", "40")
        _, said = process.communicate(timeout=4 * PATIENCE)
    assert process.returncode == 0, said
    assert "40 frames" in said
    assert "events NOT read from standard output" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_file_whose_events_nobody_reads_is_ended_by_a_signal(
    number: signal.Signals, start: Callable[..., subprocess.Popen[str]], portrait_clip: Path, pipe: Pipe
) -> None:
    process = start("--source", str(portrait_clip))
    until(pipe.full)
    process.send_signal(number)
    _, said = process.communicate(timeout=2 * PATIENCE)
    assert process.returncode == 0, said
    assert "events NOT read from standard output" in said
    assert "Traceback" not in said


# `edge feed`


def test_a_feed_that_nobody_reads_is_ended_by_a_signal(broker: Mosquitto, pipe: Pipe) -> None:
    command = [*EDGE, "feed", "--broker", f"mqtt://127.0.0.1:{broker.port}/p"]

    def filled() -> bool:
        send.single("p/d/c/events", f'{{"x": "{LINE}"}}', qos=1, hostname="127.0.0.1", port=broker.port)
        return pipe.full()

    with subprocess.Popen(command, stdout=pipe.stream, stderr=subprocess.PIPE, text=True) as process:
        try:
            until(filled)
            for _ in range(3):
                filled()
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "Traceback" not in said
