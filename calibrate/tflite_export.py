"""From a torch network to a float TFLite file under the model file contract, by litert-torch.

The conversion runs in a process of its own: it talks much, takes gigabytes, and what its compiler cannot do may end it.
"""

from __future__ import annotations

import copy
import io
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from calibrate.tflite_graph import NEEDED, WEIGHTED, data_of, is_constant, name_of, operators, read_graph, write_graph
from edge.errors import InputError, first_line
from edge.model.contract import ModelInfo
from edge.model.packed import pack, unpack
from train.export import Deployed

INPUT, OUTPUT = "crops", "probabilities"

DESCRIPTION = "Facial emotion classifier of the Emotion Edge kit"

MODEL, GRAPH, ERROR, CHATTER = "model.pt", "graph.tflite", "error.txt", "chatter.txt"


def to_tflite(model: Deployed, info: ModelInfo) -> bytes:
    """Return the float TFLite file: `uint8 [1, S, S, 3]` RGB in, `float32 [1, classes]` probabilities out, facts in it.

    Args:
        model: as `train.export.deployable` returns it, its pads static.
        info: what the file says of itself; its crop's size is `S`.

    Raises:
        InputError: litert-torch is not installed, or the network does not convert.
    """
    missing = [name for name in ("litert_torch", "ai_edge_litert") if find_spec(name) is None]
    if missing:
        raise InputError(f"TFLite {NEEDED}")
    graph = read_graph(_converted(model, info))
    _name(graph)
    graph.description = DESCRIPTION
    return pack(write_graph(graph), info.to_metadata())


def with_weights(graph: bytes, before: Deployed, after: Deployed) -> bytes:
    """Return the float file of a network whose weights were changed, made from its file before; a conversion less.

    Args:
        graph: what `to_tflite` made of `before`.
        before: a network whose batch norms are folded (`calibrate.folding`).
        after: the same with other weights and biases in its convolutions and its classifier, and nothing else changed.

    Raises:
        InputError: the file does not hold the weights of `before` as they are, or more was changed: convert it anew.
    """
    model = read_graph(graph)
    tensors = model.subgraphs[0].tensors
    old, new = before.network.state_dict(), after.network.state_dict()
    changed = {key for key in old | new if key not in old or key not in new or not torch.equal(old[key], new[key])}
    if before.temperature != after.temperature:
        changed.add("temperature")
    for op, kind in operators(model):
        layer = name_of(tensors[op.outputs[0]])
        for place, part in enumerate(("weight", "bias"), 1):
            name = f"{layer}.{part}"
            if kind not in WEIGHTED or name not in changed or name not in old or name not in new:
                continue
            held = tensors[op.inputs[place]]
            factor = _factor(data_of(model, held), _as_held(old[name], kind), before.temperature)
            if factor is None or old[name].shape != new[name].shape:
                continue
            held.name = f"{name}.shared".encode()  # it goes, unless another layer reads it too
            own = copy.copy(held)
            own.name, own.buffer = name.encode(), len(model.buffers)
            model.buffers.append(copy.copy(model.buffers[0]))
            model.buffers[-1].data = (_as_held(new[name], kind) * np.float32(factor)).tobytes()
            op.inputs[place] = len(tensors)
            tensors.append(own)
            changed.remove(name)
    if changed:
        raise InputError(
            f"the TFLite file cannot take {', '.join(sorted(changed)[:3])} of its network: convert it anew"
        )
    return pack(write_graph(model), unpack(graph, "of the graph"))


def _as_held(values: torch.Tensor, kind: str) -> np.ndarray:
    """Return a layer's weights or bias in the order of their axes in a TFLite file, channels last."""
    array = values.detach().float().numpy()
    if array.ndim != 4:
        return array
    return array.transpose((1, 2, 3, 0) if kind == "DEPTHWISE_CONV_2D" else (0, 2, 3, 1))


def _factor(held: np.ndarray, values: np.ndarray, temperature: float) -> float | None:
    """Return what the file holds a layer's numbers times: 1, or in a classifier 1 / temperature; None for neither."""
    for factor in (1.0, 1.0 / temperature):
        if held.shape == values.shape and np.allclose(held, values * factor, rtol=0, atol=1e-5 * np.abs(held).max()):
            return factor
    return None


class ChannelsLast(nn.Module):
    """A deployed network whose picture is normalised as it lies, channels last, and turned only at the network's door.

    The converter then finds one transpose there and moves it away; with the arithmetic behind it, it stays.
    """

    def __init__(self, model: Deployed) -> None:
        super().__init__()
        import litert_torch

        self.network = litert_torch.to_channel_last_io(model.network, args=[0])
        self.temperature = model.temperature

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Turn `(1, S, S, 3)` uint8 into `(1, classes)` probabilities, as `Deployed` does."""
        return torch.softmax(self.network(crops.float() / 127.5 - 1.0) / self.temperature, dim=1)


def _converted(model: Deployed, info: ModelInfo) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(model.eval(), folder / MODEL)
        # As a program: a process of multiprocessing would run the caller's own script again.
        seen = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # for the network's own module
        done = subprocess.run([sys.executable, "-m", __name__, name, str(info.crop.size)], env=seen, check=False)
        if (folder / GRAPH).exists():
            return (folder / GRAPH).read_bytes()
        said = (folder / ERROR).read_text() if (folder / ERROR).exists() else f"exit code {done.returncode}"
        raise InputError(f"{info.network}: litert-torch cannot convert it ({said}); its ONNX files are not concerned")


def _convert(folder: Path, size: int) -> None:
    """Convert `MODEL` in a folder to `GRAPH`, or say why not in `ERROR`; this module as a program."""
    with (folder / CHATTER).open("wb") as chatter:
        for stream in (1, 2):
            os.dup2(chatter.fileno(), stream)  # what the compiler writes does not pass through sys.stderr
    sys.stdout = sys.stderr = io.StringIO()
    try:
        import litert_torch

        model = torch.load(folder / MODEL, weights_only=False)  # written a moment ago, by the process that waits
        example = torch.zeros(1, size, size, 3, dtype=torch.uint8)
        with torch.no_grad():
            made = litert_torch.convert(ChannelsLast(model).eval(), (example,)).model_content()
    except Exception as error:  # torch, jax and the compiler raise what they like
        (folder / ERROR).write_text(first_line(error))
        return
    partial = folder / f"{GRAPH}.partial"
    partial.write_bytes(made)
    partial.rename(folder / GRAPH)


def _name(graph: Any) -> None:
    """Name input, output and layers in words that a person can type, in place.

    A layer is called as its module in torch, an operator without weights as the module it belongs to and its kind. The
    converter's own names hold the class of every module on the way, and of every module that was fused.
    """
    tensors = graph.subgraphs[0].tensors
    (source,), (answer,) = graph.subgraphs[0].inputs, graph.subgraphs[0].outputs
    names: dict[int, str] = {}
    taken: set[str] = set()

    def call(index: int, wanted: str) -> None:
        if index in names:
            return
        name = next(n for n in (wanted, *(f"{wanted}_{i}" for i in range(2, len(tensors) + 2))) if n not in taken)
        taken.add(name)
        names[index] = name

    call(source, INPUT)
    call(answer, OUTPUT)
    for op, kind in operators(graph):
        layer = _module_path(name_of(tensors[op.outputs[0]]), kind)
        for index in op.outputs:
            call(index, layer)
        for place, index in enumerate(op.inputs):
            if index >= 0 and is_constant(graph, tensors[index]):
                part = ("weight", "bias")[place - 1] if kind in WEIGHTED and place in (1, 2) else "constant"
                call(index, f"{names[op.outputs[0]]}.{part}")
    for index, tensor in enumerate(tensors):
        call(index, f"tensor_{index}")
        tensor.name = names[index].encode()
    for signature in graph.signatureDefs or ():
        for each in (*signature.inputs, *signature.outputs):
            each.name = names[each.tensorIndex].encode()


def _module_path(converter_name: str, kind: str) -> str:
    """Return the module's path in torch from a converter's name.

    Such a name is `A;;B;;C;1`: an operator and those fused into it, last the first of them; each is
    `package.Class_outer/package.Class_inner`, down from the wrappers of the conversion.
    """
    paths = []
    for piece in converter_name.split(";;"):
        steps = [step.rpartition(".")[2].partition("_") for step in re.sub(r";\d*$", "", piece).split("/")]
        inner = next((i for i, (_, _, name) in enumerate(steps) if name == "wrapped"), len(steps)) + 1
        if inner < len(steps):
            paths.append((steps[-1][0], ".".join(name or cls for cls, _, name in steps[inner:])))
    weighted = [path for cls, path in paths if re.search("Conv|Linear", cls)]
    if kind in WEIGHTED and weighted:
        return weighted[-1]
    return f"{paths[-1][1]}.{kind.lower()}" if paths else kind.lower()


if __name__ == "__main__":
    _convert(Path(sys.argv[1]), int(sys.argv[2]))
