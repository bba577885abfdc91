"""Runs a TFLite model file with ai-edge-litert, or with its forerunner tflite-runtime where only that is installed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import InputError, first_line
from edge.files import read_regular
from edge.interpreter import IDENTIFIER, open_interpreter
from edge.model.contract import LONGEST, ModelInfo, read_metadata
from edge.model.packed import unpack
from edge.model.probabilities import checked


class TfliteClassifier:
    """A classifier in a TFLite file that keeps the model file contract.

    The graph is held against the hash that was packed with it before a runtime sees it. What that cannot prevent: a
    graph that was made wrong, or to do harm, and then packed, can end the process in tflite-runtime, which does not
    verify what it loads (ai-edge-litert does).
    """

    info: ModelInfo
    runtime: str

    def __init__(self, path: Path, threads: int = 1, runtime: str | None = None) -> None:
        """Load a file; `runtime` is one of `RUNTIMES`, or None for the first that is installed."""
        try:
            data = read_regular(path, LONGEST)
        except OSError as error:
            raise InputError(f"model {path}: cannot be read ({error.strerror})") from None
        self._open(data, str(path), threads, runtime)

    @classmethod
    def from_bytes(cls, data: bytes, name: str, threads: int = 1, runtime: str | None = None) -> TfliteClassifier:
        """Load a model file's bytes; `name` stands for it in errors."""
        made = cls.__new__(cls)
        made._open(data, name, threads, runtime)
        return made

    def _open(self, data: bytes, name: str, threads: int, runtime: str | None) -> None:
        if data[4:8] != IDENTIFIER:
            raise InputError(f"model {name} is no TFLite file: {len(data):,} bytes without the mark {IDENTIFIER!a}")
        self._name = name
        self.info = read_metadata(name, unpack(data, name), hashlib.sha256(data).hexdigest())
        self._model, self.runtime = open_interpreter(data, name, threads, runtime, instead=", or take the .onnx file")
        self._check_shapes(name)

    def _check_shapes(self, file: str) -> None:
        """Hold input and output against what the metadata says; remember where they are."""
        inputs, outputs = self._model.get_input_details(), self._model.get_output_details()
        size, classes = self.info.crop.size, len(self.info.labels)
        fits = len(inputs) == 1 and inputs[0]["dtype"] is np.uint8 and _shape(inputs[0])[1:] == [size, size, 3]
        if not fits or _shape(inputs[0])[0] not in (1, -1):
            seen = ", ".join(map(_described, inputs))
            raise InputError(f"model {file}: its input is {seen}, expected uint8[1, {size}, {size}, 3]")
        fits = len(outputs) == 1 and outputs[0]["dtype"] is np.float32 and _shape(outputs[0])[1:] == [classes]
        if not fits:
            seen = ", ".join(map(_described, outputs))
            raise InputError(f"model {file}: its output is {seen}, expected float32[1, {classes}] for its labels")
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self._grows = _shape(inputs[0])[0] == -1
        self._batch = int(inputs[0]["shape"][0])

    def classify(self, crops: np.ndarray) -> np.ndarray:
        """Return `(N, classes)` float32 probabilities for `(N, S, S, 3)` uint8 RGB crops; N may be 0.

        A file whose batch is fixed to one runs them one after the other.
        """
        if not len(crops):
            return np.zeros((0, len(self.info.labels)), np.float32)
        batches = [crops] if self._grows else [crops[row : row + 1] for row in range(len(crops))]
        try:
            result = np.concatenate([self._run(batch) for batch in batches])
        except Exception as error:  # ValueError and RuntimeError for what does not fit or cannot be computed
            raise InputError(f"model {self._name} fails on {len(crops)} crops: {first_line(error)}") from None
        return checked(result, (len(crops), len(self.info.labels)), self._name)

    def _run(self, crops: np.ndarray) -> np.ndarray:
        if len(crops) != self._batch:
            self._batch = 0  # until it is done: what fails half-way is tried again from the start
            self._model.resize_tensor_input(self._input, [len(crops), self.info.crop.size, self.info.crop.size, 3])
            self._model.allocate_tensors()
            self._batch = len(crops)
        self._model.set_tensor(self._input, crops)
        self._model.invoke()
        answer: np.ndarray = self._model.get_tensor(self._output)  # a copy, (N, classes)
        return answer


def _shape(tensor: dict[str, Any]) -> list[int]:
    """Return a tensor's shape as the file states it; -1 for what may vary."""
    stated = tensor["shape_signature"]
    return [int(side) for side in (stated if len(stated) else tensor["shape"])]


def _described(tensor: dict[str, Any]) -> str:
    return f"{np.dtype(tensor['dtype']).name}{_shape(tensor)}"
