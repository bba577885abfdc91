"""What a QDQ graph rounds to: the integers and step sizes of weights, and the step sizes of activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from calibrate.repair.layers import WeightLayer, per_channel

LARGEST = 127
"""Greatest size of an int8 weight: the quantizer's weights are symmetric."""


@dataclass(frozen=True)
class Steps:
    """How an activation is rounded: `value = (integer - zero) * size`.

    Attributes:
        size: scalar float32, in the tensor's unit.
        zero: scalar, the integer that stands for 0, in the integers' own dtype.
    """

    size: np.ndarray
    zero: np.ndarray

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest value that it can say."""
        kind, zero, size = np.iinfo(self.zero.dtype), int(self.zero), float(self.size)
        return (kind.min - zero) * size, (kind.max - zero) * size


class Rounding:
    """How a QDQ graph rounds, read from the graph itself, so that nobody guesses what the quantizer does."""

    def __init__(self, quantized: onnx.ModelProto) -> None:
        self._held = {each.name: each for each in quantized.graph.initializer}
        self._makers = {name: node for node in quantized.graph.node for name in node.output}
        self._nodes = {node.name: node for node in quantized.graph.node}
        self._rounds = {n.input[0]: n for n in quantized.graph.node if n.op_type == "QuantizeLinear"}

    def tensor(self, name: str) -> Steps | None:
        """Return how a tensor of that name is rounded, or None where it is not."""
        return self._steps(self._rounds.get(name))

    def input(self, layer: WeightLayer) -> Steps | None:
        """Return how a layer's input is rounded, or None where it is not."""
        node = self._nodes.get(layer.node)
        maker = self._makers.get(node.input[0]) if node is not None else None
        return self._steps(maker if maker is not None and maker.op_type == "DequantizeLinear" else None)

    def weight(self, layer: WeightLayer) -> tuple[np.ndarray, np.ndarray] | None:
        """Return a layer's weights as int8 and their float64 step sizes, or None where they stayed float.

        The step sizes are shaped to multiply the weights: `(O, 1, 1, 1)` for a convolution.
        """
        node = self._nodes.get(layer.node)
        maker = self._makers.get(node.input[1]) if node is not None else None
        if maker is None or maker.op_type != "DequantizeLinear":
            return None
        integers, sizes = self._array(maker.input[0]), self._array(maker.input[1]).astype(np.float64)
        return integers, per_channel(np.broadcast_to(sizes, (layer.channels,)).copy(), layer)

    def _steps(self, node: onnx.NodeProto | None) -> Steps | None:
        return None if node is None else Steps(self._array(node.input[1]), self._array(node.input[2]))

    def _array(self, name: str) -> np.ndarray:
        return np.array(numpy_helper.to_array(self._held[name]))
