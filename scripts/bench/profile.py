"""Where `edge run` spends its time: py-spy looks at the real process a hundred times a second while it plays a clip.

    python -m scripts.bench.profile CLIP

Needs py-spy (pip install py-spy). Writes docs/bench/profile.json: milliseconds a frame for each step, by what stood on
the stack of a thread that was running.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from scripts.bench.machine import write

RATE = 100
LOOPS = 20
STEPS = (
    ("decode", r"edge/sources/"),
    ("refine followed faces", r"\.refine \(edge/detect/"),
    ("search the picture", r"\.(search|detect) \(edge/detect/"),
    ("look for motion", r"edge/motion\.py"),
    ("follow and track", r"edge/(follow|track)\.py"),
    ("cut out and align", r"edge/align\.py"),
    ("judge the picture", r"edge/quality\.py"),
    ("classify", r"\.classify \(edge/model/"),
    ("smooth", r"edge/smooth\.py"),
    ("make events", r"edge/events/"),
    ("publish", r"edge/(publish|output)"),
    ("health, governor, watchdog", r"edge/host/"),
    ("the loop itself", r"Runner\._steps|Runner\.run \(edge/run\.py"),
)
"""Steps and what stands on their stacks; the first that fits counts. What fits none is the start and the end."""
WAITING = r"(\.wait \(threading|\.get \(queue|Log\._run \(edge/host/logs)[^;]*$"
"""Threads that wait for something, which py-spy takes for running now and then."""


def main() -> int:
    """Profile a clip; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("clip", type=Path, help="a video with faces")
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path("docs/bench/profile.json"))
    options = parser.parse_args()
    if not options.clip.is_file():
        parser.error(f"{options.clip}: no such file")
    spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if spy is None:
        parser.error("py-spy is not installed: pip install py-spy")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = record(spy, options.clip, options.frames, folder / "stacks.txt", folder)
        figures = table((folder / "stacks.txt").read_text(encoding="utf-8"), frames)
    write(options.out, figures)
    print(json.dumps(figures, indent=1))
    return 0


def record(spy: str, clip: Path, most: int, stacks: Path, folder: Path) -> int:
    """Run the clip, over and over, under py-spy; return how many frames were processed."""
    shutil.copy(clip, folder / f"clip{clip.suffix}")
    playlist = folder / "loop.ffconcat"
    playlist.write_text("ffconcat version 1.0\n" + f"file clip{clip.suffix}\n" * LOOPS, encoding="utf-8")
    run = [sys.executable, "-m", "edge.cli", "run", "--source", str(playlist), "--stdout", "--max-frames", str(most)]
    command = [spy, "record", "--format", "raw", "--rate", str(RATE), "--output", str(stacks), "--", *run]
    done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    counted = re.search(r"(\d+) frames,", done.stderr)
    if counted is None:
        raise SystemExit(f"edge run said nothing of its frames: {done.stderr[-300:]}")
    return int(counted[1])


def table(stacks: str, frames: int) -> dict[str, Any]:
    """Return milliseconds a frame of each step, most first, from py-spy's `stack count` lines."""
    samples: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        if re.search(WAITING, stack):
            continue
        step = next((name for name, pattern in STEPS if re.search(pattern, stack)), "start and end")
        samples[step] += int(count)
    total = sum(samples.values())
    return {
        "frames": frames,
        "samples": total,
        "ms_per_frame": {step: round(1000 * count / RATE / frames, 3) for step, count in samples.most_common()},
        "share": {step: round(count / total, 3) for step, count in samples.most_common()},
    }


if __name__ == "__main__":
    sys.exit(main())
