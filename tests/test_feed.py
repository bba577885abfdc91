"""The feed against a real Mosquitto: what was sent arrives, what else arrives does no harm, and it ends when told."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import paho.mqtt.publish as send
import pytest
from click.testing import CliRunner
from mosquitto import PATIENCE, Gate, Lines, Mosquitto, free_port

from edge.broker import BrokerAddress, Credentials
from edge.errors import InputError, OutsideError
from edge.feed.cli import command
from edge.feed.receive import decode, receive
from edge.feed.rows import LEFT_STAYS, MOST_ROWS, QUIET_AFTER, Rows, clean, line_of
from edge.feed.show import LiveTable, run_feed
from edge.publish.mqtt import MqttPublisher

EVENT: dict[str, Any] = {
    "v": 1, "device": "hall", "stream": "9f2c51d0a7b34e68", "seq": 812, "ts": "2026-03-01T08:13:07.412Z",
    "clock": "synced", "mono_ms": 81273, "camera": "front", "frame": 4711, "type": "update", "track": 17,
    "box": [415.0, 120.5, 528.0, 262.0], "size": [640, 480], "emotion": "happy", "confidence": 0.81,
    "scores": {
        "angry": 0.02, "disgust": 0.0, "fear": 0.01, "happy": 0.81, "sad": 0.03, "surprise": 0.05, "neutral": 0.08,
    },
    "detector": "mtcnn", "model": "lite0-int8@3fa9", "ms": {"detect": 6.2, "classify": 1.9, "total": 9.4},
}  # fmt: skip
"""The example of the design, with a stream written out."""

HOSTILE = "\x1b[2J\u202ehall\x07\n[red]\x9b31m"


class Feed:
    """A `receive` in a thread of its own that can be waited on."""

    def __init__(self, address: BrokerAddress, *, stop_after: int | None = None, **options: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.statuses: list[tuple[str, str]] = []
        self.lines = Lines()
        self.ready = threading.Semaphore(0)
        self._changed = threading.Condition()
        self._over = threading.Event()
        self.seen: Any = None
        self._thread = threading.Thread(target=self._run, args=(address, options))
        self._thread.start()

    def _run(self, address: BrokerAddress, options: dict[str, Any]) -> None:
        self.seen = receive(
            address, options.pop("credentials", None), self._take, self._status,
            log=self.lines, until=self._over.is_set, on_ready=self.ready.release, first_delay=0.1, **options,
        )  # fmt: skip

    def _take(self, event: dict[str, Any]) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def _status(self, device: str, status: str) -> None:
        with self._changed:
            self.statuses.append((device, status))
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), (self.events[-3:], self.statuses, self.lines.lines)

    def close(self) -> None:
        self._over.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.fixture
def feed() -> Any:
    """Make feeds; all are closed after the test."""
    made: list[Feed] = []

    def make(address: BrokerAddress, **options: Any) -> Feed:
        made.append(Feed(address, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_nothing_comes(broker: Mosquitto) -> None:
    out = io.StringIO()
    seen = run_feed(broker.address, seconds=0.1, out=out)
    assert (out.getvalue(), seen.events, seen.unreadable) == ("", 0, 0)
    assert run_feed(broker.address, idle=0.1, out=out).events == 0


def test_all_that_was_sent_of_every_device(broker: Mosquitto, feed: Callable[..., Feed]) -> None:
    seen = feed(broker.address)
    assert seen.ready.acquire(timeout=PATIENCE)
    for device in ("hall", "attic"):
        publisher = MqttPublisher(broker.address, device)
        publisher.start()
        for number in range(100):
            publisher.event("Küche", json.dumps({**EVENT, "device": device, "seq": number + 1}))
        publisher.state("Küche", {"v": 1, "state": "running", "reason": None, "ts": "x"})
        assert publisher.close(PATIENCE) == 0
    seen.wait(lambda: len(seen.statuses) == 4)
    assert [(e["device"], e["seq"]) for e in seen.events] == [(d, n) for d in ("hall", "attic") for n in range(1, 101)]
    assert seen.statuses == [("hall", "online"), ("hall", "offline"), ("attic", "online"), ("attic", "offline")]


def test_through_a_restart_of_the_broker(broker: Mosquitto, feed: Callable[..., Feed]) -> None:
    seen = feed(broker.address)
    assert seen.ready.acquire(timeout=PATIENCE)
    lines = Lines()
    publisher = MqttPublisher(broker.address, "hall", log=lines, first_delay=0.1)
    publisher.start()
    publisher.event("front", json.dumps({**EVENT, "seq": 1}))
    seen.wait(lambda: len(seen.events) == 1)
    broker.stop()
    lines.wait("trying again")
    broker.start()
    assert seen.ready.acquire(timeout=PATIENCE), "it subscribes again: this broker has forgotten it"
    for number in range(2, 52):
        publisher.event("front", json.dumps({**EVENT, "seq": number}))
    assert publisher.close(PATIENCE) == 0
    seen.wait(lambda: {e["seq"] for e in seen.events} == set(range(1, 52)))
    seen.wait(lambda: seen.statuses[-1] == ("hall", "offline"))
    assert len(seen.lines.lines) == 2
    assert seen.lines.lines[-1].endswith("connected again")


def test_what_was_sent_while_the_line_was_cut(broker: Mosquitto, feed: Callable[..., Feed]) -> None:
    gate = Gate(broker.address)
    seen = feed(gate.address)
    assert seen.ready.acquire(timeout=PATIENCE)
    gate.cut()
    seen.lines.wait("trying again")
    for number in range(1, 51):
        _send(broker, "hall/front/events", json.dumps({**EVENT, "seq": number}))
    gate.mend()
    seen.wait(lambda: [e["seq"] for e in seen.events] == list(range(1, 51)))
    gate.cut()


def test_a_broker_that_comes_later(new_broker: Callable[..., Mosquitto], feed: Callable[..., Feed]) -> None:
    broker = new_broker()
    seen = feed(broker.address)
    seen.lines.wait("trying again")
    broker.start()
    assert seen.ready.acquire(timeout=PATIENCE)
    _send(broker, "hall/front/events", json.dumps(EVENT))
    seen.wait(lambda: seen.events == [EVENT])


@pytest.mark.parametrize("answer", [b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00", b""])
def test_a_broker_without_version_5(broker: Mosquitto, feed: Callable[..., Feed], answer: bytes) -> None:
    gate = Gate(broker.address, answer)
    seen = feed(gate.address, fail_fast=True)
    assert seen.ready.acquire(timeout=PATIENCE)
    _send(broker, "hall/front/events", json.dumps(EVENT))
    seen.wait(lambda: seen.events == [EVENT])
    gate.cut()
    assert gate.asked == [5, 4]


def test_what_is_no_event_is_counted_and_said_once(broker: Mosquitto, feed: Callable[..., Feed]) -> None:
    seen = feed(broker.address)
    assert seen.ready.acquire(timeout=PATIENCE)
    bad = [b"", b"no json", b"[]", b"1", b"null", b'"text"', b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b"9" * 10_000]
    for payload in bad:
        assert decode(payload) is None
        _send(broker, "hall/front/events", payload)
    _send(broker, "hall/front/events", b"{}")
    seen.wait(lambda: seen.events == [{}])
    seen.close()
    assert seen.seen.unreadable == len(bad)
    assert len(seen.lines.lines) == 1
    assert "no JSON object" in seen.lines.lines[0]


def test_refused(new_broker: Callable[..., Mosquitto], tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match="refused the connection"):
        run_feed(BrokerAddress("127.0.0.1", free_port()), fail_fast=True, out=io.StringIO())
    (tmp_path / "none").touch()
    broker = new_broker(f"allow_anonymous false\npassword_file {tmp_path / 'none'}").start()
    with pytest.raises(OutsideError, match='refused user "bob"'):
        run_feed(broker.address, credentials=Credentials("bob", "x"), fail_fast=True, out=io.StringIO())
    (tmp_path / "rules").write_text("topic readwrite elsewhere/#\n")
    deaf = new_broker(f"allow_anonymous true\nacl_file {tmp_path / 'rules'}").start()
    seen = run_feed(deaf.address, seconds=0.5, out=io.StringIO(), fail_fast=True)
    assert seen.events == 0, "Mosquitto grants the subscription and passes nothing on"


def waits_at(broker: Mosquitto) -> str:
    """What a feed in a pipe says on standard error when it listens."""
    return f"edge: broker {broker.address.server}: connected; waiting for events on test/emotion/+/+/events\n"


def test_json_lines_in_a_pipe(broker: Mosquitto) -> None:
    process = _feed(broker, "--max-events", "3")
    try:
        _wait_for_subscription(broker)
        sent = [{**EVENT, "seq": 1}, {**EVENT, "seq": 2, "camera": HOSTILE}, {**EVENT, "seq": 3, "new": "Küche\ud800"}]
        for event in sent:
            _send(broker, "hall/front/events", json.dumps(event))
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0
    assert [json.loads(line) for line in out.splitlines()] == sent
    assert out.isascii()
    assert not set(out) - {"\n"} & {chr(n) for n in range(32)}
    assert err == waits_at(broker)


def test_it_is_said_once_however_often_the_line_is_lost(broker: Mosquitto) -> None:
    gate, lines, stop = Gate(broker.address), Lines(), threading.Event()
    ready = threading.Semaphore(0)
    feed = threading.Thread(
        target=run_feed, args=(gate.address,),
        kwargs={"out": io.StringIO(), "log": lines, "stop": stop, "on_ready": ready.release},
    )  # fmt: skip
    feed.start()
    try:
        assert ready.acquire(timeout=PATIENCE)
        gate.cut()
        gate.mend()
        assert ready.acquire(timeout=PATIENCE)
    finally:
        stop.set()
        feed.join(PATIENCE)
        gate.cut()
    assert sum("waiting for events" in line for line in lines.lines) == 1


def test_each_line_is_flushed_and_a_reader_may_leave(broker: Mosquitto) -> None:
    process = _feed(broker)
    try:
        _wait_for_subscription(broker)
        _send(broker, "hall/front/events", json.dumps(EVENT))
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == EVENT
        process.stdout.close()
        _send(broker, "hall/front/events", json.dumps(EVENT))
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == waits_at(broker)
        process.stderr.close()
    finally:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(broker: Mosquitto, number: signal.Signals) -> None:
    process = _feed(broker)
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == waits_at(broker)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_a_terminal_gets_a_table(broker: Mosquitto) -> None:
    pytest.importorskip("rich", reason="NO RICH: pip install rich")
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "140", "LINES": "40"}
    process = _feed(broker, "--max-events", "2", stdout=theirs, env=environment)
    os.close(theirs)
    try:
        _wait_for_subscription(broker)
        _send(broker, "hall/front/events", json.dumps({**EVENT, "camera": HOSTILE}))
        _send(broker, "hall/front/events", json.dumps({**EVENT, "track": 18, "emotion": None, "skipped": "small"}))
        assert process.wait(PATIENCE) == 0
        shown = _read_all(ours)
    finally:
        process.kill()
        os.close(ours)
        assert process.stderr is not None
        process.stderr.close()
    assert all(word in shown for word in ("confidence", "happy", "81%", "18", "(small)"))
    assert r"\x1b[2J\u202ehall\x07\n[red]\x9b31m" in shown
    assert not any(bad in shown for bad in ("\x1b[2J", "\u202e", "\x9b"))


def test_lines_for_a_terminal_without_rich(broker: Mosquitto) -> None:
    out = io.StringIO()
    ready = threading.Event()
    sender = threading.Thread(
        target=lambda: (
            ready.wait(PATIENCE) and _send(broker, "hall/front/events", json.dumps({**EVENT, "device": HOSTILE}))
        )
    )
    sender.start()
    run_feed(broker.address, json_lines=False, max_events=1, seconds=PATIENCE, out=out, on_ready=ready.set)
    sender.join(PATIENCE)
    assert out.getvalue() == r"\x1b[2J\u202ehall\x07\n[red]\x9b31m/front #17 update: happy 81%" + "\n"


def test_rows() -> None:
    rows = Rows()
    assert rows.all(0) == []
    rows.take({**EVENT, "track": 10}, 0)
    rows.take({**EVENT, "track": 9, "emotion": "sad"}, 1)
    rows.take({**EVENT, "track": 9, "emotion": "fear", "type": "leave"}, 2)
    assert [(r.track, r.emotion, r.age, r.state) for r in rows.all(3)] == [
        ("9", "fear", 1, "leave"), ("10", "happy", 3, "update"),
    ]  # fmt: skip
    rows.status("hall", "offline")
    assert {row.state for row in rows.all(3)} == {"offline"}
    assert rows.summary() == "offline: hall"
    assert [row.track for row in rows.all(2 + LEFT_STAYS + 1)] == ["10"]
    assert rows.all(QUIET_AFTER + 1) == []


def test_rows_are_bounded_and_take_anything() -> None:
    rows = Rows()
    for number in range(MOST_ROWS + 50):
        rows.take({"track": number}, number)
        rows.status(str(number), "online")
    assert len(rows.all(0)) == MOST_ROWS
    assert len(rows.summary()) < 200
    for value in (None, True, 10**5000, -1, 2.5, float("inf"), [], {}, HOSTILE, "x" * 10_000, "\ud800"):
        row = rows.take(
            dict.fromkeys(("device", "camera", "track", "emotion", "confidence", "type", "skipped"), value), 0
        )
        assert line_of(row).isprintable()
        assert len(line_of(row)) < 300
    table = LiveTable("x")
    table.event({"device": "[/red]"})


@pytest.mark.parametrize("text", ["", "hall", "Küche 表", "x" * 40])
def test_clean_leaves_good_text_alone(text: str) -> None:
    assert clean(text) == text


def test_bad_options(broker: Mosquitto, tmp_path: Path) -> None:
    assert CliRunner().invoke(command, []).exit_code == 2
    assert isinstance(CliRunner().invoke(command, ["--broker", "x"]).exception, InputError)
    missing = ["--broker", "mqtt://h", "--username", "bob", "--password-file", str(tmp_path / "missing")]
    assert isinstance(CliRunner().invoke(command, missing).exception, InputError)
    unused = ["--broker", str(broker.address), "--ca-file", str(tmp_path / "missing")]
    assert isinstance(CliRunner().invoke(command, unused).exception, InputError)
    assert "edge feed --broker mqtt://localhost\n" in CliRunner().invoke(command, ["--help"]).output


@pytest.fixture(scope="module")
def schema() -> Any:
    folder = Path(__file__).parent.parent / "edge" / "events"
    found = {name: json.loads((folder / f"{name}.schema.json").read_text()) for name in ("event", "state", "info")}
    for one in found.values():
        jsonschema.Draft202012Validator.check_schema(one)
    return {name: jsonschema.Draft202012Validator(one) for name, one in found.items()}


SKIPPED = {"emotion": None, "confidence": None, "scores": {}, "skipped": "small"}


@pytest.mark.parametrize(
    "change", [{}, {"emotion": "uncertain"}, SKIPPED, {"later": 1}, {"type": "leave"}, {"clock": "unknown"}]
)
def test_schema_takes(schema: Any, change: dict[str, Any]) -> None:
    schema["event"].validate({**EVENT, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2}, {"seq": 0}, {"seq": 1.5}, {"stream": "9f2c…"}, {"ts": "2026-03-01T08:13:07Z"},
        {"ts": "2026-03-01T08:13:07.412+00:00"}, {"ts": "2026-13-01T08:13:07.412Z"}, {"clock": "good"},
        {"camera": "a/b"}, {"type": "new"}, {"box": [1, 2, 3]}, {"size": [640, 480.5]},
        {"confidence": 1.1}, {"confidence": None},
        {"scores": {"happy": 2}}, {"scores": {}}, {"emotion": None}, {"skipped": "small"},
        {**SKIPPED, "skipped": "far"}, {**SKIPPED, "confidence": 0.5},
        {"ms": {"detect": 1, "classify": 1}}, {"ms": {**EVENT["ms"], "total": "9"}},
    ],
)  # fmt: skip
def test_schema_refuses(schema: Any, change: dict[str, Any]) -> None:
    assert not schema["event"].is_valid({**EVENT, **change})


@pytest.mark.parametrize("key", sorted(EVENT))
def test_schema_asks_for_every_key(schema: Any, key: str) -> None:
    assert not schema["event"].is_valid({name: value for name, value in EVENT.items() if name != key})


def test_schemas_of_state_and_info(schema: Any) -> None:
    state = {"v": 1, "state": "waiting", "reason": "camera 0 does not answer", "ts": EVENT["ts"]}
    schema["state"].validate(state)
    schema["state"].validate({**state, "reason": None})
    assert not schema["state"].is_valid({**state, "state": "gone"})
    info = {"v": 1, "version": "0.1", "device": "hall", "stream": EVENT["stream"], "models": ["lite0-int8@3fa9"],
            "cameras": ["front"], "detector": "mtcnn"}  # fmt: skip
    schema["info"].validate(info)
    assert not schema["info"].is_valid({**info, "cameras": ["a/b"]})


def _send(broker: Mosquitto, topic: str, payload: str | bytes) -> None:
    where = broker.address
    send.single(f"{where.prefix}/{topic}", payload, qos=1, hostname=where.host, port=where.port)


def _feed(broker: Mosquitto, *options: str, stdout: Any = subprocess.PIPE, **more: Any) -> subprocess.Popen[str]:
    program = "from edge.feed.cli import command; command(prog_name='edge feed')"
    arguments = [sys.executable, "-c", program, "--broker", str(broker.address), *options]
    return subprocess.Popen(arguments, stdout=stdout, stderr=subprocess.PIPE, text=True, **more)


def _wait_for_subscription(broker: Mosquitto) -> None:
    broker.wait_for_log("Sending SUBACK to feed-")


def _read_all(terminal: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts).decode()
