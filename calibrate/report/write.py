"""From a candidate's folder to its report: `report.html`, `report.json` and `report.md`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from calibrate.evidence import FACTS, SETS, Answers, Evidence, read_answers, read_evidence
from calibrate.release import sha256_of
from calibrate.report.record import judgement_of, make_record
from edge.errors import InputError
from edge.files import write_whole

FIGURES, PAGE, SUMMARY = "report.json", "report.html", "report.md"


def write_report(folder: Path, *, pictures: Callable[[int], np.ndarray] | None) -> tuple[Path, ...]:
    """Write what evidence and answers in a folder say, whether the gate passes or not.

    A mark of an earlier release does not fit the new report: `mark_release` comes after this.

    Args:
        folder: of the candidate, with evidence.json and answers-*.npz.
        pictures: returns test picture `i` as `(H, W, 3)` uint8 RGB; None where the report may show none.

    Returns:
        paths of `report.html`, `report.md` and `report.json`, which holds every figure of the others and their sha256.

    Raises:
        InputError: there is no evidence, something is damaged, or the folder cannot be written.
    """
    from calibrate.report.drawings import class_charts, cost_charts, coverage_charts, search_charts
    from calibrate.report.layers import layer_charts
    from calibrate.report.page import render
    from calibrate.report.summary import as_markdown

    record = read_record(folder)
    charts = {
        "classes": class_charts(record), "coverage": coverage_charts(record), "search": search_charts(record),
        "layers": layer_charts(record), "costs": cost_charts(record),
    }  # fmt: skip
    sheets = None if pictures is None else {
        file: [(row, pictures(row["index"])) for row in rows] for file, rows in record["disagreement"].items()
    }  # fmt: skip
    page = render("report.html", record=record, charts=charts, sheets=sheets)
    write_whole(folder / PAGE, page.encode())
    write_whole(folder / SUMMARY, as_markdown(record).encode())
    stored = {
        **record,
        "inputs": {name: sha256_of(folder / name) for name in (FACTS, *map(answers_file, record["sets"]))},
        "pages": {name: sha256_of(folder / name) for name in (PAGE, SUMMARY)},
    }
    write_whole(folder / FIGURES, (json.dumps(stored, indent=1, allow_nan=False) + "\n").encode())
    return tuple(folder / name for name in (PAGE, SUMMARY, FIGURES))


def read_record(folder: Path) -> dict[str, Any]:
    """Compute every figure of the report from a folder's evidence and answers.

    Raises:
        InputError: there is no evidence, or something is damaged.
    """
    evidence = read_evidence(folder)
    answers = read_sets(folder, evidence)
    return make_record(evidence, answers, judgement_of(evidence, answers.get("test")))


def read_sets(folder: Path, evidence: Evidence) -> dict[str, Answers]:
    """Read the answers that a folder has, by the set's name; a set that was not made is left out.

    Raises:
        InputError: one is damaged, or does not fit the evidence.
    """
    sets = {name: read_answers(folder, name) for name in SETS if (folder / answers_file(name)).exists()}
    for name, answers in sets.items():
        count, classes = len(answers.names), len(evidence.labels)
        if any(rows.shape != (count, classes) for rows in answers.probabilities.values()):
            raise InputError(
                f"{folder / answers_file(name)}: expected {classes} numbers for each of {count:,} pictures"
            )
        if name != "unlabelled" and (
            answers.targets.shape != (count,) or not np.isin(answers.targets, np.arange(classes)).all()
        ):
            raise InputError(f"{folder / answers_file(name)}: expected a class for each of {count:,} pictures")
    return sets


def answers_file(name: str) -> str:
    """Return the name of the file with a set's answers."""
    return f"answers-{name}.npz"
