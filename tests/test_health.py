"""Health: every message valid against its schema, rates and times as they were, restarts, and rounds on a clock."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import edge
from edge.config import load_config
from edge.errors import InputError
from edge.events import schema
from edge.host.health import MOST_TIMES, CameraStats, DetectorUse, Health, ModelUse, QueueStats
from edge.host.restarts import count_restart
from edge.host.rounds import Round, Rounds
from edge.machine import describe_state, peak_memory, resident_memory

PATIENCE = 30.0
"""Seconds that a test waits for what must happen."""

MODEL = ModelUse("lite2-int8@3fa9", "onnxruntime 1.31.1", "int8", 1, "what edge bench chose")


class Run:
    """What health asks, set by hand."""

    def __init__(self, **options: Any) -> None:
        self.now, self.cpu = 1000.0, 5.0
        self.cameras: dict[str, CameraStats] = {}
        self.detector = DetectorUse("mtcnn")
        self.health = Health(
            "hall", cameras=lambda: self.cameras, detector=lambda: self.detector, model=lambda: MODEL,
            clock=lambda: self.now, wall=lambda: 1772352787.4125, cpu=lambda: self.cpu, **options,
        )  # fmt: skip

    def message(self) -> dict[str, Any]:
        """The message now, held against the schema as it goes out."""
        return valid(self.health.message(self.now))


def valid(message: dict[str, Any]) -> dict[str, Any]:
    """Hold a message, as JSON, against the schema."""
    sent: dict[str, Any] = json.loads(json.dumps(message, allow_nan=False))
    jsonschema.Draft202012Validator(schema("health")).validate(sent)
    return sent


# The message


def test_before_anything_has_happened() -> None:
    message = Run().message()
    assert (message["device"], message["version"], message["uptime_s"]) == ("hall", edge.__version__, 0)
    assert message["ts"] == "2026-03-01T08:13:07.412Z"
    assert (message["cameras"], message["ms"], message["queue"], message["stuck"]) == ({}, {}, None, {})
    assert message["pace"] == {"fps": None, "slowed": None}
    assert message["cpu"]["cores_used"] is None
    assert message["restarts"] is None


def test_everything_that_the_parts_tell() -> None:
    run = Run(
        queue=lambda: QueueStats(connected=False, depth=12, undelivered=3),
        pace=lambda: (7.5, "the processor has 82 °C"),
        stuck=lambda now: {"loop": f"loop is stuck since {now:.0f}"},
        restarts=2,
    )
    run.detector = DetectorUse("blazeface", "mtcnn missed the frame budget", 1)
    run.cameras = {"front": CameraStats("waiting", "camera 0 does not answer", 10, 2, 1)}
    run.now += 61.25
    message = run.message()
    assert message["uptime_s"] == pytest.approx(61.25, abs=0.1)
    assert message["queue"] == {"connected": False, "depth": 12, "undelivered": 3}
    assert message["pace"] == {"fps": 7.5, "slowed": "the processor has 82 °C"}
    assert message["stuck"] == {"loop": "loop is stuck since 1061"}
    assert message["detector"] == {"name": "blazeface", "reason": "mtcnn missed the frame budget", "switches": 1}
    assert message["model"] == {
        "id": "lite2-int8@3fa9", "runtime": "onnxruntime 1.31.1", "precision": "int8", "threads": 1,
        "reason": "what edge bench chose",
    }  # fmt: skip
    assert message["restarts"] == 2
    front = message["cameras"]["front"]
    assert (front["state"], front["reason"]) == ("waiting", "camera 0 does not answer")
    assert front["frames"] == {"captured": 10, "processed": 0, "dropped": 2, "broken": 1}


def drive(run: Run, seconds: int, captured: int, processed: int, ms: float) -> None:
    """Let the front camera give and the loop process so many frames a second."""
    for _ in range(seconds):
        before = run.cameras.get("front", CameraStats("running"))
        run.cameras["front"] = CameraStats(
            "running", None, before.captured + captured, before.dropped + captured - processed
        )
        for _ in range(processed):
            run.now += 1 / processed
            run.health.step({"detect": ms, "total": ms + 2}, "front")
        run.cpu += 0.25


def test_rates_and_times_are_of_late() -> None:
    run = Run()
    drive(run, 30, captured=30, processed=10, ms=8.0)
    first = run.message()
    assert first["cameras"]["front"]["fps"] == {"captured": 30.0, "processed": 10.0, "dropped": 20.0}
    assert first["cameras"]["front"]["frames"] == {"captured": 900, "processed": 300, "dropped": 600, "broken": 0}
    assert first["ms"] == {
        "detect": {"p50": 8.0, "p95": 8.0, "frames": 300}, "total": {"p50": 10.0, "p95": 10.0, "frames": 300},
    }  # fmt: skip
    assert first["cpu"]["cores_used"] == 0.25
    drive(run, 30, captured=15, processed=15, ms=4.0)
    second = run.message()
    assert second["cameras"]["front"]["fps"] == {"captured": 15.0, "processed": 15.0, "dropped": 0.0}
    # The last frame of before lies on the edge of the half minute.
    assert second["ms"]["detect"]["p50"] == second["ms"]["detect"]["p95"] == 4.0
    assert second["ms"]["detect"]["frames"] in (450, 451)
    run.now += 31
    third = run.message()
    assert third["ms"] == {}
    assert third["cameras"]["front"]["fps"]["processed"] == 0


def test_the_tail_of_the_times() -> None:
    run = Run()
    for number in range(100):
        run.health.step({"detect": float(number)}, "front")
    assert run.message()["ms"]["detect"] == {"p50": 49.5, "p95": 94.05, "frames": 100}


def test_who_else_asks_does_not_spoil_the_rates() -> None:
    run = Run()
    for _ in range(60):
        drive(run, 1, captured=20, processed=10, ms=1.0)
        front = run.message()["cameras"]["front"]["fps"]
        assert front["captured"] == pytest.approx(20, abs=0.1)
        run.message()
    assert len(run.health._marks) < 12


def test_a_camera_that_counts_anew_gives_no_negative_rate() -> None:
    run = Run()
    drive(run, 30, captured=30, processed=30, ms=1.0)
    run.message()
    run.cameras["front"] = CameraStats("running", None, 5)
    run.now += 30
    assert run.message()["cameras"]["front"]["fps"] == {"captured": 0.0, "processed": 0.0, "dropped": 0.0}


def test_a_year_of_frames_takes_no_more_memory() -> None:
    run = Run()
    for _ in range(3 * MOST_TIMES):
        run.health.step({"detect": 1.0}, "front")
    assert run.message()["ms"]["detect"]["frames"] == MOST_TIMES


def test_messages_while_the_loop_runs() -> None:
    """Real threads: one counts frames with ever new steps, the other asks."""
    run, over = Run(), threading.Event()
    run.cameras = {"front": CameraStats("running")}

    def count() -> None:
        for number in range(20_000):
            run.health.step({"detect": 1.0, f"step {number % 50}": 2.0}, "front")
        over.set()

    thread = threading.Thread(target=count)
    thread.start()
    while not over.is_set():
        valid(run.health.message(run.now))
    thread.join()
    assert run.message()["cameras"]["front"]["frames"]["processed"] == 20_000


def test_this_machine_says_how_it_is() -> None:
    health = Health("hall", cameras=dict, detector=lambda: DetectorUse("mtcnn"), model=lambda: MODEL)
    ballast = b"x" * 30_000_000
    message = valid(health.message(health._clock()))
    assert message["memory_mib"]["rss"] > len(ballast) / 2**20
    assert message["memory_mib"]["peak"] >= message["memory_mib"]["rss"] - 1
    assert (resident_memory() or 0) > 0
    assert (peak_memory() or 0) > 0


def test_a_hot_raspberry_pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "82345\n",
        "sys/class/thermal/cooling_device0/type": "cpufreq-cpu0\n",
        "sys/class/thermal/cooling_device0/cur_state": "1\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "600000\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "vcgencmd").write_text("#!/bin/sh\necho throttled=0x50004\n")
    (tmp_path / "vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    message = Run(machine=partial(describe_state, tmp_path)).message()
    assert (message["temperature"], message["temperatures"]) == (82.3, {"cpu-thermal": 82.3})
    assert message["throttled"] == {"now": ["throttled"], "since_start": ["under-voltage", "throttled"]}
    assert message["cooling"] == ["cpufreq-cpu0"]
    assert message["cpu"]["mhz"] == 600


# Configuration


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("every = 0", "health.every is 0: it must lie from 1 to 3600"),
        ("metrics_port = 0", "health.metrics_port is 0: it must lie from 1 to 65535"),
        ("metrics_port = '9100'", "\"health.metrics_port\" is '9100': expected a whole number"),
        ("metrics_address = 'wlan0'", 'health.metrics_address is "wlan0": expected an IP address of this device'),
        ("evry = 3", 'unknown key "health.evry"; did you mean "every"?'),
    ],
)
def test_wrong_settings_are_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "edge.toml").write_text(f"[health]\n{text}\n")
    with pytest.raises(InputError) as caught:
        load_config(tmp_path / "edge.toml")
    assert says in str(caught.value)


def test_every_is_what_rates_are_taken_over_and_when_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text("[health]\nevery = 2\n")
    config = load_config(tmp_path / "edge.toml").health
    run, came = Run(every=config.every), list[dict[str, Any]]()
    drive(run, 1, captured=5, processed=5, ms=1.0)
    run.now += 3
    assert run.message()["ms"] == {}, "older than every"
    rounds = Rounds(Round("health", config.every, lambda: came.append(run.message())), log=print, clock=lambda: run.now)
    for _ in range(100):
        run.now += 0.1
        rounds.turn(run.now)
    assert len(came) == 5


# Restarts


@pytest.fixture
def system(tmp_path: Path) -> Callable[[str], Path]:
    """Make a /proc that was started so."""

    def make(boot: str) -> Path:
        path = tmp_path / "root/proc/sys/kernel/random/boot_id"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(boot + "\n")
        return tmp_path / "root"

    return make


def test_starts_are_counted_since_the_device_started(tmp_path: Path, system: Callable[[str], Path]) -> None:
    environ = {"STATE_DIRECTORY": f"{tmp_path / 'state'}:/elsewhere"}
    assert [count_restart(environ, system("a")) for _ in range(3)] == [0, 1, 2]
    assert [count_restart(environ, system("b")) for _ in range(2)] == [0, 1]


def test_what_a_person_starts_is_no_restart(system: Callable[[str], Path]) -> None:
    assert count_restart({}, system("a")) is None


def test_a_system_that_does_not_let_it_count(tmp_path: Path, system: Callable[[str], Path]) -> None:
    assert count_restart({"STATE_DIRECTORY": str(tmp_path)}, tmp_path / "no root") is None
    (tmp_path / "file").write_text("")
    assert count_restart({"STATE_DIRECTORY": str(tmp_path / "file" / "state")}, system("a")) is None


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"boot": "a"}', b'{"boot": "a", "starts": "7"}'])
def test_a_damaged_count_begins_anew(tmp_path: Path, system: Callable[[str], Path], content: bytes) -> None:
    (tmp_path / "starts.json").write_bytes(content)
    environ = {"STATE_DIRECTORY": str(tmp_path)}
    assert [count_restart(environ, system("a")) for _ in range(2)] == [0, 1]


# Rounds


def test_no_rounds_at_all() -> None:
    rounds = Rounds(log=print)
    rounds.start()
    rounds.close()


def test_a_round_that_fails_is_said_once_and_done_again() -> None:
    said, failures, goes_on = list[str](), list[int](), threading.Event()

    def fail() -> None:
        failures.append(1)
        raise ValueError("no such zone\nand more")

    def heed() -> None:
        if len(failures) >= 3:
            goes_on.set()

    rounds = Rounds(Round("heat", 0.01, fail), Round("health", 0.01, heed), log=said.append)
    rounds.start()
    assert goes_on.wait(PATIENCE)
    rounds.close()
    assert said == ["heat failed: ValueError: no such zone"]


def test_what_was_missed_is_not_made_up_for() -> None:
    now, done = [100.0], list[float]()
    rounds = Rounds(Round("x", 5.0, lambda: done.append(now[0])), log=print, clock=lambda: now[0])
    assert rounds.turn(100.0) == 5.0
    now[0] = 3700.0  # the machine slept
    rounds.turn(now[0])
    now[0] += 1
    rounds.turn(now[0])
    now[0] += 5
    rounds.turn(now[0])
    assert len(done) <= 3
