"""Ranges of a float TFLite file's tensors: those that its ONNX twin's tensors have, so that both round on one grid.

Which tensors are the same is told by what they hold when both look at the same crops; names differ, and so does where
an activation is fused. What only the TFLite file computes (pads, activations taken apart) is measured there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx

from calibrate.onnx_int8 import Ranges
from calibrate.quiet import quiet
from calibrate.ranges import reached
from calibrate.repair.stream import Stream
from calibrate.tflite_graph import name_of, operators, outputs, read_graph
from edge.errors import InputError, first_line

LOOKS = 2
"""Crops that tensors are compared on."""

ALIKE = 1e-3
"""How far the statistics of the same tensor may lie apart, as a share of its standard deviation."""


def carry_ranges(graph: bytes, prepared: onnx.ModelProto, ranges: Mapping[str, tuple[float, float]],
                 crops: np.ndarray) -> Ranges:  # fmt: skip
    """Return the range of every tensor of a float TFLite file that may be quantized.

    Args:
        graph: a float TFLite file of `to_tflite`.
        prepared: the ONNX graph of the same network and weights.
        ranges: of its tensors.
        crops: `(N, S, S, 3)` uint8 RGB, calibration pictures, for the tensors that the ONNX graph does not have.

    Returns:
        ranges by tensor name; a pad has that of what it pads.

    Raises:
        InputError: there are no crops, or the file does not run on them.
    """
    twins = _twins(graph, prepared, list(ranges), crops[:LOOKS])
    found = {name: ranges[twin] for name, twin in twins.items()}
    measured = measure_ranges(graph, crops)
    model = read_graph(graph)
    for op, kind in operators(model):
        name, source = (name_of(model.subgraphs[0].tensors[index]) for index in (op.outputs[0], op.inputs[0]))
        if kind == "PAD" and name not in found and source in found:
            found[name] = found[source]
    return {**measured, **found}


def measure_ranges(graph: bytes, crops: np.ndarray) -> Ranges:
    """Run a float file over crops and return the least and greatest value of every tensor.

    A tensor is looked at as the runtime computes it, so after the activation that is fused into its operator.

    Raises:
        InputError: there are no crops, or the file does not run on them.
    """
    if not len(crops):
        raise InputError("no calibration pictures")
    found: Ranges = {}
    for values in _activations(graph, crops):
        for name, value in values.items():
            found[name] = reached(value, found.get(name))
    return found


def _twins(graph: bytes, prepared: onnx.ModelProto, names: list[str], crops: np.ndarray) -> dict[str, str]:
    """Return, by tensor of the TFLite file, one of `names` that holds the same numbers in some order."""
    if not names:
        return {}
    there = [[_statistics(value) for value in batch] for batch in _one_by_one(Stream(prepared, crops), names)]
    table = np.array(there).transpose(1, 0, 2)  # (names, crops, statistics)
    twins = {}
    here: dict[str, list[np.ndarray]] = {}
    for values in _activations(graph, crops):
        for name, value in values.items():
            here.setdefault(name, []).append(_statistics(value))
    for name, rows in here.items():
        own = np.array(rows)
        spread = own[:, 2:3] + 1e-9
        apart = (np.abs(table - own) / spread)[:, :, 1:].max(axis=(1, 2))
        apart[(table[:, :, 0] != own[:, 0]).any(axis=1)] = np.inf
        nearest = int(apart.argmin())
        if apart[nearest] < ALIKE:
            twins[name] = names[nearest]
    return twins


def _one_by_one(stream: Stream, names: list[str]) -> Iterator[list[np.ndarray]]:
    """Yield the tensors of each crop."""
    for batch in stream.batches(names):
        for index in range(len(batch[0])):
            yield [values[index] for values in batch]


def _statistics(values: np.ndarray) -> np.ndarray:
    """Return how many values there are, and `(5,)` numbers in their unit that do not depend on their order."""
    exact = values.astype(np.float64)
    return np.array(
        [exact.size, exact.mean(), exact.std(), exact.min(), exact.max(), np.cbrt((exact**3).mean())]
    )  # fmt: skip


def _activations(graph: bytes, crops: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """Yield the value of every computed float tensor by name, crop by crop; good until the next is asked for."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    wanted = set(outputs(read_graph(graph)))
    try:
        with quiet():
            interpreter = Interpreter(
                model_content=graph, experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )  # fmt: skip
            interpreter.allocate_tensors()
        source = interpreter.get_input_details()[0]["index"]
        places = {
            each["name"]: each["index"] for each in interpreter.get_tensor_details()
            if each["name"] in wanted and each["dtype"] is np.float32
        }  # fmt: skip
        for crop in crops:
            interpreter.set_tensor(source, crop[None])
            interpreter.invoke()
            yield {name: interpreter.get_tensor(place) for name, place in places.items()}
    except (ValueError, RuntimeError) as error:
        raise InputError(f"the graph does not run on the calibration pictures: {first_line(error)}") from None
