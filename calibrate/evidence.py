"""What a calibration found out, as it lies on disk: facts and answers, from which gate, check and report judge.

Everything is measured once and kept here; whatever is said later is computed from it. Needs numpy alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import InputError
from edge.files import write_whole

FP32_ONNX, INT8_ONNX, FP32_TFLITE, INT8_TFLITE = "fp32.onnx", "int8.onnx", "fp32.tflite", "int8.tflite"
WEIGHTS, RECORD = "parent.fp16.safetensors", "export.json"
"""What a candidate's folder holds of its parent, where that is known: its weights, and how they came to be."""

MODEL_FILES = (FP32_ONNX, INT8_ONNX, FP32_TFLITE, INT8_TFLITE)
"""The model files of a release candidate. `fp32.onnx` is what every other one is held against."""

FACTS = "evidence.json"
SETS = ("dev", "test", "unlabelled")
"""Sets of pictures: what was chosen on, what is reported, and what is only compared (its targets are not used)."""


@dataclass(frozen=True)
class FileFacts:
    """One model file of the candidate.

    Attributes:
        name: one of `MODEL_FILES`.
        sha256: of the whole file, in hex.
        size: in bytes.
        precision: `fp32` or `int8`.
        runtime: what its answers were made with, such as `onnxruntime 1.31.1`.
        temperature: what its logits are divided by, inside.
    """

    name: str
    sha256: str
    size: int
    precision: str
    runtime: str
    temperature: float


@dataclass(frozen=True)
class Answers:
    """What the files say of one set of pictures.

    Attributes:
        names: of the pictures, in the data's own words.
        targets: `(N,)` int64, true classes; empty where labels are not used.
        probabilities: `(N, C)` float32 by file name.
    """

    names: tuple[str, ...]
    targets: np.ndarray
    probabilities: dict[str, np.ndarray]


@dataclass(frozen=True)
class Rung:
    """One step of the ladder, judged on dev against the float file of the same format.

    Attributes:
        name: short, such as `bias correction`.
        format: `onnx` or `tflite`.
        what: what was done, in one line.
        accuracy: share of dev that is right.
        lost: pictures that the float file has right and this one wrong.
        won: the other way round.
        agreement: share of dev on which both give the same label.
        kl: mean Kullback-Leibler divergence of this one's answer from the float one's, in nats.
        size: of the file, in bytes.
        seconds: what the step took.
        passes: whether it is good enough (`calibrate.dev.Dev.judge`).
        kept: whether later steps build on it.
    """

    name: str
    format: str
    what: str
    accuracy: float
    lost: int
    won: int
    agreement: float
    kl: float
    size: int
    seconds: float
    passes: bool
    kept: bool


@dataclass(frozen=True)
class Trial:
    """One way to take ranges that was tried on dev: a row of the sweep.

    Attributes:
        method: of `calibrate.ranges.METHODS`.
        activation: `uint8` or `int8`.
        per_channel: whether each output channel of a weight has a scale of its own.
        count: calibration pictures.
        accuracy: share of dev that is right.
        kl: as in `Rung`.
        chosen: whether this is the one that was taken.
    """

    method: str
    activation: str
    per_channel: bool
    count: int
    accuracy: float
    kl: float
    chosen: bool = False


@dataclass(frozen=True)
class Layer:
    """How much one layer suffers.

    Attributes:
        name: the layer's, as in the float ONNX.
        op: `Conv`, `Gemm`, ...
        weights: how many numbers it holds.
        sqnr_db: signal to quantization noise at its output when it alone is int8, in decibels.
        accuracy: share of dev that is right when it alone is int8.
        kl: of the final answer, when it alone is int8, in nats.
        kept_float: whether the candidate leaves it float.
        low: least value of its input that int8 can say.
        high: the greatest.
        edges: `B + 1` bin edges of a histogram of its input (worst layers only, else empty).
        counts: `B` values a bin.
    """

    name: str
    op: str
    weights: int
    sqnr_db: float
    accuracy: float
    kl: float
    kept_float: bool = False
    low: float = 0.0
    high: float = 0.0
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cost:
    """What a file costs in one runtime on one machine, every row of it measured in turns in one process a file.

    Attributes:
        file: one of `MODEL_FILES`.
        runtime: name and version.
        threads: it was given.
        first_ms: the first crop, loading apart.
        p50_ms: median of one crop.
        p95_ms: 95th percentile of one crop.
        peak_mb: greatest resident memory of a process that only loads and runs it, MiB; None where it is not told.
    """

    file: str
    runtime: str
    threads: int
    first_ms: float
    p50_ms: float
    p95_ms: float
    peak_mb: float | None


@dataclass(frozen=True)
class Evidence:
    """All of it.

    Attributes:
        name: the model's.
        network: its architecture.
        labels: class names in the order of the answers.
        threshold: confidence below which the answer is *uncertain*.
        source: what it was made from: a run, or a bare float ONNX (then there is no fine-tuning).
        data: the data set's name.
        command: what was typed.
        target: `x86` or `arm`.
        files: of the candidate.
        calibration: what ranges were taken from: `count`, `per_class`, `sha256`, `seed`.
        curve: accuracy against the number of calibration pictures.
        sweep: ways to take ranges.
        ladder: what was tried to win back what int8 lost.
        layers: how much each suffers, worst first.
        layers_on: what they were judged on: `count` of dev's pictures, and the float file's `accuracy` on those.
        costs: latency and memory.
        machine: where it was measured: processor, cores, system, versions.
        limits: `max_drop` and `max_class_drop` of the gate, in points.
        notes: what was left out or fell back, a sentence each.
    """

    name: str
    network: str
    labels: tuple[str, ...]
    threshold: float
    source: str
    data: str
    command: str
    target: str
    files: tuple[FileFacts, ...]
    calibration: dict[str, Any]
    curve: tuple[Trial, ...] = ()
    sweep: tuple[Trial, ...] = ()
    ladder: tuple[Rung, ...] = ()
    layers: tuple[Layer, ...] = ()
    costs: tuple[Cost, ...] = ()
    machine: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    layers_on: dict[str, float] = field(default_factory=dict)

    def file(self, name: str) -> FileFacts | None:
        """Return one file's facts, or None where the candidate has none of that name."""
        return next((facts for facts in self.files if facts.name == name), None)


NESTED: dict[str, type] = {
    "files": FileFacts, "curve": Trial, "sweep": Trial, "ladder": Rung, "layers": Layer, "costs": Cost,
}  # fmt: skip


def write_evidence(folder: Path, evidence: Evidence) -> None:
    """Write the facts into `folder`/evidence.json, whole or not at all."""
    write_whole(folder / FACTS, (json.dumps(asdict(evidence), indent=2, allow_nan=False) + "\n").encode())


def read_evidence(folder: Path) -> Evidence:
    """Read them back.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / FACTS
    try:
        stored = json.loads(path.read_bytes())
        values = {key.name: stored[key.name] for key in fields(Evidence) if key.name in stored}
        for key, kind in NESTED.items():
            values[key] = tuple(_made(kind, row) for row in values[key])
        return Evidence(**{**values, "labels": tuple(values["labels"]), "notes": tuple(values["notes"])})
    except FileNotFoundError:
        raise InputError(f'{folder}: no {FACTS} in it; make one with "edge calibrate run"') from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: it is damaged ({error}); make it anew") from None


def _made(kind: type, row: dict[str, Any]) -> Any:
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})


def write_answers(folder: Path, name: str, answers: Answers) -> None:
    """Write what the files say of one set into `folder`/answers-`name`.npz, whole or not at all."""
    import io

    arrays: dict[str, Any] = {f"p:{file}": rows for file, rows in answers.probabilities.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, names=np.array(answers.names, np.str_), targets=answers.targets, **arrays)
    write_whole(folder / f"answers-{name}.npz", buffer.getvalue())


def read_answers(folder: Path, name: str, files: Sequence[str] = MODEL_FILES) -> Answers:
    """Read one set back.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / f"answers-{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {file: stored[f"p:{file}"] for file in files if f"p:{file}" in stored}
            return Answers(tuple(str(n) for n in stored["names"]), stored["targets"], found)
    except FileNotFoundError:
        raise InputError(f'{path}: there is none; make it with "edge calibrate run"') from None
    except Exception as error:  # numpy and zipfile have no common class
        raise InputError(f"{path}: it is damaged ({error}); make it anew") from None
