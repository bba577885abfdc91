"""A minute of the soak proof: `edge run` on a looped clip neither grows nor leaks; and the tools that measure it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

import proving

SETTLED, SECONDS = 60.0, 120.0  # the minute in which memory may settle, and one in which it may not grow
"""The start, and how long the run is watched in all."""

LEAK = """
import sys, threading
print("ready", flush=True)
kept = []
for line in sys.stdin:
    if line.strip() == "memory":
        kept.append(b"x" * (8 << 20))
    elif line.strip() == "file":
        kept.append(open("/dev/null"))
    elif line.strip() == "thread":
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    """The proof's module."""
    if not Path("/proc/self/smaps_rollup").is_file():
        pytest.skip("this system has no /proc to read a process's memory from")
    return proving.load("soak")


@pytest.mark.slow
def test_a_short_soak(soak: ModuleType) -> None:
    figures = soak.soak(SECONDS, SETTLED)
    soak.check(figures)
    assert figures["frames"] > 0
    assert figures["samples"] >= SECONDS


@pytest.mark.parametrize(
    ("order", "key", "grown"),
    [("memory", "rss", 8), ("memory", "anonymous", 8), ("file", "files", 1), ("thread", "threads", 1)],
)
def test_what_a_process_leaks_is_seen(soak: ModuleType, order: str, key: str, grown: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LEAK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        before = soak.sample(process.pid)
        process.stdin.write(f"{order}\n")
        process.stdin.flush()
        process.stdout.readline()
        after = soak.sample(process.pid)
        process.stdin.close()
    assert after[key] - before[key] == pytest.approx(grown, abs=0.5)
    assert after["peak"] >= after["rss"] - 0.5


def test_a_sample_of_this_process(soak: ModuleType) -> None:
    found = soak.sample(os.getpid())
    assert found["threads"] >= threading.active_count()
    assert 0 < found["pss"] <= found["rss"] <= found["peak"]


def samples(rss: list[float], threads: int = 3, late_threads: int = 3, late_files: int = 9) -> list[dict[str, float]]:
    """Samples of each second with these amounts of memory."""
    late = len(rss) * 3 // 4
    return [
        {
            "at": float(at), "rss": mib, "anonymous": mib - 50, "pss": mib - 10, "peak": max(rss[: at + 1]),
            "threads": threads if at < late else late_threads, "files": 9 if at < late else late_files,
        }
        for at, mib in enumerate(rss)
    ]  # fmt: skip


GOOD = {"exit_code": 0, "events": 100}


def test_memory_that_goes_up_and_down_does_not_grow(soak: ModuleType) -> None:
    waves = [80.0 + at for at in range(20)] + [100.0 + at % 10 for at in range(200)]
    figures = soak.summary(samples(waves), 20.0)
    assert figures["growth_mib"] == 0
    assert figures["peak_mib"] == 109
    assert len(figures["rss_mib_each_tenth"]) == 10
    soak.check(GOOD | figures)


@pytest.mark.parametrize(
    "different",
    [
        samples([100.0 + 0.02 * at for at in range(220)]),
        samples([100.0] * 220, late_threads=4),
        samples([100.0] * 220, late_files=10),
    ],
)
def test_what_grows_after_the_start_fails(soak: ModuleType, different: list[dict[str, float]]) -> None:
    with pytest.raises(AssertionError):
        soak.check(GOOD | soak.summary(different, 20.0))


@pytest.mark.parametrize("bad", [{"exit_code": 1}, {"events": 0}])
def test_a_run_that_did_nothing_fails(soak: ModuleType, bad: dict[str, int]) -> None:
    with pytest.raises(AssertionError):
        soak.check(GOOD | soak.summary(samples([100.0] * 220), 20.0) | bad)


def test_a_run_that_is_too_short_to_tell(soak: ModuleType) -> None:
    with pytest.raises(AssertionError, match="run for longer"):
        soak.summary(samples([100.0] * 25), 20.0)
