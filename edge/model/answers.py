"""From a row of probabilities to an answer: the top label, or uncertain. Pure."""

from __future__ import annotations

import numpy as np

from edge.model.contract import ModelInfo
from edge.values import UNCERTAIN, Emotion


def to_emotions(probabilities: np.ndarray, info: ModelInfo) -> list[Emotion]:
    """Turn `(N, classes)` probabilities into N answers; below the model's threshold the label is `uncertain`."""
    answers = []
    for row in probabilities:
        top = int(row.argmax())
        confidence = float(row[top])
        label = info.labels[top] if confidence >= info.threshold else UNCERTAIN
        answers.append(Emotion(label, confidence, {name: float(p) for name, p in zip(info.labels, row, strict=True)}))
    return answers
