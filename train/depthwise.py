"""Depthwise convolutions in float32 amid bfloat16: on a processor they are what makes training in bfloat16 slow.

A step of a whole MobileNetV3 in bfloat16 takes twice the time of one in float32; with its depthwise convolutions left
in float32 it takes less than that. Measured in `docs/bench/precision.json`.
"""

from __future__ import annotations

import torch
from torch import nn


class InFloat(nn.Conv2d):
    """A convolution that computes in float32 under autocast, and answers in the type that it was asked in."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Convolve `(N, C, H, W)`."""
        with torch.autocast(inputs.device.type, enabled=False):
            return super().forward(inputs.float()).to(inputs.dtype)


def keep_depthwise_float(network: nn.Module) -> None:
    """Let the depthwise convolutions of a network compute in float32 under autocast, in place."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels:
            kind = type(module)  # timm's own kinds of convolution stay what they are
            module.__class__ = InFloat if kind is nn.Conv2d else type(kind.__name__, (InFloat, kind), {})
