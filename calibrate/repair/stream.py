"""Runs a graph piece by piece over many crops: what is asked for is computed from what is already there.

A repair that goes layer after layer needs what comes into a layer when everything before it is done. To run the whole
front of the graph for each layer is quadratic; here the tensors at the cut are kept (as integers where the graph has
them so) and only the piece up to what is asked for runs. No tensor but those at the cut is held for all crops.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from calibrate.repair.layers import WeightLayer

Progress = Callable[[int, int], None]
"""Called with how much is done, and of how much."""

BATCH = 8


def unseen(done: int, of: int) -> None:
    """Progress that nobody looks at."""


class Stream:
    """A float or QDQ graph on its way over the same crops.

    QDQ graphs are simulated: quantize, dequantize, float between. That is what integer kernels compute but for the
    order of sums, and it says the same on every processor.

    Args:
        model: the graph; it is left as it is.
        crops: `(N, S, S, 3)` uint8 RGB, N at least 1.
    """

    def __init__(self, model: onnx.ModelProto, crops: np.ndarray) -> None:
        self.kept: dict[str, np.ndarray] = {model.graph.input[0].name: crops}
        self._count = len(crops)
        self._outputs = [each.name for each in model.graph.output]
        self._head = model
        self._initializers = {each.name: each for each in model.graph.initializer}
        self._nodes = list(model.graph.node)
        self._makers = {name: node for node in self._nodes for name in node.output}
        self._fixed = set(self._initializers) | {""}  # what does not depend on the crops
        self._ready = {model.graph.input[0].name}
        for node in (order := self._sorted()):
            if all(name in self._fixed for name in node.input):
                self._fixed.update(node.output)
        self._nodes = order

    def node(self, name: str) -> onnx.NodeProto:
        """Return a node by its name."""
        return next(each for each in self._nodes if each.name == name)

    def maker(self, tensor: str) -> onnx.NodeProto:
        """Return the node that gives a tensor."""
        return self._makers[tensor]

    def varies(self, tensor: str) -> bool:
        """Return whether a tensor depends on the crops."""
        return tensor not in self._fixed

    def set_bias(self, node: str, values: np.ndarray) -> None:
        """Give a node a float bias, `(O,)`, for everything that runs from now on."""
        changed = onnx.NodeProto()
        changed.CopyFrom(self.node(node))
        name = f"{node}.given"
        changed.input[:] = [*changed.input[:2], name]
        self._give(changed, name, values)

    def set_weight(self, node: str, values: np.ndarray) -> None:
        """Give a node float weights of the same shape, for everything that runs from now on."""
        changed = onnx.NodeProto()
        changed.CopyFrom(self.node(node))
        name = f"{node}.weighed"
        changed.input[1] = name
        self._give(changed, name, values)

    def _give(self, changed: onnx.NodeProto, name: str, values: np.ndarray) -> None:
        self._initializers[name] = numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name)
        self._fixed.add(name)
        self._nodes = [changed if each.name == changed.name else each for each in self._nodes]
        self._makers.update(dict.fromkeys(changed.output, changed))

    def batches(self, tensors: Sequence[str], extra: Sequence[onnx.NodeProto] = ()) -> Iterator[list[np.ndarray]]:
        """Yield tensors a few crops at a time.

        Args:
            tensors: of the graph or of `extra`, none of them behind the cut.
            extra: nodes to run beside the graph's own, or instead of those that give the same tensors.
        """
        inputs, piece = self._piece(tensors, extra)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.disable_quant_qdq", "1")  # float between, no integer kernels
        session = ort.InferenceSession(piece.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for start in range(0, self._count, BATCH):
            yield session.run(list(tensors), {name: self.kept[name][start : start + BATCH] for name in inputs})

    def channel_mean(self, tensor: str, axis: int) -> np.ndarray:
        """Return `(C,)` float64: a tensor's mean over crops and places for each place on its axis `axis`."""
        total, count = np.zeros(0), 0
        for (values,) in self.batches([tensor]):
            moved = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
            total = moved.sum(axis=1, dtype=np.float64) + (total if count else 0.0)
            count += moved.shape[1]
        return np.asarray(total / count)

    def advance(self, waiting: Collection[str]) -> None:
        """Run every node that can run without the nodes named in `waiting`, and keep what the others will need."""
        for node in self._nodes:
            if node.name not in waiting and all(name in self._fixed or name in self._ready for name in node.input):
                self._ready.update(name for name in node.output if name not in self._fixed)
        cut = {name: None for name in self._outputs if name in self._ready}
        for node in self._nodes:
            if not any(name in self._ready or name in self._fixed for name in node.output):
                cut |= {self._small(name): None for name in node.input if name in self._ready}
        missing = [name for name in cut if name not in self.kept]
        if missing:
            made: dict[str, np.ndarray] = {}
            for index, batch in enumerate(self.batches(missing)):
                for name, values in zip(missing, batch, strict=True):
                    whole = made.setdefault(name, np.empty((self._count, *values.shape[1:]), values.dtype))
                    whole[index * BATCH : index * BATCH + len(values)] = values
            self.kept |= made
        self.kept = {name: self.kept[name] for name in cut}

    def _small(self, name: str) -> str:
        """Return the integers behind a tensor that is only their dequantization, else the tensor."""
        maker = self._makers.get(name)
        return maker.input[0] if maker is not None and maker.op_type == "DequantizeLinear" else name

    def _piece(self, tensors: Sequence[str], extra: Sequence[onnx.NodeProto]) -> tuple[list[str], onnx.ModelProto]:
        """Return what of the kept is used to compute the tensors, and the graph that does it."""
        makers = self._makers | {name: node for node in extra for name in node.output}
        inputs, initializers, order, seen = [], [], [], set()
        stack = [(name, False) for name in reversed(tensors)]
        while stack:
            name, finished = stack.pop()
            if finished:
                order.append(makers[name])
                continue
            if name in seen or not name:
                continue
            seen.add(name)
            if name in self.kept:
                inputs.append(name)
            elif name in self._initializers:
                initializers.append(self._initializers[name])
            else:
                stack.append((name, True))
                stack += [(each, False) for each in makers[name].input]
        asked = [helper.make_empty_tensor_value_info(name) for name in tensors]
        given = [_described(name, self.kept[name]) for name in inputs]
        model = helper.make_model(
            helper.make_graph(order, "piece", given, asked, initializers),
            opset_imports=self._head.opset_import, ir_version=self._head.ir_version,
        )  # fmt: skip
        return inputs, model

    def _sorted(self) -> list[onnx.NodeProto]:
        """Return the nodes so that each stands after those that it takes from; otherwise in their own order."""
        placed: set[str] = set()
        order: list[onnx.NodeProto] = []
        stack = [(node, False) for node in reversed(self._nodes)]
        while stack:
            node, finished = stack.pop()
            if node.output[0] in placed:
                continue
            if finished:
                placed.update(node.output)
                order.append(node)
                continue
            stack.append((node, True))
            stack += [(self._makers[name], False) for name in node.input if name in self._makers and name not in placed]
        return order


def _described(name: str, values: np.ndarray) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    return helper.make_tensor_value_info(name, kind, ["N", *values.shape[1:]])


def channel_means(
    model: onnx.ModelProto, layers: Sequence[WeightLayer], crops: np.ndarray, progress: Progress = unseen
) -> dict[str, np.ndarray]:
    """Return `(O,)` float64 by node: the mean of each layer's output over crops and places, before its activation."""
    stream = Stream(model, crops)
    waiting = {each.node for each in layers}
    means = {}
    for index, layer in enumerate(layers):
        stream.advance(waiting)
        means[layer.node] = stream.channel_mean(stream.node(layer.node).output[0], layer.channel_axis)
        waiting.remove(layer.node)
        progress(index + 1, len(layers))
    return means
