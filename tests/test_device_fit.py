"""Fit to the device: a first live run measures once, beside the loop, and the next start takes what was fastest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from mosquitto import PATIENCE, Lines, Listener, Mosquitto
from notify import systemd
from rtsp import RtspCamera

from edge.broker import BrokerAddress
from edge.host.fit import LONGEST, NEEDED_MIB, Fit
from edge.machine import available_memory, processor
from edge.model import DEFAULT_MODEL, load_model
from edge.model.choice import Choice, names_own_model, read_choice, write_choice

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix processes and priorities")

FED_WITHIN = 4.0
"""systemd's patience with the watchdog, seconds."""

SLEEPS = "import subprocess, sys, os; os.setpgid(0, 0); print(subprocess.Popen(['sleep', '600']).pid, flush=True); "
"""A program that is a group of its own with a process of its own."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device that was never measured."""
    folder = tmp_path / "home"
    monkeypatch.setenv("EMOTION_EDGE_HOME", str(folder))
    return folder


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def a_fit(code: str, **options: Any) -> tuple[Fit, Clock, Lines]:
    """A measurement by a program of the test's, due after 5 s."""
    clock, said = Clock(), Lines()
    return Fit(5.0, log=said, command=[sys.executable, "-c", code], clock=clock, **options), clock, said


def begin(fit: Fit, clock: Clock) -> subprocess.Popen[str]:
    """Bring it to the start of its process."""
    fit.look(True, None)
    clock.now += 5
    fit.look(True, None)
    assert fit._process is not None
    return fit._process


def ended(process: subprocess.Popen[str], fit: Fit) -> None:
    """Wait for the process to end, and let it be seen."""
    process.wait(PATIENCE)
    fit.look(True, None)


def children(pid: int) -> list[int]:
    """The processes that a process has started and that are not gone."""
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


# In a real run


CONFIG = """
device = "d"
[mqtt]
broker = "mqtt://127.0.0.1:{port}/p"
[health]
every = 1
[limits]
max_fps = 2
[classify]
fit_after = {after}
[[camera]]
source = "{url}"
name = "door"
"""


@pytest.mark.parametrize("after", [1, 0])
def test_a_first_run_measures_once_beside_the_loop(
    after: int, rtsp: RtspCamera, broker: Mosquitto, listen: Callable[..., Listener], home: Path
) -> None:
    """The watchdog is fed meanwhile, and the process is gone afterwards; with 0 nothing of it happens.

    Where others leave it no processor the result does not come in time, and the run ends it.
    """
    seen = listen(BrokerAddress("127.0.0.1", broker.port, "p"))
    home.mkdir()
    path = home / "edge.toml"
    path.write_text(CONFIG.format(port=broker.port, url=rtsp.url, after=after))
    command = [sys.executable, "-m", "edge.cli", "run", "--config", str(path)]

    def reasons() -> list[str]:
        return [json.loads(message)["model"]["reason"] for message in seen.of("d/health")]

    def until(part: str) -> bool:
        with seen._changed:
            return seen._changed.wait_for(lambda: part in "".join(reasons()[-1:]), 2 * PATIENCE)

    with systemd(FED_WITHIN) as notify:
        environment = {**os.environ, **notify.environ}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
            try:
                begun: list[int] = []
                if after:
                    assert until("this device is being measured"), reasons()
                    begun = children(process.pid)
                    if until("the next start takes it"):
                        assert children(process.pid) == []
                else:
                    with seen._changed:
                        assert seen._changed.wait_for(lambda: len(reasons()) >= 4, 2 * PATIENCE)
                    assert set(reasons()) == {"it ships with the kit"}
            finally:
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said
        assert notify.longest_hunger() <= FED_WITHIN, notify.heard
    assert len(begun) == said.count("this device was never measured") == (1 if after else 0)
    assert all(_gone(child) for child in begun)
    measured = "this device is measured: " in said
    assert sorted(path.name for path in home.iterdir()) == (["choice.json"] if measured else []) + ["edge.toml"]
    if not measured:
        return
    choice = read_choice()
    assert choice is not None
    assert (choice.sha256, choice.runtime) == (load_model().info.sha256, load_model().runtime)


def test_the_next_start_takes_the_result(home: Path, portrait: Path) -> None:
    model = load_model()
    choice = Choice(str(DEFAULT_MODEL), model.info.sha256, model.runtime, 2, processor(), 1.5, "2026-03-01T08:13:07Z")
    answer = json.dumps({"choice": asdict(choice), "model": model.info.id})
    fit, clock, said = a_fit(f"print({answer!r})")
    ended(begin(fit, clock), fit)
    fastest = f"{model.info.id} in {model.runtime} with 2 threads is the fastest (1.5 ms a face)"
    assert said.lines[-1] == fit.standing == f"this device is measured: {fastest}; the next start takes it"
    assert read_choice() == choice
    assert [path.name for path in home.iterdir()] == ["choice.json"]
    command = [sys.executable, "-m", "edge.cli", "run", "--source", str(portrait)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "threads 2: what edge bench chose" in done.stderr


def test_who_measures_goes_last() -> None:
    """It is a group of its own, of the lowest priority, before it does anything that takes long."""
    code = (
        "import os, edge.measure.fit as f; f._give_way(); "
        "print(os.nice(0), os.getpgrp() == os.getpid(), f.sys.platform != 'linux' or "
        "open('/proc/self/oom_score_adj').read().strip() == '1000')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["19", "True", "True"]


def test_who_measures_ends_with_who_asked() -> None:
    command = [sys.executable, "-m", "edge.measure.fit"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        said, _ = process.communicate(timeout=2 * PATIENCE)
    # It ends its whole group; before it has made itself one, itself alone.
    assert process.returncode in (-signal.SIGKILL, 1)
    assert said == b""


# When it begins, and what ends it


def test_it_begins_after_steady_running_alone() -> None:
    fit, clock, said = a_fit("")
    for steady, strained in ((True, None), (False, None), (True, None), (True, "the processor has 81 °C")):
        fit.look(steady, strained)
        clock.now += 4.9
    assert fit.standing == "this device is not measured yet: the processor has 81 °C"
    fit.look(True, None)
    clock.now += 4.9
    fit.look(True, None)
    assert (fit._process, fit.standing, said.lines) == (None, "this device is not measured yet", [])
    clock.now += 0.1
    fit.look(True, None)
    assert fit._process is not None
    assert fit.standing == "this device is being measured"
    fit.close()


@pytest.mark.parametrize("how", ["strained", "too long", "close"])
def test_a_process_that_must_go_goes_with_all_it_has_started(how: str, home: Path) -> None:
    fit, clock, said = a_fit(SLEEPS + "sys.stdin.read()")
    process = begin(fit, clock)
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    if how == "strained":
        fit.look(True, "loop is stuck")
        assert said.lines[-1] == fit.standing == "this device is not measured: loop is stuck"
    elif how == "too long":
        clock.now += LONGEST + 1
        fit.look(True, None)
        assert said.lines[-1] == "this device is not measured: it takes longer than 900 s"
    else:
        fit.close()
    assert process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + PATIENCE
    while not _gone(grandchild):  # another's child gives no event to wait for
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # What was no fault of its own is tried again by the next run.
    assert (home / "fit.json").exists() == (how == "too long")
    lines = len(said.lines)
    fit.look(True, None)
    assert len(said.lines) == lines


def _gone(pid: int) -> bool:
    """Whether a process has ended: init may take a moment to bury it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except FileNotFoundError:
        return True


# What it does not take


def test_too_little_memory(tmp_path: Path, home: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:  500000 kB\nMemAvailable:   102400 kB\n")
    fit, clock, said = a_fit("", root=tmp_path)
    fit.look(True, None)
    clock.now += 5
    fit.look(True, None)
    wanted = f"this device is not measured: 100 MiB of memory are free, it wants {NEEDED_MIB:.0f}"
    assert (said.lines, fit.standing, fit._process) == ([wanted], wanted, None)
    assert not (home / "fit.json").exists()


def test_memory_that_is_available(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None
    if Path("/proc/meminfo").exists():
        assert (available_memory() or 0) > 0


def test_no_place_to_keep_the_result(home: Path) -> None:
    home.write_text("a file where the folder should be")
    fit, clock, said = a_fit("")
    fit.look(True, None)
    clock.now += 5
    fit.look(True, None)
    assert fit._process is None
    assert f"this device is not measured: {home}: cannot be written" in said.lines[0]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os.kill(os.getpid(), 9)", "the process that measures ended with code -9"),
        ('print(\'{"error": "no runtime"}\')', "this device is not measured: no runtime"),
        ("print('nonsense')", "the process that measures ended with code 0"),
    ],
)
def test_a_try_in_vain_is_not_made_again(code: str, says: str) -> None:
    """A device that fails under the load would else fail at every start."""
    fit, clock, said = a_fit(code)
    ended(begin(fit, clock), fit)
    assert says in said.wait("not measured")
    again, clock, said = a_fit(code)
    again.look(True, None)
    clock.now += 5
    again.look(True, None)
    assert again._process is None
    assert "did not come to its end; measure with" in said.lines[0]


def test_a_processor_without_time_for_it_is_asked_again_later(home: Path) -> None:
    fit, clock, said = a_fit("print('{\"busy\": 0.1}')")
    ended(begin(fit, clock), fit)
    assert fit.standing == "this device is not measured yet: the processor had no time for it"
    assert not (home / "fit.json").exists()
    for seconds in (0, 9.9):
        clock.now += seconds
        fit.look(True, None)
        assert fit._process is None
    clock.now += 0.1
    fit.look(True, None)
    assert fit._process is not None, "twice as long as before"
    assert len(said.lines) == 1, "it is said once"
    fit.close()


def test_a_process_that_is_told_to_end_is_tried_again(home: Path) -> None:
    """As systemd tells every process of a service that stops."""
    fit, clock, said = a_fit("import os; os.kill(os.getpid(), 15)")
    ended(begin(fit, clock), fit)
    assert "was told to end" in said.lines[-1]
    assert list(home.iterdir()) == []


def stored(file: Path) -> Path:
    """A choice of that model, as a person stores it."""
    return write_choice(Choice(str(file), "0" * 64, "onnxruntime 1", 1, processor(), 2.0, "2026-01-01T00:00:00Z"))


@pytest.mark.parametrize("when", ["before it begins", "while it measures"])
def test_a_choice_that_a_person_stores_meanwhile_stays(when: str, home: Path) -> None:
    answer = {"choice": asdict(Choice("m.onnx", "0" * 64, "onnxruntime 1", 1, "p", 1.0, "t")), "model": "m"}
    fit, clock, said = a_fit(f"print({json.dumps(answer)!r})")
    if when == "before it begins":
        mine = stored(home / "mine.onnx").read_bytes()
        clock.now += 5
        fit.look(True, None)
        clock.now += 5
        fit.look(True, None)
        assert fit._process is None
    else:
        process = begin(fit, clock)
        mine = stored(home / "mine.onnx").read_bytes()
        ended(process, fit)
    assert "a choice was stored meanwhile" in said.lines[-1]
    assert [path.name for path in home.iterdir()] == ["choice.json"]
    assert (home / "choice.json").read_bytes() == mine


def test_a_model_of_ones_own_that_is_away_is_not_measured_away(home: Path) -> None:
    assert not names_own_model()
    stored(home / "stick" / "mine.onnx")
    assert names_own_model()
    stored(DEFAULT_MODEL)
    assert not names_own_model(), "what ships may be measured anew"


def test_a_worker_goes_with_a_process_that_has_ended(home: Path) -> None:
    """Killed from outside, the process leaves what it started: its group goes all the same."""
    fit, clock, _ = a_fit(f"{SLEEPS} import signal; os.kill(os.getpid(), signal.SIGKILL)")
    process = begin(fit, clock)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    process.wait(PATIENCE)
    assert Path(f"/proc/{worker}").exists()
    fit.look(True, None)
    gone = time.monotonic() + PATIENCE
    while alive(worker):
        assert time.monotonic() < gone, "it outlives the process that measures"
        os.sched_yield()


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_mark_that_is_a_pipe_stops_nothing(home: Path) -> None:
    home.mkdir()
    os.mkfifo(home / "fit.json")
    fit, clock, _ = a_fit("print('{}')")
    begin(fit, clock)
    fit.close()
