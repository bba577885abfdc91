"""The watchdog: systemd's protocol on a real socket, and a real process whose stage is truly stuck."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mosquitto import Mosquitto, free_port

from edge.broker import BrokerAddress
from edge.host.rounds import Round, Rounds
from edge.host.watchdog import SEND_WITHIN, Notifier, Watchdog, watchdog_seconds
from edge.publish import connection
from edge.publish.mqtt import MqttPublisher

PATIENCE = 30.0
"""Seconds that a test waits for what must happen."""


class Systemd:
    """The other end of systemd's socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def hear(self, within: float = PATIENCE) -> str | None:
        """The next message; None where none comes."""
        self.socket.settimeout(within)
        try:
            return self.socket.recv(4096).decode()
        except TimeoutError:
            return None

    def hear_until(self, start: str) -> str:
        """The next message that begins so."""
        while (said := self.hear()) is not None:
            if said.startswith(start):
                return said
        raise AssertionError(f"no {start} came")


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest) -> Iterator[Systemd]:
    """A real socket, by path or by abstract name."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a socket's path has room for 107 characters
        end = Systemd(f"{folder}/notify" if request.param == "path" else f"@edge-test-{os.getpid()}-{id(folder)}")
        yield end
        end.socket.close()


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


# The protocol


def test_without_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    assert not any(
        (notifier.ready(), notifier.alive(), notifier.status("x"), notifier.stopping(), notifier.reloading())
    )


def test_what_systemd_gets(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
    notifier = Notifier()
    assert notifier.ready()
    assert notifier.alive()
    assert notifier.status("2 cameras")
    assert notifier.more_time(1.5)
    assert notifier.reloading()
    assert notifier.stopping()
    assert [systemd.hear() for _ in range(4)] == [
        "READY=1", "WATCHDOG=1", "STATUS=2 cameras", "EXTEND_TIMEOUT_USEC=1500000",
    ]  # fmt: skip
    reloading, moment = str(systemd.hear()).split("\n")
    assert reloading == "RELOADING=1"
    assert moment.startswith("MONOTONIC_USEC=")
    assert int(moment.partition("=")[2]) > 0
    assert systemd.hear() == "STOPPING=1"


def test_a_status_cannot_say_anything_else(systemd: Systemd) -> None:
    Notifier(systemd.address).status("camera x\nWATCHDOG=1")
    assert systemd.hear() == "STATUS=camera x\\nWATCHDOG=1"


def test_a_systemd_that_is_gone_or_does_not_read_stops_nobody(systemd: Systemd) -> None:
    notifier = Notifier(systemd.address)
    sent = 0
    while notifier.alive():  # until its queue is full
        sent += 1
        assert sent < 100_000
    assert sent
    systemd.socket.close()
    assert not notifier.alive()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
    ],
)
def test_systemds_patience(environ: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environ) == seconds


# The stages


def test_nothing_to_watch_is_healthy() -> None:
    assert Watchdog(Notifier(""), log=print).healthy(0.0)


def test_waiting_is_healthy_for_ever_and_work_until_its_deadline() -> None:
    clock = Clock()
    watchdog = Watchdog(Notifier(""), log=print, clock=clock)
    loop, camera = watchdog.stage("loop", 10.0), watchdog.stage("camera", 5.0)
    assert watchdog.healthy(clock.now + 1e9)
    loop.working()
    camera.waiting()
    assert watchdog.healthy(clock.now + 10.0)
    assert watchdog.stuck(clock.now + 10.1).keys() == {"loop"}
    clock.now += 9
    loop.working()  # the next piece of work: its deadline begins anew
    assert watchdog.healthy(clock.now + 10.0)
    loop.done()
    assert watchdog.healthy(clock.now + 1e9)


def test_a_block_that_an_error_leaves_stays_at_work() -> None:
    clock = Clock()
    watchdog = Watchdog(Notifier(""), log=print, clock=clock)
    stage = watchdog.stage("capture", 1.0)
    with stage:
        assert not watchdog.healthy(clock.now + 2)
    assert watchdog.healthy(clock.now + 2)

    def die() -> None:
        try:
            with stage:
                raise RuntimeError
        except RuntimeError:
            pass

    thread = threading.Thread(target=die)
    thread.start()
    thread.join()
    assert watchdog.stuck(clock.now + 3) == {"capture": "capture is stuck for 3 s: its thread has ended"}


def test_a_stuck_stage_is_named_once_and_the_watchdog_starves(systemd: Systemd) -> None:
    clock, said = Clock(), list[str]()
    watchdog = Watchdog(Notifier(systemd.address), seconds=30.0, log=said.append, clock=clock)
    stage = watchdog.stage("loop", 10.0)
    assert watchdog.look(clock.now)
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        with stage:
            begun.set()
            over.wait(PATIENCE)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait(PATIENCE)
    clock.now += 12
    assert not watchdog.look(clock.now)
    assert not watchdog.look(clock.now + 1)
    over.set()
    thread.join()
    assert watchdog.look(clock.now + 2)
    place = "in wait (threading.py:"
    assert len(said) == 2
    assert said[0].startswith(f"loop is stuck for 12 s {place}")
    assert said[0].endswith("; systemd will start the service anew")
    assert said[1] == "loop goes on"
    heard = [systemd.hear() for _ in range(4)]
    assert heard[0] == "WATCHDOG=1"
    assert str(heard[1]).startswith(f"STATUS=loop is stuck for 12 s {place}")
    assert heard[2:] == ["STATUS=all goes on", "WATCHDOG=1"]


STUCK = """
import os, sys, threading
from edge.host.watchdog import Notifier, Watchdog

notifier = Notifier()
watchdog = Watchdog(notifier, log=lambda text: print(text, flush=True))
absent, loop = watchdog.stage("camera", deadline=0.1), watchdog.stage("loop", deadline=0.4)
begin, (reader, writer) = threading.Event(), os.pipe()

def work():
    with loop:
        pass
    begin.wait()
    with loop:
        os.read(reader, 1)

absent.waiting()
watchdog.start()
threading.Thread(target=work, daemon=True).start()
notifier.ready()
sys.stdin.readline()
begin.set()
sys.stdin.readline()
os.write(writer, b"x")
sys.stdin.readline()
watchdog.close()
notifier.stopping()
"""


def test_a_process_whose_stage_is_stuck(systemd: Systemd) -> None:
    """It waits, fed; it is stuck in a read, starves and says where; it goes on, and is fed again."""
    child = subprocess.Popen(
        [sys.executable, "-c", STUCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "300000", "WATCHDOG_PID": ""},
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None

    def tell() -> None:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()

    try:
        systemd.hear_until("READY=1")
        for _ in range(6):  # a camera that is absent, and a loop without work, for twice the longest deadline
            systemd.hear_until("WATCHDOG=1")
        tell()
        assert "STATUS=loop is stuck for 0 s in work (<string>:" in systemd.hear_until("STATUS=")
        assert systemd.hear(within=1.2) is None, "fed four times in systemd's patience, though it was stuck"
        assert "loop is stuck" in child.stdout.readline()
        tell()
        assert systemd.hear_until("STATUS=") == "STATUS=all goes on"
        systemd.hear_until("WATCHDOG=1")
        assert child.stdout.readline() == "loop goes on\n"
        tell()
        systemd.hear_until("STOPPING=1")
        assert child.wait(PATIENCE) == 0
    finally:
        child.kill()
        child.communicate()


# The thread that talks to the broker


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> float:
    """The deadline of a turn at the broker, shortened with all that a turn waits for."""
    monkeypatch.setattr(connection, "TURN_SECONDS", 2.0)
    monkeypatch.setattr(connection, "TURN", 0.1)
    return 2.0


class Held:
    """A log that can be made to hang, as a full disk or a dead mount makes one."""

    def __init__(self) -> None:
        self.hang, self.entered, self.go_on = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, text: str) -> None:
        if self.hang.is_set():
            self.entered.set()
            self.go_on.wait(PATIENCE)


@pytest.mark.parametrize("systemd", ["path"], indirect=True)
def test_an_absent_broker_is_healthy_and_a_stuck_thread_is_not(
    systemd: Systemd, new_broker: Callable[..., Mosquitto], hurried: float
) -> None:
    """Absent for longer than a deadline, connected, frozen: fed. Then the thread itself hangs: it starves."""
    watchdog, held = Watchdog(Notifier(systemd.address), seconds=0.5, log=lambda text: None), Held()
    broker = new_broker()
    broker.stop()
    publisher = MqttPublisher(broker.address, "hall", log=held, first_delay=0.1, stage=watchdog.stage)

    def fed(deadlines: float = 1.5) -> None:
        while systemd.hear(0.001) is not None:
            pass
        for _ in range(int(4 * hurried * deadlines)):  # one each quarter of a second
            assert systemd.hear() == "WATCHDOG=1"

    def connected(yes: bool) -> None:
        end = time.monotonic() + PATIENCE
        while publisher.queue().connected is not yes:
            assert time.monotonic() < end
            time.sleep(0.01)

    watchdog.start()
    publisher.start()
    try:
        fed()
        broker.start()
        connected(True)
        fed()
        broker.freeze()
        publisher.event("front", "{}")
        fed()
        held.hang.set()
        broker.kill()
        assert held.entered.wait(PATIENCE)
        said = systemd.hear_until("STATUS=")
        assert said.startswith("STATUS=mqtt is stuck for ")
        assert " in wait (threading.py:" in said
        assert systemd.hear(within=1.5) is None, "fed three times in systemd's patience, though it was stuck"
        held.hang.clear()
        held.go_on.set()
        assert systemd.hear_until("STATUS=") == "STATUS=all goes on"
        fed(0.5)
    finally:
        held.go_on.set()
        publisher.close(0)
        watchdog.close()


@pytest.mark.parametrize("systemd", ["path"], indirect=True)
def test_a_thread_at_the_broker_that_has_died_is_missed(
    systemd: Systemd, hurried: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda what: None)

    def broken(text: str) -> None:
        raise RuntimeError(text)

    watchdog = Watchdog(Notifier(systemd.address), seconds=0.5, log=lambda text: None)
    publisher = MqttPublisher(
        BrokerAddress("127.0.0.1", free_port()), "hall", log=broken, first_delay=0.1, stage=watchdog.stage
    )
    publisher.start()
    watchdog.start()
    try:
        said = systemd.hear_until("STATUS=")
        assert said.startswith("STATUS=mqtt is stuck for ")
        assert said.endswith(": its thread has ended")
        assert systemd.hear(within=1.5) is None
    finally:
        publisher.close(0)
        watchdog.close()


def test_a_publisher_that_is_closed_is_not_missed(broker: Mosquitto, hurried: float) -> None:
    watchdog = Watchdog(Notifier(""), seconds=30.0, log=print)
    publisher = MqttPublisher(broker.address, "hall", first_delay=0.1, stage=watchdog.stage)
    publisher.start()
    publisher.close(PATIENCE)
    assert watchdog.healthy(time.monotonic() + 1000)


def test_a_round_that_never_comes_back_is_missed() -> None:
    watchdog = Watchdog(Notifier(""), seconds=30.0, log=print)
    begun, over = threading.Event(), threading.Event()

    def look() -> None:
        begun.set()
        over.wait(PATIENCE)

    rounds = Rounds(Round("a look", 0.01, look), log=print, stage=watchdog.stage("rounds", 60.0))
    rounds.start()
    try:
        assert begun.wait(PATIENCE)
        assert not watchdog.stuck(time.monotonic() + 50)
        assert list(watchdog.stuck(time.monotonic() + 70)) == ["rounds"]
    finally:
        over.set()
        rounds.close()
    assert watchdog.healthy(time.monotonic() + 1000)


def test_closing_is_not_held_up_by_systemds_patience() -> None:
    watchdog = Watchdog(Notifier(""), seconds=3600.0, log=print)
    watchdog.start()
    watchdog.close()
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}
    assert SEND_WITHIN < 5


def test_a_system_without_such_sockets(tmp_path: Path) -> None:
    assert not Notifier(str(tmp_path / "none")).ready()
