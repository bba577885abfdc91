"""Two views of each face: the crop and its mirror image, one batch, the mean of the answers."""

from __future__ import annotations

import numpy as np

from edge.model import Classifier


class Flipped:
    """A classifier that also looks at the mirror image: twice the time, a little more accurate.

    Args:
        classifier: what answers.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.info, self.runtime = classifier.info, classifier.runtime
        self._classifier = classifier

    def classify(self, crops: np.ndarray) -> np.ndarray:
        """Return `(N, classes)` float32 probabilities for `(N, S, S, 3)` uint8 RGB crops; N may be 0."""
        both = self._classifier.classify(np.concatenate([crops, crops[:, :, ::-1]]))  # (2N, classes)
        mean: np.ndarray = (both[: len(crops)] + both[len(crops) :]) / 2
        return mean
