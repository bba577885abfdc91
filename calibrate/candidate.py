"""`edge calibrate run`: from a float model to a release candidate's folder, its report and the gate's judgement."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from calibrate.data import CalibrationSet, choose_calibration, unlabelled
from calibrate.dev import Dev
from calibrate.evidence import (
    FP32_ONNX,
    FP32_TFLITE,
    INT8_ONNX,
    INT8_TFLITE,
    MODEL_FILES,
    RECORD,
    WEIGHTS,
    Answers,
    Cost,
    Evidence,
    FileFacts,
    Trial,
    read_evidence,
    write_answers,
    write_evidence,
)
from calibrate.finetune import Course
from calibrate.gate import Judgement, Limits
from calibrate.ladder import RUNGS, Climb, Ground, Stand, as_int8, climb, rung_in_words, sensed
from calibrate.onnx_int8 import Settings, prepare, stamped
from calibrate.parent import Parent, open_parent
from calibrate.ranges import METHODS
from calibrate.release import mark_release
from calibrate.report import write_report
from calibrate.report.record import judgement_of
from calibrate.report.write import read_sets
from calibrate.sweep import COUNTS, TARGETS, Sweep
from calibrate.work import Work
from edge.errors import InputError
from edge.files import check_writable, write_whole
from edge.machine import describe_machine
from edge.measure.bench import measure_files
from edge.measure.evaluate import classify_all
from edge.model import load_model
from edge.model.contract import ModelInfo
from edge.model.onnx import OnnxClassifier
from edge.model.packed import pack
from train.datasets import FaceSet, as_crops
from train.stages import Stages


@dataclass(frozen=True)
class Options:
    """What a person may choose.

    Attributes:
        target: processor that the ONNX file is for, of `calibrate.sweep.TARGETS`.
        count: calibration pictures to choose among; the curve says how many of them are used.
        unlabelled: further training pictures on which float and int8 are compared.
        limits: of the gate.
        everything: whether the ladder is climbed to the top even when the gate is met earlier.
        tflite: whether TFLite files are made; None for where their tools are installed and the source has a network.
        course: of fine-tuning.
        seconds: that the latency of all files is measured for.
        seed: of every draw.
        licence: of a run's weights.
    """

    target: str = "x86"
    count: int = COUNTS[-1]
    unlabelled: int = 5000
    limits: Limits = field(default_factory=Limits)
    everything: bool = False
    tflite: bool | None = None
    course: Course = field(default_factory=Course)
    seconds: float = 60.0
    seed: int = 0
    licence: str = "Apache-2.0"


def make_candidate(
    source: str, data: str | None, out: Path, options: Options, *, name: str | None, command: str, pictures: bool,
    stages: Stages, label_map: tuple[str, ...] = (), say: Callable[[str], None] = lambda line: None,
) -> Judgement:  # fmt: skip
    """Make a candidate's folder: model files, evidence, answers, report, and the mark of a release if it passes.

    Stopped, the same command goes on after the last whole rung of the ladder.

    Args:
        source: a run's name or folder, or a float ONNX file.
        data: labelled faces; None for where a run's data was.
        out: the folder.
        options: see there.
        name: what the model is called; None for the source's own.
        command: what was typed, for the report.
        pictures: whether the report may show test pictures.
        stages: told what is done.
        label_map: `FOLDER=LABEL`, what folders of other names mean in the data.
        say: given a line for each rung of the ladder, as it is judged.

    Raises:
        InputError: something named is missing or unfit.
    """
    if options.target not in TARGETS:
        raise InputError(f"--target {options.target}: choose {' or '.join(TARGETS)}")
    check_writable(out)
    kept = out / "work" / "parent"
    parent = open_parent(source, data, kept, name, options.licence, stages, label_map=label_map)
    _check_split(parent, options)
    tflite, notes = _with_tflite(parent, options)
    work = Work(out / "work", _plan(parent, options, tflite))
    size = parent.info.crop.size
    stages.stage("choosing calibration pictures")
    drawn = choose_calibration(parent.split, options.count, options.seed, size)
    dev = _dev(parent, options)
    notes = (*parent.notes, *_guesses(dev), *notes)
    for line in (_in_words(parent, dev), *notes):
        say(line)
    prepared = prepare(parent.graph)
    sweep = Sweep(prepared, parent.info, dev, drawn.crops, lambda text: stages.stage(text, len(dev.crops)))
    trials, curve = work.read_sweep() or _swept(sweep, work, options)
    chosen, count = _chosen(trials), _chosen(curve).count
    say(f"ranges: {chosen.method}, {chosen.activation} activations, of {count} pictures (KL {chosen.kl:.5f})")
    calibration = choose_calibration(parent.split, count, options.seed, size)
    described = {**calibration.described, "method": chosen.method}
    info = replace(parent.info, calibration=described)
    converted = _converted(parent, info, stages) if tflite else None
    ground = Ground(
        info, chosen.method, parent.network, parent.split.train, calibration.crops, dev, options.course, converted,
        stages.stage,
    )  # fmt: skip
    settings = Settings(chosen.activation, chosen.per_channel)
    done = work.read_climb() or Climb(Stand(prepared, prepared, sweep.ranges(chosen.method, count), settings))
    told = len(done.rungs)

    def keep(reached: Climb) -> None:
        nonlocal told
        work.write_climb(reached)
        for rung in reached.rungs[told:]:
            say(rung_in_words(rung))
        told = len(reached.rungs)

    climb(ground, done, everything=options.everything, keep=keep)
    files = _files(parent, done, converted)
    test = parent.split.test
    answers = {
        "dev": _answers(files, parent.split.dev, size, stages, "dev"),
        "test": _answers(files, test, size, stages, "test"),
        "unlabelled": _unlabelled(files, parent, drawn, options, stages),
    }
    _write_models(out, files, answers)
    for held, data_of in ((WEIGHTS, parent.weights), (RECORD, parent.record)):
        if data_of is not None:
            write_whole(out / held, data_of)
    for each, rows in answers.items():
        write_answers(out, each, rows)
    costs = _costs(out, files, options.seconds, stages)
    evidence = Evidence(
        name=parent.info.name, network=parent.info.network, labels=parent.info.labels, threshold=parent.info.threshold,
        source=parent.source, data=Path(data or parent.info.trained_on).name, command=command, target=options.target,
        files=tuple(_facts(out / file) for file in files), calibration=described, curve=tuple(curve),
        sweep=tuple(trials), ladder=tuple(done.rungs), layers=tuple(done.layers), costs=tuple(costs),
        layers_on=_layers_on(dev),
        machine=describe_machine(), limits=asdict(options.limits), notes=(*notes, *done.notes),
    )  # fmt: skip
    write_evidence(out, evidence)
    stages.stage("writing the report")
    crops = as_crops(test.images, size) if pictures else None
    write_report(out, pictures=crops.__getitem__ if crops is not None else None)
    judgement = judgement_of(read_evidence(out), read_sets(out, evidence)["test"])
    mark_release(out, judgement)
    return judgement


def _in_words(parent: Parent, dev: Dev) -> str:
    split = parent.split
    return (
        f"{parent.info.name}: {parent.info.network}, {parent.info.crop.size} px, dev {100 * dev.accuracy:.2f} %; "
        f"{len(split.train)} training, {len(split.dev)} dev and {len(split.test)} test pictures"
    )


def _guesses(dev: Dev) -> tuple[str, ...]:
    """Return a note for a model that knows no more than which class is the most frequent."""
    labels, counts = np.unique(dev.targets, return_counts=True)
    always = counts.max() / counts.sum()
    if dev.accuracy > always:
        return ()
    return (
        f"The float model is right on {100 * dev.accuracy:.1f} % of dev; always saying "
        f"{dev.labels[labels[counts.argmax()]]} is on {100 * always:.1f} %: there is nothing in it to keep.",
    )


def _layers_on(dev: Dev) -> dict[str, float]:
    """Return how many dev pictures single layers were judged on, and the float model's accuracy on those."""
    some = sensed(len(dev.crops))
    return {"count": len(some), "accuracy": float((dev.parent[some].argmax(axis=1) == dev.targets[some]).mean())}


def _check_split(parent: Parent, options: Options) -> None:
    split = parent.split
    for part, faces in (("training", split.train), ("dev", split.dev), ("test", split.test)):
        if not len(faces):
            raise InputError(
                f"the data holds no {part} faces: there is nothing to {PURPOSE[part]}; "
                "a folder of one's own has train/ and test/ in it, with a folder a class in each"
            )
    if split.train.labels != parent.info.labels:
        raise InputError(
            f"model {parent.info.name} knows {', '.join(parent.info.labels)}; the data is of other classes"
        )


PURPOSE = {"training": "take ranges from", "dev": "choose on", "test": "judge on"}


def _with_tflite(parent: Parent, options: Options) -> tuple[bool, tuple[str, ...]]:
    """Return whether TFLite files are made, and why not."""
    if options.tflite is False:
        return False, ("TFLite files were not asked for.",)
    missing = [module for module in ("litert_torch", "ai_edge_quantizer") if importlib.util.find_spec(module) is None]
    if parent.network is None:
        why = "No TFLite files: they are made from the network, and a bare ONNX file holds none."
    elif missing:
        why = f'No TFLite files: {" and ".join(missing)} not installed (pip install "emotion-edge[tflite]").'
    else:
        return True, ()
    if options.tflite:
        raise InputError(f"--tflite: {why[0].lower()}{why[1:]}")
    return False, (why,)


def _plan(parent: Parent, options: Options, tflite: bool) -> dict[str, Any]:
    """Return what work that goes on must have in common with work that was begun."""
    chosen = {key: value for key, value in asdict(options).items() if key not in ("seconds", "licence", "everything")}
    return {
        **json.loads(json.dumps(chosen)), "tflite": tflite,
        "methods": list(METHODS), "rungs": [name for name, *_ in RUNGS],
        "parent": hashlib.sha256(parent.graph).hexdigest(),
        "train": parent.split.train.fingerprint(), "dev": parent.split.dev.fingerprint(),
    }  # fmt: skip


def _dev(parent: Parent, options: Options) -> Dev:
    faces = parent.split.dev
    crops = as_crops(faces.images, parent.info.crop.size)
    answers = classify_all(OnnxClassifier.from_bytes(parent.graph, "the float model", threads=2), crops)
    return Dev(crops, faces.targets, faces.labels, answers, options.limits.halved())


def _swept(sweep: Sweep, work: Work, options: Options) -> tuple[list[Trial], list[Trial]]:
    trials = sweep.methods(options.target, min(options.count, 280))
    curve = sweep.counts(_chosen(trials))
    work.write_sweep(trials, curve)
    return trials, curve


def _chosen(trials: list[Trial]) -> Trial:
    return next(trial for trial in trials if trial.chosen)


def _converted(parent: Parent, info: ModelInfo, stages: Stages) -> bytes:
    from calibrate.tflite_export import to_tflite

    assert parent.network is not None
    stages.stage("converting to TFLite")
    return to_tflite(parent.network, as_int8(info))


def _files(parent: Parent, done: Climb, converted: bytes | None) -> dict[str, bytes]:
    """Return the candidate's model files by name, the float ones from the parent, in the order of `MODEL_FILES`."""
    files = {FP32_ONNX: parent.graph, INT8_ONNX: done.files["onnx"]}
    if converted is not None:
        files |= {FP32_TFLITE: pack(converted, parent.info.to_metadata()), INT8_TFLITE: done.files["tflite"]}
    return {name: files[name] for name in MODEL_FILES if name in files}


def _answers(files: Mapping[str, bytes], faces: FaceSet, size: int, stages: Stages, name: str) -> Answers:
    crops = as_crops(faces.images, size)
    rows = {
        file: classify_all(open_bytes(data, file), crops, stages.stage(f"{file} on {name}", len(crops)))
        for file, data in files.items()
    }
    return Answers(tuple(str(each) for each in faces.names), faces.targets, rows)


def _unlabelled(
    files: Mapping[str, bytes], parent: Parent, drawn: CalibrationSet, options: Options, stages: Stages
) -> Answers:
    faces = unlabelled(parent.split, drawn.indices, options.unlabelled, options.seed)
    found = _answers(files, faces, parent.info.crop.size, stages, "pictures whose labels are not used")
    return replace(found, targets=np.zeros(0, np.int64))


def open_bytes(data: bytes, name: str) -> Any:
    """Open a model file's bytes as the device would, by what its name ends in."""
    if name.endswith(".onnx"):
        return OnnxClassifier.from_bytes(data, name, threads=2)
    from edge.model.tflite import TfliteClassifier

    return TfliteClassifier.from_bytes(data, name, threads=2)


def _write_models(out: Path, files: Mapping[str, bytes], answers: Mapping[str, Answers]) -> None:
    """Write each model file with its accuracy inside."""
    for file, data in files.items():
        accuracy = {
            name: round(float((answers[name].probabilities[file].argmax(axis=1) == answers[name].targets).mean()), 4)
            for name in ("dev", "test")
        }
        info: ModelInfo = replace(open_bytes(data, file).info, accuracy=accuracy)
        if file.endswith(".onnx"):
            write_whole(out / file, stamped(onnx.load_from_string(data), info))
        else:
            write_whole(out / file, pack(data, info.to_metadata()))


def _facts(path: Path) -> FileFacts:
    model, data = load_model(path), path.read_bytes()
    return FileFacts(
        path.name, hashlib.sha256(data).hexdigest(), len(data), model.info.precision, model.runtime,
        model.info.temperature,
    )  # fmt: skip


def _costs(out: Path, files: Mapping[str, bytes], seconds: float, stages: Stages) -> list[Cost]:
    moved = stages.stage("latency and memory", 100)
    advance: Callable[[float], None] = lambda share: moved(int(100 * share))  # noqa: E731
    rows = measure_files([out / file for file in files], (1, 2), seconds, advance)
    return [Cost(**row) for row in rows]
