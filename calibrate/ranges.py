"""Ranges of a float graph's tensors over calibration crops: what int8 spreads its 256 steps over.

They are taken once, from the ONNX graph, and serve both formats (`calibrate.tflite_ranges` carries them over): two
files on one grid round alike. ONNX Runtime's own calibration is not used: its histograms lie symmetric about zero,
which costs a tensor that is not up to half of its steps, and its entropy begins with as many bins as it ends with, so
that it never cuts anything off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from calibrate.onnx_int8 import Ranges
from calibrate.repair.stream import Stream
from edge.errors import InputError

INFINITE = 3e38
"""What stands for infinity in a float32 pad: a maximum is padded with minus so much, which is no value of a tensor."""

METHODS = ("minmax", "entropy", "percentile", "mse")
"""Ways to take a range: whole; so that little information is lost; so that little is cut off; or least squares."""

PERCENTILE = 99.99

BINS = 2048

LEVELS = 256

SHARES = np.linspace(1.0, 0.3, 29)
"""Parts of a range's end that `entropy` and `mse` try."""

Progress = Callable[[int, int], None]
"""Called with how many crops are done, each counted twice, and of how many."""


@dataclass(frozen=True)
class Seen:
    """What was seen of each tensor over some crops.

    Attributes:
        whole: least and greatest value by tensor.
        counts: `(BINS,)` int64 by tensor: how many values lie in each of as many equal parts of the whole range.
    """

    whole: Mapping[str, tuple[float, float]]
    counts: Mapping[str, np.ndarray]

    def ranges(self, method: str) -> Ranges:
        """Return the range of every tensor.

        Args:
            method: `minmax`; `entropy`, the range whose 256 levels tell most of how the values are distributed;
                `percentile`, which cuts off 0.01 % of the values, half of it on either side; `mse`, the range whose
                256 levels are nearest to the values in the mean square.

        Raises:
            InputError: the method is unknown.

        Sources: Migacz 2017, 8-bit Inference with TensorRT (entropy); Nagel et al. 2021, A White Paper on Neural
        Network Quantization, section 3.1 (mse).
        """
        if method not in METHODS:
            raise InputError(f'method "{method}": choose {", ".join(METHODS)}')
        if method == "minmax":
            return dict(self.whole)
        cut = {"entropy": _least_told, "percentile": _percentile, "mse": _least_error}[method]
        return {name: cut(self.counts[name], *self.whole[name]) for name in self.whole}


def watch(prepared: onnx.ModelProto, crops: np.ndarray, progress: Progress = lambda done, of: None) -> Seen:
    """Run a float graph over crops and see what its tensors are.

    Args:
        prepared: as `calibrate.onnx_int8.prepare` returns it.
        crops: `(N, S, S, 3)` uint8 RGB, none of them used for choosing or reporting.
        progress: see `Progress`.

    Raises:
        InputError: there are no crops.
    """
    if not len(crops):
        raise InputError("no calibration pictures")
    stream, names = Stream(prepared, crops), _floats(prepared, crops)
    whole: Ranges = {}
    counts = {name: np.zeros(BINS, np.int64) for name in names}
    done = 0
    for batch in stream.batches(names):
        for name, values in zip(names, batch, strict=True):
            whole[name] = reached(values, whole.get(name))
        done += len(batch[0])
        progress(done, 2 * len(crops))
    for batch in stream.batches(names):
        for name, values in zip(names, batch, strict=True):
            counts[name] += _histogram(values, *whole[name])
        done += len(batch[0])
        progress(done, 2 * len(crops))
    return Seen(whole, counts)


def take_ranges(
    prepared: onnx.ModelProto, crops: np.ndarray, method: str, progress: Progress = lambda done, of: None
) -> Ranges:
    """Return the range of every tensor over crops; see `watch` and `Seen.ranges`."""
    if method not in METHODS:
        raise InputError(f'method "{method}": choose {", ".join(METHODS)}')
    return watch(prepared, crops, progress).ranges(method)


def reached(values: np.ndarray, before: tuple[float, float] | None = None) -> tuple[float, float]:
    """Return the least and the greatest of a tensor's values, and of what was reached before."""
    finite = _finite(values)
    low, high = before or (np.inf, -np.inf)
    return min(low, float(finite.min())), max(high, float(finite.max()))


def _finite(values: np.ndarray) -> np.ndarray:
    return values if values.min() >= -INFINITE else values[values > -INFINITE]


def _floats(prepared: onnx.ModelProto, crops: np.ndarray) -> list[str]:
    """Return the names of the float tensors that follow from the picture."""
    stream = Stream(prepared, crops[:1])
    names = [name for node in prepared.graph.node for name in node.output if name and stream.varies(name)]
    values = next(stream.batches(names))
    return [name for name, value in zip(names, values, strict=True) if value.dtype == np.float32]


def _histogram(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return how many values lie in each of `BINS` equal parts of a range."""
    scale = BINS / (high - low) if high > low else 0.0
    above = (_finite(values).ravel() - np.float32(low)) * np.float32(scale)
    places = np.minimum(above, BINS - 1).astype(np.int32)
    return np.bincount(np.maximum(places, 0, out=places), minlength=BINS)


def _percentile(counts: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return the range that holds `PERCENTILE` of the values, as much cut off below as above."""
    share = np.cumsum(counts) / counts.sum()
    cut = (1 - PERCENTILE / 100) / 2
    edges = np.linspace(low, high, BINS + 1)
    return float(edges[np.searchsorted(share, cut)]), float(edges[1 + np.searchsorted(share, 1 - cut)])


def _least_error(counts: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return the range whose levels leave the least squared error."""
    values = _middles(low, high)

    def harm(low: float, high: float) -> float:
        step = (high - low) / (LEVELS - 1)
        first = np.rint(low / step)
        rounded = np.clip(np.rint(values / step), first, first + LEVELS - 1) * step
        return float(np.square(rounded - values) @ counts)

    return _least(harm, low, high)


def _least_told(counts: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Return the range whose levels, each spread over the values it stands for, diverge least from the values.

    Zeros are left out: a level says them exactly, and a Relu makes so many that nothing else would count.
    """
    values, zero = _middles(low, high), int(np.clip(-low / (high - low or 1.0) * BINS, 0, BINS - 1))
    counts = np.where(np.arange(BINS) == zero, 0, counts)
    some, total = counts > 0, max(counts.sum(), 1)

    def harm(low: float, high: float) -> float:
        step = (high - low) / (LEVELS - 1)
        inside = some & (values >= low - step / 2) & (values <= high + step / 2)
        within = np.flatnonzero(inside)
        if not len(within):
            return np.inf
        # What lies outside is said by the outermost value inside: P has it there, Q does not know of it.
        given = counts[within].astype(np.float64)
        given[0] += counts[: within[0]].sum()
        given[-1] += counts[within[-1] + 1 :].sum()
        level = np.rint((values[within] - low) / step).astype(int)
        sums, members = np.bincount(level, counts[within]), np.bincount(level)
        said = (sums / np.maximum(members, 1))[level]
        said /= said.sum()
        given /= total
        return float(given @ np.log(given / said))

    return _least(harm, low, high)


def _least(harm: Callable[[float, float], float], low: float, high: float) -> tuple[float, float]:
    """Return the range of least harm, each end tried from its whole length down to `SHARES[-1]` of it."""
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return low, high
    lows = low * (SHARES if low < 0 else SHARES[:1])
    highs = high * (SHARES if high > 0 else SHARES[:1])
    return min(((float(a), float(b)) for a in lows for b in highs), key=lambda ends: harm(*ends))


def _middles(low: float, high: float) -> np.ndarray:
    edges = np.linspace(low, high, BINS + 1)
    return (edges[1:] + edges[:-1]) / 2
