"""What a runtime answers is held against the contract before anyone believes it. Pure."""

from __future__ import annotations

import numpy as np

from edge.errors import InputError
from edge.model.contract import MAKE_ONE

TINY = 1e-3
"""How far outside 0 to 1 a probability may lie from rounding."""


def checked(answer: np.ndarray, shape: tuple[int, int], name: str) -> np.ndarray:
    """Return a model's answer when it is `(N, classes)` probabilities.

    Raises:
        InputError: it has another shape, or holds what is no number from 0 to 1.
    """
    if answer.shape != shape or not ((answer >= -TINY) & (answer <= 1 + TINY)).all():
        raise InputError(f"model {name} gives no probabilities (from 0 to 1): {MAKE_ONE}")
    return answer
