"""`edge calibrate check`: the judgement again, from the files as they lie, and with data from the pictures, too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from calibrate.evidence import MODEL_FILES, Answers, Evidence, read_evidence
from calibrate.gate import GateFailed, Judgement, Limits
from calibrate.release import changed_files, check_mark, sha256_of
from calibrate.report.record import judgement_of, make_record
from calibrate.report.write import FIGURES, read_sets
from calibrate.statistics import labels_of
from edge.errors import InputError

LEAST_SAME = 0.995
"""Of the labels that a file gave when it was measured must come again: processors round differently."""

ROUNDING = 1e-6
"""By which two figures may differ that were computed on different machines."""

Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        judgement: of the answers that lie in the folder, within the limits that were asked for.
        fresh: of answers given just now; None without data.
        same: share of the test pictures to which a file gives the label that it gave before; empty without data.
        problems: what does not fit, a sentence each, beginning with the file's name.
    """

    judgement: Judgement
    fresh: Judgement | None = None
    same: dict[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def passes(self) -> bool:
        """Whether the candidate may be released, as far as this check can tell."""
        return not self.problems and self.judgement.passes and (self.fresh is None or self.fresh.passes)

    def lines(self) -> Iterator[str]:
        """Say it for a terminal."""
        yield from self.problems
        yield from self.judgement.reasons
        for file, share in self.same.items():
            yield f"{file}: run again, the same label on {100 * share:.2f} % of the test pictures"
        if self.fresh is not None:
            yield from (f"run again: {reason}" for reason in self.fresh.reasons)
        yield "passes the gate" if self.passes else "fails the gate"

    def require(self) -> None:
        """Raise GateFailed, with what stands against the candidate in one line, where it does not pass."""
        if self.passes:
            return
        judged = [each for each in (self.judgement, self.fresh) if each is not None and not each.passes]
        raise GateFailed(" ".join(dict.fromkeys([*self.problems, *(each.in_short() for each in judged)])))


def check(
    folder: Path, data: str | None = None, limits: Limits | None = None, progress: Progress = _silent, *,
    label_map: dict[str, str] | None = None,
) -> Checked:  # fmt: skip
    """Judge a candidate again and hold its files against each other.

    Args:
        folder: of the candidate.
        data: the labelled faces that it was made with; when given, every model file is run again over the test ones.
        limits: within which to judge; None for those that the candidate was made for.
        progress: called with what is being done, how many pictures are done, and of how many.
        label_map: what folders of other names mean in the data.

    Raises:
        InputError: there is no evidence or no answer, a file is damaged, or the data is missing or another.
    """
    evidence = read_evidence(folder)
    answers = read_sets(folder, evidence)
    if "test" not in answers:
        raise InputError(f"{folder}: no answers on test pictures in it; nothing can be judged")
    test = answers["test"]
    stored = judgement_of(evidence, test)
    problems = [
        *_foreign(folder, evidence), *changed_files(folder, evidence), *_report(folder, evidence, answers, stored),
        *check_mark(folder, evidence, stored),
    ]  # fmt: skip
    judgement = judgement_of(evidence, test, limits)
    if data is None:
        return Checked(judgement, problems=tuple(problems))
    fresh = answer_again(folder, evidence, test, data, progress, label_map or {})
    same = {
        name: float((labels_of(rows) == labels_of(test.probabilities[name])).mean())
        for name, rows in fresh.items() if name in test.probabilities and len(rows)
    }  # fmt: skip
    problems += [
        f"{name}: run again it gives the label of its stored answers on {100 * share:.2f} % of the test pictures; "
        f"{100 * LEAST_SAME:g} % are expected."
        for name, share in same.items() if share < LEAST_SAME
    ]  # fmt: skip
    again = judgement_of(evidence, replace(test, probabilities=fresh), limits)
    return Checked(judgement, again, same, tuple(problems))


def answer_again(
    folder: Path, evidence: Evidence, test: Answers, data: str, progress: Progress, label_map: dict[str, str]
) -> dict[str, np.ndarray]:
    """Run the model files that are there over the test pictures that they were judged on.

    Returns:
        `(N, C)` float32 probabilities by file name, in the order of the stored answers.

    Raises:
        InputError: a model file breaks the contract, its runtime is missing, or the data holds other pictures.
    """
    from edge.measure.evaluate import classify_all
    from edge.model import load_model
    from train.datasets import as_crops, open_faces

    faces = open_faces(data, label_map)
    place = {str(name): index for index, name in enumerate(faces.names)}
    order = [place[name] for name in test.names if name in place]
    if (
        faces.labels != evidence.labels
        or len(order) < len(test.names)
        or not np.array_equal(faces.targets[order], test.targets)
    ):
        raise InputError(
            f"{data}: it does not hold the {len(test.names):,} pictures that the candidate was judged on, by their "
            "names and classes"
        )
    faces = faces.take(np.array(order, np.int64))
    fresh: dict[str, np.ndarray] = {}
    crops = np.zeros((0, 0, 0, 3), np.uint8)
    for name in [facts.name for facts in evidence.files if (folder / facts.name).is_file()]:
        try:
            model = load_model(folder / name)
        except InputError:
            if changed_files(folder, evidence):  # that is told, and why it does not load
                continue
            raise
        size = model.info.crop.size
        if crops.shape[1] != size:
            crops = as_crops(faces.images, size)
        fresh[name] = classify_all(model, crops, _counted(progress, name, len(crops)))
    return fresh


def _counted(progress: Progress, name: str, total: int) -> Callable[[int], None]:
    return lambda done: progress(f"running {name}", done, total)


def _foreign(folder: Path, evidence: Evidence) -> list[str]:
    """Return model files that nobody measured."""
    known = {facts.name for facts in evidence.files}
    said = [f"{name}: it lies here, but was never measured." for name in MODEL_FILES
            if name not in known and (folder / name).exists()]  # fmt: skip
    return said + [f"evidence.json: it names {name!a}, which is no file of a candidate." for name in known
                   if name not in MODEL_FILES]  # fmt: skip


def _report(folder: Path, evidence: Evidence, answers: dict[str, Answers], judgement: Judgement) -> list[str]:
    """Return where the report does not say what evidence and answers say, or is not as it was written."""
    path = folder / FIGURES
    if not path.is_file():
        return [f'{FIGURES}: it is missing; write it with "edge calibrate run".']
    try:
        stored: dict[str, Any] = json.loads(path.read_bytes())
        hashes = {**stored.pop("inputs"), **stored.pop("pages")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{FIGURES}: it is damaged."]
    said = [
        f"{name}: it was changed after the report was written (its sha256 differs from {FIGURES})."
        for name, sha in hashes.items()
        if not (folder / Path(name).name).is_file() or sha256_of(folder / Path(name).name) != sha
    ]  # fmt: skip
    computed = json.loads(json.dumps(make_record(evidence, answers, judgement)))
    if stored.get("format") != computed["format"]:
        return [*said, f"{FIGURES}: it was written by another version of the kit; write it anew."]
    differing = list(_differences(stored, computed, ""))
    if differing:
        named = "; ".join(differing[:3]) + (f" and {len(differing) - 3} more" if len(differing) > 3 else "")
        said.append(f"{FIGURES}: it does not say what evidence and answers say: {named}.")
    return said


def _differences(stored: Any, computed: Any, where: str) -> Iterator[str]:
    """Yield where two JSON values differ by more than rounding."""
    if isinstance(stored, dict) and isinstance(computed, dict):
        for key in dict.fromkeys([*stored, *computed]):
            inner = f"{where}.{key}" if where else str(key)
            if key in stored and key in computed:
                yield from _differences(stored[key], computed[key], inner)
            else:
                yield f"{inner} is {'not expected' if key in stored else 'missing'}"
    elif isinstance(stored, list) and isinstance(computed, list) and len(stored) == len(computed):
        for index, pair in enumerate(zip(stored, computed, strict=True)):
            yield from _differences(*pair, f"{where}[{index}]")
    elif _number(stored) and _number(computed):
        if not abs(stored - computed) <= ROUNDING * max(1.0, abs(computed)):
            yield f"{where} is {stored:g} instead of {computed:g}"
    elif stored != computed or isinstance(stored, bool) != isinstance(computed, bool):
        yield f"{where} is {_shown(stored)} instead of {_shown(computed)}"


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
