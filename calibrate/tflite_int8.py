"""Post-training quantization of a TFLite file to int8: ranges are taken here, ai-edge-quantizer writes the file.

The ranges are ours because the quantizer's own calibration takes moving averages of them, which clip.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibrate.quiet import quiet
from calibrate.tflite_graph import (
    NEEDED,
    WEIGHTED,
    body,
    data_of,
    is_constant,
    layers,
    name_of,
    operators,
    outputs,
    read_graph,
    write_graph,
)
from edge.errors import InputError, first_line
from edge.model.packed import pack, unpack

BEHIND = ("HARD_SWISH", "LOGISTIC", "MUL", "ADD", "RELU", "RELU6", "LEAKY_RELU", "ELU", "GELU", "TANH")
"""Operators that an activation becomes, `x * sigmoid(x)` is two of them, and sums."""

MOST = 2**30
"""Steps that a bias may count, so that it and a sum beside it fit into int32."""


@dataclass(frozen=True)
class Grid:
    """What the graph makes of a byte before its first layer: `byte * step + start`.

    Usually -1 to 1 in steps of 1 / 127.5; where a first layer without pads took the normalisation into its weights, the
    byte itself.
    """

    step: float
    start: float


def quantize_tflite(
    graph: bytes, ranges: Mapping[str, tuple[float, float]], *, keep_float: Sequence[str] = ()
) -> bytes:
    """Return the int8 file of a float one: activations int8, weights int8 per channel, under the same contract.

    The classifier, temperature and softmax stay float: they are a few thousand multiplications, and eight bits are too
    coarse for probabilities. The picture's bytes become the first layer's int8 by a shift, without any float.

    Args:
        graph: a float TFLite file of `to_tflite`.
        ranges: of its tensors, as `take_ranges` returns them.
        keep_float: names of layers (`calibrate.tflite_graph.layers`) that stay float.

    Returns:
        the file, its metadata that of the float one with `precision` int8 and no accuracy.

    Raises:
        InputError: ai-edge-quantizer is not installed, a layer of `keep_float` is not in the file, a range is missing,
            or the graph cannot be quantized.
    """
    try:
        from ai_edge_quantizer import qtyping, quantizer
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
    except ImportError:
        raise InputError(f"TFLite int8 {NEEDED}") from None
    known = [layer.name for layer in layers(graph)]
    strange = [name for name in keep_float if name not in known]
    if strange:
        raise InputError(f"keep_float: no layer {', '.join(strange[:3])}; the file has {', '.join(known[:3])}, ...")
    model = read_graph(graph)
    floats = [*outputs(model, outside=True), *_with_companions(model, keep_float)]
    limits, grid = dict(ranges), _grid(model)
    if grid is not None:
        limits[outputs(model)[body(model)[0] - 1]] = grid.start, 255 * grid.step + grid.start
    calibration = {
        name: {"min": np.array([[[[low]]]], np.float32), "max": np.array([[[[high]]]], np.float32)}
        for name, (low, high) in limits.items()
    }
    try:
        with quiet():
            tool = quantizer.Quantizer(write_graph(model))
            tool.add_static_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, 8, 8)
            for name in floats:
                tool.update_quantization_recipe(
                    f"^{re.escape(name)};$", qtyping.TFLOperationName.ALL_SUPPORTED, None, AlgorithmName.NO_QUANTIZE
                )
            made = tool.quantize(calibration, enable_progress_bar=False, enable_progress_report=False).quantized_model
    except Exception as error:  # the quantizer raises what it likes
        raise InputError(f"the graph cannot be quantized: {first_line(error)}") from None
    small = read_graph(bytes(made))
    _save_biases(small, model)
    if grid is not None:
        _take_bytes(small, grid)
    return pack(write_graph(small), {**unpack(graph, "of the graph"), "precision": "int8", "accuracy": "{}"})


def _with_companions(model: Any, keep_float: Sequence[str]) -> list[str]:
    """Return the names, and those of the operators about such layers that int8 would only do harm in.

    They are pads that float layers alone read, and activations and sums that read float layers alone: what is rounded
    right behind a layer might as well be rounded in it.
    """
    tensors = model.subgraphs[0].tensors
    found = list(keep_float)
    for op, kind in operators(model):
        name = name_of(tensors[op.outputs[0]])
        read = {name_of(tensors[index]) for index in op.inputs if index >= 0 and not is_constant(model, tensors[index])}
        readers = {name_of(tensors[each.outputs[0]]) for each, _ in operators(model) if op.outputs[0] in each.inputs}
        if (kind == "PAD" and readers <= set(keep_float)) or (kind in BEHIND and read and read <= set(found)):
            found.append(name)
    return list(dict.fromkeys(found))


def _grid(model: Any) -> Grid | None:
    """Return what the operators before the body make of a byte, or None where that is not a step and a start."""
    graph, (start, _) = model.subgraphs[0], body(model)
    step, offset, source = 1.0, 0.0, graph.inputs[0]
    for op, kind in list(operators(model))[:start]:
        if op.inputs[0] != source:
            return None
        if kind != "CAST":
            constant = data_of(model, graph.tensors[op.inputs[1]])
            if constant.size != 1:
                return None
            number = float(constant.item())
            step, offset = (step * number, offset * number) if kind == "MUL" else (step, offset - number)
        source = op.outputs[0]
    return Grid(step, offset) if start and step > 0 and offset <= 0 <= 255 * step + offset else None


def _save_biases(model: Any, parent: Any) -> None:
    """Give a channel a coarser weight where its bias, counted in steps of input times weight, leaves int32, in place.

    Dead channels have such weights: next to nothing, beside a bias that the next layer needs. The quantizer clips it.
    """
    from ai_edge_litert import schema_py_generated as schema

    tensors, sources = model.subgraphs[0].tensors, parent.subgraphs[0].tensors
    by_name = {name_of(sources[op.outputs[0]]): op for op, _ in operators(parent)}
    for op, kind in operators(model):
        source = by_name.get(name_of(tensors[op.outputs[0]]))
        if kind not in WEIGHTED or source is None or tensors[op.inputs[1]].type != schema.TensorType.INT8:
            continue
        if len(op.inputs) < 3 or op.inputs[2] < 0:
            continue
        given, weight, bias = (tensors[index] for index in op.inputs[:3])
        weights, biases = (data_of(parent, sources[index]) for index in source.inputs[1:3])
        step, steps = float(given.quantization.scale[0]), np.asarray(weight.quantization.scale, np.float64)
        enough = np.maximum(steps, np.abs(biases) / (step * MOST))
        if np.array_equal(enough, steps):
            continue
        along = [1] * weights.ndim
        along[weight.quantization.quantizedDimension] = -1
        whole = np.clip(np.rint(weights / enough.reshape(along)), -127, 127).astype(np.int8)
        counted = np.rint(biases / (step * enough)).astype(np.int32)
        for tensor, values, scale in ((weight, whole, enough), (bias, counted, step * enough)):
            tensor.quantization.scale = scale.astype(np.float32)
            tensor.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT(data=values.tobytes()))


def _take_bytes(model: Any, grid: Grid) -> None:
    """Let the picture's bytes become the first layer's int8 by a shift of 128 instead of through float, in place.

    Zero need not lie on the grid: from -1 to 1 it is half-way between two bytes. The int8 number then stands for less
    by that rest, and the rest times the weights goes into the bias: exact, but for the picture's padded edge.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    start, _ = body(model)
    first, kind = list(operators(model))[start]
    convolutions, shifted = _readers(model, first.outputs[0])
    if kind != "QUANTIZE" or not convolutions:
        return
    zero = int(np.rint(-128 - grid.start / grid.step))
    rest = 128 + zero + grid.start / grid.step  # in steps
    for op in convolutions:
        weight, bias = (graph.tensors[index] for index in op.inputs[1:])
        axis = weight.quantization.quantizedDimension  # of the outputs
        sums = np.moveaxis(data_of(model, weight), axis, 0).reshape(weight.shape[axis], -1).sum(1, dtype=np.int64)
        moved = data_of(model, bias) + np.rint(sums * rest)
        bias.buffer = len(model.buffers)
        model.buffers.append(schema.BufferT(data=moved.astype(np.int32).tobytes()))
    for tensor, at in ((graph.inputs[0], zero + 128), *((index, zero) for index in shifted)):
        graph.tensors[tensor].quantization = schema.QuantizationParametersT(
            scale=np.array([grid.step], np.float32), zeroPoint=np.array([at], np.int64)
        )
    first.inputs = list(graph.inputs)
    graph.operators = graph.operators[start:]


def _readers(model: Any, tensor: int) -> tuple[list[Any], list[int]]:
    """Return the convolutions that read a tensor, and it with what pads make of it; none if aught else reads it too."""
    convolutions: list[Any] = []
    tensors = [tensor]
    for op, kind in operators(model):
        if tensor in op.inputs and kind == "PAD":
            behind, padded = _readers(model, op.outputs[0])
            convolutions += behind
            tensors += padded
            if not behind:
                return [], tensors
        elif tensor in op.inputs:
            if kind not in ("CONV_2D", "DEPTHWISE_CONV_2D") or len(op.inputs) != 3:
                return [], tensors
            convolutions.append(op)
    return convolutions, tensors
