"""Sheets of pictures: what the model got right and wrong, and what in a picture spoke for its answer (LIME)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.detect import Detector
from edge.explain import Explanation, explain, heat
from train.report.evaluation import Evaluation, align_pictures
from train.stages import Stages

A_CLASS = 3
"""Pictures of each true class on a sheet."""

HEAT_SIDE = 192
"""Side of a drawn explanation, pixels."""

SEGMENTS = 40


@dataclass(frozen=True)
class Sample:
    """One picture and its answer.

    Attributes:
        picture: `(S, S, 3)` uint8 RGB, as the model sees it.
        actual, predicted: labels.
        confidence: probability of the predicted label.
    """

    picture: np.ndarray
    actual: str
    predicted: str
    confidence: float

    @property
    def right(self) -> bool:
        """Whether the answer is the label."""
        return self.actual == self.predicted


@dataclass(frozen=True)
class Explained:
    """A sample, and what in it spoke for the answer.

    Attributes:
        sample: picture and answer.
        drawn: `(H, H, 3)` uint8 RGB: the weights over the picture.
        score: fidelity of the linear model behind the weights.
    """

    sample: Sample
    drawn: np.ndarray
    score: float


@dataclass(frozen=True)
class Pair:
    """The same picture explained before and after alignment.

    Attributes:
        whole: as a ready crop.
        aligned: detected and aligned; None where no face was found.
    """

    whole: Explained
    aligned: Explained | None


def choose(evaluation: Evaluation, right: bool, a_class: int) -> list[int]:
    """Draw pictures that were answered right, or wrong, evenly over the true classes: the same ones every time.

    Returns:
        indices, class by class; a class with fewer such pictures has fewer.
    """
    hit = evaluation.whole.probabilities.argmax(axis=1) == evaluation.targets
    chosen: list[int] = []
    for target in range(len(evaluation.labels)):
        of_class = np.flatnonzero((evaluation.targets == target) & (hit == right))
        chosen += [int(index) for index in np.random.default_rng([0, target]).permutation(of_class)[:a_class]]
    return chosen


def sheet(evaluation: Evaluation, right: bool) -> list[Sample]:
    """Return samples that were answered right, or wrong."""
    whole = evaluation.whole
    return [
        _sample(evaluation, index, whole.crops[index], whole.probabilities[index])
        for index in choose(evaluation, right, A_CLASS)
    ]


def explain_samples(evaluation: Evaluation, detector: Detector, samples: int, stages: Stages) -> list[Pair]:
    """Explain a right and a wrong answer of each class, before and after alignment.

    Args:
        evaluation: of the pictures.
        detector: finds the faces.
        samples: perturbed copies a picture.
        stages: shows what is being done.
    """
    chosen = [index for right in (True, False) for index in choose(evaluation, right, 1)]
    if not chosen:
        return []
    images, found = align_pictures(evaluation.faces.images[chosen], evaluation.subject, detector, stages)
    moved = stages.stage("explaining with LIME", len(chosen))
    pairs = []
    for number, index in enumerate(chosen):
        whole = _explained(evaluation, index, evaluation.whole.crops[index], samples)
        aligned = _explained(evaluation, index, images[number], samples) if found[number] else None
        pairs.append(Pair(whole, aligned))
        moved(number + 1)
    return pairs


def _explained(evaluation: Evaluation, index: int, crop: np.ndarray, samples: int) -> Explained:
    """Explain the answer to one crop: the label that the model gives to it, right or wrong."""
    classify = evaluation.subject.classifier.classify
    probabilities = classify(crop[None])[0]
    made: Explanation = explain(
        crop, classify, int(probabilities.argmax()), samples=samples, segments=SEGMENTS, seed=index
    )
    return Explained(_sample(evaluation, index, crop, probabilities), heat(made, HEAT_SIDE), made.score)


def _sample(evaluation: Evaluation, index: int, crop: np.ndarray, probabilities: np.ndarray) -> Sample:
    predicted = int(probabilities.argmax())
    labels = evaluation.labels
    return Sample(crop, labels[evaluation.targets[index]], labels[predicted], float(probabilities[predicted]))
