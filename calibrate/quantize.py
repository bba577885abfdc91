"""The quick way from a float model file to an int8 one: the method chosen on dev, no repair, no report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from calibrate.data import choose_calibration
from calibrate.onnx_int8 import Settings, prepare, quantize, stamped
from calibrate.parent import open_parent
from calibrate.ranges import METHODS, watch
from edge.errors import InputError
from edge.files import check_writable, write_whole
from edge.measure.evaluate import score_crops
from edge.model.onnx import OnnxClassifier
from train.datasets import as_crops
from train.stages import Stages


def quantize_file(
    model: Path, data: str, out: Path, method: str, count: int, seed: int, stages: Stages, *,
    label_map: tuple[str, ...] = (),
) -> Iterator[str]:  # fmt: skip
    """Quantize `model` into `out`; yield a line for each thing measured on the way.

    Args:
        model: a float ONNX file that keeps the contract.
        data: labelled faces; calibration pictures come from its training split less dev.
        out: the file to write.
        method: of `calibrate.ranges.METHODS`, or `auto` for the best of them on dev.
        count: calibration pictures.
        seed: of their choice.
        stages: told what is done.
        label_map: `FOLDER=LABEL`, what folders of other names mean in the data.

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
    parent = open_parent(str(model), data, out.parent, None, "", stages, label_map=label_map)
    split, size = parent.split, parent.info.crop.size
    if not len(split.train) or not len(split.dev):
        raise InputError(f"{data}: {len(split.train)} training and {len(split.dev)} dev faces are too few")
    calibration = choose_calibration(split, count, seed, size)
    dev, moved = as_crops(split.dev.images, size), stages.stage("quantizing", len(METHODS) if method == "auto" else 1)
    source = f"{Path(data).name} (train split without dev, even over the classes)"
    yield f"calibrating on {len(calibration.crops)} pictures of {source}"
    whole = OnnxClassifier.from_bytes(parent.graph, str(model), threads=2)
    yield f"{'fp32':<12} dev accuracy {_accuracy(whole, dev, split.dev.targets):.4f}"
    prepared = prepare(parent.graph)
    seen = watch(prepared, calibration.crops)
    best: tuple[float, OnnxClassifier, onnx.ModelProto] | None = None
    for done, name in enumerate(METHODS if method == "auto" else [method]):
        candidate = quantize(prepared, seen.ranges(name), Settings())
        described = {**calibration.described, "method": name}
        info = replace(parent.info, precision="int8", accuracy={}, calibration=described)
        classifier = OnnxClassifier.from_bytes(stamped(candidate, info), str(out), threads=2)
        accuracy = _accuracy(classifier, dev, split.dev.targets)
        yield f"{name:<12} dev accuracy {accuracy:.4f}"
        if best is None or accuracy > best[0]:
            best = accuracy, classifier, candidate
        moved(done + 1)
    assert best is not None
    accuracy, classifier, candidate = best
    measured = {"dev": round(accuracy, 4)}
    if len(split.test):
        measured["test"] = round(_accuracy(classifier, as_crops(split.test.images, size), split.test.targets), 4)
    write_whole(out, stamped(candidate, replace(classifier.info, accuracy=measured)))
    figures = ", ".join(f"{key} {value:.4f}" for key, value in measured.items())
    yield f"{out}: {classifier.info.calibration['method']}, {figures}, {out.stat().st_size:,} bytes"


def _accuracy(classifier: OnnxClassifier, crops: np.ndarray, targets: np.ndarray) -> float:
    return float(str(score_crops(classifier, crops, targets)["accuracy"]))
