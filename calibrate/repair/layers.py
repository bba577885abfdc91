"""The layers of a prepared float graph: those that multiply by weights, what follows each, and how to change them.

Reading and changing only; nothing here runs a graph (see `calibrate.repair.stream`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

ALONE = ("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Tanh", "HardSwish", "Sigmoid", "HardSigmoid", "Mish", "Gelu")
"""Activations that are one node."""

GATES = ("Sigmoid", "HardSigmoid")
"""Activations that are a gate times what it was made from: SiLU and hard-swish as exporters and ORT write them."""


@dataclass(frozen=True)
class WeightLayer:
    """A node with constant weights: Conv, Gemm or MatMul.

    Attributes:
        node: the node's name.
        op: `Conv`, `Gemm` or `MatMul`.
        weight: name of its weights' initializer, float32.
        bias: name of its bias's initializer, `(O,)` float32, or None where it has none.
        shape: of the weights.
        axis: which of their axes is the output channel.
        group: number of groups of a convolution, else 1.
        input: tensor that it multiplies.
        output: tensor that it gives, its own bias included.
        activation: tensors that the nodes of its activation give, in order; empty for none.
    """

    node: str
    op: str
    weight: str
    bias: str | None
    shape: tuple[int, ...]
    axis: int
    group: int
    input: str
    output: str
    activation: tuple[str, ...]

    @property
    def activated(self) -> str:
        """The tensor after the activation."""
        return self.activation[-1] if self.activation else self.output

    @property
    def channels(self) -> int:
        """How many output channels it has."""
        return self.shape[self.axis]

    @property
    def channel_axis(self) -> int:
        """Which axis of its output is the channel."""
        return 1 if self.op == "Conv" else -1


def weight_layers(model: onnx.ModelProto) -> tuple[WeightLayer, ...]:
    """Return the layers of a prepared graph in the order they run.

    A layer whose weights another node uses too is left out, because it cannot be changed alone.
    """
    graph = Graph(model)
    found = []
    for node in model.graph.node:
        weight = graph.initializers.get(node.input[1]) if node.op_type in ("Conv", "Gemm", "MatMul") else None
        if weight is None or len(graph.users[node.input[1]]) > 1 or weight.data_type != onnx.TensorProto.FLOAT:
            continue
        options = attributes(node)
        if node.op_type == "Gemm" and (options.get("alpha", 1.0), options.get("beta", 1.0)) != (1.0, 1.0):
            continue
        if node.op_type == "Gemm" and options.get("transA", 0):
            continue
        bias = node.input[2] if len(node.input) > 2 and node.input[2] in graph.initializers else None
        if node.op_type == "MatMul" and len(weight.dims) != 2:
            continue
        transposed = node.op_type == "Conv" or bool(options.get("transB", 0))
        found.append(
            WeightLayer(
                node.name, node.op_type, node.input[1], bias if bias and len(graph.users[bias]) == 1 else None,
                tuple(weight.dims), 0 if transposed else 1, int(options.get("group", 1)), node.input[0],
                node.output[0], graph.activation(node.output[0]),
            )
        )  # fmt: skip
    return tuple(found)


class Graph:
    """Who makes and who uses each tensor of a model."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.initializers = {each.name: each for each in model.graph.initializer}
        self.outputs = {each.name for each in model.graph.output}
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.users.setdefault(name, []).append(node)

    def only_user(self, tensor: str) -> onnx.NodeProto | None:
        """Return the node that alone uses a tensor, or None where there are several, or the world sees it."""
        users = self.users.get(tensor, [])
        return users[0] if len(users) == 1 and tensor not in self.outputs else None

    def activation(self, tensor: str) -> tuple[str, ...]:
        """Return what the nodes give that activate a tensor, in order; nothing where none do."""
        user = self.only_user(tensor)
        if user is not None and user.op_type in ALONE and user.input[0] == tensor:
            return (user.output[0],)
        users = self.users.get(tensor, [])
        if len(users) == 2 and tensor not in self.outputs:
            gates = [each for each in users if each.op_type in GATES]
            products = [each for each in users if each.op_type == "Mul"]
            if gates and products and self.only_user(gates[0].output[0]) is products[0]:
                return gates[0].output[0], products[0].output[0]
        return ()


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes by name."""
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def array(model: onnx.ModelProto, name: str) -> np.ndarray:
    """Return an initializer's values.

    Raises:
        KeyError: there is none of that name.
    """
    for each in model.graph.initializer:
        if each.name == name:
            return np.array(numpy_helper.to_array(each))
    raise KeyError(name)


def with_arrays(model: onnx.ModelProto, arrays: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Return a copy of a model with other values in some initializers, of the same shapes and types."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for each in changed.graph.initializer:
        if each.name in arrays:
            values = arrays[each.name].astype(onnx.helper.tensor_dtype_to_np_dtype(each.data_type))
            assert values.shape == tuple(each.dims)
            each.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), each.name))
    return changed


def with_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which every Conv and Gemm layer has a bias: zeros, named after the node, where it had none."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    bare = {each.node: each for each in weight_layers(model) if each.bias is None and each.op != "MatMul"}
    for node in changed.graph.node:
        if node.name in bare and len(node.input) == 2:
            name = f"{node.name}.bias"
            node.input.append(name)
            changed.graph.initializer.append(
                numpy_helper.from_array(np.zeros(bare[node.name].channels, np.float32), name)
            )
    return changed


def per_channel(values: np.ndarray, layer: WeightLayer) -> np.ndarray:
    """Return `(O,)` values shaped so that they multiply a layer's weights, output channel by output channel."""
    shape = [1] * len(layer.shape)
    shape[layer.axis] = layer.channels
    return values.reshape(shape)


def rows(weights: np.ndarray, layer: WeightLayer) -> np.ndarray:
    """Return a layer's weights as `(O, everything else)`."""
    return np.moveaxis(weights, layer.axis, 0).reshape(layer.channels, -1)
