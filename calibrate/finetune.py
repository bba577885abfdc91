"""Quantization-aware fine-tuning: a network learns to answer as its float parent does while its numbers are rounded.

Nothing of the rounding is exported: what comes out is a float network of the same shape whose weights suit int8, and
goes the same way as any other, to QDQ and to TFLite.

Source: Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference, with the labels' place taken by the parent's answers (Mishra and Marr 2018, Apprentice).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from edge.errors import InputError
from train.augment import PRESETS, augment, sample_generator
from train.datasets import FaceSet
from train.export import Deployed
from train.networks import classifier_of, to_input

LEVELS = 255


@dataclass(frozen=True)
class Course:
    """How long and how fast.

    Attributes:
        steps: optimizer steps.
        batch: pictures a step.
        rate: peak of the learning rate, which falls to zero along a cosine.
        seed: of the order and of the variation of the pictures.
    """

    steps: int = 400
    batch: int = 48
    rate: float = 2e-5
    seed: int = 0


def finetune(
    parent: Deployed, start: Deployed, faces: FaceSet, crops: np.ndarray, course: Course, *, per_channel: bool = True,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Deployed:  # fmt: skip
    """Return a copy of `start` that was trained to answer as `parent` does while inputs and weights are rounded.

    Args:
        parent: the float network, as deployed: its answers are what is learned.
        start: the network to begin from, batch norms folded.
        faces: training pictures; their labels are not used.
        crops: `(N, S, S, 3)` uint8 RGB calibration crops, from which the ranges of the inputs are taken.
        course: steps, batch, rate and seed.
        per_channel: whether each output channel of a weight has a scale of its own.
        progress: told the steps done.

    Raises:
        InputError: the loss became no number: the rate is too high.
    """
    size = crops.shape[1]
    teacher = copy.deepcopy(parent.network).eval().requires_grad_(False)
    student = copy.deepcopy(start)
    network = student.network.eval()
    rounded = round_layers(network, torch.from_numpy(crops), per_channel=per_channel)
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=course.rate, weight_decay=0.0)
    order = np.random.default_rng(course.seed)
    for step in range(course.steps):
        for group in optimizer.param_groups:
            group["lr"] = course.rate * 0.5 * (1 + math.cos(math.pi * step / course.steps))
        inputs = to_input(torch.from_numpy(_varied(faces, order, size, course, step)))
        with torch.no_grad():
            wanted = F.log_softmax(teacher(inputs) / parent.temperature, dim=1)
        answers = F.log_softmax(network(inputs) / parent.temperature, dim=1)
        loss = F.kl_div(answers, wanted, reduction="batchmean", log_target=True)
        if not math.isfinite(float(loss.detach())):
            raise InputError(f"fine-tuning: the loss became {float(loss.detach())} in step {step + 1}; lower the rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        progress(step + 1, course.steps)
    for name, layer in rounded.items():
        parent_name, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent_name), child, layer.layer)
    return student.eval()


class Rounded(nn.Module):
    """A convolution or matrix product whose input and weights are rounded as int8 rounds them; gradients pass."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, low: float, high: float, *, per_channel: bool) -> None:
        super().__init__()
        self.layer, self.per_channel = layer, per_channel
        low, high = min(low, 0.0), max(high, 0.0)
        self.scale = max(high - low, 1e-8) / LEVELS
        self.zero = round(-low / self.scale)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Round, then do what the layer does."""
        inputs = torch.fake_quantize_per_tensor_affine(inputs, self.scale, self.zero, 0, LEVELS)
        weight = _rounded_weight(self.layer.weight, per_channel=self.per_channel)
        if isinstance(self.layer, nn.Linear):
            return F.linear(inputs, weight, self.layer.bias)
        return self.layer._conv_forward(inputs, weight, self.layer.bias)


def round_layers(network: nn.Module, crops: torch.Tensor, *, per_channel: bool, batch: int = 32) -> dict[str, Rounded]:
    """Put a `Rounded` around every convolution and matrix product but the classifier, in place; return them by name.

    Args:
        network: in evaluation mode.
        crops: `(N, S, S, 3)` uint8, from which the range of each layer's input is taken (least and greatest).
        per_channel: as in `Rounded`.
        batch: crops at a time.
    """
    head = classifier_of(network)
    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module is not head
    }
    ranges: dict[str, tuple[float, float]] = dict.fromkeys(layers, (math.inf, -math.inf))

    def see(name: str, values: torch.Tensor) -> None:
        low, high = ranges[name]
        ranges[name] = min(low, float(values.min())), max(high, float(values.max()))

    hooks = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: see(name, inputs[0]))
        for name, module in layers.items()
    ]
    with torch.inference_mode():
        for part in crops.split(batch):
            network(to_input(part))
    for hook in hooks:
        hook.remove()
    found = {}
    for name, layer in layers.items():
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        if math.isfinite(ranges[name][0]):
            found[name] = Rounded(layer, *ranges[name], per_channel=per_channel)
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, found[name])
    return found


def _rounded_weight(weight: torch.Tensor, *, per_channel: bool) -> torch.Tensor:
    """Return the weight as symmetric int8 says it, a scale a channel or one for all."""
    with torch.no_grad():
        largest = weight.abs().flatten(1).amax(dim=1) if per_channel else weight.abs().max().reshape(1)
        scale = (largest / 127).clamp_min(1e-12)
    if not per_channel:
        return torch.fake_quantize_per_tensor_affine(weight, float(scale), 0, -127, 127)
    zeros = torch.zeros(len(weight), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -127, 127)


def _varied(faces: FaceSet, order: np.random.Generator, size: int, course: Course, step: int) -> np.ndarray:
    """Return `(B, S, S[, 3])` uint8 training pictures, lightly varied."""
    chosen = order.integers(0, len(faces), course.batch)
    generators = [sample_generator(course.seed, step, int(index), place) for place, index in enumerate(chosen)]
    return np.stack(
        [augment(faces.images[i], size, PRESETS["light"], rng) for i, rng in zip(chosen, generators, strict=True)]
    )
