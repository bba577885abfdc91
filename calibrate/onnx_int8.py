"""Post-training quantization of an ONNX model to int8, QDQ.

`prepare` tidies the float graph once, so that its node and tensor names stay what they are; `calibrate.ranges` runs it
over calibration crops; `quantize` writes the int8 model from the two.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from calibrate.quiet import quiet
from edge.errors import InputError, first_line
from edge.model.contract import ModelInfo

ACTIVATIONS = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}

QUANTIZABLE = sorted({*QLinearOpsRegistry, *QDQRegistry})

Ranges = dict[str, tuple[float, float]]
"""Least and greatest value by tensor name, in the tensor's own unit."""


@dataclass(frozen=True)
class Settings:
    """How a prepared graph is made int8.

    Attributes:
        activation: `uint8` (fast on x86) or `int8` (usual on Arm).
        per_channel: whether each output channel of a weight has a scale of its own.
        keep_float: names of nodes that stay float, the classifier and what follows it apart, which always do.
    """

    activation: str = "uint8"
    per_channel: bool = True
    keep_float: tuple[str, ...] = ()


def prepare(graph: bytes) -> onnx.ModelProto:
    """Return a float model tidied for quantization: shapes known, constants folded, every node with a name.

    Raises:
        InputError: it is no model that can be quantized.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "float.onnx"
        path.write_bytes(graph)
        try:
            quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
        except Exception as error:  # onnxruntime's own exceptions have no common class
            raise InputError(f"the model cannot be quantized: {first_line(error)}") from None
        model = onnx.load(str(path))
    for node in model.graph.node:  # ONNX Runtime takes HardSwish apart into two without names, which no list can hold
        node.name = node.name or f"{node.output[0]}/{node.op_type}"
    return model


def quantize(
    prepared: onnx.ModelProto, ranges: Mapping[str, tuple[float, float]], settings: Settings
) -> onnx.ModelProto:
    """Return the int8 model of a prepared one; metadata is not carried over.

    Everything up to the classifier becomes int8; the classifier, temperature and softmax stay float: they are a few
    thousand multiplications, and eight bits are too coarse for probabilities.

    Args:
        prepared: as `prepare` returns it; it is left as it is.
        ranges: of its tensors; one that is missing makes the quantizer leave its node float.
        settings: how.

    Raises:
        InputError: the model cannot be quantized so.
    """
    model = onnx.ModelProto()
    model.CopyFrom(prepared)
    data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    try:
        with quiet():
            quantizer = QDQQuantizer(
                model, settings.per_channel, False, QuantType.QInt8, ACTIVATIONS[settings.activation],
                TensorsData(CalibrationMethod.MinMax, data), [], [*head(prepared), *settings.keep_float], QUANTIZABLE,
                {},
            )  # fmt: skip
            quantizer.quantize_model()
            quantizer.model.topological_sort()
    except (ValueError, RuntimeError, AttributeError, TypeError, KeyError) as error:
        raise InputError(f"the model cannot be quantized: {first_line(error)}") from None
    return _short_names(_held_float(quantizer.model.model, settings.keep_float), prepared)


def _held_float(model: onnx.ModelProto, nodes: Sequence[str]) -> onnx.ModelProto:
    """Put an activation that changes nothing behind layers that stay float, in place.

    Without it ONNX Runtime makes them int8 again as it loads the file, with one step size for all of their weights:
    its optimizer takes a float layer between a dequantized input and a quantized output, a Relu or a Clip between
    allowed, for one that was forgotten. A LeakyRelu of slope 1 ends that pattern and is fused into the layer.
    """
    made: list[onnx.NodeProto] = []
    for node in model.graph.node:
        made.append(node)
        if node.name in nodes and node.op_type in ("Conv", "ConvTranspose", "Gemm"):
            name, output = f"{node.name}.float", node.output[0]
            node.output[0] = name
            made.append(onnx.helper.make_node("LeakyRelu", [name], [output], name=name, alpha=1.0))
    model.graph.ClearField("node")
    model.graph.node.extend(made)
    return model


def _short_names(model: onnx.ModelProto, prepared: onnx.ModelProto) -> onnx.ModelProto:
    """Call what the float graph does not have `q1`, `q2` and so on, in place: a tenth of a small file is such names."""
    kept = {name for node in prepared.graph.node for name in (*node.input, *node.output)}
    kept |= {each.name for each in (*prepared.graph.input, *prepared.graph.output)} | {""}
    layers = {node.name for node in prepared.graph.node}
    short: dict[str, str] = {}

    def of(name: str) -> str:
        return name if name in kept else short.setdefault(name, f"q{len(short) + 1}")

    for node in model.graph.node:
        node.name = node.name if node.name in layers else ""
        node.input[:] = [of(name) for name in node.input]
        node.output[:] = [of(name) for name in node.output]
    for each in model.graph.initializer:
        each.name = of(each.name)
    model.graph.ClearField("value_info")
    return model


def stamped(model: onnx.ModelProto, info: ModelInfo) -> bytes:
    """Return a model's bytes with the contract's metadata inside; the model is given it too."""
    onnx.helper.set_model_props(model, info.to_metadata())
    model.doc_string = "Facial emotion classifier of the Emotion Edge kit"
    return bytes(model.SerializeToString())


def head(model: onnx.ModelProto) -> Sequence[str]:
    """Return the names of the last matrix product and of all nodes after it."""
    nodes = list(model.graph.node)
    last = max((i for i, node in enumerate(nodes) if node.op_type in ("Gemm", "MatMul")), default=len(nodes))
    return [node.name for node in nodes[last:]]
