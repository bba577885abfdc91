"""What a layer multiplies and what comes of it, as matrices: patches of its input beside the outputs there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx

from calibrate.repair.layers import WeightLayer, attributes

PLACES = 64
"""How many places of a crop's map are looked at, at most."""


def covariances(
    layer: WeightLayer, node: onnx.NodeProto, pairs: Iterable[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return how a layer's inputs vary together, and with the outputs that are wanted of them.

    Args:
        layer: the layer; a convolution over two axes with pads in numbers, or a matrix product.
        node: its node.
        pairs: float inputs and wanted outputs, a few crops at a time.
        rng: draws the places of each map.

    Returns:
        `(G, K, K)` float64, the covariance of the K numbers that each output of a group adds up, and `(G, O / G, K)`
        float64, that of the outputs with those.
    """
    window = Window.of(layer, node)
    count, together, across, inputs, outputs = 0, *(np.zeros(()) for _ in range(4))
    for given, wanted in pairs:
        x, y = window.cut(given, wanted, rng)  # (G, K, n) and (G, O / G, n)
        count += x.shape[2]
        together = together + x @ x.transpose(0, 2, 1)
        across = across + y @ x.transpose(0, 2, 1)
        inputs, outputs = inputs + x.sum(axis=2), outputs + y.sum(axis=2)
    inputs, outputs = inputs / count, outputs / count
    return (
        together / count - inputs[:, :, None] * inputs[:, None],
        across / count - outputs[:, :, None] * inputs[:, None],
    )


@dataclass(frozen=True)
class Window:
    """What of its input a layer adds up for one output.

    Attributes:
        group: groups of channels that do not meet.
        kernel: height and width; None for a matrix product.
        strides, dilations: of a convolution, down and right.
        pads: zeros above, left, below and right.
    """

    group: int
    kernel: tuple[int, int] | None
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    @classmethod
    def of(cls, layer: WeightLayer, node: onnx.NodeProto) -> Window:
        """Return a layer's window."""
        if layer.op != "Conv":
            return cls(1, None)
        options = attributes(node)
        return cls(
            layer.group, (layer.shape[2], layer.shape[3]), tuple(options.get("strides", (1, 1))),
            tuple(options.get("dilations", (1, 1))), tuple(options.get("pads", (0, 0, 0, 0))),
        )  # fmt: skip

    def cut(self, given: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return `(G, K, n)` and `(G, O / G, n)` float64 at random places, the same ones in every crop of the batch."""
        if self.kernel is None:
            rows, answers = (each.reshape(-1, each.shape[-1]).T[None].astype(np.float64) for each in (given, wanted))
            return rows, answers
        count, channels = given.shape[:2]
        height, width = wanted.shape[2:]
        places = rng.choice(height * width, min(PLACES, height * width), replace=False)
        down, right = np.divmod(places, width)
        outputs = wanted[:, :, down, right].reshape(count, self.group, -1, len(places))
        top, left, bottom, far = self.pads
        padded = np.pad(given, ((0, 0), (0, 0), (top, bottom), (left, far)))
        down, right = down * self.strides[0], right * self.strides[1]
        taps = [
            padded[:, :, down + i * self.dilations[0], right + j * self.dilations[1]]
            for i in range(self.kernel[0]) for j in range(self.kernel[1])
        ]  # fmt: skip
        patches = np.stack(taps, axis=2)  # (N, C, kh * kw, P)
        patches = patches.reshape(count, self.group, channels // self.group * len(taps), -1)
        return _joined(patches), _joined(outputs)


def _joined(values: np.ndarray) -> np.ndarray:
    """Turn `(N, G, K, P)` into `(G, K, N * P)` float64."""
    moved = values.transpose(1, 2, 0, 3)
    return moved.reshape(*moved.shape[:2], -1).astype(np.float64)
