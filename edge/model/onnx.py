"""Runs an ONNX model file with ONNX Runtime."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime as ort

from edge.errors import InputError, first_line
from edge.files import read_regular
from edge.model.contract import LONGEST, ModelInfo, read_metadata
from edge.model.probabilities import checked
from edge.session import open_session


class OnnxClassifier:
    """A classifier in an ONNX file that keeps the model file contract."""

    info: ModelInfo
    runtime = f"onnxruntime {ort.__version__}"

    def __init__(self, path: Path, threads: int = 1) -> None:
        try:
            data = read_regular(path, LONGEST)
        except OSError as error:
            raise InputError(f"model {path}: cannot be read ({error.strerror})") from None
        self._open(data, str(path), threads)

    @classmethod
    def from_bytes(cls, data: bytes, name: str, threads: int = 1) -> OnnxClassifier:
        """Load a model file's bytes; `name` stands for it in errors."""
        made = cls.__new__(cls)
        made._open(data, name, threads)
        return made

    def _open(self, data: bytes, name: str, threads: int) -> None:
        self._name = name
        self._session = open_session(data, name, threads)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.info = read_metadata(name, metadata, hashlib.sha256(data).hexdigest())
        self._input, self._output = self._check_shapes(name)

    def _check_shapes(self, file: str) -> tuple[str, str]:
        """Hold input and output against what the metadata says; return their names."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        size, classes = self.info.crop.size, len(self.info.labels)
        fits = len(inputs) == 1 and inputs[0].type == "tensor(uint8)" and list(inputs[0].shape[1:]) == [size, size, 3]
        if not fits or isinstance(inputs[0].shape[0], int):
            seen = ", ".join(f"{i.type}{i.shape}" for i in inputs)
            raise InputError(f"model {file}: its input is {seen}, expected tensor(uint8)[N, {size}, {size}, 3]")
        if len(outputs) != 1 or outputs[0].type != "tensor(float)" or list(outputs[0].shape[1:]) != [classes]:
            seen = ", ".join(f"{o.type}{o.shape}" for o in outputs)
            raise InputError(f"model {file}: its output is {seen}, expected tensor(float)[N, {classes}] for its labels")
        return inputs[0].name, outputs[0].name

    def classify(self, crops: np.ndarray) -> np.ndarray:
        """Return `(N, classes)` float32 probabilities for `(N, S, S, 3)` uint8 RGB crops; N may be 0."""
        if not len(crops):
            return np.zeros((0, len(self.info.labels)), np.float32)
        try:
            result: np.ndarray = self._session.run([self._output], {self._input: crops})[0]
        except Exception as error:  # onnxruntime's own exceptions have no common class
            reason = first_line(error)
            raise InputError(f"model {self._name} fails on {len(crops)} crops: {reason}") from None
        return checked(result, (len(crops), len(self.info.labels)), self._name)
