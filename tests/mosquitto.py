"""A real Mosquitto on a free loopback port, a listener to see what it got, and a gate that refuses versions of MQTT."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from edge.broker import BrokerAddress

PATIENCE = 15.0
"""Seconds that a test waits for what must happen; a busy machine needs some, a failure ends with it."""


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """One broker process of our own; `stop` and `start` again keep the port and, with persistence, the sessions."""

    def __init__(self, folder: Path, options: str = "allow_anonymous true", *, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self.log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        self._process: subprocess.Popen[bytes] | None = None
        self._config.write_text(
            # "user root": else a broker started by root gives its rights up and cannot read the test's files.
            f"user root\nlog_dest file {self.log}\nlog_type all\npersistence_location {folder}/\n"
            f"listener {self.port} 127.0.0.1\n{options}\n"
        )

    @property
    def address(self) -> BrokerAddress:
        """Where it is, with a prefix of two levels."""
        return BrokerAddress("127.0.0.1", self.port, "test/emotion")

    def start(self) -> Mosquitto:
        """Start it and wait until it takes connections."""
        self._process = subprocess.Popen([_binary(), "-c", str(self._config)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"mosquitto ended: {self.log.read_text()}"
            if all(_open(int(port)) for port in re.findall(r"^listener (\d+)", self._config.read_text(), re.MULTILINE)):
                return self
            time.sleep(0.02)  # a port has no event to wait for
        raise AssertionError("mosquitto did not open its port")

    def wait_for_log(self, part: str) -> None:
        """Wait until its log says something; a file has no event to wait for."""
        deadline = time.monotonic() + PATIENCE
        while part not in self.log.read_text():
            assert time.monotonic() < deadline, f"no {part!r} in the broker's log"
            time.sleep(0.02)

    def freeze(self) -> None:
        """Let it hang with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it without a chance to save or say anything."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE)
        self._process = None

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)  # if it was frozen
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(PATIENCE)
            self._process = None


def _open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _binary() -> str:
    found = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
    if found is None:
        pytest.skip("NO MOSQUITTO: apt-get install -y --no-install-recommends mosquitto")
    return found


@pytest.fixture
def new_broker(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Make a broker, not yet started, from options of mosquitto.conf; all are ended after the test."""
    made: list[Mosquitto] = []

    def make(options: str = "allow_anonymous true") -> Mosquitto:
        _binary()
        folder = tmp_path / f"broker{len(made)}"
        folder.mkdir()
        made.append(Mosquitto(folder, options))
        return made[-1]

    yield make
    for broker in made:
        broker.stop()


@pytest.fixture
def broker(new_broker: Callable[..., Mosquitto]) -> Mosquitto:
    """A running broker that lets everyone in."""
    return new_broker().start()


class Listener:
    """Sees all that a broker passes on, with paho alone: none of our own code."""

    def __init__(self, address: BrokerAddress, **options: Any) -> None:
        self.messages: list[paho.MQTTMessage] = []
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, **options)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{address.prefix}/#", 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._take
        self._client.connect(address.host, address.port)
        self._client.loop_start()
        assert self._ready.wait(PATIENCE)

    def _take(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    def of(self, ending: str) -> list[str]:
        """Payloads so far on topics that end so."""
        return [m.payload.decode() for m in list(self.messages) if m.topic.endswith(ending)]

    def wait(self, ending: str, payloads: list[str]) -> None:
        """Wait until exactly these payloads came on topics that end so."""
        with self._changed:
            self._changed.wait_for(lambda: self.of(ending)[: len(payloads)] == payloads, PATIENCE)
        assert self.of(ending) == payloads

    def wait_last(self, ending: str, payload: str) -> None:
        """Wait until the last payload on topics that end so is this one."""
        with self._changed:
            self._changed.wait_for(lambda: self.of(ending)[-1:] == [payload], PATIENCE)
        assert self.of(ending)[-1:] == [payload]

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    """Make listeners; all leave after the test."""
    made: list[Listener] = []

    def make(address: BrokerAddress, **options: Any) -> Listener:
        made.append(Listener(address, **options))
        return made[-1]

    yield make
    for listener in made:
        listener.close()


class Gate:
    """Stands before a broker and answers an MQTT 5 client with `answer` and a hang-up; all else passes both ways.

    Without an answer everything passes, until it is `cut`.
    """

    def __init__(self, behind: BrokerAddress, answer: bytes | None = None) -> None:
        self._behind, self._answer = behind, answer
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = BrokerAddress("127.0.0.1", self._server.getsockname()[1], behind.prefix)
        self.asked: list[int] = []
        self._changed = threading.Condition()
        self._open: list[socket.socket] = []
        self.mend()

    def wait_asked(self, times: int) -> None:
        """Wait until clients have asked so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) >= times, PATIENCE), self.asked

    def mend(self) -> None:
        """Take clients, again after a cut."""
        if self._server.fileno() < 0:
            self._server = socket.create_server(("127.0.0.1", self.address.port))
        threading.Thread(target=self._serve, args=(self._server,), daemon=True).start()

    def cut(self) -> None:
        """End what passes and take no more clients."""
        for one in (self._server, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                self._open.append(client)
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            first = client.recv(4096)
            if not first:
                return
            # A CONNECT names its protocol, length and "MQTT", and then the version.
            version = first[first.index(b"\x00\x04MQTT") + 6]
            with self._changed:
                self.asked.append(version)
                self._changed.notify_all()
            if version == 5 and self._answer is not None:
                client.sendall(self._answer)
                return
            with socket.create_connection((self._behind.host, self._behind.port)) as broker:
                broker.sendall(first)
                threading.Thread(target=_pump, args=(broker, client), daemon=True).start()
                _pump(client, broker)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


class Lines:
    """A log to wait on."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, line: str) -> None:
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    def wait(self, part: str) -> str:
        """Wait for a line with this part in it and return it."""
        with self._changed:
            self._changed.wait_for(lambda: any(part in line for line in self.lines), PATIENCE)
            found = [line for line in self.lines if part in line]
        assert found, f"no line with {part!r} in {self.lines}"
        return found[0]
