"""The mark of a release: `release.json` in a candidate's folder, there only where the gate passed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from calibrate.evidence import FACTS, SETS, Evidence, read_evidence
from calibrate.gate import GateFailed, Judgement
from edge.errors import InputError
from edge.files import write_whole
from edge.model.contract import VERSION

MARK = "release.json"
REPORTS = ("report.json", "report.html", "report.md")


def _now() -> datetime:
    return datetime.now(timezone.utc)


def mark_release(folder: Path, judgement: Judgement, *, clock: Callable[[], datetime] = _now) -> Path | None:
    """Write the mark where the judgement passes, and take it away where it does not.

    To be called last: the mark holds the sha256 of every file beside it, the reports among them.

    Args:
        folder: of the candidate.
        judgement: of its answers on the test pictures.
        clock: says when.

    Returns:
        the mark's path, or None where there is none now.

    Raises:
        GateFailed: a model file is not the one that was measured.
        InputError: there is no evidence, a report is missing, or the folder cannot be written.
    """
    path = folder / MARK
    path.unlink(missing_ok=True)
    if not judgement.passes:
        return None
    evidence = read_evidence(folder)
    if changed := changed_files(folder, evidence):
        raise GateFailed(" ".join(changed))
    missing = [name for name in REPORTS if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder}: no {', '.join(missing)}; a release has its report beside it")
    mark = {
        "name": evidence.name, "contract": VERSION, "date": clock().date().isoformat(),
        "verdict": verdict_of(judgement),
        "files": {name: sha256_of(folder / name) for name in covered(folder, evidence)},
    }  # fmt: skip
    write_whole(path, (json.dumps(mark, indent=2) + "\n").encode())
    return path


def check_mark(folder: Path, evidence: Evidence, judgement: Judgement) -> list[str]:
    """Return what does not fit between the mark and the folder, in sentences; nothing where there is no mark."""
    path = folder / MARK
    if not path.exists():
        return []
    try:
        mark: dict[str, Any] = json.loads(path.read_bytes())
        files, verdict, name, version = mark["files"], mark["verdict"], mark["name"], mark["contract"]
        named = {str(key): str(value) for key, value in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{MARK}: it is damaged."]
    said = [] if judgement.passes else [f"{MARK}: it is there, but the gate does not pass."]
    if name != evidence.name or version != VERSION:
        said.append(f'{MARK}: it marks "{name}" under contract {version}, not "{evidence.name}" under {VERSION}.')
    if verdict != verdict_of(judgement):
        said.append(f"{MARK}: its verdict is not what the answers say.")
    for file in sorted({*named, *covered(folder, evidence)}):
        if file not in named:
            said.append(f"{file}: {MARK} does not know it.")
        elif not (folder / file).is_file():
            said.append(f"{file}: it is missing; {MARK} names it.")
        elif sha256_of(folder / file) != named[file]:
            said.append(f"{file}: it is not the file that {MARK} marks (its sha256 differs).")
    return said


def changed_files(folder: Path, evidence: Evidence) -> list[str]:
    """Return which model files are missing or not those that were measured, in sentences."""
    said = []
    for facts in evidence.files:
        path = folder / facts.name
        if not path.is_file():
            said.append(f"{facts.name}: it is missing; {FACTS} names it.")
        elif sha256_of(path) != facts.sha256:
            said.append(f"{facts.name}: it is not the file that was measured (its sha256 differs from {FACTS}).")
    return said


def covered(folder: Path, evidence: Evidence) -> list[str]:
    """Return the names of the files that a mark speaks for: models, evidence, answers and reports."""
    answers = [f"answers-{name}.npz" for name in SETS]
    beside = [name for name in (FACTS, *answers, *REPORTS) if (folder / name).is_file()]
    return [*(facts.name for facts in evidence.files), *beside]


def verdict_of(judgement: Judgement) -> dict[str, Any]:
    """Return a judgement in short, as JSON holds it."""
    return {"passes": judgement.passes, "reasons": list(judgement.reasons)}


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hex.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
