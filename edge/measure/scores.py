"""The scorer: from probabilities and true classes to the figures that every report in the house shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CALIBRATION_BINS = 15


def score(probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> dict[str, object]:
    """Score predictions.

    Args:
        probabilities: `(N, C)` float, rows sum to 1.
        targets: `(N,)` int, index into `labels`.
        labels: `C` class names.

    Returns:
        `n`, `labels`, `accuracy`, `balanced_accuracy` (mean recall of the classes that occur), `macro_f1` (mean F1 of
        the classes that occur), `ece` (15 equal-mass bins), `per_class` (precision, recall, f1, support) and
        `confusion` (rows true, columns predicted). Shares are 0 to 1; a figure without any case is None.
    """
    count = len(labels)
    predicted = probabilities.argmax(axis=1) if len(targets) else np.zeros(0, np.int64)
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (targets, predicted), 1)
    hits, support, called = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    per_class = {
        label: {
            "precision": _share(hits[i], called[i]),
            "recall": _share(hits[i], support[i]),
            "f1": _share(2 * hits[i], support[i] + called[i]),
            "support": int(support[i]),
        }
        for i, label in enumerate(labels)
    }
    present = [per_class[label] for i, label in enumerate(labels) if support[i]]
    return {
        "n": len(targets),
        "labels": list(labels),
        "accuracy": _share(hits.sum(), len(targets)),
        "balanced_accuracy": _mean([row["recall"] for row in present]),
        "macro_f1": _mean([row["f1"] for row in present]),
        "ece": expected_calibration_error(probabilities.max(axis=1), predicted == targets) if len(targets) else None,
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Return the mean gap between confidence and accuracy over 15 bins of equal mass, weighted by their size.

    Source: Nixon et al. 2019, Measuring Calibration in Deep Learning (adaptive bins).
    """
    order = np.argsort(confidence, kind="stable")
    bins = [part for part in np.array_split(order, CALIBRATION_BINS) if len(part)]
    gaps = [abs(confidence[part].mean() - correct[part].mean()) * len(part) for part in bins]
    return float(sum(gaps) / len(confidence))


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
