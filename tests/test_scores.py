"""The scorer against scikit-learn-free arithmetic done by hand, and the evaluation of the shipped model file."""

from __future__ import annotations

import numpy as np
import pytest

from edge.measure.scores import expected_calibration_error, score

LABELS = ("a", "b", "c")


def rows(*tops: int, confidence: float = 0.8) -> np.ndarray:
    """Probabilities whose highest entry is at the given class."""
    table = np.full((len(tops), 3), (1 - confidence) / 2, np.float32)
    table[np.arange(len(tops)), list(tops)] = confidence
    return table


def test_nothing_scored_is_none_and_not_a_failure() -> None:
    result = score(np.zeros((0, 3), np.float32), np.zeros(0, np.int64), LABELS)
    assert result["n"] == 0
    assert result["accuracy"] is None
    assert result["macro_f1"] is None
    assert result["ece"] is None
    assert result["confusion"] == [[0] * 3] * 3


def test_figures_by_hand() -> None:
    # true a a a b; predicted a a b b: recall a 2/3, b 1; precision a 1, b 1/2
    result = score(rows(0, 0, 1, 1), np.array([0, 0, 0, 1]), LABELS)
    assert result["accuracy"] == 0.75
    assert result["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert result["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert result["confusion"] == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert result["per_class"]["a"] == {"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3}
    assert result["per_class"]["c"] == {"precision": None, "recall": None, "f1": None, "support": 0}


def test_calibration_error_of_the_perfect_and_the_boastful() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1, 30_000)
    honest = rng.random(30_000) < confidence
    # 15 bins of 2000: the sampling error of a bin's mean is below 0.012
    assert expected_calibration_error(confidence, honest) < 0.012
    assert expected_calibration_error(np.full(3000, 0.9), np.arange(3000) % 2 == 0) == pytest.approx(0.4)
