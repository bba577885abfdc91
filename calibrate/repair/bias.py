"""Bias correction: each layer's bias takes up what rounding moved its mean by.

Rounded weights and inputs do not only add noise to a layer's output; they move the mean of each channel, and every
later layer moves on with it. The move is measured on crops and taken off the bias, layer after layer, each one with
everything before it already rounded and corrected, so that a layer answers for its own move and for what is left of the
others'.

Sources: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction (empirical form);
Finkelstein et al. 2019, Fighting Quantization Bias With Bias.
"""

from __future__ import annotations

import numpy as np
import onnx

from calibrate.onnx_int8 import Ranges, Settings, quantize
from calibrate.repair.layers import array, weight_layers, with_arrays, with_biases
from calibrate.repair.stream import Progress, Stream, channel_means, unseen


def correct_bias(
    prepared: onnx.ModelProto, ranges: Ranges, settings: Settings, crops: np.ndarray, progress: Progress = unseen
) -> onnx.ModelProto:
    """Return the float graph with biases that suit its int8 form.

    Layers that stay float are corrected too: what the layers before moved ends there. A Conv or Gemm without a bias
    gets one.

    Args:
        prepared: a float graph as `calibrate.onnx_int8.prepare` returns it, not repaired for rounding yet: its answers
            are what is wanted.
        ranges: of its tensors; they still fit afterwards.
        settings: how it will be quantized.
        crops: `(N, S, S, 3)` uint8 RGB, calibration pictures; a few hundred are enough for means.
        progress: called with layers done, float and rounded counted apart.
    """
    graph = with_biases(prepared)
    layers = weight_layers(graph)
    aims = channel_means(prepared, layers, crops, lambda done, of: progress(done, 2 * of))
    stream = Stream(quantize(graph, ranges, settings), crops)
    waiting = {each.node for each in layers}
    biases: dict[str, np.ndarray] = {}
    for index, layer in enumerate(layers):
        stream.advance(waiting)
        if layer.bias is not None:
            moved = stream.channel_mean(stream.node(layer.node).output[0], layer.channel_axis) - aims[layer.node]
            biases[layer.bias] = (array(graph, layer.bias) - moved).astype(np.float32)
            stream.set_bias(layer.node, biases[layer.bias])
        waiting.remove(layer.node)
        progress(len(layers) + index + 1, 2 * len(layers))
    return with_arrays(graph, biases)
