"""`edge run` on a looped clip for half an hour: memory, threads and open files; and the time to the first event.

Shorter, without a record: python scripts/proofs/soak.py --seconds 60
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "scripts" / "data" / "portrait.mp4"
COVERS = [
    "edge/**/*.py", "edge/events/*.json", "edge/models/**/*.onnx", "scripts/data/portrait.mp4", "pyproject.toml",
]  # fmt: skip
EDGE = [sys.executable, "-m", "edge.cli"]

SECONDS, SETTLED = 1800.0, 60.0
"""How long it runs, and what of it is the start, after which nothing may grow."""
WARM_FRAMES = 300
"""The start is over when the whole clip of 240 frames has been seen, on a slow machine too."""
LOOPS_A_SECOND = 3
"""So often the clip of 240 frames is in the list that is played, for each second: more than a processor can do."""
LIST = 80
"""Clips in a list, which is played again and again: each entry takes a kilobyte of the process that is measured."""
STARTS = 7
"""Starts whose first event is timed, after one that fills the disk's cache."""
MOST_MIB, MOST_GROWTH_MIB, LATEST_EVENT = 160e6 / 2**20, 2.0, 1.5
"""What is allowed: memory in use, its growth after the start, seconds to the first event."""
ANSWER_WITHIN = 60.0
"""Seconds to wait for a process to end in good order."""


def prove() -> dict[str, Any]:
    """Return the figures; raise when one is out of its bounds."""
    figures = {"first_event_s": first_event(), **soak(SECONDS, SETTLED)}
    check(figures)
    assert figures["first_event_s"]["median"] <= LATEST_EVENT, figures
    assert figures["steady_mib"] <= MOST_MIB, figures
    return figures


def check(figures: dict[str, Any]) -> None:
    """Raise where something grew after the start, or nothing was done."""
    assert figures["exit_code"] == 0, figures
    assert figures["events"] > 0, figures
    assert max(figures["growth_mib"], figures["growth_anonymous_mib"]) < MOST_GROWTH_MIB, figures
    assert figures["threads_at_end"] <= figures["threads_at_start"], figures
    assert figures["files_at_end"] <= figures["files_at_start"], figures


def first_event() -> dict[str, Any]:
    """Time `edge run` on the clip from the start of the process to its first line, on a warm disk cache; seconds."""
    times = []
    for number in range(STARTS + 1):
        began = time.monotonic()
        command = [*EDGE, "run", "--source", str(CLIP), "--stdout", "--max-frames", "3"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("{"), "edge run printed no event"
            if number:
                times.append(time.monotonic() - began)
            process.communicate()
    return {"median": round(statistics.median(times), 3), "all": [round(seconds, 3) for seconds in sorted(times)]}


def soak(seconds: float, settled: float, *, every: float = 1.0, broker: bool = True) -> dict[str, Any]:
    """Run on the looped clip, publishing to a real broker, and watch the process from outside.

    Args:
        seconds: how long, from the first event on; longer where the start takes longer.
        settled: how much of it is the start at least.
        every: seconds between two samples.
        broker: start a Mosquitto and publish to it, where one is installed.

    Returns:
        the figures; memory in MiB, each a median over a tenth of the time after the start. `growth_mib` is from the
        first such tenth to the last; memory that goes up and down with the clip is no growth.
    """
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        shutil.copy(CLIP, folder / "clip.mp4")
        playlist = folder / "loop.ffconcat"
        loops = int(LOOPS_A_SECOND * (seconds + ANSWER_WITHIN))
        for path, entry, count in (
            (folder / "some.ffconcat", "clip.mp4", LIST),
            (playlist, "some.ffconcat", loops // LIST + 1),
        ):
            path.write_text("ffconcat version 1.0\n" + f"file {entry}\n" * count, encoding="utf-8")
        command = [*EDGE, "run", "--source", str(playlist), "--stdout"]
        binary = shutil.which("mosquitto") if broker else None
        if binary:
            command += ["--broker", f"mqtt://127.0.0.1:{stack.enter_context(mosquitto(binary, folder))}/soak"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        stack.callback(process.kill)
        reader = Reader(process)
        assert reader.first.wait(ANSWER_WITHIN), "edge run printed no event"
        samples = list(watch(process, settled, every, lambda: reader.frame >= WARM_FRAMES))
        start = time.monotonic()
        samples += watch(process, seconds - settled, every)
        process.send_signal(signal.SIGTERM)
        exit_code = process.wait(ANSWER_WITHIN)
        reader.join()
        (said,) = re.findall(r"(\d+) frames, ([0-9.]+) frames/s", reader.said) or [("0", "0")]
        return {
            "seconds": round(samples[-1]["at"] - samples[0]["at"], 1),
            "start_s": round(start - samples[0]["at"], 1),
            "exit_code": exit_code,
            "broker": "mosquitto" if binary else None,
            "frames": int(said[0]),
            "frames_per_second": float(said[1]),
            "events": reader.events,
            **summary(samples, start),
        }


def summary(samples: list[dict[str, float]], start: float) -> dict[str, Any]:
    """Return what samples of a process say: memory after `start`, its growth, its peak, threads and open files."""
    steady = [sample for sample in samples if sample["at"] >= start]
    assert len(steady) >= 10, f"{len(steady)} samples after the start: run for longer"
    tenth = len(steady) // 10
    first, last = steady[:tenth], steady[-tenth:]

    def median(part: list[dict[str, float]], key: str) -> float:
        return statistics.median(sample[key] for sample in part)

    return {
        "steady_mib": round(median(steady, "rss"), 1),
        "steady_pss_mib": round(median(steady, "pss"), 1),
        "peak_mib": round(samples[-1]["peak"], 1),
        "growth_mib": round(median(last, "rss") - median(first, "rss"), 2),
        "growth_anonymous_mib": round(median(last, "anonymous") - median(first, "anonymous"), 2),
        "threads_at_start": int(max(sample["threads"] for sample in first)),
        "threads_at_end": int(max(sample["threads"] for sample in last)),
        "files_at_start": int(max(sample["files"] for sample in first)),
        "files_at_end": int(max(sample["files"] for sample in last)),
        "samples": len(samples),
        "rss_mib_each_tenth": [
            round(median(steady[i * tenth : (i + 1) * tenth], "rss"), 2) for i in range(len(steady) // tenth)
        ][:10],
    }


def watch(
    process: subprocess.Popen[str], seconds: float, every: float, enough: Callable[[], bool] = lambda: True
) -> Iterator[dict[str, float]]:
    """Yield a sample each `every` seconds, for so many seconds and until it is enough."""
    began, number = time.monotonic(), 0
    while number * every < seconds or not enough():
        time.sleep(max(0.0, began + number * every - time.monotonic()))
        assert process.poll() is None, "edge run ended before its time"
        yield {"at": time.monotonic(), **sample(process.pid)}
        number += 1


def sample(pid: int) -> dict[str, float]:
    """Return memory in MiB, threads, and open files.

    Memory is what is resident, its peak, the part of it that no file stands behind (`anonymous`: where a leak shows),
    and its fair share of what others use too (`pss`: it changes when they come and go).
    """
    proc = Path("/proc") / str(pid)
    fields = dict(re.findall(r"^(\w+):\s+(\d+)", (proc / "status").read_text(encoding="utf-8"), re.MULTILINE))
    shared = dict(re.findall(r"^(\w+):\s+(\d+)", (proc / "smaps_rollup").read_text(encoding="utf-8"), re.MULTILINE))
    return {
        "rss": int(fields["VmRSS"]) / 1024,
        "peak": int(fields["VmHWM"]) / 1024,
        "anonymous": int(fields["RssAnon"]) / 1024,
        "pss": int(shared["Pss"]) / 1024,
        "threads": int(fields["Threads"]),
        "files": sum(1 for _ in (proc / "fd").iterdir()),
    }


class Reader:
    """Reads what a run prints, so that it never waits; keeps a count of the events, and what it says at its end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.first, self.events, self.frame, self.said = threading.Event(), 0, 0, ""
        self._process = process
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._events, self._says)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the end of both."""
        for thread in self._threads:
            thread.join(ANSWER_WITHIN)

    def _events(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.events += 1
            self.frame = int(json.loads(line)["frame"])
            self.first.set()

    def _says(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said = line


@contextlib.contextmanager
def mosquitto(binary: str, folder: Path) -> Iterator[int]:
    """Start a broker on a free port of loopback; yield the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (folder / "mosquitto.conf").write_text(f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n")
    server = subprocess.Popen(
        [binary, "-c", str(folder / "mosquitto.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        server.terminate()
        server.wait(ANSWER_WITHIN)


def main() -> None:
    """Run for as long as is said, and print the figures; nothing is recorded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long to run; the first third is the start")
    arguments = parser.parse_args()
    settled = min(SETTLED, arguments.seconds / 3)
    figures = {"first_event_s": first_event(), **soak(arguments.seconds, settled)}
    print(json.dumps(figures, indent=2))
    check(figures)


if __name__ == "__main__":
    main()
