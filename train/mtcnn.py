"""MTCNN's three nets from facenet-pytorch's weights to ONNX files that ask little of the device.

What differs from the original, none of it changing a result beyond float32's rounding: normalisation, BGR and the order
in which the dense layers read their input are folded into weights; sibling heads are one layer; the two-way softmax is
one exponential of the difference; PReLU is x + (a - 1) min(x, 0), since ONNX Runtime's own PRelu is not vectorised and
cost half of each net's time.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from edge.errors import InputError
from edge.files import write_whole

SOURCE = "facenet-pytorch 2.6.0 (https://github.com/timesler/facenet-pytorch)"
OPSET, IR_VERSION = 13, 8  # old enough for every ONNX Runtime that a device may be stuck with
MEAN, SCALE = 127.5, 1 / 128  # facenet-pytorch's input: (x - MEAN) * SCALE, RGB

Weights = dict[str, np.ndarray]


def export_mtcnn(folder: Path) -> list[Path]:
    """Write `pnet.onnx`, `rnet.onnx` and `onet.onnx`, with `LICENSE` and the card `README.md`, into `folder`.

    Every net takes `input`, float32 `[N, H, W, 3]` BGR from 0 to 255 (PNet of any size, RNet 24, ONet 48 pixels), and
    gives `score`, the probability of a face, and `box`, the shifts of the four edges in units of the box's sides; ONet
    also gives `points`, five x and then five y, from 0 to 1 over the box.

    Returns:
        paths of the three nets.

    Raises:
        InputError: facenet-pytorch, whose wheel holds the weights, is not installed.

    Source: Zhang et al. 2016, Joint face detection and alignment using multi-task cascaded convolutional networks.
    """
    nets = _float_nets()
    models = {
        "pnet": _build(nets["pnet"], pools={1: 2}, head="4", size=None),
        "rnet": _build(nets["rnet"], pools={1: 3, 2: 3}, head="5", size=24),
        "onet": _build(nets["onet"], pools={1: 3, 2: 3, 3: 2}, head="6", size=48),
    }
    written: dict[Path, bytes] = {}
    for name, model in models.items():
        checker.check_model(model, full_check=True)
        written[folder / f"{name}.onnx"] = model.SerializeToString(deterministic=True)
    for path, data in written.items():
        write_whole(path, data)
    write_whole(folder / "LICENSE", _licence().encode())
    write_whole(folder / "README.md", _card(written).encode())
    return list(written)


def _float_nets() -> dict[str, Weights]:
    """Return each net's parameters by name, float64."""
    try:
        import train.torchvision_cpu  # noqa: F401, I001  (first: facenet-pytorch imports torchvision, which may not load)
        from facenet_pytorch import ONet, PNet, RNet
    except ImportError as error:
        raise InputError(
            f"facenet-pytorch, which holds MTCNN's weights, does not import ({error}): "
            "pip install --no-deps facenet-pytorch==2.6.0"
        ) from None
    nets = {"pnet": PNet(), "rnet": RNet(), "onet": ONet()}
    return {
        name: {key: value.detach().numpy().astype(np.float64) for key, value in net.state_dict().items()}
        for name, net in nets.items()
    }


def _build(weights: Weights, *, pools: dict[int, int], head: str, size: int | None) -> ModelProto:
    """Return one net as a graph.

    Args:
        weights: its parameters, in facenet-pytorch's names.
        pools: kernel of the max pooling that follows convolution number k.
        head: number of the last layers in those names (`dense6_1`: face or not, `dense6_2`: box, `dense6_3`: points).
        size: side of the input, pixels; None for any size, which makes the net fully convolutional.
    """
    graph = _Graph()
    value = graph.add("Transpose", "input", perm=[0, 3, 1, 2])  # (N, 3, H, W)
    number = 1
    while f"conv{number}.weight" in weights:
        weight, bias = weights[f"conv{number}.weight"], weights[f"conv{number}.bias"]
        channels = len(bias)
        if number == 1:
            weight, bias = _fold_input(weight, bias)
        value = graph.add("Conv", value, weight, bias)
        value = graph.prelu(value, weights[f"prelu{number}.weight"][:, None, None])
        if number in pools:
            kernel = [pools[number]] * 2
            value = graph.add("MaxPool", value, kernel_shape=kernel, strides=[2, 2], ceil_mode=1)
        number += 1
    weight, bias, parts = _heads(weights, "conv" if size is None else "dense", head)
    if size is None:
        value = graph.add("Conv", value, weight, bias)  # (N, 1 + 4, h, w)
    else:
        value = graph.add("Flatten", value)
        dense = _channels_first(weights[f"dense{number}.weight"], channels)
        value = graph.add("Gemm", value, dense, weights[f"dense{number}.bias"], transB=1)
        value = graph.prelu(value, weights[f"prelu{number}.weight"])
        value = graph.add("Gemm", value, weight, bias, transB=1)  # (N, 1 + 4), ONet (N, 1 + 4 + 10)
    names = ["against", "box", "points"][: len(parts)]
    graph.split(value, parts, names)
    graph.probability("against", "score")
    return graph.model(size, {"score": 1, **dict(zip(names[1:], parts[1:], strict=True))})


def _fold_input(weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fold `(x - MEAN) * SCALE` and the colour order into a convolution without padding: `(O, 3, k, k)`, `(O,)`."""
    return weight[:, ::-1] * SCALE, bias - MEAN * SCALE * weight.sum(axis=(1, 2, 3))


def _channels_first(weight: np.ndarray, channels: int) -> np.ndarray:
    """Reorder a dense layer's `(O, W * H * C)` weight, which reads (W, H, C), to read (C, H, W) as it lies."""
    side = round((weight.shape[1] / channels) ** 0.5)
    return weight.reshape(-1, side, side, channels).transpose(0, 3, 2, 1).reshape(weight.shape)


def _heads(weights: Weights, kind: str, number: str) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Join the heads to one layer whose first output is the logit of "no face"; return weight, bias, outputs each."""
    names = [name for name in (f"{kind}{number}_{index}" for index in (1, 2, 3)) if f"{name}.weight" in weights]
    kernels = [weights[f"{name}.weight"] for name in names]
    biases = [weights[f"{name}.bias"] for name in names]
    for values in (kernels, biases):
        values[0] = values[0][:1] - values[0][1:]  # softmax over two asks for their difference alone
    return np.concatenate(kernels), np.concatenate(biases), [len(bias) for bias in biases]


class _Graph:
    """An ONNX graph in the making: values are named by number, constants become float32 initializers."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, *inputs: str | np.ndarray, output: str = "", **attributes: Any) -> str:
        """Append one operator; return its output's name."""
        names = [name if isinstance(name, str) else self._constant(name) for name in inputs]
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [output], **attributes))
        return output

    def prelu(self, value: str, slope: np.ndarray) -> str:
        """Append x + (slope - 1) min(x, 0)."""
        below = self.add("Min", value, np.zeros(()))
        return self.add("Add", value, self.add("Mul", below, slope - 1))

    def split(self, value: str, parts: list[int], names: list[str]) -> None:
        """Split along the channels."""
        sizes = self._constant(np.array(parts, np.int64))
        self.nodes.append(helper.make_node("Split", [value, sizes], names, axis=1))

    def probability(self, against: str, output: str) -> None:
        """Drop the axis of the one channel and append 1 / (1 + exp(against)).

        Where it nears 1 that is softmax to the last bit, which ONNX Runtime's Sigmoid is not; and many boxes on a face
        score so high that the last bit says which of them suppresses the others.
        """
        odds = self.add("Exp", self.add("Squeeze", against, np.array([1], np.int64)))
        self.add("Div", np.ones(()), self.add("Add", odds, np.ones(())), output=output)

    def model(self, size: int | None, outputs: dict[str, int]) -> ModelProto:
        """Close the graph; `outputs` maps each output to its channels (the score has no channel axis)."""
        side: list[str | int] = ["H", "W"] if size is None else [size, size]
        plane: list[str | int] = ["h", "w"] if size is None else []
        graph = helper.make_graph(
            self.nodes,
            "mtcnn",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *side, 3])],
            [
                helper.make_tensor_value_info(
                    name, TensorProto.FLOAT, ["N", *plane] if name == "score" else ["N", channels, *plane]
                )
                for name, channels in outputs.items()
            ],
            self.constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="emotion-edge",
        )
        properties = {"source": SOURCE, "licence": "MIT", "layout": "NHWC", "colour": "BGR", "range": "0..255"}
        helper.set_model_props(model, properties)
        return model

    def _constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        dtype = array.dtype if array.dtype == np.int64 else np.float32
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype), name))
        return name


def _licence() -> str:
    """Return the licence text that lies beside facenet-pytorch's metadata."""
    text = distribution("facenet-pytorch").read_text("LICENSE.md")
    if not text:
        raise InputError("facenet-pytorch is installed without its LICENSE.md: install its wheel from the registry")
    return text


def _card(files: dict[Path, bytes]) -> str:
    rows = "\n".join(
        f"| `{path.name}` | {len(data):,} | `{hashlib.sha256(data).hexdigest()}` |" for path, data in files.items()
    )
    return f"""# MTCNN

Finds faces and five landmarks: eyes, nose, mouth corners. Three small nets in a row, run by `edge.detect.mtcnn`.

- Source: {SOURCE}, the weights in its wheel.
- Licence: MIT, see `LICENSE`.
- Method: Zhang et al. 2016, *Joint face detection and alignment using multi-task cascaded convolutional networks*.
- Made by: `edge train export-mtcnn`
- Input of each net: `float32 [N, H, W, 3]`, BGR, 0 to 255; PNet any size, RNet 24, ONet 48 pixels.

| file | bytes | sha256 |
|---|---|---|
{rows}
"""
