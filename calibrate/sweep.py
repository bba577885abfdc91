"""How ranges are best taken: methods, activations and scales tried on dev, and how many pictures to take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx

from calibrate.dev import Dev
from calibrate.evidence import Trial
from calibrate.onnx_int8 import Ranges, Settings, quantize, stamped
from calibrate.ranges import METHODS, Seen, watch
from edge.model.contract import ModelInfo
from edge.model.onnx import OnnxClassifier

TARGETS = {"x86": ("uint8",), "arm": ("int8", "uint8")}
"""Activation types that are fast on a processor, the usual one first. On x86 int8 ones are five times slower."""

COUNTS = (35, 70, 140, 280, 560)
"""Calibration pictures that the curve is drawn over."""

Told = Callable[[str], Callable[[int], None]]
"""Told that a trial begins; returns what is told the pictures done."""


class Sweep:
    """Tries ways to quantize one prepared graph, and remembers the ranges it took."""

    def __init__(self, prepared: onnx.ModelProto, info: ModelInfo, dev: Dev, crops: np.ndarray, told: Told) -> None:
        """Get ready.

        Args:
            prepared: as `calibrate.onnx_int8.prepare` returns it.
            info: its facts.
            dev: what is chosen on.
            crops: `(N, S, S, 3)` uint8 RGB calibration crops; the first of them are a smaller set.
            told: shown what is tried.
        """
        self.prepared, self.info, self.dev, self.crops, self.told = prepared, info, dev, crops, told
        self._seen: dict[int, Seen] = {}

    def ranges(self, method: str, count: int) -> Ranges:
        """Return the ranges of the first `count` crops, which are looked at once."""
        count = min(count, len(self.crops))
        if count not in self._seen:
            self._seen[count] = watch(self.prepared, self.crops[:count])
        return self._seen[count].ranges(method)

    def methods(self, target: str, count: int) -> list[Trial]:
        """Try every method with and without a scale a channel, then the other activation types on the best.

        The one chosen is the one whose answers diverge least from the parent's: accuracies of a few thousand pictures
        that differ by less than a point say nothing. What is slow on the target is tried, shown, and not chosen.
        """
        usual = TARGETS[target][0]
        trials = [self._try(method, usual, count, per_channel=each) for method in METHODS for each in (False, True)]
        best = min(trials, key=lambda trial: trial.kl)
        others = [activation for activation in ("uint8", "int8") if activation != usual]
        trials += [self._try(best.method, other, count, per_channel=best.per_channel) for other in others]
        chosen = min((t for t in trials if t.activation in TARGETS[target]), key=lambda trial: trial.kl)
        return [replace(trial, chosen=trial is chosen) for trial in trials]

    def counts(self, chosen: Trial) -> list[Trial]:
        """Try the chosen way with fewer and more pictures; mark the most whose answers are as near as the nearest.

        Repairs measure on the same pictures and gain by many; the command takes minutes either way.
        """
        sizes = sorted({count for count in COUNTS if count < len(self.crops)} | {len(self.crops)})
        trials = [self._try(chosen.method, chosen.activation, count, per_channel=chosen.per_channel) for count in sizes]
        nearest = min(trial.kl for trial in trials)
        most = [trial for trial in trials if trial.kl <= 1.1 * nearest][-1]
        return [replace(trial, chosen=trial is most) for trial in trials]

    def _try(self, method: str, activation: str, count: int, *, per_channel: bool) -> Trial:
        count = min(count, len(self.crops))
        scales = "a scale a channel" if per_channel else "one scale a layer"
        moved = self.told(f"trying {method}, {activation}, {scales}, {count} pictures")
        model = quantize(self.prepared, self.ranges(method, count), Settings(activation, per_channel))
        classifier = OnnxClassifier.from_bytes(stamped(model, replace(self.info, precision="int8")), "trial", threads=2)
        figures = self.dev.judge(classifier, moved)
        return Trial(method, activation, per_channel, count, figures.accuracy, figures.kl)
