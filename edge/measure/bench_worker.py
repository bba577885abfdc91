"""A process in which `edge bench` measures: it reads one job from standard input and answers in JSON lines.

A process of its own, because a runtime that meets a processor it was not built for ends it; because memory can only be
told apart so; and because what a runtime says on standard error is then nobody's business.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edge.errors import EdgeError, InputError
from edge.machine import peak_memory
from edge.model import Classifier, load_model

Progress = Callable[[float], None]
"""Takes the share that is done, 0 to 1."""

Clock = Callable[[], float]

ROUNDS = 12
"""So often each row has its turn, so that what else the machine does falls on all alike."""

BATCH = 8
BATCH_SHARE = 0.4
"""Share of a turn that goes to batches of eight."""

PROBES = 20
"""Crops that run before the memory is read."""

WARM_FRAMES = 3
"""Frames before the loop's clock counts."""


def probe(file: str, runtime: str | None, threads: int) -> dict[str, Any]:
    """Load a model file in a fresh process and run single crops: what the start costs, and how much memory.

    Returns:
        `load_ms`, `first_ms`, `peak_mb` (greatest resident memory of this process, MiB), `runtime`, and of the file
        `id`, `name`, `sha256`, `parent_sha256`.
    """
    began = time.perf_counter()
    model = load_model(file, threads=threads, runtime=runtime)
    loaded = time.perf_counter()
    crops = _crops(model)
    start = time.perf_counter()
    model.classify(crops[:1])
    first = time.perf_counter() - start
    for index in range(PROBES):
        model.classify(crops[index % BATCH :][:1])
    info = model.info
    return {
        "load_ms": (loaded - began) * 1000, "first_ms": first * 1000, "peak_mb": peak_memory(),
        "runtime": model.runtime, "id": info.id, "name": info.name, "sha256": info.sha256,
        "parent_sha256": info.parent_sha256,
    }  # fmt: skip


def rounds(
    rows: Sequence[dict[str, Any]], seconds: float, progress: Progress, clock: Clock = time.perf_counter
) -> list[dict[str, float]]:
    """Time several rows in turns.

    Args:
        rows: `file`, `runtime` and `threads` of each.
        seconds: for all of it; a row has one crop and one batch counted in each round, however slow it is.
        progress: called after each turn.
        clock: seconds.

    Returns:
        a row each: `p50_ms` and `p95_ms` of one crop, `per_second_1` and `per_second_8`: crops a second, one by one and
        in batches of eight.
    """
    models = [load_model(row["file"], threads=row["threads"], runtime=row["runtime"]) for row in rows]
    crops = [_crops(model) for model in models]
    single: list[list[float]] = [[] for _ in rows]
    eights: list[list[float]] = [[] for _ in rows]
    turn = seconds / ROUNDS / max(len(rows), 1)
    for number in range(ROUNDS):
        order = range(len(rows)) if number % 2 == 0 else reversed(range(len(rows)))  # nobody is always the first
        for done, index in enumerate(order, number * len(rows) + 1):
            model, own = models[index], crops[index]
            singles = [own[i : i + 1] for i in range(BATCH)]
            single[index] += _timed(model, singles, turn * (1 - BATCH_SHARE), clock)
            eights[index] += _timed(model, [own], turn * BATCH_SHARE, clock)
            progress(done / (ROUNDS * len(rows)))
    return [
        {
            "p50_ms": float(np.percentile(ones, 50)) * 1000,
            "p95_ms": float(np.percentile(ones, 95)) * 1000,
            "per_second_1": len(ones) / sum(ones),
            "per_second_8": BATCH * len(many) / sum(many),
        }
        for ones, many in zip(single, eights, strict=True)
    ]


def loop(
    row: dict[str, Any], clip: str, seconds: float, progress: Progress, clock: Clock = time.perf_counter
) -> dict[str, Any]:
    """Run the frame loop on a clip as `edge run` does, less what it publishes; the clip starts anew when it ends.

    Returns:
        `frames`, `with_face`, `size` (width and height), `per_second` (frames, reading them included), and `detect_ms`,
        `classify_ms` (frames in which a face was read) and `total_ms`, each with `p50` and `p95` or None.
    """
    from edge.config import Config
    from edge.detect import load_configured
    from edge.events import EventMaker, new_stream
    from edge.loop import Loop
    from edge.sources import open_source

    config = Config()
    model = load_model(row["file"], threads=row["threads"], runtime=row["runtime"])
    detector = load_configured(config.detect)
    steps = Loop(detector, model, EventMaker("bench", new_stream(), model.info.id), config)
    times: dict[str, list[float]] = {"detect": [], "classify": [], "total": []}
    spent, frames, with_face, warm, size = 0.0, 0, 0, 0, (0, 0)
    while spent < seconds or not frames:
        source = open_source(clip)
        seen = warm + frames
        try:
            before = clock()
            while (frame := source.read()) is not None:
                step = steps.step(frame)
                now = clock()
                if warm < WARM_FRAMES:
                    warm += 1
                else:
                    spent += now - before
                    frames += 1
                    with_face += bool(step.faces)
                    for key in times if step.read else ("detect", "total"):
                        times[key].append(step.ms[key])
                height, width = frame.image.shape[:2]
                size = (width, height)
                progress(min(1.0, spent / seconds))
                if spent >= seconds and frames:
                    break
                before = clock()
        finally:
            source.close()
        if warm + frames == seen:
            raise InputError(f"{clip}: there is no frame in it")
    return {
        "frames": frames,
        "with_face": with_face,
        "size": size,
        "per_second": frames / spent,
        "detector": detector.name,
        "min_face": config.detect.min_face,
        **{f"{key}_ms": _percentiles(values) for key, values in times.items()},
    }


def _timed(model: Classifier, batches: Sequence[np.ndarray], seconds: float, clock: Clock) -> list[float]:
    """Return the seconds of each run, after one that is not counted, until the time is up."""
    model.classify(batches[0])
    taken: list[float] = []
    spent = 0.0
    while spent < seconds or not taken:
        crops = batches[len(taken) % len(batches)]
        start = clock()
        model.classify(crops)
        taken.append(clock() - start)
        spent += taken[-1]
    return taken


def _crops(model: Classifier) -> np.ndarray:
    """Return `(8, S, S, 3)` uint8: noise, always the same."""
    size = model.info.crop.size
    return np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), np.uint8)


def _percentiles(values: list[float]) -> dict[str, float] | None:
    return {f"p{p}": float(np.percentile(values, p)) for p in (50, 95)} if values else None


def main() -> None:
    """Do the job that standard input holds."""
    job = json.load(sys.stdin)
    said = 0.0

    def progress(share: float) -> None:
        nonlocal said
        if share >= said + 0.01 or share >= 1:
            said = share
            print(json.dumps({"progress": share}), flush=True)

    gc.disable()
    try:
        if job["do"] == "probe":
            result: Any = probe(job["file"], job["runtime"], job["threads"])
        elif job["do"] == "rounds":
            result = rounds(job["rows"], job["seconds"], progress)
        else:
            result = loop(job["row"], job["clip"], job["seconds"], progress)
        print(json.dumps({"result": result}), flush=True)
    except EdgeError as error:
        print(json.dumps({"error": str(error)}), flush=True)


if __name__ == "__main__":
    main()
