"""From a float model file to an int8 one: calibration pictures, the method chosen on dev, the contract kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from calibrate.onnx_int8 import METHODS, balanced_sample, quantize
from edge.errors import InputError
from edge.files import check_writable, write_whole
from edge.measure.evaluate import score_crops
from edge.model.contract import ModelInfo
from edge.model.onnx import OnnxClassifier
from train.datasets import as_crops, open_faces
from train.datasets.split import split_faces


def quantize_file(model: Path, data: str, out: Path, method: str, count: int, seed: int) -> Iterator[str]:
    """Quantize `model` into `out`; yield a line for each thing measured on the way.

    Args:
        model: a float ONNX file that keeps the contract.
        data: labelled faces; calibration pictures come from its training split less dev.
        out: the file to write.
        method: `minmax`, `entropy`, `percentile`, or `auto` for the best of them on dev.
        count: calibration pictures.
        seed: of their choice.

    Raises:
        InputError: the model is missing, breaks the contract or is int8 already; the data is missing or too small.
    """
    if not model.is_file():
        raise InputError(f"{model}: no such model file")
    if out.suffix != ".onnx":
        raise InputError(f"--out {out}: the int8 file ends in .onnx")
    if out.exists() and (out.is_dir() or out.samefile(model)):
        raise InputError(f"--out {out}: that would write over the float model, or is a folder; choose another file")
    check_writable(out.parent)
    graph = model.read_bytes()
    parent = OnnxClassifier.from_bytes(graph, str(model), threads=2)
    if parent.info.precision != "fp32":
        raise InputError(f"model {model} is {parent.info.precision} already: give its float parent")
    faces = open_faces(data)
    if faces.labels != parent.info.labels:
        raise InputError(f"model {model} knows {', '.join(parent.info.labels)}; {data} is of other classes")
    split = split_faces(faces)
    if not len(split.train) or not len(split.dev):
        raise InputError(f"{data}: {len(split.train)} training and {len(split.dev)} dev faces are too few")
    size = parent.info.crop.size
    dev = as_crops(split.dev.images, size)
    chosen = balanced_sample(split.train.targets, count, seed)
    crops = as_crops(split.train.images[chosen], size)
    yield f"calibrating on {len(crops)} pictures of {Path(data).name} (train split without dev, even over the classes)"
    yield f"{'fp32':<12} dev accuracy {_accuracy(parent, dev, split.dev.targets):.4f}"
    best: tuple[float, str, OnnxClassifier, onnx.ModelProto] | None = None
    for name in METHODS if method == "auto" else [method]:
        candidate = quantize(graph, crops, name)
        classifier = _stamped(candidate, replace(parent.info, precision="int8", accuracy={}), out)
        accuracy = _accuracy(classifier, dev, split.dev.targets)
        yield f"{name:<12} dev accuracy {accuracy:.4f}"
        if best is None or accuracy > best[0]:
            best = accuracy, name, classifier, candidate
    assert best is not None
    accuracy, name, classifier, candidate = best
    measured = {"dev": round(accuracy, 4)}
    if len(split.test):
        measured["test"] = round(_accuracy(classifier, as_crops(split.test.images, size), split.test.targets), 4)
    info = replace(classifier.info, accuracy=measured)
    _stamped(candidate, info, out)
    write_whole(out, candidate.SerializeToString())
    figures = ", ".join(f"{key} {value:.4f}" for key, value in measured.items())
    yield f"{out}: {name}, {figures}, {out.stat().st_size:,} bytes"


def _stamped(model: onnx.ModelProto, info: ModelInfo, out: Path) -> OnnxClassifier:
    """Write the contract's metadata into the model, and load it as the device does."""
    onnx.helper.set_model_props(model, info.to_metadata())
    model.doc_string = "Facial emotion classifier of the Emotion Edge kit"
    return OnnxClassifier.from_bytes(model.SerializeToString(), str(out), threads=2)


def _accuracy(classifier: OnnxClassifier, crops: np.ndarray, targets: np.ndarray) -> float:
    return float(str(score_crops(classifier, crops, targets)["accuracy"]))
