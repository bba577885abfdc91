"""FER+: ten people's votes on each picture of FER2013 (Barsoum et al. 2016), read and turned into soft labels."""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

import numpy as np

from edge.errors import InputError
from train.datasets.faces import FaceSet

VOTES = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip
"""What could be voted for, in the order of the official columns; NF is "no face"."""

LABELS = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear")
"""Our labels for the first seven; contempt, unknown and NF have none."""

FIRST_ROW = 2
"""The line of `fer2013.csv` that the first row of the official `fer2013new.csv` belongs to."""


def read_votes(path: Path, faces: FaceSet) -> np.ndarray:
    """Return `(N, 10)` float32 votes on the faces, in the order of `VOTES`; NaN where a face has none.

    Args:
        path: the official `fer2013new.csv` (its rows stand in the order of `fer2013.csv`), or a csv with a column
            `file` that names the picture, matched by its name without folder and ending.
        faces: FER2013 as its csv or as folders.

    Raises:
        InputError: the file cannot be read, a row is short or has no numbers, or it knows none of the faces.
    """
    known = _read(path)
    votes = np.full((len(faces), len(VOTES)), np.nan, np.float32)
    for index, name in enumerate(faces.names):
        row = known.get(PurePosixPath(str(name)).stem)
        if row is not None and min(row) >= 0 and sum(row) > 0:
            votes[index] = row
    if len(faces) and np.isnan(votes).all():
        raise InputError(f"{path}: it has no votes on these faces; is it of the same collection, named alike?")
    return votes


def _read(path: Path) -> dict[str, list[float]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = set(rows.fieldnames or ())
            missing = set(VOTES) - columns
            if missing or not columns & {"file", "Usage"}:
                raise InputError(f"{path}: no column {', '.join(sorted(missing)) or 'file'}; is it FER+'s votes?")
            known: dict[str, list[float]] = {}
            for number, row in enumerate(rows, start=FIRST_ROW):
                key = PurePosixPath(row["file"] or "").stem if "file" in columns else f"{row['Usage']}_{number}"
                known[key] = _numbers(path, number, row)
            return known
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as csv ({error})") from None


def _numbers(path: Path, number: int, row: dict[str, str | None]) -> list[float]:
    try:
        values = [float(row[name] or "") for name in VOTES]
    except ValueError:
        raise InputError(f"{path}, line {number}: its votes are not ten numbers; is the file cut off?") from None
    if not np.isfinite(values).all():
        raise InputError(f"{path}, line {number}: a vote is no finite number")
    return values


def translate_votes(votes: np.ndarray, targets: np.ndarray, classes: int) -> np.ndarray:
    """Return `(N, classes)` float32: how likely each label of the collection is, given the votes on a picture.

    FER2013's own labels and the voters differ in a systematic way (much that is labelled angry is voted neutral), so
    votes are no labels yet: a logistic regression from the shares of the votes to the labels, fitted on these
    pictures, says what a vote means in the collection's own words. Pictures without votes get NaN.

    Args:
        votes: `(N, 10)`, NaN rows allowed.
        targets: `(N,)` int.
        classes: number of labels.
    """
    from sklearn.linear_model import LogisticRegression

    voted = ~np.isnan(votes).any(axis=1)
    shares = votes[voted] / votes[voted].sum(axis=1, keepdims=True)
    fitted = LogisticRegression(C=10.0, max_iter=2000).fit(shares, targets[voted])
    soft = np.full((len(votes), classes), np.nan, np.float32)
    likely = np.zeros((int(voted.sum()), classes), np.float32)
    likely[:, fitted.classes_] = fitted.predict_proba(shares)
    soft[voted] = likely
    return soft


def majority(votes: np.ndarray, labels: tuple[str, ...]) -> np.ndarray:
    """Return `(N,)` int64: the label that most voters chose, -1 where it is contempt, unknown, no face, a tie or none.

    Source: Barsoum et al. 2016, majority voting.
    """
    order = np.array([labels.index(name) if name in labels else -1 for name in LABELS] + [-1] * 3)
    known = ~np.isnan(votes).any(axis=1)
    filled = np.where(known[:, None], votes, 0)
    top = filled.max(axis=1)
    unique = (filled == top[:, None]).sum(axis=1) == 1
    return np.where(known & unique, order[filled.argmax(axis=1)], -1).astype(np.int64)
