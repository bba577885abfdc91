"""Post-training quantization of an ONNX model to int8: QDQ, activations uint8, weights int8 per channel."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from edge.errors import InputError

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}

BATCH = 10


class Crops(CalibrationDataReader):
    """Feeds `(N, S, S, 3)` uint8 RGB crops to the calibrator, a few at a time."""

    def __init__(self, crops: np.ndarray, name: str) -> None:
        self._batches: Iterator[np.ndarray] = iter(np.split(crops, range(BATCH, len(crops), BATCH)))
        self._name = name

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch by the input's name, or None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


def balanced_sample(targets: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Return `count` indices (or all there are), as even over the classes as their sizes allow, seeded, sorted."""
    rng = np.random.default_rng(seed)
    queues = [list(rng.permutation(np.flatnonzero(targets == label))) for label in np.unique(targets)]
    chosen: list[int] = []
    while len(chosen) < count and any(queues):
        chosen += [int(queue.pop()) for queue in queues if queue]
    return np.sort(np.array(chosen[:count], np.int64))


def quantize(graph: bytes, crops: np.ndarray, method: str) -> onnx.ModelProto:
    """Quantize a float model under the model file contract.

    Everything up to the classifier becomes int8; the classifier, temperature and softmax stay float: they are a few
    thousand multiplications, and eight bits are too coarse for probabilities.

    Args:
        graph: the float ONNX file's bytes.
        crops: `(N, S, S, 3)` uint8 RGB calibration crops, none of them used for reporting.
        method: how ranges are taken: `minmax`, `entropy` or `percentile`.

    Raises:
        InputError: the method is unknown, there are no crops, or the model cannot be quantized.
    """
    if method not in METHODS:
        raise InputError(f'method "{method}": choose {", ".join(METHODS)}')
    if not len(crops):
        raise InputError("no calibration pictures")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(graph)
        noise = io.StringIO()
        try:
            with redirect_stderr(noise):
                quant_pre_process(str(source), str(source), skip_symbolic_shape=True)
                prepared = onnx.load(str(source))
                quantize_static(
                    str(source), str(target), Crops(crops, prepared.graph.input[0].name),
                    quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    per_channel=True, calibrate_method=METHODS[method], nodes_to_exclude=_head(prepared),
                    extra_options={"CalibPercentile": 99.99} if method == "percentile" else {},
                )  # fmt: skip
        except (ValueError, RuntimeError, AttributeError, TypeError) as error:
            raise InputError(f"the model cannot be quantized: {error}") from None
        return onnx.load(str(target))


def _head(model: onnx.ModelProto) -> list[str]:
    """Return the names of the last matrix product and of all nodes after it."""
    nodes = list(model.graph.node)
    last = max((i for i, node in enumerate(nodes) if node.op_type in ("Gemm", "MatMul")), default=len(nodes))
    return [node.name for node in nodes[last:]]
