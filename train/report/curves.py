"""Curves over all thresholds, one class against the rest, and the bins of a reliability diagram. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.measure.scores import CALIBRATION_BINS


@dataclass(frozen=True)
class Curve:
    """One class against the rest.

    Attributes:
        label: the class.
        x, y: `(P,)` float: false against true positive rate, or recall against precision.
        area: under the curve (ROC), or average precision; None where the class, or every other one, has no case.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    area: float | None


def receiver_operating(probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> list[Curve]:
    """Return each class's ROC curve with its area.

    Args:
        probabilities: `(N, C)` float.
        targets: `(N,)` int.
        labels: `C` names.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    curves = []
    for index, label in enumerate(labels):
        truth, scores = targets == index, probabilities[:, index]
        if not truth.any() or truth.all():
            curves.append(Curve(label, np.zeros(0), np.zeros(0), None))
            continue
        x, y, _ = roc_curve(truth, scores)
        curves.append(Curve(label, x, y, float(roc_auc_score(truth, scores))))
    return curves


def precision_recall(probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> list[Curve]:
    """Return each class's precision over recall with its average precision; arguments as `receiver_operating`."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    curves = []
    for index, label in enumerate(labels):
        truth, scores = targets == index, probabilities[:, index]
        if not truth.any() or truth.all():
            curves.append(Curve(label, np.zeros(0), np.zeros(0), None))
            continue
        y, x, _ = precision_recall_curve(truth, scores, drop_intermediate=True)
        curves.append(Curve(label, x, y, float(average_precision_score(truth, scores))))
    return curves


def reliability(probabilities: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean confidence, accuracy and count of the scorer's bins of equal mass, `(B,)` each, B at most 15.

    The mean gap between the two, weighted by the counts, is the scorer's expected calibration error.
    """
    confidence, correct = probabilities.max(axis=1, initial=0), probabilities.argmax(axis=1) == targets
    bins = [part for part in np.array_split(np.argsort(confidence, kind="stable"), CALIBRATION_BINS) if len(part)]
    return (
        np.array([confidence[part].mean() for part in bins]),
        np.array([correct[part].mean() for part in bins]),
        np.array([len(part) for part in bins]),
    )
