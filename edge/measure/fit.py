"""What `edge run` starts beside itself on a device that was never measured: which form of the shipped model is fastest.

It gives way to everything else, says its result as one JSON object on standard output, and ends, with all that it has
started, when whoever asked is gone: then standard input closes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge.errors import EdgeError
from edge.machine import cores
from edge.measure.bench import choice_of, choose, measure, shipped, thread_counts

SECONDS = 5.0
"""How long the rows have their turns; starting each once comes on top."""

LEAST_SHARE = 0.25
"""Share of its time for which it must have had the processor: figures of a process that mostly waited mean nothing."""

LAST_TO_RUN, FIRST_TO_GO = 19, 1000
"""The lowest priority, and the first that goes where memory runs out. Source: nice(2), proc_pid_oom_score_adj(5)."""


def main() -> None:
    """Measure and answer."""
    threading.Thread(target=_end_with_who_asked, daemon=True).start()
    try:
        _give_way()
        # A core is left to the cameras: threads on all of them would make them wait.
        threads = [count for count in thread_counts() if count < cores()] or [1]
        began, used = time.monotonic(), _processor_time()
        rows, failures = measure(shipped(), threads, SECONDS)
        share = (_processor_time() - used) / (time.monotonic() - began)
        best = choose(rows)
        if best is None:
            raise EdgeError(failures[0].reason)
        if share < LEAST_SHARE:
            answer: dict[str, Any] = {"busy": round(share, 3)}
        else:
            answer = {"choice": asdict(choice_of(best)), "model": best.id, "rows": len(rows)}
    except EdgeError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)


def _give_way() -> None:
    """Let everything else go first.

    Raises:
        EdgeError: this process must not be put behind others.
    """
    if sys.platform != "win32":
        with suppress(OSError):
            os.setpgid(0, 0)  # a group, to be ended as one; a session of its own would have a priority of its own
        try:
            os.nice(LAST_TO_RUN)
        except OSError as error:
            raise EdgeError(f"its priority cannot be lowered ({error.strerror})") from None
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(FIRST_TO_GO), encoding="ascii")


def _processor_time() -> float:
    """Return the processor time that this process and those that it has waited for have used, seconds."""
    return sum(os.times()[:4])


def _end_with_who_asked() -> None:
    while os.read(sys.stdin.fileno(), 4096):  # not through the file: its lock would be held at the end
        pass
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
