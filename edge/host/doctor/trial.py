"""Trying a part in a process of its own: one that hangs or dies of an illegal instruction takes nobody with it.

`main` is that process: it reads from standard input what to try and prints how it went.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SECONDS = 60.0
"""A part that needs longer than this is stuck."""

PICTURE_SECONDS = 25.0
"""How long a camera that is open may take for its first picture."""

PROGRAM = "from edge.host.doctor.trial import main; main()"


@dataclass(frozen=True)
class Trial:
    """How a try went.

    Attributes:
        found: what was found; None where it failed.
        error: why it failed; empty where it did not.
    """

    found: str | None
    error: str = ""


def attempt(what: str, seconds: float = SECONDS, **options: Any) -> Trial:
    """Try a part.

    Args:
        what: of `PARTS`.
        seconds: how long it may take.
        options: the part's own arguments; they stand on no command line, as an address may hold a password.
    """
    environment = {"OPENCV_LOG_LEVEL": "OFF", "OPENCV_FFMPEG_LOGLEVEL": "-8", **os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], input=json.dumps({"what": what, **options}),
            capture_output=True, text=True, errors="replace", timeout=seconds, check=False, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Trial(None, f"did not end within {seconds:.0f} s: it hangs")
    if done.returncode < 0:
        return Trial(None, f"died of {signal.Signals(-done.returncode).name}")
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
        return Trial(answer["found"], answer["error"])
    except (ValueError, IndexError, KeyError, TypeError):
        said = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
        return Trial(None, said[-1][:160])


def classify(file: str | None) -> str:
    """Run a model file once on a gray picture; without a file the one that ships."""
    import numpy as np

    from edge.model import load_model

    began = time.perf_counter()
    model = load_model(file)
    loaded = time.perf_counter()
    size = model.info.crop.size
    model.classify(np.full((1, size, size, 3), 128, np.uint8))
    ms = (time.perf_counter() - loaded) * 1000
    return f"{model.info.id} in {model.runtime}: loaded in {loaded - began:.1f} s, first crop {ms:.0f} ms"


def detect(detector: str, min_face: int, threads: int, yunet_model: str | None) -> str:
    """Run a detector once on a gray picture."""
    import numpy as np

    from edge.detect import load_detector

    loaded = load_detector(detector, min_face=min_face, threads=threads, yunet_model=yunet_model)
    began = time.perf_counter()
    loaded.detect(np.full((480, 640, 3), 128, np.uint8))
    return f"{loaded.name}: first picture of 640x480 in {(time.perf_counter() - began) * 1000:.0f} ms"


def interpreter(module: str) -> str:
    """Import a TFLite runtime."""
    from importlib import import_module

    found: str = import_module(f"{module}.interpreter").Interpreter.__name__
    return found


def look(camera: dict[str, Any]) -> str:
    """Open a camera of the configuration and take one picture."""
    from edge.config import CameraConfig
    from edge.errors import OutsideError
    from edge.sources import open_cameras

    with open_cameras([CameraConfig(**camera)], fail_fast=True) as opened:
        frame = opened.next(PICTURE_SECONDS)
        if frame is None:
            raise OutsideError("it opens, but gives no picture")
        return f"a picture of {frame.size[0]}x{frame.size[1]}"


PARTS: dict[str, Callable[..., str]] = {
    "classify": classify,
    "detect": detect,
    "interpreter": interpreter,
    "look": look,
}


def main() -> None:
    """Read what to try, try it, print how it went."""
    asked = json.load(sys.stdin)
    found, error = None, ""
    try:
        found = PARTS[asked.pop("what")](**asked)
    except Exception as raised:  # whatever a foreign part raises is what was to be found out
        from edge.errors import EdgeError, first_line

        error = str(raised) if isinstance(raised, EdgeError) else f"{type(raised).__name__}: {first_line(raised)}"
    print(json.dumps({"found": found, "error": error}))
