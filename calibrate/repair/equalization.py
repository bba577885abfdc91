"""Cross-layer equalization: the channels between layers are scaled so that one step size suits them all.

A channel may be divided by a number where it is written and multiplied by it where it is read, if everything between
passes a positive factor through: nothing, ReLU, pools, and sums of channels that are scaled alike. So a residual stream
with all that writes to it and reads from it is scaled as one.

Clip(0, 6) passes a factor through only where it does not clip, before and after. That is a fact about data, not about
the graph: such channels are scaled only when crops are given, and only those that stay clear of the limit on every one.

Source: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from calibrate.onnx_int8 import head
from calibrate.repair.layers import Graph, WeightLayer, array, attributes, per_channel, rows, weight_layers, with_arrays
from calibrate.repair.stream import Progress, Stream, unseen

PASSING = ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Identity", "Dropout")

SWEEPS = 30

STILL = 1e-3
"""No factor further from 1 than this: equalized."""

MARGIN = 1.5
"""How far below its limit the greatest value of a clipped channel must lie, as a factor."""


@dataclass
class _Channels:
    """Tensors whose channels can only be scaled together, with who writes and who reads them.

    Attributes:
        writers: layers whose outputs they are.
        readers: layers whose inputs they are.
        clips: input and upper limit of each Clip on the way.
        free: whether nothing else looks at them.
        top: `(C,)` greatest share of its limit that each channel reaches before a Clip; 0 without one.
    """

    writers: list[WeightLayer] = field(default_factory=list)
    readers: list[WeightLayer] = field(default_factory=list)
    clips: list[tuple[str, float]] = field(default_factory=list)
    free: bool = True
    top: np.ndarray = field(default_factory=lambda: np.zeros(0))


def equalize(
    prepared: onnx.ModelProto, crops: np.ndarray | None = None, progress: Progress = unseen
) -> onnx.ModelProto:
    """Return a float graph of the same answers whose weights need fewer step sizes; take its ranges anew.

    The classifier, which stays float, is left as it is.

    Args:
        prepared: a float graph as `calibrate.onnx_int8.prepare` returns it.
        crops: `(N, S, S, 3)` uint8 RGB, to see which channels a Clip does not clip; without them those are left alone.
        progress: called with sweeps done.
    """
    layers = [each for each in weight_layers(prepared) if each.node not in head(prepared)]
    groups = [each for each in _groups(prepared, layers) if each.free and each.writers and each.readers]
    if crops is None or not len(crops):
        groups = [each for each in groups if not each.clips]
    else:
        _look_at_clips(prepared, groups, crops)
    weights = {each.weight: array(prepared, each.weight).astype(np.float64) for each in layers}
    biases = {each.bias: array(prepared, each.bias).astype(np.float64) for each in layers if each.bias}
    for sweep in range(SWEEPS):
        moved = 0.0
        for group in groups:
            factors = _factors(group, weights)
            for writer in group.writers:
                weights[writer.weight] /= per_channel(factors, writer)
                if writer.bias:
                    biases[writer.bias] /= factors
            for reader in group.readers:
                weights[reader.weight] *= _spread(factors, reader)
            if len(group.top):
                group.top = group.top / factors
            moved = max(moved, float(np.abs(np.log(factors)).max()))
        progress(sweep + 1, SWEEPS)
        if moved < STILL:
            progress(SWEEPS, SWEEPS)
            break
    return with_arrays(prepared, weights | biases)


def _factors(group: _Channels, weights: dict[str, np.ndarray]) -> np.ndarray:
    """Return `(C,)` what each channel is divided by where it is written."""
    written = np.max([_relative(_written_range(weights[each.weight], each)) for each in group.writers], axis=0)
    read = np.max([_relative(_read_range(weights[each.weight], each)) for each in group.readers], axis=0)
    factors = np.sqrt(np.where((written > 0) & (read > 0), written / np.where(read > 0, read, 1.0), 1.0))
    if len(group.top):
        factors = np.where(group.top > 1 / MARGIN, 1.0, np.maximum(factors, group.top * MARGIN))
    return np.asarray(factors)


def _relative(ranges: np.ndarray) -> np.ndarray:
    return ranges / max(float(ranges.max()), 1e-30)


def _written_range(weights: np.ndarray, layer: WeightLayer) -> np.ndarray:
    """Return `(O,)`: the greatest weight of each output channel."""
    return np.asarray(np.abs(rows(weights, layer)).max(axis=1))


def _read_range(weights: np.ndarray, layer: WeightLayer) -> np.ndarray:
    """Return `(I,)`: the greatest weight that each input channel meets."""
    if layer.op != "Conv":
        return np.asarray(np.abs(weights).max(axis=layer.axis))
    grouped = weights.reshape(layer.group, layer.channels // layer.group, layer.shape[1], -1)  # (G, O/G, I/G, k)
    return np.asarray(np.abs(grouped).max(axis=(1, 3)).reshape(-1))


def _spread(factors: np.ndarray, layer: WeightLayer) -> np.ndarray:
    """Return `(I,)` factors shaped so that they multiply a layer's weights by input channel."""
    if layer.op != "Conv":
        return factors[:, None] if layer.axis else factors[None]
    each = np.repeat(factors.reshape(layer.group, -1), layer.channels // layer.group, axis=0)  # (O, I/G)
    return each.reshape(*each.shape, *[1] * (len(layer.shape) - 2))


def _groups(model: onnx.ModelProto, layers: list[WeightLayer]) -> list[_Channels]:
    """Return the sets of tensors that are scaled together."""
    graph = Graph(model)
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while parents.setdefault(name, name) != name:
            name = parents[name]
        return name

    known = {each.node: each for each in layers}
    loose: set[str] = {*graph.outputs, *(each.name for each in model.graph.input)}
    clips: list[tuple[str, float]] = []
    for node in model.graph.node:
        tensors = [name for name in node.input if name not in graph.initializers and name]
        constant = len(tensors) < len(node.input)
        if node.name in known:
            continue
        if node.op_type in PASSING or _averages_places(node, model) or (node.op_type == "Add" and not constant):
            joined = [*tensors, node.output[0]]
        elif node.op_type == "Clip" and (limit := _upper_limit(node, graph)) is not None:
            joined = [tensors[0], node.output[0]]
            clips += [(tensors[0], limit)] if np.isfinite(limit) else []
        else:
            loose.update([*tensors, *node.output])
            continue
        for name in joined[1:]:
            parents[root(name)] = root(joined[0])
    groups: dict[str, _Channels] = {}
    for layer in layers:
        groups.setdefault(root(layer.output), _Channels()).writers.append(layer)
        groups.setdefault(root(layer.input), _Channels()).readers.append(layer)
    for name, limit in clips:
        groups.setdefault(root(name), _Channels()).clips.append((name, limit))
    for name in loose:
        groups.setdefault(root(name), _Channels()).free = False
    return list(groups.values())


def _averages_places(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Return whether a node takes the mean over height and width."""
    if node.op_type != "ReduceMean":
        return False
    axes = attributes(node).get("axes")
    if axes is None and len(node.input) > 1:
        axes = next((array(model, each.name) for each in model.graph.initializer if each.name == node.input[1]), None)
    return axes is not None and sorted(int(each) for each in axes) in ([2, 3], [-2, -1])


def _upper_limit(node: onnx.NodeProto, graph: Graph) -> float | None:
    """Return the upper limit of a Clip from 0, or None for another one."""
    limits = [-np.inf, np.inf]
    for index, name in enumerate(node.input[1:3]):
        if name and name not in graph.initializers:
            return None
        if name:
            limits[index] = float(np.ravel(onnx.numpy_helper.to_array(graph.initializers[name]))[0])
    return limits[1] if limits[0] == 0 and limits[1] > 0 else None


def _look_at_clips(model: onnx.ModelProto, groups: list[_Channels], crops: np.ndarray) -> None:
    """See on crops how near to its limit each channel comes, in every group with Clips."""
    tensors = {name: (group, limit) for group in groups for name, limit in group.clips}
    if not tensors:
        return
    for batch in Stream(model, crops).batches(list(tensors)):
        for (group, limit), values in zip(tensors.values(), batch, strict=True):
            top = np.maximum(values.max(axis=(0, *range(2, values.ndim))) / limit, 0.0)
            group.top = np.maximum(group.top, top) if len(group.top) else top
