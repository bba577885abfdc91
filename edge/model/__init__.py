"""Classifiers: the model file contract and the runtimes that run such a file. One door: `load_model(path)`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from edge.errors import InputError
from edge.model.contract import ModelInfo

__all__ = ["DEFAULT_MODEL", "Classifier", "ModelInfo", "load_model"]

DEFAULT_MODEL = Path(__file__).resolve().parent.parent / "models" / "lite2-int8.onnx"
"""The model that ships with the kit."""


class Classifier(Protocol):
    """A model file that runs.

    Attributes:
        info: the facts in the file.
        runtime: what runs it: a package's name and version, such as `onnxruntime 1.31.1`.
    """

    info: ModelInfo
    runtime: str

    def classify(self, crops: np.ndarray) -> np.ndarray:
        """Return `(N, classes)` float32 probabilities for `(N, S, S, 3)` uint8 RGB crops; N may be 0."""


def load_model(path: str | Path | None = None, *, threads: int = 1, runtime: str | None = None) -> Classifier:
    """Load a model file and check it against the contract.

    Args:
        path: the file; None for the one that ships with the kit.
        threads: processor threads for one batch.
        runtime: which package runs a .tflite file, of `edge.interpreter.RUNTIMES`; None for the first that is
            installed. An .onnx file has one runtime.

    Raises:
        InputError: the file is missing, of no known kind, damaged, or breaks the contract, or its runtime is missing.
    """
    file = Path(path) if path is not None else DEFAULT_MODEL
    try:
        there = file.is_file()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None
    if not there:
        raise InputError(f"{file}: no such model file")
    if file.suffix.lower() == ".onnx":
        from edge.model.onnx import OnnxClassifier

        return OnnxClassifier(file, threads)
    if file.suffix.lower() == ".tflite":
        from edge.model.tflite import TfliteClassifier

        return TfliteClassifier(file, threads, runtime)
    raise InputError(
        f"{file}: a model file ends in .onnx or .tflite; "
        'make one with "edge train export" and "edge calibrate quantize"'
    )
