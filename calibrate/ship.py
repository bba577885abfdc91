"""`edge calibrate ship`: from a released candidate to the files that a device, and this repository, are given."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from calibrate.card import is_record, render
from calibrate.check import check
from calibrate.evidence import (
    FP32_ONNX,
    INT8_ONNX,
    INT8_TFLITE,
    RECORD,
    WEIGHTS,
    Evidence,
    read_evidence,
    write_evidence,
)
from calibrate.gate import GateFailed
from calibrate.release import MARK, sha256_of
from calibrate.report import write_report
from calibrate.report.summary import as_markdown
from calibrate.report.write import FIGURES, PAGE, read_record, read_sets
from edge.errors import InputError
from edge.files import check_writable, write_whole
from edge.measure.scores import score
from edge.model import load_model
from train.cli.names import plain_name

SHOWN = {INT8_ONNX: "int8", INT8_TFLITE: "int8_tflite", FP32_ONNX: "fp32"}
"""Names of the figures of a card's files."""


def ship(folder: Path, to: Path) -> Iterator[Path]:
    """Copy a released candidate's int8 files under its name, with parent, card, figures and a report without pictures.

    Args:
        folder: of the candidate.
        to: where the files go: `NAME-int8.onnx`, `NAME-int8.tflite`, `NAME.fp16.safetensors`, `NAME.md`, `NAME.json`,
            `NAME.report.html`, `NAME.report.json`; what is there of the same names is replaced.

    Yields:
        every file that was written.

    Raises:
        GateFailed: the candidate is not released, or is not as it was.
        InputError: its parent's weights or their record are missing or of another model, or `to` cannot be written.
    """
    found = check(folder)
    found.require()
    if not (folder / MARK).is_file():
        raise GateFailed(f"{folder}: there is no {MARK} in it; edge calibrate run writes it where the gate passes")
    evidence, made = read_evidence(folder), _record(folder)
    name = plain_name(evidence.name)
    weights, info = folder / WEIGHTS, load_model(folder / INT8_ONNX).info
    if not weights.is_file() or sha256_of(weights) != info.parent_sha256:
        raise InputError(f"{weights}: it is missing, or not what {INT8_ONNX} was made from")
    check_writable(to)
    result = _figures(folder, evidence, made)
    how = [again(evidence.command), f"edge calibrate ship {folder.name} --to {to.name}"]
    card = render(info, result, f"{name}-int8.onnx", "test", how)
    with tempfile.TemporaryDirectory() as copied:
        bare = Path(copied)
        for path in folder.iterdir():
            if path.is_file():
                shutil.copy2(path, bare / path.name)
        write_evidence(bare, replace(evidence, command=again(evidence.command)))
        write_report(bare, pictures=None)
        record = read_record(bare)
        files = {
            **{f"{name}-{each}": (folder / each).read_bytes() for each in (INT8_ONNX, INT8_TFLITE)
               if (folder / each).is_file()},
            f"{name}.fp16.safetensors": weights.read_bytes(),
            f"{name}.json": (json.dumps(result, indent=1) + "\n").encode(),
            f"{name}.md": f"{card}\n{as_markdown(record)}".encode(),
            f"{name}.report.html": (bare / PAGE).read_bytes(),
            f"{name}.report.json": (bare / FIGURES).read_bytes(),
        }  # fmt: skip
    for each, data in files.items():
        write_whole(to / each, data)
        yield to / each


def again(command: str) -> str:
    """Return a command without the folders of the machine it ran on: paths end in what they name."""
    return shlex.join(_bare(word) for word in shlex.split(command))


def _bare(word: str) -> str:
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{Path(value).name if '/' in value else value}"


def _record(folder: Path) -> dict[str, Any]:
    try:
        made = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / RECORD}: not readable ({error}); a candidate made from a run has it") from None
    if not is_record(made):
        raise InputError(f"{folder / RECORD}: it is no record of edge train export")
    return dict(made)


def _figures(folder: Path, evidence: Evidence, made: dict[str, Any]) -> dict[str, Any]:
    """Return the card's figures, from the answers that the candidate was judged by."""
    test = read_sets(folder, evidence)["test"]
    sizes = {facts.name: facts.size for facts in evidence.files}
    return {
        "command": again(evidence.command),
        "bytes": {key: sizes[file] for file, key in SHOWN.items() if file in sizes},
        "figures": {
            key: {"data": evidence.data, **score(test.probabilities[file], test.targets, evidence.labels)}
            for file, key in SHOWN.items() if file in test.probabilities
        },
        "made": made,
    }  # fmt: skip
