"""`edge bench`: what each model file costs in each runtime on this device, measured side by side.

Each row (file, runtime, threads) first runs in a process of its own, for the first crop and the memory; then all rows
run in turns in one further process, for speed; then the fastest one runs the frame loop on a clip.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from edge.errors import InputError
from edge.interpreter import RUNTIMES, installed
from edge.machine import cores, describe_machine, describe_state, processor
from edge.model import DEFAULT_MODEL
from edge.model.choice import Choice, write_choice

__all__ = [
    "Bench",
    "Row",
    "bench",
    "choice_of",
    "choose",
    "describe_machine",
    "measure",
    "measure_files",
    "shipped",
    "thread_counts",
]

ABOVE = Path(__file__).resolve().parent.parent.parent
"""The folder that holds the package; in a checkout the bundled clip lies under it."""

CLIP = ABOVE / "scripts" / "data" / "portrait.mp4"

DRAW = 1.05
"""A row up to this much slower than the fastest is as fast, within what a machine repeats: fewer threads win then."""

LOOP_SHARE = 0.25
"""Share of the time that the frame loop gets."""

PROBE_SHARE = 0.3
"""Share of the progress that starting each row in a process of its own counts as."""

Progress = Callable[[float], None]
"""Takes the share that is done, 0 to 1."""


@dataclass(frozen=True)
class Row:
    """One model file in one runtime with so many threads.

    Attributes:
        file: path of the model file, as it was named.
        runtime: name and version.
        threads: it was given.
        id: of the model: name, precision, first digits of the hash.
        name: of the model.
        sha256: of the file, in hex.
        parent_sha256: of the float weights that it came from: what it shares with its other forms.
        load_ms: reading and checking the file, and making it ready.
        first_ms: the first crop after that, in a fresh process.
        p50_ms: median of one crop.
        p95_ms: 95th percentile of one crop.
        per_second_1: crops a second, one by one.
        per_second_8: crops a second in batches of eight.
        peak_mb: greatest resident memory of a process that only loads and runs it, MiB; None where it is not told.
    """

    file: str
    runtime: str
    threads: int
    id: str
    name: str
    sha256: str
    parent_sha256: str
    load_ms: float
    first_ms: float
    p50_ms: float
    p95_ms: float
    per_second_1: float
    per_second_8: float
    peak_mb: float | None


@dataclass(frozen=True)
class Failure:
    """A row that could not be measured.

    Attributes:
        file: path of the model file, as it was named.
        runtime: name of the package; the versioned one is not known.
        threads: it was given.
        reason: one line.
    """

    file: str
    runtime: str
    threads: int
    reason: str


@dataclass(frozen=True)
class Bench:
    """All that was measured.

    Attributes:
        machine: see `edge.machine.describe_machine`.
        after: what of it may have changed meanwhile, see `edge.machine.describe_state`.
        seconds: that were given.
        rows: what was measured, in the order of the files.
        failures: what could not be.
        loop: see `edge.measure.bench_worker.loop`, with `file`, `runtime`, `threads` and the clip's name; None without
            a clip.
        best: the row that `choose` takes.
    """

    machine: dict[str, Any]
    after: dict[str, Any]
    seconds: float
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    loop: dict[str, Any] | None
    best: Row | None


def bench(
    files: Sequence[Path], threads: Sequence[int], seconds: float, clip: Path | None, progress: Progress
) -> Bench:
    """Measure model files, and the frame loop on a clip with the fastest of them.

    Args:
        files: model files, .onnx or .tflite.
        threads: processor threads to try.
        seconds: for what is timed; starting each row once comes on top.
        clip: a video, an image or a folder of images; None leaves the frame loop out.
        progress: takes the share that is done.

    Raises:
        InputError: there is nothing to measure, or the clip cannot be read.
    """
    machine = describe_machine()
    shares = (1 - LOOP_SHARE, LOOP_SHARE) if clip else (1.0, 0.0)
    rows, failures = measure(files, threads, seconds * shares[0], lambda done: progress(done * shares[0]))
    best = choose(rows)
    ran = None
    if clip is not None and best is not None:
        row = {"file": str(Path(best.file).absolute()), "runtime": _package(best.runtime), "threads": best.threads}
        ran = _work(
            {"do": "loop", "row": row, "clip": str(clip.absolute()), "seconds": seconds * shares[1]},
            f"the frame loop with {best.id}", lambda done: progress(shares[0] + done * shares[1]),
        )  # fmt: skip
        ran = {"clip": clip.name, "file": best.file, "runtime": best.runtime, "threads": best.threads, **ran}
    return Bench(machine, describe_state(), seconds, tuple(rows), tuple(failures), ran, best)


def measure(
    files: Sequence[Path], threads: Sequence[int], seconds: float, progress: Progress = lambda done: None
) -> tuple[list[Row], list[Failure]]:
    """Measure each file in each runtime that is installed for it, with each number of threads, in turns.

    Args:
        files: model files, .onnx or .tflite.
        threads: processor threads to try.
        seconds: for the turns.
        progress: takes the share that is done.

    Raises:
        InputError: there is no file, or one is missing.
    """
    if not files:
        raise InputError("no model file to measure: name one with --models")
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: no such model file")
    jobs: list[dict[str, Any]] = [
        {"file": str(file.absolute()), "runtime": runtime, "threads": count, "named": str(file)}
        for file in files
        for runtime in _runtimes(file)
        for count in sorted(set(threads))
    ]
    good: list[tuple[dict[str, Any], dict[str, Any]]] = []
    failures: list[Failure] = []
    for done, job in enumerate(jobs, 1):
        try:
            good.append((job, _work({"do": "probe", **job}, f"{job['named']} in {job['runtime']}")))
        except InputError as error:
            reason = str(error).replace(job["file"], job["named"])
            failures.append(Failure(job["named"], job["runtime"], job["threads"], reason))
        progress(PROBE_SHARE * done / len(jobs))
    timed: list[dict[str, float]] = []
    if good:
        timed = _work(
            {"do": "rounds", "rows": [job for job, _ in good], "seconds": seconds}, "measuring in turns",
            lambda done: progress(PROBE_SHARE + (1 - PROBE_SHARE) * done),
        )  # fmt: skip
    rows = [
        Row(**{**probed, **times, "file": job["named"], "threads": job["threads"]})
        for (job, probed), times in zip(good, timed, strict=True)
    ]
    return rows, failures


def measure_files(
    files: Sequence[Path], threads: Sequence[int], seconds: float, progress: Progress = lambda done: None
) -> list[dict[str, Any]]:
    """Measure files for a report: what `measure` does, as plain rows.

    Returns:
        dicts of `file` (its name), `runtime` (name and version), `threads`, `first_ms`, `p50_ms`, `p95_ms` and
        `peak_mb` (MiB).

    Raises:
        InputError: a file is missing, or one of them cannot be measured in one of the runtimes.
    """
    rows, failures = measure(files, threads, seconds, progress)
    if failures:
        failed = failures[0]
        raise InputError(f"{failed.file} in {failed.runtime}: {failed.reason}")
    figures = ("runtime", "threads", "first_ms", "p50_ms", "p95_ms", "peak_mb")
    return [{"file": Path(row.file).name, **{key: getattr(row, key) for key in figures}} for row in rows]


def choose(rows: Sequence[Row]) -> Row | None:
    """Return the fastest row among the forms of one model; of several as fast, the one with the fewest threads.

    The model is the one that ships with the kit where it is among them, else the first one's. Forms of one model have
    the same name and float parent.
    """
    if not rows:
        return None
    shipped_one = [row for row in rows if Path(row.file).resolve() == DEFAULT_MODEL]
    model = (shipped_one or list(rows))[0]
    forms = [row for row in rows if (row.name, row.parent_sha256) == (model.name, model.parent_sha256)]
    limit = min(row.p50_ms for row in forms) * DRAW
    return min((row for row in forms if row.p50_ms <= limit), key=lambda row: (row.threads, row.p50_ms))


def save_choice(row: Row) -> Path:
    """Store a row as what `edge run` takes from now on; return the file."""
    return write_choice(choice_of(row))


def choice_of(row: Row) -> Choice:
    """Return a row as what is stored of it, measured at this moment."""
    moment = datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
    file = str(Path(row.file).resolve())
    return Choice(file, row.sha256, row.runtime, row.threads, processor(), round(row.p50_ms, 3), moment)


def shipped() -> list[Path]:
    """Return the model files that ship with the kit."""
    folder = DEFAULT_MODEL.parent
    return sorted(path for path in folder.iterdir() if path.suffix in (".onnx", ".tflite"))


def thread_counts() -> list[int]:
    """Return 1, 2, 4 and so on up to the cores that this process may use, and those."""
    most = cores()
    return sorted({1 << power for power in range(most.bit_length()) if 1 << power <= most} | {most})


def _runtimes(file: Path) -> list[str]:
    """Return the packages to run a file in; a TFLite file without any gets the preferred one, which then says so."""
    if file.suffix.lower() != ".tflite":
        return ["onnxruntime"]
    return installed() or [next(iter(RUNTIMES))]


def _package(runtime: str) -> str:
    return runtime.partition(" ")[0]


def _work(job: dict[str, Any], what: str, progress: Progress = lambda done: None) -> Any:
    """Do a job in a process of its own and return its result.

    Raises:
        InputError: it says what is wrong, or it was ended by a signal, as an illegal instruction is one.
    """
    answer: dict[str, Any] = {}
    with tempfile.TemporaryFile() as noise, _worker(job, noise) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            if "progress" in said:
                progress(said["progress"])
            else:
                answer = said
        code = process.wait()
        if "error" in answer:
            raise InputError(answer["error"])
        if code < 0:
            raise InputError(f"{what}: the process was ended by {signal.Signals(-code).name}")
        if "result" not in answer:
            noise.seek(0)
            raise RuntimeError(f"{what}: {noise.read().decode(errors='replace')}")
        return answer["result"]


@contextmanager
def _worker(job: dict[str, Any], noise: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """Start a worker on a job; end it when the job is given up."""
    command = [sys.executable, "-m", "edge.measure.bench_worker"]
    with subprocess.Popen(
        command, cwd=ABOVE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=noise, text=True, encoding="utf-8"
    ) as process:
        try:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it ended at once; why, is found at its end
                process.stdin.write(json.dumps(job))
                process.stdin.close()
            yield process
        except BaseException:
            process.kill()
            raise
