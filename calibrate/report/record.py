"""Every figure of a calibration's report, computed from evidence and answers: what `report.json` holds. Pure.

The page, the Markdown and `edge calibrate check` all take their figures from here and compute none themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from calibrate.evidence import (
    FP32_ONNX,
    FP32_TFLITE,
    INT8_ONNX,
    INT8_TFLITE,
    MODEL_FILES,
    Answers,
    Cost,
    Evidence,
    Layer,
)
from calibrate.gate import Change, Judgement, Limits, Verdict, figure, judge_candidate, limits_from
from calibrate.statistics import (
    best_temperature,
    brier,
    coverage_curve,
    divergence,
    labels_of,
    likelihood_loss,
    tempered,
    wilson,
)
from edge.measure.scores import expected_calibration_error, score

FORMAT = 1
"""Of the record; another one is not compared."""

PAIRS = (
    (FP32_ONNX, INT8_ONNX), (FP32_ONNX, INT8_TFLITE), (FP32_TFLITE, INT8_TFLITE), (INT8_ONNX, INT8_TFLITE),
    (FP32_ONNX, FP32_TFLITE),
)  # fmt: skip
"""Files whose answers are held against each other: small against float, then ONNX against TFLite."""

SHOWN = 24
"""Pictures of strongest disagreement, a file."""


def judgement_of(evidence: Evidence, test: Answers | None, limits: Limits | None = None) -> Judgement:
    """Judge the candidate on its test pictures, within the limits that it was made for where no others are given."""
    test = test or Answers((), np.zeros(0, np.int64), {})
    names = [facts.name for facts in evidence.files]
    limits = limits or limits_from(evidence.limits)
    return judge_candidate(test.targets, test.probabilities, names, evidence.labels, limits)


def make_record(evidence: Evidence, answers: Mapping[str, Answers], judgement: Judgement) -> dict[str, Any]:
    """Return every figure of the report, ready for JSON.

    Args:
        evidence: the facts.
        answers: by the set's name; `test` and `dev` with targets. A set that is missing is left out.
        judgement: of the answers on `test`.
    """
    sound = {name: _sound(each) for name, each in answers.items()}
    dev = sound.get("dev")
    figures = {
        name: {file: _figures(rows, each.targets, evidence, file, dev) for file, rows in each.probabilities.items()}
        for name, each in sound.items() if name != "unlabelled" and len(each.targets)
    }  # fmt: skip
    test = sound.get("test")
    present = [facts.name for facts in evidence.files]
    plain = ("name", "network", "source", "data", "command", "target", "threshold", "calibration", "machine")
    return {
        "format": FORMAT,
        **{key: getattr(evidence, key) for key in plain},
        "labels": list(evidence.labels),
        "notes": [*evidence.notes, *_damaged(answers)],
        "verdict": _judgement(judgement),
        "files": {facts.name: {**asdict(facts), "share_of_float": _share_of_float(evidence, facts.size)}
                  for facts in evidence.files},
        "missing": [name for name in MODEL_FILES if name not in present],
        "sets": {name: len(each.names) for name, each in answers.items()},
        "figures": figures,
        "agreement": {name: _agreement(each.probabilities) for name, each in sound.items()},
        "uncertain": {} if test is None or not len(test.targets) else {
            file: _uncertain(rows, test.targets, evidence.threshold) for file, rows in test.probabilities.items()
        },
        "disagreement": {} if test is None else _disagreement(test, evidence.labels),
        "ladder": _ladder(evidence, len(answers["dev"].targets) if "dev" in answers else 0),
        "sweep": [asdict(trial) for trial in evidence.sweep],
        "curve": [asdict(trial) for trial in evidence.curve],
        "layers_on": evidence.layers_on,
        "layers": [_layer(layer, evidence.layers_on.get("accuracy")) for layer in evidence.layers],
        "costs": [{**asdict(cost), "ratio": _ratio(cost, evidence.costs)} for cost in evidence.costs],
        "in_short": {name: _in_short(evidence, name) for name in (INT8_ONNX, INT8_TFLITE) if name in present},
    }  # fmt: skip


def _sound(answers: Answers) -> Answers:
    """Leave out files whose answers are no probabilities: the gate refuses them, and nothing can be said of them."""
    kept = {file: rows for file, rows in answers.probabilities.items() if (labels_of(rows) >= 0).all()}
    return Answers(answers.names, answers.targets, kept)


def _damaged(answers: Mapping[str, Answers]) -> list[str]:
    return [
        f"{file}: {int((labels_of(rows) < 0).sum()):,} answers on {name} are no probabilities, so it has no figures."
        for name, each in answers.items()
        for file, rows in each.probabilities.items()
        if (labels_of(rows) < 0).any()
    ]


def _figures(
    rows: np.ndarray, targets: np.ndarray, evidence: Evidence, file: str, dev: Answers | None
) -> dict[str, Any]:
    """Return the scorer's figures, and likelihood, Brier score and calibration error with the temperature and without.

    `asked_for` is the temperature that dev would choose for this very file.
    """
    facts = evidence.file(file)
    inside = facts.temperature if facts else 1.0
    before = tempered(rows, 1 / inside)
    right = rows.argmax(axis=1) == targets
    result = {
        **score(rows, targets, evidence.labels), "nll": likelihood_loss(rows, targets), "brier": brier(rows, targets),
        "before": {
            "nll": likelihood_loss(before, targets), "brier": brier(before, targets),
            "ece": expected_calibration_error(before.max(axis=1), right),
        },
        "temperature": inside, "asked_for": None,
    }  # fmt: skip
    if dev is not None and file in dev.probabilities and len(dev.targets):
        result["asked_for"] = inside * best_temperature(dev.probabilities[file], dev.targets)
    return result


def _agreement(answers: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    rows = []
    for first, second in PAIRS:
        if first in answers and second in answers and len(answers[first]):
            one, other = answers[first], answers[second]
            same, count = int((one.argmax(axis=1) == other.argmax(axis=1)).sum()), len(one)
            kl = divergence(one, other)
            rows.append({
                "first": first, "second": second, "n": count, "same": same, "share": same / count,
                "interval": asdict(wilson(same, count)), "kl": float(kl.mean()),
                "kl_95": float(np.percentile(kl, 95)), "kl_most": float(kl.max()),
                "furthest": float(np.abs(one.astype(np.float64) - other).max()),
            })  # fmt: skip
    return rows


def _uncertain(rows: np.ndarray, targets: np.ndarray, threshold: float) -> dict[str, Any]:
    answered = rows.max(axis=1) >= threshold
    right = rows.argmax(axis=1) == targets
    return {
        "coverage": float(answered.mean()),
        "accuracy": float(right[answered].mean()) if answered.any() else None,
        "accuracy_of_rest": float(right[~answered].mean()) if not answered.all() else None,
        "curve": [list(point) for point in coverage_curve(rows, targets)],
    }


def _disagreement(test: Answers, labels: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return for each small file the pictures on which it goes furthest from the float file, furthest first."""
    found = {}
    for name in (INT8_ONNX, INT8_TFLITE):
        if name in test.probabilities and FP32_ONNX in test.probabilities and len(test.targets):
            parent, candidate = test.probabilities[FP32_ONNX], test.probabilities[name]
            kl = divergence(parent, candidate)
            found[name] = [
                {
                    "index": int(i), "name": test.names[i], "actual": labels[test.targets[i]],
                    "parent": labels[parent[i].argmax()], "parent_confidence": float(parent[i].max()),
                    "candidate": labels[candidate[i].argmax()], "candidate_confidence": float(candidate[i].max()),
                    "kl": float(kl[i]),
                }
                for i in np.argsort(-kl, kind="stable")[:SHOWN]
            ]  # fmt: skip
    return found


def _ladder(evidence: Evidence, count: int) -> list[dict[str, Any]]:
    """Return the rungs, each with its drop on dev's `count` pictures in points, and whether it is the one that `met`
    the budget (the first of its format that passes) and the one that was `taken` (the last one kept).
    """
    rows = [
        {**asdict(rung), "drop": 100 * (rung.lost - rung.won) / count if count else None} for rung in evidence.ladder
    ]
    rows.sort(key=lambda row: str(row["format"]))
    for kind in ("onnx", "tflite"):
        own = [row for row in rows if row["format"] == kind]
        first = next((row for row in own if row["passes"]), None)
        kept = [row for row in own if row["kept"]]
        for row in own:
            row |= {"met": row is first, "taken": bool(kept) and row is kept[-1]}
    return rows


def _layer(layer: Layer, parent: float | None) -> dict[str, Any]:
    """Return a layer's facts, its drop from the parent's accuracy in points, and what its histogram says of its range.

    `outside` is the share of values that int8 cuts off, `used` the share of the range that the middle 99 % of them
    take; both count a bin by its edges, and are None without a histogram.
    """
    row = {**asdict(layer), "drop": None if parent is None else 100 * (parent - layer.accuracy)}
    row |= {"edges": list(layer.edges), "counts": list(layer.counts), "outside": None, "used": None}
    width, total = layer.high - layer.low, sum(layer.counts)
    if not total or width <= 0:
        return row
    edges, counts = np.array(layer.edges), np.array(layer.counts, float)
    middles, below = (edges[:-1] + edges[1:]) / 2, np.cumsum(counts) / total
    low, high = edges[int(np.searchsorted(below, 0.005))], edges[int(np.searchsorted(below, 0.995)) + 1]
    outside = counts[(middles < layer.low) | (middles > layer.high)].sum() / total
    return row | {"outside": float(outside), "used": float(min((high - low) / width, 1))}


def _share_of_float(evidence: Evidence, size: int) -> float | None:
    parent = evidence.file(FP32_ONNX)
    return size / parent.size if parent and parent.size else None


def _ratio(cost: Cost, costs: Sequence[Cost]) -> float | None:
    """Return the median time as a share of the float file's of the same format in the same runtime and threads."""
    own = FP32_TFLITE if cost.file.endswith(".tflite") else FP32_ONNX
    same = [
        each for each in costs
        if each.file == own and (each.runtime, each.threads) == (cost.runtime, cost.threads) and each.p50_ms > 0
    ]  # fmt: skip
    return cost.p50_ms / same[0].p50_ms if same and cost.file != own else None


def _in_short(evidence: Evidence, name: str) -> dict[str, Any]:
    """Return size, latency and rung of a small file: what a person asks first after its accuracy."""
    facts = evidence.file(name)
    assert facts is not None
    timed = [(ratio, cost) for cost in evidence.costs if cost.file == name
             and (ratio := _ratio(cost, evidence.costs)) is not None]  # fmt: skip
    ratio, cost = min(timed, key=lambda row: (row[1].threads, row[0]), default=(None, None))
    rungs = [rung for rung in evidence.ladder if rung.format == name.partition(".")[2]]
    taken = max((number for number, rung in enumerate(rungs, 1) if rung.kept), default=None)
    return {
        "size": facts.size, "share_of_float": _share_of_float(evidence, facts.size), "latency_ratio": ratio,
        "latency_ms": cost.p50_ms if cost else None, "runtime": cost.runtime if cost else None,
        "threads": cost.threads if cost else None, "rung": rungs[taken - 1].name if taken else None,
        "rung_number": taken, "rungs": len(rungs),
    }  # fmt: skip


def _judgement(judgement: Judgement) -> dict[str, Any]:
    return {
        "passes": judgement.passes, "limits": asdict(judgement.limits), "reasons": list(judgement.reasons),
        "against": judgement.failing(), "files": {name: _verdict(verdict) for name, verdict in judgement.files.items()},
    }  # fmt: skip


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "passes": verdict.passes, "says": verdict.overall.says(), "in_words": in_words(verdict.overall),
        "overall": _change(verdict.overall), "bound": verdict.bound,
        "classes": [_change(each) for each in verdict.classes], "reasons": list(verdict.reasons),
    }  # fmt: skip


def in_words(change: Change) -> str:
    """Return the drop beside the float file's accuracy, in words."""
    if change.drop is None or change.parent is None:
        return "not judged"
    said = (
        "as many as"
        if change.drop == 0
        else f"{figure(abs(change.drop))} points {'less' if change.drop > 0 else 'more'} than"
    )
    return f"{said} the float file's {100 * change.parent:.2f} %"


def _change(change: Change) -> dict[str, Any]:
    return {**asdict(change), "passes": change.passes}
