"""A TFLite graph as objects: read, list its layers, write again. Needs ai-edge-litert, which carries the schema.

Data lies inside the flatbuffer and is aligned to 16 bytes, as every runtime reads it; newer tools put it behind the
flatbuffer, where tflite-runtime 2.14 does not look.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.errors import InputError
from edge.interpreter import IDENTIFIER

ALIGNMENT = 16
"""Bytes that a constant's place is a multiple of; the schema asks for it."""

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
"""Operators with weights and a bias: inputs are values, weights, bias."""

NORMALISING = ("CAST", "MUL", "SUB")
"""Operators that make the picture float and bring it to -1..1."""

NEEDED = 'needs litert-torch and ai-edge-quantizer: pip install "emotion-edge[tflite]"'


@dataclass(frozen=True)
class Layer:
    """An operator of a graph.

    Attributes:
        name: of its output; for a file by `to_tflite` the module's path in torch, such as `blocks.1.0.conv_pw`.
        op: `CONV_2D`, `ADD`, ...
        weights: how many numbers it holds, bias apart; 0 for most.
    """

    name: str
    op: str
    weights: int


def read_graph(data: bytes) -> Any:
    """Return the `ModelT` of a TFLite file, with or without metadata packed behind it.

    Raises:
        InputError: it is no TFLite file, it has more than one subgraph, or ai-edge-litert is not installed.
    """
    try:
        from ai_edge_litert.tools import flatbuffer_utils
    except ImportError:
        raise InputError(f"TFLite {NEEDED}") from None
    if data[4:8] != IDENTIFIER:
        raise InputError(f"the graph is no TFLite file: {len(data):,} bytes without the mark {IDENTIFIER!a}")
    try:
        model = flatbuffer_utils.read_model_from_bytearray(data)
    except Exception as error:  # flatbuffers does not verify, and trips over what it walks through
        raise InputError(f"the graph is damaged ({type(error).__name__} on reading): make it anew") from None
    if len(model.subgraphs) != 1:
        raise InputError(f"the graph has {len(model.subgraphs)} subgraphs, expected one: leave out control flow")
    return model


def write_graph(model: Any) -> bytes:
    """Return the bytes of a `ModelT`; what nothing refers to any more is left out."""
    from ai_edge_litert.tools import flatbuffer_utils

    _prune(model)
    model.buffers = [_aligned(buffer) for buffer in model.buffers]
    _share_steps(model.subgraphs[0].tensors)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _share_steps(tensors: list[Any]) -> None:
    """Let tensors' step sizes and zeros be written once where they are the same, in place.

    A weight with a scale a channel has a zero for each of them, eight bytes of 0, and so has its bias.
    """
    from ai_edge_litert import schema_py_generated as schema

    written: dict[bytes, int] = {}

    class Shared(schema.QuantizationParametersT):
        def Pack(self, builder: Any) -> Any:  # noqa: N802  (the schema's name)
            def vector(values: Any, kind: type) -> int | None:
                if values is None or not len(values):
                    return None
                array: np.ndarray = np.asarray(values, kind)
                key = np.dtype(kind).char.encode() + array.tobytes()
                if key not in written:
                    written[key] = builder.CreateNumpyVector(array)
                return written[key]

            scale, zero = vector(self.scale, np.float32), vector(self.zeroPoint, np.int64)
            schema.QuantizationParametersStart(builder)
            if scale is not None:
                schema.QuantizationParametersAddScale(builder, scale)
            if zero is not None:
                schema.QuantizationParametersAddZeroPoint(builder, zero)
            schema.QuantizationParametersAddQuantizedDimension(builder, self.quantizedDimension)
            return schema.QuantizationParametersEnd(builder)

    for tensor in tensors:
        held = tensor.quantization
        if held is not None and held.details is None:
            tensor.quantization = Shared(
                scale=held.scale, zeroPoint=held.zeroPoint, quantizedDimension=held.quantizedDimension
            )


def layers(graph: bytes) -> list[Layer]:
    """Return what may be int8 or float, in order: everything between the normalisation and the classifier.

    Args:
        graph: a float TFLite file of `to_tflite`.
    """
    model = read_graph(graph)
    tensors, (start, stop) = model.subgraphs[0].tensors, body(model)
    return [
        Layer(
            name_of(tensors[op.outputs[0]]), kind,
            int(np.prod(tensors[op.inputs[1]].shape)) if kind in WEIGHTED else 0,
        )
        for op, kind in list(operators(model))[start:stop]
    ]  # fmt: skip


def body(model: Any) -> tuple[int, int]:
    """Return where the operators between normalisation and classifier start, and where they stop.

    Before it the picture is made float and brought to -1..1; after it come the last layer with weights, and softmax.
    """
    kinds = [kind for _, kind in operators(model)]
    start = next((i for i, kind in enumerate(kinds) if kind not in NORMALISING), len(kinds))
    stop = max((i for i, kind in enumerate(kinds) if kind in WEIGHTED), default=len(kinds))
    return start, stop


def operators(model: Any) -> Iterator[tuple[Any, str]]:
    """Yield each operator with its kind, such as `CONV_2D`, in the order of execution."""
    from ai_edge_litert.tools import flatbuffer_utils

    for op in model.subgraphs[0].operators:
        yield op, flatbuffer_utils.opcode_to_name(model, op.opcodeIndex) or "UNKNOWN"


def name_of(tensor: Any) -> str:
    """Return a tensor's name as text."""
    return tensor.name.decode() if isinstance(tensor.name, bytes) else str(tensor.name)


def is_constant(model: Any, tensor: Any) -> bool:
    """Return whether a tensor lies in the file, and is not computed."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def data_of(model: Any, tensor: Any) -> np.ndarray:
    """Return the values of a constant tensor of float32, int32 or int8, in its shape."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = {
        schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT32: np.int32, schema.TensorType.INT8: np.int8,
    }  # fmt: skip
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), kinds[tensor.type]).reshape(tensor.shape)


def _prune(model: Any) -> None:
    """Drop tensors, buffers and operator codes that nothing uses, and number the rest anew, in place."""
    graph = model.subgraphs[0]
    used = {index for op in graph.operators for index in (*op.inputs, *op.outputs, *(op.intermediates or ()))}
    kept = sorted({*used, *graph.inputs, *graph.outputs} - {-1})
    new = {old: index for index, old in enumerate(kept)} | {-1: -1}
    graph.tensors = [graph.tensors[old] for old in kept]
    graph.inputs, graph.outputs = [new[i] for i in graph.inputs], [new[i] for i in graph.outputs]
    for op in graph.operators:
        op.inputs, op.outputs = [new[i] for i in op.inputs], [new[i] for i in op.outputs]
        op.intermediates = [new[i] for i in op.intermediates] if op.intermediates else op.intermediates
    for signature in model.signatureDefs or ():
        for each in (*signature.inputs, *signature.outputs):
            each.tensorIndex = new[each.tensorIndex]
    held = {each.buffer for each in (*graph.tensors, *(model.metadata or ()))}
    buffers = sorted({0, *held})  # buffer 0 is empty by convention
    place = {old: index for index, old in enumerate(buffers)}
    model.buffers = [model.buffers[old] for old in buffers]
    for each in (*graph.tensors, *(model.metadata or ())):
        each.buffer = place[each.buffer]
    codes = sorted({op.opcodeIndex for op in graph.operators})
    model.operatorCodes = [model.operatorCodes[old] for old in codes]
    for op in graph.operators:
        op.opcodeIndex = codes.index(op.opcodeIndex)


def _aligned(buffer: Any) -> Any:
    """Return a buffer whose data is written at a multiple of `ALIGNMENT`; the schema's own class does not see to it."""
    from ai_edge_litert import schema_py_generated as schema

    class Aligned(schema.BufferT):
        def Pack(self, builder: Any) -> Any:  # noqa: N802  (the schema's name)
            data = b"" if self.data is None else bytes(self.data)
            place = None
            if data:
                builder.StartVector(1, len(data), ALIGNMENT)
                builder.head -= len(data)
                builder.Bytes[builder.head : builder.head + len(data)] = data
                place = builder.EndVector()
            schema.BufferStart(builder)
            if place is not None:
                schema.BufferAddData(builder, place)
            return schema.BufferEnd(builder)

    return Aligned(data=buffer.data)


def outputs(model: Any, *, outside: bool = False) -> list[str]:
    """Return the name of each operator's output, in order; of those outside the body alone where that is asked for."""
    names = [name_of(model.subgraphs[0].tensors[op.outputs[0]]) for op, _ in operators(model)]
    start, stop = body(model)
    return [*names[:start], *names[stop:]] if outside else names
