"""From a run's best weights to a float ONNX under the model file contract, and to the fp16 parent that ships beside."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from safetensors.torch import save
from torch import nn

from edge.errors import InputError
from edge.files import write_whole
from edge.model.contract import ModelInfo
from train.networks import GRAY

OPSET = 17


class Deployed(nn.Module):
    """The network with everything around it inside: `(N, S, S, 3)` uint8 RGB to `(N, classes)` probabilities."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Normalise to -1..1 (mean = std = 0.5), classify, divide by the temperature, softmax."""
        values = crops.permute(0, 3, 1, 2).float() / 127.5 - 1.0  # (N, 3, S, S)
        return torch.softmax(self.network(values) / self.temperature, dim=1)


def deployable(network: nn.Module, *, size: int, gray: bool, temperature: float) -> Deployed:
    """Return a copy of the network ready for export: pads made static, gray folded into the first convolution."""
    network = copy.deepcopy(network).eval().cpu()
    if gray:
        fold_gray(network)
    make_pads_static(network, size)
    return Deployed(network, temperature).eval()


def fold_gray(network: nn.Module) -> None:
    """Let the first convolution make gray of its input itself, in place.

    A network that learned from gray pictures saw three equal channels; summing its weights over them and spreading
    the sum by the luma weights gives the same answer on the gray of a colour picture, at no cost.
    """
    name = getattr(network, "default_cfg", {}).get("first_conv")
    first = network.get_submodule(name) if isinstance(name, str) else None
    if not isinstance(first, nn.Conv2d) or first.in_channels != 3:
        raise InputError(f"{type(network).__name__}: its first convolution is not known, so it cannot make gray")
    with torch.no_grad():
        summed = first.weight.sum(dim=1, keepdim=True)  # (O, 1, k, k)
        first.weight.copy_(summed * torch.tensor(GRAY).view(1, 3, 1, 1))


def make_pads_static(network: nn.Module, size: int) -> None:
    """Replace timm's dynamic "same" padding by fixed pads for one input size, in place.

    The arithmetic on sizes (Shape, Div, Ceil, Mul) that dynamic padding puts into the graph is taken for data by the
    quantizers and cost seven points of accuracy.
    """
    from timm.layers import Conv2dSame

    shapes: dict[str, tuple[int, int]] = {}
    dynamic = {name: module for name, module in network.named_modules() if isinstance(module, Conv2dSame)}
    hooks = [
        module.register_forward_pre_hook(lambda _, args, name=name: shapes.__setitem__(name, tuple(args[0].shape[2:])))
        for name, module in dynamic.items()
    ]
    with torch.inference_mode():
        network(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    for name, module in dynamic.items():
        low, high = zip(*(_same_pad(shapes[name][i], module, i) for i in (0, 1)), strict=True)
        conv = nn.Conv2d(
            module.in_channels, module.out_channels, module.kernel_size, module.stride,  # type: ignore[arg-type]
            padding=low if low == high else 0,  # type: ignore[arg-type]
            dilation=module.dilation, groups=module.groups, bias=module.bias is not None,  # type: ignore[arg-type]
        )  # fmt: skip
        conv.load_state_dict(module.state_dict())
        static = conv if low == high else nn.Sequential(nn.ZeroPad2d((low[1], high[1], low[0], high[0])), conv)
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, static)


def _same_pad(length: int, conv: nn.Conv2d, axis: int) -> tuple[int, int]:
    """Return the zeros before and after along one axis that keep ceil(length / stride) outputs."""
    kernel, stride, dilation = conv.kernel_size[axis], conv.stride[axis], conv.dilation[axis]
    whole = max((-(-length // stride) - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)
    return whole // 2, whole - whole // 2


def parent_bytes(network: nn.Module, metadata: dict[str, str]) -> bytes:
    """Return the float parent as safetensors: weights in fp16 (whole numbers as they are), with the run's facts."""
    state = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in network.state_dict().items()
    }
    return save(state, metadata)


def to_onnx(model: Deployed, info: ModelInfo) -> bytes:
    """Return the float ONNX with the contract's metadata inside."""
    buffer: Any = io.BytesIO()
    example = torch.zeros(2, info.crop.size, info.crop.size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The TorchScript exporter is named deprecated, and says what it does not fold; it is the one whose graphs
        # the quantizers read well.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (example,), buffer, opset_version=OPSET, dynamo=False, input_names=["crops"],
            output_names=["probabilities"], dynamic_axes={"crops": {0: "N"}, "probabilities": {0: "N"}},
        )  # fmt: skip
    graph = _folded(buffer.getvalue())
    onnx.helper.set_model_props(graph, info.to_metadata())
    graph.doc_string = "Facial emotion classifier of the Emotion Edge kit"
    onnx.checker.check_model(graph)
    return graph.SerializeToString()


def _folded(graph: bytes) -> onnx.ModelProto:
    """Let ONNX Runtime's basic passes fold constants, batch norms and pads; what comes out is plain ONNX."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


@dataclass(frozen=True)
class Choice:
    """What is chosen on dev after training: temperature and threshold, with what they gave."""

    temperature: float
    threshold: float
    dev_nll_before: float
    dev_nll_after: float


def choose_on_dev(logits: np.ndarray, targets: np.ndarray) -> Choice:
    """Choose the temperature with the least negative log-likelihood, and the confidence where right becomes likelier.

    Args:
        logits: `(N, C)` float, of the dev faces.
        targets: `(N,)` int.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks (temperature scaling).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rows = np.arange(len(targets))

    def nll(temperature: float) -> float:
        return float(-log_softmax(logits / temperature, axis=1)[rows, targets].mean())

    temperature = round(float(minimize_scalar(nll, bounds=(0.2, 5.0), method="bounded").x), 4)
    probabilities = np.exp(log_softmax(logits / temperature, axis=1))
    threshold = confidence_of_even_odds(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets)
    return Choice(temperature, threshold, nll(1.0), nll(temperature))


def confidence_of_even_odds(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Return the confidence below which answers are more often wrong than right, to 0.01; 0 if there is none.

    It is where the right answers above it exceed the wrong ones by the most.
    """
    order = np.argsort(-confidence, kind="stable")
    gain = np.cumsum(np.where(correct[order], 1, -1))
    best = int(gain.argmax())
    return 0.0 if best == len(gain) - 1 else round(float(confidence[order[best]]), 2)


def sha256_of(data: bytes) -> str:
    """Return the sha256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def write_model(folder: Path, stem: str, graph: bytes, parent: bytes) -> tuple[Path, Path]:
    """Write `STEM-fp32.onnx` and `STEM.fp16.safetensors`; return their paths."""
    paths = folder / f"{stem}-fp32.onnx", folder / f"{stem}.fp16.safetensors"
    write_whole(paths[0], graph)
    write_whole(paths[1], parent)
    return paths


def parent_metadata(
    config: dict[str, object], data: dict[str, object], labels: tuple[str, ...], gray: bool,
    started_from: list[dict[str, object]],
) -> dict[str, str]:  # fmt: skip
    """Return what the parent file says of itself: enough to make the run again, and to know its past."""
    return {
        "network": str(config["network"]), "labels": json.dumps(labels), "input_size": str(config["size"]),
        "gray": json.dumps(gray), "config": json.dumps(config), "data": json.dumps(data),
        "started_from": json.dumps(started_from),
    }  # fmt: skip
