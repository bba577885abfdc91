"""Ranges of a float TFLite file's tensors over calibration crops, taken as the runtime computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from calibrate.quiet import quiet
from calibrate.tflite_graph import outputs, read_graph
from edge.errors import InputError, first_line

METHODS = ("minmax", "percentile", "mse")

PERCENTILE = 99.99

BINS = 2048

SHARES = np.linspace(1.0, 0.4, 25)
"""Parts of a range's end that `mse` tries."""

INFINITE = 3e38
"""What stands for infinity in a float32 pad."""

Ranges = dict[str, tuple[float, float]]
"""Least and greatest value by tensor name, in the tensor's own unit."""


def take_ranges(
    graph: bytes, crops: np.ndarray, method: str = "minmax", progress: Callable[[int], None] = lambda done: None
) -> Ranges:
    """Run a float file over calibration crops and return the range of every tensor that may be quantized.

    A tensor is looked at as the runtime computes it, so after the activation that is fused into its operator.

    Args:
        graph: a float TFLite file of `to_tflite`.
        crops: `(N, S, S, 3)` uint8 RGB, none of them used for choosing or reporting.
        method: `minmax`; `percentile`, which cuts off 0.01% of the values, half of it on either side; `mse`, the range
            whose 256 steps are nearest to the values in the mean square.
        progress: called with the number of crops done; there are two rounds for all but `minmax`.

    Raises:
        InputError: the method is unknown, there are no crops, or the file does not run on them.

    Source of `mse`: Nagel et al. 2021, A White Paper on Neural Network Quantization (section 3.1).
    """
    if method not in METHODS:
        raise InputError(f'method "{method}": choose {", ".join(METHODS)}')
    if not len(crops):
        raise InputError("no calibration pictures")
    found: Ranges = {}
    for index, values in enumerate(_activations(graph, crops)):
        for name, value in values.items():
            low, high = found.get(name, (np.inf, -np.inf))
            least, greatest = _extremes(value)
            found[name] = min(low, least), max(high, greatest)
        progress(index + 1)
    if method != "minmax":
        counts = {name: np.zeros(BINS, np.int64) for name in found}
        for index, values in enumerate(_activations(graph, crops)):
            for name, value in values.items():
                counts[name] += np.histogram(value, BINS, found[name])[0]
            progress(len(crops) + index + 1)
        cut = _percentile if method == "percentile" else _least_error
        found = {name: cut(counts[name], *found[name]) for name in found}
    return found


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


def _extremes(value: np.ndarray) -> tuple[float, float]:
    """Return the least and the greatest value; the minus infinity that a maximum is padded with is none."""
    if value.min() < -INFINITE:
        value = value[value > -INFINITE]
    return float(value.min()), float(value.max())


def _percentile(counts: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return the range that holds `PERCENTILE` of the values, as much cut off below as above."""
    share = np.cumsum(counts) / counts.sum()
    cut = (1 - PERCENTILE / 100) / 2
    edges = np.linspace(low, high, BINS + 1)
    return float(edges[np.searchsorted(share, cut)]), float(edges[1 + np.searchsorted(share, 1 - cut)])


def _least_error(counts: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return the range whose 256 steps leave the least squared error, each end tried from its whole length down."""
    edges = np.linspace(low, high, BINS + 1)
    values, low, high = (edges[1:] + edges[:-1]) / 2, min(low, 0.0), max(high, 0.0)
    best, chosen = np.inf, (low, high)
    for below in SHARES if low < 0 else SHARES[:1]:
        for above in SHARES if high > 0 else SHARES[:1]:
            step = (high * above - low * below) / 255 or 1.0
            first = np.rint(low * below / step)
            error = float(np.square(np.clip(np.rint(values / step), first, first + 255) * step - values) @ counts)
            if error < best:
                best, chosen = error, (low * below, high * above)
    return chosen
