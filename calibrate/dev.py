"""The pictures that everything is chosen on, and what a candidate's answers on them are worth beside its parent's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from calibrate.gate import Limits, judge
from calibrate.statistics import divergence
from edge.measure.evaluate import classify_all
from edge.model import Classifier

Progress = Callable[[int], None]

ALIKE = 0.98
"""Share of pictures that must keep the float model's label, right or wrong. What is lost and what is won cancel in the
gate's drops, on dev by luck that another picture does not have; labels that changed do not cancel."""


def unseen(done: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Figures:
    """One candidate on dev, beside its parent; fields as in `calibrate.evidence.Rung`."""

    accuracy: float
    lost: int
    won: int
    agreement: float
    kl: float
    passes: bool


@dataclass(frozen=True)
class Dev:
    """Pictures with their true classes, and a float model's answers on them.

    Attributes:
        crops: `(N, S, S, 3)` uint8 RGB.
        targets: `(N,)` int64.
        labels: class names.
        parent: `(N, C)` float32, the float model's answers.
        limits: that an answer is chosen by: tighter than the gate's, so that there is a reserve on the test pictures.
    """

    crops: np.ndarray
    targets: np.ndarray
    labels: tuple[str, ...]
    parent: np.ndarray
    limits: Limits

    @cached_property
    def accuracy(self) -> float:
        """The float model's share of right answers."""
        return float((self.parent.argmax(axis=1) == self.targets).mean())

    def judge(self, classifier: Classifier, progress: Progress = unseen) -> Figures:
        """Let a candidate answer, and hold it against the parent.

        It passes within `limits` and with `ALIKE` of the parent's labels, or with all of them.
        """
        answers = classify_all(classifier, self.crops, progress)
        verdict = judge(self.targets, self.parent, answers, self.labels, self.limits)
        predicted = answers.argmax(axis=1)
        same = predicted == self.parent.argmax(axis=1)
        return Figures(
            accuracy=float((predicted == self.targets).mean()),
            lost=verdict.overall.lost,
            won=verdict.overall.won,
            agreement=float(same.mean()),
            kl=float(divergence(self.parent, answers).mean()),
            passes=(verdict.passes and bool(same.mean() >= ALIKE)) or bool(same.all()),  # all, on too few for the bound
        )
