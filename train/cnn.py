"""The plain CNN that small expression studies use: convolution, batch norm, pooling, dropout, four times over."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

WIDTHS = (32, 64, 128, 256)


class Cnn(nn.Module):
    """`(N, 3, S, S)` float32 in -1..1 to `(N, classes)` logits; `S` at least 16.

    Each block: two 3x3 convolutions with batch norm and ReLU, then half the side by maximum. A global mean stands in
    for the usual flattening, so that one network takes pictures of any size and has 1.2 million parameters.

    Source: the layout of Simonyan and Zisserman 2015 at a fifth of its depth, as studies on KDEF use it.
    """

    default_cfg: ClassVar[dict[str, str]] = {"first_conv": "blocks.0.0", "classifier": "head"}

    def __init__(self, classes: int, drop: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in WIDTHS:
            layers.append(_block(before, width, drop / 2))
            before = width
        self.blocks = nn.Sequential(*layers)
        self.drop = nn.Dropout(drop)
        self.head = nn.Linear(before, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify."""
        return self.head(self.drop(self.blocks(images).mean(dim=(2, 3))))

    def get_classifier(self) -> nn.Module:
        """Return the last layer, as timm's networks do."""
        return self.head


def _block(before: int, width: int, drop: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.MaxPool2d(2), nn.Dropout(drop),
    )  # fmt: skip
