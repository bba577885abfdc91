"""What an explanation is, and what an engine that makes one looks like. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Classify = Callable[[np.ndarray], np.ndarray]
"""From `(N, S, S, 3)` uint8 RGB crops to `(N, C)` float probabilities."""


@dataclass(frozen=True)
class Explanation:
    """How much each part of a crop spoke for one label.

    Attributes:
        image: `(S, S, 3)` uint8 RGB: what was explained.
        segments: `(S, S)` int64: which part a pixel belongs to, from 0 to K - 1.
        weights: `(K,)` float64: how much showing a part raises the label's probability (below 0: lowers it), in the
            linear model that was fitted around the picture.
        label: index of the label that is explained.
        score: weighted R² of that linear model: 1 where it says just what the classifier says, near 0 where the
            weights mean little.
    """

    image: np.ndarray
    segments: np.ndarray
    weights: np.ndarray
    label: int
    score: float


class Engine(Protocol):
    """What explains a crop. Its arguments are checked by `edge.explain.explain`."""

    def __call__(
        self, image: np.ndarray, classify: Classify, label: int, *, samples: int, segments: int, seed: int
    ) -> Explanation:
        """Explain `label` of a `(S, S, 3)` uint8 RGB crop; the same seed gives the same explanation."""
        ...
