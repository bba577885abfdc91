"""How much faster `edge run` is than a detector and a network on every frame, and what it gives up for that.

    python -m scripts.bench.runtime CLIPS

Every row gets the same 640x480 clips, from decoding a frame to handing its events to a real Mosquitto, in turn in one
process pinned to one core by taskset. Needs the train extra, facenet-pytorch and Mosquitto. Writes
docs/bench/runtime.json; exits 1 where a bound is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.align import align
from edge.config import Config
from edge.detect import Detector, load_detector
from edge.detect.names import DETECTORS
from edge.events import EventMaker, new_stream
from edge.loop import Loop
from edge.model import load_model
from edge.publish import Publisher, open_publisher
from edge.session import open_session
from edge.values import Frame
from scripts.bench.given_up import loss
from scripts.bench.machine import write
from scripts.bench.mosquitto import mosquitto
from scripts.bench.ways import MIN_FACE, Seen, Way, loop, seeds, xception
from scripts.extras import needs

CLIPS = (
    "WolfgangLanger_Pexels.mp4",
    "face_noface.mov",
    "face-demographics-walking-and-pause.gif",
    "head-pose-face-detection-female-and-male.gif",
)
SIZE = (640, 480)
LEAST_GAIN, LEAST_GAIN_FIVE, MOST_P95 = 10.0, 6.0, 0.25
BOUNDS = {"found": 0.99, "iou_median": 0.85, "landmarks_median": 0.06, "same_label": 0.95, "ghosts": 0.01}
LEAVE_SECONDS = 0.5
FIVE = "five faces that move"


@dataclass
class Row:
    """One way of doing it, and what it took: seconds of each frame, and processor seconds, by clip and repeat."""

    name: str
    make: Callable[[], Way]
    seconds: dict[str, list[list[float]]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    seen: dict[str, list[Seen]] = field(default_factory=dict)


@needs("train")
def main() -> int:
    """Run all rows in turn; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("clips", type=Path, help=f"folder with {', '.join(CLIPS)} and multi_face.jpg")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=10_000, help="frames of each clip at most")
    parser.add_argument("--out", type=Path, default=Path("docs/bench/runtime.json"))
    options = parser.parse_args()
    pin()
    cv2.setNumThreads(1)
    rows = all_rows()
    with tempfile.TemporaryDirectory() as folder, mosquitto(Path(folder)) as broker:
        clips = dict(prepare(options.clips, Path(folder), options.frames))
        publisher = open_publisher(broker, "bench")
        publisher.start()
        for repeat in range(options.repeats):
            for name, path in clips.items():
                for row in rows[repeat % len(rows) :] + rows[: repeat % len(rows)]:
                    play(row, name, path, publisher)
                    print(f"{repeat + 1}/{options.repeats} {name}: {row.name}", file=sys.stderr, flush=True)
        publisher.close(60)
        figures = {name: judge(rows, name, path) for name, path in clips.items()}
        figures["steps_ms"] = steps(clips[CLIPS[0]])
    for name in clips:
        figures[name]["times_the_floor"] = above_the_floor(rows[-1], name, figures["steps_ms"])
    write(options.out, figures)
    broken = [f"{name}: {text}" for name in clips for text in figures[name]["broken"]]
    print(json.dumps(figures, indent=1))
    print("\n".join(broken) or "all bounds held")
    return 1 if broken else 0


def pin() -> None:
    """Begin anew under taskset on one core, before the runtimes count the cores."""
    core = str(min(os.sched_getaffinity(0)))
    if len(os.sched_getaffinity(0)) > 1:
        os.execvp("taskset", ["taskset", "-c", core, sys.executable, "-m", "scripts.bench.runtime", *sys.argv[1:]])


def all_rows() -> list[Row]:
    """The ways to compare; BlazeFace where this version has it."""
    config = Config()
    exact = replace(config, track=replace(config.track, search_every=0), classify=replace(config.classify, rate=0))
    rows = [
        Row("seeds: facenet-pytorch MTCNN + float Xception", lambda: seeds(xception())),
        Row("seeds' MTCNN + our model", lambda: seeds(load_model(None).classify)),
        Row("our MTCNN on every frame", lambda: loop("mtcnn", exact)),
        Row("edge run", lambda: loop("mtcnn", Config())),
    ]
    if "blazeface" in DETECTORS:
        rows.insert(3, Row("BlazeFace on every frame", lambda: loop("blazeface", exact)))
    return rows


def play(row: Row, name: str, path: Path, publisher: Publisher) -> None:
    """Run a clip through a row, anew, and note what each frame took."""
    way, capture = row.make(), cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    way(Frame(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), -1, 0.0, -1e3, "front", still=True), publisher)  # buffers
    times: list[float] = []
    seen: list[Seen] = []
    burned = time.process_time()
    while True:
        began = time.perf_counter()
        got, image = capture.read()
        if not got:
            break
        index = len(times)
        seen.append(way(Frame(image, index, time.time(), index / fps, "front"), publisher))
        times.append(time.perf_counter() - began)
    row.cpu.setdefault(name, []).append((time.process_time() - burned) / len(times))
    row.seconds.setdefault(name, []).append(times)
    row.seen.setdefault(name, seen)


def judge(rows: list[Row], name: str, path: Path) -> dict[str, Any]:
    """Return a clip's figures, and which bounds they break."""
    first, exact, ours = rows[0], rows[2], rows[-1]
    table = {row.name: speed(row, name, first) for row in rows}
    lost = loss(first.seen[name], exact.seen[name], ours.seen[name], cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS))
    gain = table[ours.name]["times_the_first"]["median"]
    wanted = LEAST_GAIN_FIVE if name == FIVE else LEAST_GAIN
    broken = [f"{key} is {lost[key]}" for key, bound in BOUNDS.items() if _broken(key, lost[key], bound)]
    broken += [f"{gain} times as fast, not {wanted}"] if gain < wanted else []
    share = table[ours.name]["p95_ms"] / table[first.name]["p95_ms"]
    broken += [f"p95 is {share:.2f} of the first row's"] if name != FIVE and share > MOST_P95 else []
    if lost["leave_s"] and max(lost["leave_s"]) > LEAVE_SECONDS:
        broken.append(f"a leave came after {max(lost['leave_s'])} s")
    return {
        "frames": len(ours.seen[name]),
        "rows": table,
        "given_up": lost,
        "p95_share": round(share, 3),
        "broken": broken,
    }


def _broken(key: str, value: float | None, bound: float) -> bool:
    if value is None:
        return False
    return value > bound if key in ("landmarks_median", "ghosts") else value < bound


def speed(row: Row, name: str, first: Row) -> dict[str, Any]:
    """Return frames a second, latencies and processor time of a row on a clip."""
    rates = [len(times) / sum(times) for times in row.seconds[name]]
    base = [len(times) / sum(times) for times in first.seconds[name]]
    gains = [rate / other for rate, other in zip(rates, base, strict=True)]
    every = np.concatenate([np.array(times) for times in row.seconds[name]]) * 1000
    p50, p95, p99 = (round(float(v), 2) for v in np.percentile(every, (50, 95, 99)))
    return {
        "frames_per_s": _spread(rates), "times_the_first": _spread(gains), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99,
        "max_ms": round(float(every.max()), 2), "cpu_ms_per_frame": round(1000 * float(np.median(row.cpu[name])), 2),
    }  # fmt: skip


def above_the_floor(row: Row, name: str, step: dict[str, float]) -> float:
    """Return a row's time in units of what cannot be saved: decoding, and an ONet and a classifier call per face."""
    faces = float(np.mean([len(seen.faces) for seen in row.seen[name]]))
    taken = float(np.mean(np.concatenate([np.array(times) for times in row.seconds[name]]))) * 1000
    return round(taken / (step["decode"] + faces * (step["onet"] + step["classify"])), 2)


def _spread(values: list[float]) -> dict[str, float]:
    return {
        key: round(float(v), 2)
        for key, v in (("median", np.median(values)), ("least", min(values)), ("most", max(values)))
    }


def steps(clip: Path) -> dict[str, float]:
    """Time each step alone on one face, median of many; the floor is decoding, one ONet and one classifier call."""
    capture, model, detector = cv2.VideoCapture(str(clip)), load_model(None), load_detector("mtcnn", min_face=MIN_FACE)
    picture = cv2.resize(capture.read()[1], SIZE)
    (face,) = detector.detect(picture)
    crops = align(picture, face.box, face.landmarks, model.info.crop)[None]
    onet = open_session((Path("edge/models/mtcnn/onet.onnx")).read_bytes(), "onet", 1)
    window = np.zeros((1, 48, 48, 3), np.float32)
    maker = EventMaker("bench", new_stream(), model.info.id)
    emotion = Loop(detector, model, maker).step(Frame(picture, 0, 0.0, 0.0, "front")).emotions[0]
    frame = Frame(picture, 0, 0.0, 0.0, "front")
    timed = {
        "decode": _median(capture.read),
        "search": _median(lambda: detector.detect(picture)),
        "longest_piece_of_a_search": _longest(detector, picture),
        "refine": _median(lambda: detector.refine(picture, face.box[None])),
        "onet": _median(lambda: onet.run(None, {"input": window})),
        "align": _median(lambda: align(picture, face.box, face.landmarks, model.info.crop)),
        "classify": _median(lambda: model.classify(crops)),
        "event": _median(lambda: maker.seen(frame, face, emotion, {"total": 0.0}, entered=True).to_json()),
    }
    timed["floor_with_one_face"] = round(timed["decode"] + timed["onet"] + timed["classify"], 3)
    return timed


def _median(call: Callable[[], object], count: int = 100) -> float:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return round(float(np.median(times)) * 1000, 3)


def _longest(detector: Detector, picture: np.ndarray) -> float:
    pieces: list[list[float]] = []
    for _ in range(30):
        search, times = detector.search(picture), []  # type: ignore[attr-defined]
        done = False
        while not done:
            began = time.perf_counter()
            done = next(search, search) is search
            times.append(time.perf_counter() - began)
        pieces.append(times)
    return round(float(np.median(pieces, axis=0).max()) * 1000, 3)


def prepare(source: Path, folder: Path, most: int) -> Iterator[tuple[str, Path]]:
    """Write each clip anew at 640x480, and one of five faces that move about."""
    for name in CLIPS:
        capture = cv2.VideoCapture(str(source / name))
        yield name, _record(folder / f"{Path(name).stem}.avi", _all(capture), capture.get(cv2.CAP_PROP_FPS), most)
    yield FIVE, _record(folder / "five.avi", _five(source / "multi_face.jpg"), 24.0, most)


def _all(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while (read := capture.read())[0]:
        yield read[1]


def _record(path: Path, pictures: Iterator[np.ndarray], fps: float, most: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, SIZE)
    for index, picture in enumerate(pictures):
        if index >= most:
            break
        writer.write(_fit(picture))
    writer.release()
    return path


def _fit(picture: np.ndarray) -> np.ndarray:
    """Scale a picture into 640x480, gray above and below or beside it: a face keeps its shape."""
    scale = min(SIZE[0] / picture.shape[1], SIZE[1] / picture.shape[0])
    shift = [(SIZE[0] - scale * picture.shape[1]) / 2, (SIZE[1] - scale * picture.shape[0]) / 2]
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return cv2.warpAffine(picture, matrix, SIZE, flags=cv2.INTER_LINEAR, borderValue=(110, 110, 110))


def _five(path: Path) -> Iterator[np.ndarray]:
    picture = cv2.imread(str(path))
    small = cv2.resize(picture, (600, 400))
    for step in range(120):
        x, y = 20 + 18 * np.sin(step / 12), 40 + 30 * np.cos(step / 17)
        yield cv2.warpAffine(small, np.array([[1, 0, x], [0, 1, y]]), SIZE, borderValue=(110, 110, 110))


if __name__ == "__main__":
    sys.exit(main())
