"""Why a face was given its label: LIME. One door: `explain(image, classify, label)`; `heat` draws what comes out."""

from __future__ import annotations

import numpy as np

from edge.errors import InputError
from edge.explain.explanation import Classify, Engine, Explanation
from edge.explain.pictures import heat

__all__ = ["ENGINES", "Classify", "Engine", "Explanation", "explain", "heat", "load_engine"]

ENGINES: tuple[str, ...] = ("lime",)
"""The engines that `load_engine` knows, preferred first."""


def explain(
    image: np.ndarray,
    classify: Classify,
    label: int,
    *,
    samples: int = 1000,
    segments: int = 50,
    seed: int = 0,
    engine: str = "lime",
) -> Explanation:
    """Explain how much each part of a crop spoke for a label.

    Args:
        image: `(S, S, 3)` uint8 RGB, a crop as the classifier takes it.
        classify: `(N, S, S, 3)` uint8 RGB to `(N, C)` probabilities, such as `Classifier.classify`.
        label: index of the label to explain, of the `C`.
        samples: how many copies of the crop with parts hidden are classified; the first one hides nothing.
        segments: how many parts to cut the crop into; what is alike and small is joined, so there may be fewer.
        seed: of the hiding; the same seed gives the same explanation.
        engine: one of `ENGINES`.

    Raises:
        InputError: an argument is out of range or of another shape, or the engine is unknown or not installed.

    Source: Ribeiro et al. 2016, "Why Should I Trust You?" (LIME).
    """
    if image.ndim != 3 or image.shape[0] != image.shape[1] or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"explain: the picture is {image.dtype}{list(image.shape)}, expected uint8[S, S, 3]")
    for name, value, least in (("samples", samples, 2), ("segments", segments, 1), ("seed", seed, 0)):
        if not least <= value < 2**32:
            raise InputError(f"explain: {name} is {value}: give {least} or more")
    chosen = load_engine(engine)
    classes = classify(image[None]).shape[1]
    if not 0 <= label < classes:
        raise InputError(f"explain: label {label} is none of the {classes} that the classifier knows")
    return chosen(image, classify, label, samples=samples, segments=segments, seed=seed)


def load_engine(name: str = "lime") -> Engine:
    """Load an engine.

    Raises:
        InputError: the name is unknown, or the package that the engine needs is not installed.
    """
    if name not in ENGINES:
        raise InputError(f'no engine "{name}" to explain with: choose one of {", ".join(ENGINES)}')
    from edge.explain.reference import load_lime  # here, so that a device without the package pays nothing

    return load_lime()
