"""An explanation as a picture, with numpy and OpenCV alone. Pure."""

from __future__ import annotations

import cv2
import numpy as np

from edge.explain.explanation import Explanation

FOR = (0, 158, 115)
AGAINST = (213, 94, 0)
"""RGB: a bluish green and a vermilion that stay apart for people who do not tell green from red (Okabe and Ito)."""

STRONGEST = 0.6
"""How much of a pixel the colour of the heaviest part covers."""


def heat(explanation: Explanation, side: int | None = None) -> np.ndarray:
    """Draw the weights over the crop in gray: green where a part speaks for the label, red where against it.

    Args:
        explanation: what to draw.
        side: of the drawn picture, pixels; None for the crop's own.

    Returns:
        `(side, side, 3)` uint8 RGB. The colour is the stronger, the heavier a part is beside the heaviest; where all
        weights are zero nothing is coloured.
    """
    side = side or explanation.image.shape[0]
    gray = cv2.cvtColor(explanation.image, cv2.COLOR_RGB2GRAY)
    gray = cv2.resize(gray, (side, side), interpolation=cv2.INTER_LINEAR)
    parts = cv2.resize(explanation.segments.astype(np.int32), (side, side), interpolation=cv2.INTER_NEAREST)
    heaviest = float(np.abs(explanation.weights).max(initial=0.0))
    share = explanation.weights / heaviest if heaviest > 0 else np.zeros_like(explanation.weights)
    strength = share[parts][..., None]  # (side, side, 1)
    colour = np.where(strength >= 0, np.array(FOR, np.float64), np.array(AGAINST, np.float64))
    cover = np.abs(strength) * STRONGEST
    drawn = gray[..., None] * (1 - cover) + colour * cover
    result: np.ndarray = np.clip(np.round(drawn), 0, 255).astype(np.uint8)
    return result
