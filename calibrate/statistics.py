"""The same pictures answered by two models: what one lost against the other, and how sure that is. Pure.

Everything here is a closed form or an exact sum: nothing is drawn, so the same answers give the same figures for ever.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
"""Of every interval and bound, unless said otherwise."""

TEMPERATURES = (0.2, 5.0)
"""Where a temperature is looked for, as `edge train export` does."""

STEPS = 80
"""Halvings of an interval: more than a double has bits."""


@dataclass(frozen=True)
class Interval:
    """From the least to the greatest value that the answers leave possible."""

    low: float
    high: float


def labels_of(probabilities: np.ndarray) -> np.ndarray:
    """Return `(N,)` int64 labels of `(N, C)` probabilities; -1 where a row is none.

    A row is none where a number is not finite or below zero, or where they do not add up to one.
    """
    rows = np.asarray(probabilities, np.float64)
    with np.errstate(invalid="ignore"):
        sound = np.isfinite(rows).all(axis=1) & (rows >= -1e-3).all(axis=1) & (np.abs(rows.sum(axis=1) - 1) < 0.05)
    labels = np.full(len(rows), -1, np.int64)
    labels[sound] = rows[sound].argmax(axis=1)
    return labels


def drop_interval(lost: int, won: int, count: int, level: float = LEVEL) -> Interval:
    """Return the two-sided score interval of the drop `(lost - won) / count`, shares of 1.

    Args:
        lost: pictures that only the first model has right.
        won: pictures that only the second one has right.
        count: all pictures, one at least.
        level: of confidence.
    """
    one_sided = (1 + level) / 2
    return Interval(-drop_bound(won, lost, count, one_sided), drop_bound(lost, won, count, one_sided))


def drop_bound(lost: int, won: int, count: int, level: float = LEVEL) -> float:
    """Return the one-sided upper bound of the drop `(lost - won) / count`: a drop is greater with chance `1 - level`.

    It is the greatest drop that a score test of paired proportions does not reject. A bootstrap and a Wald bound say
    zero where no picture changed, however few there were; this one says `z² / (count + z²)`.

    Source: Tango 1998, Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design, Statistics in Medicine 17.
    """
    z = NormalDist().inv_cdf(level)

    def rejected(drop: float) -> bool:
        a = 2 * count
        b = -lost - won + (2 * count - lost + won) * drop
        c = -won * drop * (1 - drop)
        only_second = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # its likeliest share, were this the drop
        variance = count * max(2 * only_second + drop * (1 - drop), 0.0)
        return count * drop - (lost - won) > z * math.sqrt(variance)

    low, high = (lost - won) / count, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if rejected(middle) else (middle, high)
    return high


def bootstrap_interval(lost: int, won: int, count: int, level: float = LEVEL) -> Interval:
    """Return the paired percentile bootstrap interval of the drop, shares of 1, over all resamples there are.

    A resample of pictures, each with both its answers, adds up `count` times 1 (lost), -1 (won) or 0: the distribution
    of that sum is a power of its characteristic function, so that no resample needs to be drawn. Where no picture
    changed the interval is 0 to 0 whatever the count: see `drop_bound`.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13; the ideal bootstrap estimate.
    """
    size = 1 << (2 * count).bit_length()  # room for every sum from -count to count, of a length that is quick
    step = np.zeros(size)
    step[0], step[1], step[-1] = count - lost - won, lost, won
    chances = np.fft.irfft(np.fft.rfft(step / count) ** count, size)
    below = np.cumsum(np.concatenate([chances[-count:], chances[: count + 1]]))
    low, high = (int(np.searchsorted(below, share)) - count for share in ((1 - level) / 2, (1 + level) / 2))
    return Interval(low / count, high / count)


def mcnemar(lost: int, won: int) -> float:
    """Return the two-sided exact p-value of McNemar's test: how likely so uneven a split of the changed pictures is.

    Source: McNemar 1947; the exact form is a binomial test of `lost` against `won`.
    """
    changed = lost + won
    tail = sum(math.comb(changed, k) for k in range(min(lost, won) + 1))
    return min(1.0, 2 * tail / 2**changed)


def wilson(part: int, whole: int, level: float = LEVEL) -> Interval:
    """Return the interval of a share `part / whole`.

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, squared = part / whole, z * z / whole
    middle = share + squared / 2
    reach = z * math.sqrt(share * (1 - share) / whole + squared / (4 * whole))
    return Interval(max(0.0, (middle - reach) / (1 + squared)), min(1.0, (middle + reach) / (1 + squared)))


def divergence(parent: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """Return `(N,)` float64 Kullback-Leibler divergences, in nats, of the candidate's answers from the parent's.

    Args:
        parent: `(N, C)` probabilities.
        candidate: the same of the other model.
    """
    first, second = _logs(parent), _logs(candidate)
    return np.maximum((np.exp(first) * (first - second)).sum(axis=1), 0.0)


def likelihood_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean negative log-likelihood, in nats, of `(N, C)` probabilities; N is 1 or more."""
    return float(-_logs(probabilities)[np.arange(len(targets)), targets].mean())


def brier(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean squared distance from the truth, summed over the classes: 0 to 2; N is 1 or more.

    Source: Brier 1950, Verification of forecasts expressed in terms of probability.
    """
    truth = np.eye(probabilities.shape[1])[targets]
    return float(((probabilities.astype(np.float64) - truth) ** 2).sum(axis=1).mean())


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return `(N, C)` float64 probabilities as if their logits had been divided by `temperature`.

    A file with temperature T inside answers as an unscaled one after `tempered(answers, 1 / T)`.
    """
    logits = _logs(probabilities) / temperature
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


def best_temperature(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Return the temperature with the least negative log-likelihood; N is 1 or more.

    The loss is convex in one over the temperature, so golden sections find its least value.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks; Kiefer 1953 for the search.
    """
    logits, rows = _logs(probabilities), np.arange(len(targets))

    def loss(log: float) -> float:
        scaled = logits / math.exp(log)
        top = scaled.max(axis=1)
        return float((top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)) - scaled[rows, targets]).mean())

    ratio = (math.sqrt(5) - 1) / 2
    low, high = map(math.log, TEMPERATURES)
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-5:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return math.exp((low + high) / 2)


def coverage_curve(probabilities: np.ndarray, targets: np.ndarray, points: int = 20) -> list[tuple[float, float]]:
    """Return shares of pictures that get an answer, least first, each with the share of those answers that is right.

    Args:
        probabilities: `(N, C)`.
        targets: `(N,)` int.
        points: how many at most; the last one is all pictures.
    """
    order = np.argsort(-probabilities.max(axis=1, initial=0), kind="stable")
    right = np.cumsum((probabilities.argmax(axis=1) == targets)[order])
    counts = np.unique(np.ceil(np.arange(1, points + 1) * len(targets) / points).astype(int))
    return [(float(n / len(targets)), float(right[n - 1] / n)) for n in counts if n]


def _logs(probabilities: np.ndarray) -> np.ndarray:
    """Return log probabilities of rows made to add up to one; a zero is taken for the least that float32 can say."""
    rows = np.maximum(np.asarray(probabilities, np.float64), float(np.finfo(np.float32).tiny))
    logs: np.ndarray = np.log(rows / rows.sum(axis=1, keepdims=True))
    return logs
