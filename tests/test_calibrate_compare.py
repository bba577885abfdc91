"""`edge calibrate compare`: figures come from the reports, the verdict from the files, and folders that do not fit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_calibrate_report import write_all

from calibrate.cli import group
from calibrate.compare import compare, ladders
from calibrate.evidence import INT8_ONNX, INT8_TFLITE, read_answers, read_evidence, write_answers, write_evidence
from calibrate.report import write_report
from calibrate.report.write import read_record
from edge.errors import InputError


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two candidates: one near its parent, one far from it."""
    root = tmp_path_factory.mktemp("candidates")
    near, far = root / "near", root / "far"
    for folder, noise in ((near, 0.02), (far, 0.6)):
        folder.mkdir()
        write_all(folder, noise=noise)
        write_evidence(folder, replace(read_evidence(folder), name=folder.name))
        write_report(folder, pictures=None)
    return near, far


def test_every_figure_is_the_reports(folders: tuple[Path, Path]) -> None:
    found = compare(folders, "edge calibrate compare near far")
    heading, *rows = found.rows()
    assert [(row[0], row[1]) for row in rows] == [
        (name, file) for name in ("near", "far") for file in (INT8_ONNX, INT8_TFLITE)
    ]
    for row in rows:
        said = dict(zip(heading, row, strict=True))
        record = read_record(folders[0] if said["model"] == "near" else folders[1])
        verdict = record["verdict"]["files"][said["file"]]
        assert said["int8 %"] == f"{100 * verdict['overall']['candidate']:.2f}"
        assert said["gate"] == ("passes" if verdict["passes"] else "fails")
        both = next(
            each for each in record["agreement"]["test"] if (each["first"], each["second"]) == (INT8_ONNX, INT8_TFLITE)
        )
        assert said["as the other format %"] == f"{100 * both['share']:.2f}"
    assert [row[-1] for row in rows][2:] == ["fails", "fails"]


def test_the_class_that_loses_most_is_the_one_nearest_to_its_limit(folders: tuple[Path, Path]) -> None:
    record = read_record(folders[1])
    classes = record["verdict"]["files"][INT8_ONNX]["classes"]
    worst = max(classes, key=lambda each: (each["lost"] - each["won"]) / each["allowed"])
    heading, *rows = compare(folders[1:], "").rows()
    assert rows[0][heading.index("worst class, lost/allowed")].startswith(f"{worst['label']} ")


def test_rungs_are_shown_for_each_format(folders: tuple[Path, Path]) -> None:
    heading, *rows = ladders(compare(folders[:1], "").records)
    assert heading == ["rung", "near, onnx", "near, tflite"]
    assert rows[0] == ["plain", "**6.10 (96.40)**", "**6.10 (96.40)**"]
    assert rows[1] == ["equalize", "6.50 (96.10)", "–"], "tried and not kept; not tried"


def test_a_report_that_was_changed_afterwards_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    copied = tmp_path / "near"
    shutil.copytree(folders[0], copied)
    record = json.loads((copied / "report.json").read_text())
    record["verdict"]["files"][INT8_ONNX]["overall"]["candidate"] = 1.0
    (copied / "report.json").write_text(json.dumps(record))
    found = compare([copied], "")
    assert not found.passes[0]
    assert any("report.json" in problem for problem in found.problems)
    assert "report.json" in found.as_markdown()


def test_candidates_of_other_pictures(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folders[0], other)
    answers = read_answers(other, "test")
    few = {file: rows[:100] for file, rows in answers.probabilities.items()}
    write_answers(other, "test", replace(answers, names=answers.names[:100], targets=answers.targets[:100],
                                         probabilities=few))  # fmt: skip
    write_report(other, pictures=None)
    with pytest.raises(InputError, match=r"judged on other pictures than .*near \(100 of"):
        compare([folders[0], other], "")


def test_the_command(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "table.md"
    done = CliRunner().invoke(group, ["compare", *map(str, folders), "--out", str(out)])
    assert "far" in str(done.exception)
    text = out.read_text()
    assert text.startswith("# 2 candidates on ")
    assert str(tmp_path) not in text
    assert str(folders[0].parent) not in text.partition("`")[2].partition("`")[0]
    with pytest.raises(InputError, match=r"no evidence\.json"):
        compare([tmp_path], "")
    assert np.isfinite([float(row[2]) for row in compare(folders, "").rows()[1:]]).all()
