"""Which layers suffer: each one alone made int8, weights, input and output, in an otherwise float graph.

Signal to noise is taken at the layer's own output, the harm at the end of the network. Everything before the layer is
computed once (see `calibrate.repair.stream`); only what follows it runs again for each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from calibrate.evidence import Layer
from calibrate.onnx_int8 import Ranges, Settings, quantize
from calibrate.repair.grid import Rounding, Steps
from calibrate.repair.layers import WeightLayer, weight_layers
from calibrate.repair.stream import Progress, Stream, unseen
from calibrate.statistics import divergence

BINS = 64

SHOWN = 5
"""How many of the worst layers get a histogram."""

MOST_SHOWN = 100
"""How many crops a histogram is made of, at most."""

FLOAT, ROUGH = "float~", "rough~"
"""What stands before the names of tensors that are computed a second time: as in float, and before rounding."""

BEST = 120.0
"""Signal to noise, in decibels, of a layer without any noise that float32 could show."""


@dataclass
class _Seen:
    """What one layer's run adds up to."""

    signal: float = 0.0
    noise: float = 0.0
    least: float = np.inf
    greatest: float = -np.inf


def sensitivity(
    prepared: onnx.ModelProto, ranges: Ranges, settings: Settings, crops: np.ndarray, targets: np.ndarray,
    progress: Progress = unseen,
) -> list[Layer]:  # fmt: skip
    """Return how much each layer that may become int8 suffers, worst first: by what it does to the final answer.

    Args:
        prepared: a float graph as `calibrate.onnx_int8.prepare` returns it.
        ranges: of its tensors.
        settings: how it will be quantized; layers that it keeps float are measured like the others, and marked.
        crops: `(N, S, S, 3)` uint8 RGB, N at least 1.
        targets: `(N,)` int, their classes.
        progress: called with layers done.
    """
    rounding = Rounding(quantize(prepared, ranges, replace(settings, keep_float=())))
    layers = weight_layers(prepared)
    rounded = [each for each in layers if rounding.weight(each) is not None]
    stream, answer = Stream(prepared, crops), prepared.graph.output[0].name
    parent = np.concatenate([batch[0] for batch in stream.batches([answer])])  # (N, classes)
    waiting = {each.node for each in layers}
    found, extremes = [], {}
    for layer in layers:
        stream.advance(waiting)
        waiting.remove(layer.node)
        if layer not in rounded:
            continue
        seen, answers = _alone(stream, layer, rounding, answer)
        steps = rounding.input(layer)
        low, high = steps.range if steps is not None else (seen.least, seen.greatest)
        extremes[layer.node] = (layer.input, seen.least, seen.greatest)
        found.append(
            Layer(
                layer.node, layer.op, int(np.prod(layer.shape)), _decibels(seen),
                float((answers.argmax(axis=1) == targets).mean()), float(divergence(parent, answers).mean()),
                layer.node in settings.keep_float, low, high,
            )
        )  # fmt: skip
        progress(len(found), len(rounded))
    found.sort(key=lambda each: -each.kl)
    shown = _histograms(prepared, {each.name: extremes[each.name] for each in found[:SHOWN]}, crops)
    return [replace(each, **shown[each.name]) if each.name in shown else each for each in found]


def _alone(stream: Stream, layer: WeightLayer, rounding: Rounding, answer: str) -> tuple[_Seen, np.ndarray]:
    """Run the rest of the graph with one layer int8."""
    node = stream.node(layer.node)
    activation = [stream.maker(name) for name in layer.activation]
    as_rounded = rounded_layer(node, activation, layer, rounding)
    as_float = [_renamed(each, FLOAT, {layer.output, *_made(activation)}) for each in (node, *activation)]
    seen, answers = _Seen(), []
    asked = [layer.input, layer.activated, FLOAT + layer.activated, answer]
    for entered, rough, exact, said in stream.batches(asked, [*as_float, *as_rounded]):
        seen.signal += float(np.square(exact, dtype=np.float64).sum())
        seen.noise += float(np.square(exact - rough, dtype=np.float64).sum())
        seen.least, seen.greatest = min(seen.least, float(entered.min())), max(seen.greatest, float(entered.max()))
        answers.append(said)
    return seen, np.concatenate(answers)


def rounded_layer(
    node: onnx.NodeProto, activation: list[onnx.NodeProto], layer: WeightLayer, rounding: Rounding
) -> list[onnx.NodeProto]:
    """Return what to run instead of a layer and its activation so that it is rounded as in the QDQ graph."""
    nodes = [_copy(node), *(_copy(each) for each in activation)]
    made: list[onnx.NodeProto] = []
    weight = rounding.weight(layer)
    assert weight is not None
    integers, sizes = weight
    made.append(_constant(ROUGH + layer.weight, (integers * sizes).astype(np.float32)))
    nodes[0].input[1] = ROUGH + layer.weight
    if (steps := rounding.input(layer)) is not None:
        made += _rounded(layer.input, ROUGH + "in~" + layer.input, steps)
        nodes[0].input[0] = ROUGH + "in~" + layer.input
    for tensor in dict.fromkeys((layer.output, layer.activated)):
        if (steps := rounding.tensor(tensor)) is not None:
            maker = next(each for each in nodes if tensor in each.output)
            maker.output[0] = ROUGH + tensor
            made += _rounded(ROUGH + tensor, tensor, steps)
    return [*made, *nodes]


def _rounded(given: str, made: str, steps: Steps) -> list[onnx.NodeProto]:
    """Return nodes that round a tensor to integers and back."""
    size, zero, integers = f"{made}~size", f"{made}~zero", f"{made}~integers"
    return [
        _constant(size, steps.size), _constant(zero, steps.zero),
        helper.make_node("QuantizeLinear", [given, size, zero], [integers]),
        helper.make_node("DequantizeLinear", [integers, size, zero], [made]),
    ]  # fmt: skip


def _constant(name: str, values: np.ndarray) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.ascontiguousarray(values), name))


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    return made


def _made(nodes: list[onnx.NodeProto]) -> set[str]:
    return {name for node in nodes for name in node.output}


def _renamed(node: onnx.NodeProto, prefix: str, tensors: set[str]) -> onnx.NodeProto:
    """Return a copy of a node that reads and writes some tensors under other names."""
    made = _copy(node)
    made.name = ""
    made.input[:] = [prefix + name if name in tensors else name for name in node.input]
    made.output[:] = [prefix + name for name in node.output]
    return made


def _decibels(seen: _Seen) -> float:
    if seen.noise <= 0 or seen.signal <= 0:
        return BEST if seen.noise <= 0 else 0.0
    return float(min(10 * np.log10(seen.signal / seen.noise), BEST))


def _histograms(
    model: onnx.ModelProto, extremes: dict[str, tuple[str, float, float]], crops: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Return `edges` and `counts` by node, of some layers' inputs over some of the crops."""
    if not extremes:
        return {}
    some = crops[:: max(1, -(-len(crops) // MOST_SHOWN))]
    tensors = [tensor for tensor, _, _ in extremes.values()]
    counts = [np.zeros(BINS, np.int64) for _ in tensors]
    limits = [(low, high if high > low else low + 1.0) for _, low, high in extremes.values()]
    for batch in Stream(model, some).batches(tensors):
        for index, values in enumerate(batch):
            held = np.clip(values, *limits[index])  # another run may end in another last digit
            counts[index] += np.histogram(held, BINS, limits[index])[0]
    return {
        name: {"edges": tuple(np.linspace(*limit, BINS + 1).tolist()), "counts": tuple(count.tolist())}
        for name, limit, count in zip(extremes, limits, counts, strict=True)
    }
