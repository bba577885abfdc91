"""What a network costs: parameters, multiply-adds, and time on this machine through the device's own runtime."""

from __future__ import annotations

import json
import os
import platform
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx

from edge.errors import InputError
from edge.machine import cores
from edge.model import Classifier

NOT_LEARNED = ("running_mean", "running_var", "num_batches_tracked")
"""What a batch norm keeps beside its parameters."""

WARM_UP = 20


def parameters(weights: bytes) -> int:
    """Return how many numbers of a safetensors file are learned: all but the batch norms' statistics.

    Raises:
        InputError: it is no safetensors file.
    """
    try:
        (length,) = struct.unpack("<Q", weights[:8])
        header = json.loads(weights[8 : 8 + length])
        shapes = {key: value["shape"] for key, value in header.items() if key != "__metadata__"}
    except (struct.error, ValueError, KeyError, TypeError):
        raise InputError("the weights are no safetensors file") from None
    return sum(int(np.prod(shape)) for key, shape in shapes.items() if not key.endswith(NOT_LEARNED))


def multiply_adds(graph: bytes) -> int:
    """Return the multiplications with addition that an ONNX graph's Conv, Gemm and MatMul need for one crop.

    Raises:
        InputError: the graph has convolutions whose shape cannot be told.
    """
    model = onnx.load_model_from_string(graph)
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*inferred.value_info, *inferred.input, *inferred.output]
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    total = 0
    for node in inferred.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        first, second, out = (shapes.get(name, []) for name in (node.input[0], node.input[1], node.output[0]))
        out = [size or 1 for size in out]  # a batch that stayed a name is of one crop
        if not second or not out or (node.op_type == "MatMul" and not first):
            raise InputError(f"the shape of {node.op_type} {node.name!r} cannot be told from the graph")
        if node.op_type == "Conv":
            total += int(np.prod(out)) * int(np.prod(second[1:]))  # (O, I / groups, k, k) weights
        elif node.op_type == "Gemm":
            flipped = any(each.name == "transB" and each.i for each in node.attribute)
            total += int(np.prod(out)) * second[1 if flipped else 0]
        else:
            total += int(np.prod(out)) * first[-1]
    return total


def latencies(
    models: Sequence[Classifier], rounds: int, progress: Callable[[int], None], clock: Callable[[], float]
) -> list[tuple[float, float]]:
    """Time one crop at a time, one model after the other in each round, so that other work hits all of them alike.

    Args:
        models: loaded with one thread.
        rounds: how often each is timed.
        progress: called with the number of rounds done.
        clock: seconds, such as `time.perf_counter`.

    Returns:
        of each model the median in ms, and the median of its ratio to the first model in the same round.
    """
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 256, (1, model.info.crop.size, model.info.crop.size, 3), np.uint8) for model in models]
    for model, crop in zip(models, crops, strict=True):
        for _ in range(WARM_UP):
            model.classify(crop)
    seconds = np.zeros((rounds, len(models)))
    for number in range(rounds):
        for index, (model, crop) in enumerate(zip(models, crops, strict=True)):
            began = clock()
            model.classify(crop)
            seconds[number, index] = clock() - began
        progress(number + 1)
    ratios = np.median(seconds / seconds[:, :1], axis=0)
    return [(float(ms), float(ratio)) for ms, ratio in zip(1000 * np.median(seconds, axis=0), ratios, strict=True)]


def machine() -> str:
    """Return the processor and how many of its cores this process may use; no name of the host."""
    return f"{_processor()}, {cores()} core{'s' if cores() > 1 else ''}"


def waiting() -> float | None:
    """Return how many processes wanted to run over the last minute, on average; None where that is not known."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    parts = [line.partition(":") for line in lines]
    fields = {key.strip(): value.strip() for key, _, value in parts}
    return fields.get("model name") or fields.get("Model") or platform.machine()  # Model: a Raspberry Pi's board
