"""The gate: whether a small model lost so little against its float parent that it may be released. Pure.

Both answered the same labelled pictures. A verdict says what was lost, all over and class by class, and why it passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibrate.evidence import FP32_ONNX, INT8_ONNX, INT8_TFLITE, MODEL_FILES
from calibrate.statistics import Interval, bootstrap_interval, drop_bound, drop_interval, labels_of, mcnemar
from edge.errors import EdgeError, InputError

SPARED = 2
"""Pictures that a class may always lose: in a small one they are more than the points that are allowed."""

TOLD = 3
"""Reasons in one line."""

ALL = "all"
"""What the whole of the pictures is called beside the classes."""

ROUNDING = 1e-9
"""Of a limit in points times a count of pictures."""


class GateFailed(EdgeError):
    """A candidate is not to be released: it lost too much, or a file is not the one that was judged (exit 4)."""

    exit_code = 4


@dataclass(frozen=True)
class Limits:
    """What a candidate may lose against its float parent, in percentage points.

    Attributes:
        max_drop: of accuracy.
        max_bound: what the one-sided 95 % bound of that drop may be.
        max_class_drop: of each class's recall; two pictures are allowed where they are more.
    """

    max_drop: float = 0.5
    max_bound: float = 1.0
    max_class_drop: float = 2.0

    def __post_init__(self) -> None:
        for name in ("max_drop", "max_bound", "max_class_drop"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value <= 100:
                raise InputError(f"--{name.replace('_', '-')} {value}: give percentage points, from 0 to 100")

    def halved(self) -> Limits:
        """Return limits to choose by: half of either drop, so that there is a reserve when others are judged.

        The bound is left as it is: it holds the scatter of the pictures already.
        """
        return replace(self, max_drop=self.max_drop / 2, max_class_drop=self.max_class_drop / 2)


@dataclass(frozen=True)
class Change:
    """What became of some pictures' answers.

    Attributes:
        label: the class, or `ALL`.
        support: pictures.
        parent: share that the parent has right; None without a picture.
        candidate: share that the candidate has right.
        lost: pictures that only the parent has right.
        won: pictures that only the candidate has right.
        allowed: pictures that may be lost more than won.
        drop: parent less candidate, in points; below zero is a gain; None without a picture.
        interval: 95 % score interval of the drop, in points.
        bootstrap: 95 % paired bootstrap interval of the drop, in points.
        p_value: of McNemar's exact test.
    """

    label: str
    support: int
    parent: float | None
    candidate: float | None
    lost: int
    won: int
    allowed: float
    drop: float | None
    interval: Interval | None
    bootstrap: Interval | None
    p_value: float

    @property
    def passes(self) -> bool:
        """Whether no more is lost than allowed."""
        return self.lost - self.won <= self.allowed + ROUNDING

    def says(self) -> str:
        """Return what is shown of a loss, in words; never that there is none. A minus in the interval is a gain."""
        if self.drop is None or self.interval is None:
            return "nothing to judge by"
        reach = f"interval {figure(self.interval.low)} … {figure(self.interval.high)} points"
        if self.interval.low > 0:
            return f"a loss of {figure(self.drop)} points, {reach}"
        return f"no loss shown, {reach}"


@dataclass(frozen=True)
class Verdict:
    """Whether one file may stand in for its parent.

    Attributes:
        passes: the gate.
        overall: what changed over all pictures.
        bound: one-sided 95 % upper bound of the drop, in points; None without a picture.
        classes: what changed in each class, in the order of the labels.
        reasons: full sentences: what stands against it, or else what speaks for it.
    """

    passes: bool
    overall: Change
    bound: float | None
    classes: tuple[Change, ...]
    reasons: tuple[str, ...]

    @property
    def drop(self) -> float | None:
        """Of accuracy, in points; None without a picture."""
        return self.overall.drop


@dataclass(frozen=True)
class Judgement:
    """Whether a candidate may be released.

    Attributes:
        passes: every file that was judged passes, and one of int8 is among them.
        limits: that were held.
        files: a verdict for each model file but the parent.
        reasons: a sentence each, with the file's name before it.
    """

    passes: bool
    limits: Limits
    files: dict[str, Verdict]
    reasons: tuple[str, ...]

    def failing(self) -> list[str]:
        """Return the reasons that stand against it: not those of a file that passes."""
        good = [name for name, verdict in self.files.items() if verdict.passes]
        return [reason for reason in self.reasons if reason.partition(": ")[0] not in good]

    def in_short(self) -> str:
        """Return the first of those reasons in one line, and how many more there are."""
        reasons = self.failing()
        more = [f"And {some(len(reasons) - TOLD, 'more reason')}."] if len(reasons) > TOLD else []
        return " ".join([*reasons[:TOLD], *more])


def judge(
    targets: np.ndarray, parent: np.ndarray, candidate: np.ndarray, labels: Sequence[str], limits: Limits
) -> Verdict:
    """Hold a candidate's answers against its parent's.

    Args:
        targets: `(N,)` int, true classes.
        parent: `(N, C)` probabilities of the float model.
        candidate: the same of the small one.
        labels: `C` class names.
        limits: what may be lost.

    A row that is no probabilities counts as wrong, and one of them is enough to fail.

    Raises:
        InputError: the arrays are not of one set of pictures and these classes.
    """
    _check_shapes(targets, {"the parent": parent, "the candidate": candidate}, len(labels))
    first, second = labels_of(parent), labels_of(candidate)
    lost, won = (first == targets) & (second != targets), (first != targets) & (second == targets)
    right = first == targets

    def change(label: str, chosen: np.ndarray, points: float, spared: int) -> Change:
        allowed = max(points * int(chosen.sum()) / 100, spared)
        return _change(label, int(chosen.sum()), int(right[chosen].sum()), int(lost[chosen].sum()),
                       int(won[chosen].sum()), allowed)  # fmt: skip

    overall = change(ALL, np.ones(len(targets), bool), limits.max_drop, 0)
    classes = tuple(
        change(label, targets == index, limits.max_class_drop, SPARED) for index, label in enumerate(labels)
    )
    bound = 100 * drop_bound(overall.lost, overall.won, overall.support) if overall.support else None
    damaged = {"the float file": int((first < 0).sum()), "this file": int((second < 0).sum())}
    against = tuple(_against(overall, bound, classes, limits, damaged))
    return Verdict(not against, overall, bound, classes, against or tuple(_speaks_for(overall, bound, classes, limits)))


def judge_candidate(
    targets: np.ndarray, answers: Mapping[str, np.ndarray], files: Sequence[str], labels: Sequence[str], limits: Limits
) -> Judgement:
    """Judge every model file of a candidate against `fp32.onnx`: the float TFLite file as well, for it is shipped too.

    Args:
        targets: `(N,)` int, true classes of the test pictures.
        answers: `(N, C)` probabilities by file name.
        files: the candidate's model files.
        labels: `C` class names.
        limits: what may be lost.

    Raises:
        InputError: the arrays are not of one set of pictures and these classes.
    """
    _check_shapes(targets, answers, len(labels))
    verdicts = {
        name: judge(targets, answers[FP32_ONNX], answers[name], labels, limits)
        for name in MODEL_FILES if name in files and name in answers and FP32_ONNX in answers and name != FP32_ONNX
    }  # fmt: skip
    reasons = [f"{name}: {reason}" for name, verdict in verdicts.items() for reason in verdict.reasons]
    silent = [name for name in files if name not in answers]
    reasons += [f"{name}: it has no answers on the test pictures." for name in silent]
    if FP32_ONNX not in files:
        reasons.append(f"{FP32_ONNX} is missing: nothing to hold the others against.")
    small = [name for name in (INT8_ONNX, INT8_TFLITE) if name in verdicts]
    if not small:
        reasons.append("No int8 file was judged.")
    passes = not silent and bool(small) and all(verdict.passes for verdict in verdicts.values())
    return Judgement(passes, limits, verdicts, tuple(reasons))


def limits_from(stored: Mapping[str, float]) -> Limits:
    """Return limits as evidence holds them; what is not there stands at its default.

    Raises:
        InputError: one is no number of points.
    """
    known = Limits.__dataclass_fields__
    return Limits(**{name: value for name, value in stored.items() if name in known})


def figure(value: float) -> str:
    """Return points with two digits behind the dot and a true minus; what rounds to zero has none."""
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


def some(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _check_shapes(targets: np.ndarray, answers: Mapping[str, np.ndarray], classes: int) -> None:
    expected = (len(targets), classes)
    for whose, rows in answers.items():
        if rows.shape != expected:
            raise InputError(f"answers of {whose}: they are {rows.shape}, expected {expected}: one row a picture")
    if len(targets) and not (
        np.issubdtype(targets.dtype, np.integer) and 0 <= targets.min() <= targets.max() < classes
    ):
        raise InputError(f"targets: expected whole numbers from 0 to {classes - 1}")


def _change(label: str, support: int, right: int, lost: int, won: int, allowed: float) -> Change:
    if not support:
        return Change(label, 0, None, None, 0, 0, allowed, None, None, None, 1.0)
    return Change(
        label, support, right / support, (right - lost + won) / support, lost, won, allowed,
        100 * (lost - won) / support, _points(drop_interval(lost, won, support)),
        _points(bootstrap_interval(lost, won, support)), mcnemar(lost, won),
    )  # fmt: skip


def _points(interval: Interval) -> Interval:
    return Interval(100 * interval.low, 100 * interval.high)


def _against(
    overall: Change, bound: float | None, classes: Sequence[Change], limits: Limits, damaged: Mapping[str, int]
) -> list[str]:
    """Return what stands against a release, in sentences."""
    if bound is None:
        return ["There is no picture to judge by."]
    said = [
        f"{some(count, 'answer')} of {whose} {'is' if count == 1 else 'are'} no probabilities."
        for whose, count in damaged.items()
        if count
    ]
    if not overall.passes:
        said.append(f"Accuracy falls by {_fall(overall)}; {limits.max_drop:g} points are allowed.")
    if bound > limits.max_bound + ROUNDING:
        least = 100 * drop_bound(0, 0, overall.support)
        few = f" ({overall.support:,} pictures are too few: unchanged answers alone would give {figure(least)})"
        said.append(
            f"The drop in accuracy may be as large as {figure(bound)} points (one-sided 95 % bound); "
            f"{limits.max_bound:g} {'point is' if limits.max_bound == 1 else 'points are'} allowed"
            f"{few if least > limits.max_bound else ''}."
        )
    for each in classes:
        if not each.passes:
            said.append(
                f"Recall of {each.label} falls by {_fall(each)}: {some(each.lost - each.won, 'picture')} of "
                f"{each.support:,}, where {math.floor(each.allowed + ROUNDING)} are allowed."
            )
    return said


def _fall(change: Change) -> str:
    assert change.drop is not None
    assert change.parent is not None
    assert change.candidate is not None
    return (
        f"{figure(change.drop)} points, from {100 * change.parent:.2f} to {100 * change.candidate:.2f} % "
        f"({change.lost} lost, {change.won} won)"
    )


def _speaks_for(overall: Change, bound: float | None, classes: Sequence[Change], limits: Limits) -> list[str]:
    """Return what speaks for a release, in sentences."""
    assert bound is not None
    assert overall.drop is not None
    went = "falls" if overall.drop > 0 else "rises" if overall.drop < 0 else "stays"
    by = "" if overall.drop == 0 else f" by {figure(abs(overall.drop))} points"
    said = [
        f"Accuracy {went}{by} on {overall.support:,} pictures (a drop of {limits.max_drop:g} is allowed), and the drop "
        f"is at most {figure(bound)} points (one-sided 95 % bound; {limits.max_bound:g} allowed)."
    ]
    seen = [each for each in classes if each.support]
    worst = max(seen, key=lambda each: (each.lost - each.won) / each.allowed)
    net = worst.lost - worst.won
    said.append(
        f"No class loses more than it may; nearest to it is {worst.label}: {some(max(net, 0), 'picture')} of "
        f"{worst.support:,}, where {math.floor(worst.allowed + ROUNDING)} are allowed."
    )
    empty = [each.label for each in classes if not each.support]
    if empty:
        said.append(f"Not judged for want of a picture: {', '.join(empty)}.")
    return said
