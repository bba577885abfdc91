"""The `lime` package as an engine: the reference on a workstation, 360 MB with what it needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edge.errors import InputError
from edge.explain.explanation import Classify, Engine, Explanation

BATCH = 50
"""Crops that the classifier gets at once."""

COMPACTNESS = 10.0
"""SLIC's weight of nearness over likeness: parts stay blobs, and still follow brows, eyes and mouth."""


def load_lime() -> Engine:
    """Return the engine.

    Raises:
        InputError: the package is not installed.
    """
    try:
        from lime import lime_image
        from lime.wrappers.scikit_image import SegmentationAlgorithm
    except ImportError as error:
        missing = error.name or str(error)
        raise InputError(
            f'explaining needs the package lime ({missing} is missing): pip install lime, or "emotion-edge[train]"'
        ) from None
    lime_image.tqdm = _as_is  # it draws a bar for every picture, and has no switch for it

    def explain(
        image: np.ndarray, classify: Classify, label: int, *, samples: int, segments: int, seed: int
    ) -> Explanation:
        slic = SegmentationAlgorithm("slic", n_segments=segments, compactness=COMPACTNESS, sigma=1, start_label=0)
        parts = _numbered(np.asarray(slic(image)))  # (S, S)
        # A hidden part takes the whole picture's mean colour. lime's default, each part's own mean, hides next to
        # nothing of parts that follow the picture's edges: the mouth stays a mouth, and the fit says nothing.
        mean = image.reshape(-1, 3).mean(axis=0)
        explained: Any = lime_image.LimeImageExplainer(random_state=seed).explain_instance(
            image, classify, labels=(label,), top_labels=None, num_samples=samples, batch_size=BATCH,
            hide_color=mean, segmentation_fn=lambda _: parts, random_seed=seed,
        )  # fmt: skip
        weights = np.zeros(int(parts.max()) + 1)
        for part, weight in explained.local_exp[label]:
            weights[part] = weight
        return Explanation(image, parts, weights, label, float(explained.score))

    return explain


def _as_is(rows: Iterable[Any]) -> Iterable[Any]:
    return rows


def _numbered(parts: np.ndarray) -> np.ndarray:
    """Number the parts 0 to K - 1 without gaps, which lime takes for granted."""
    numbers: np.ndarray = np.unique(parts, return_inverse=True)[1].reshape(parts.shape).astype(np.int64)
    return numbers
