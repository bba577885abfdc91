"""FER2013 as its official `fer2013.csv`: columns emotion, pixels, Usage (Goodfellow et al. 2013)."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from edge.errors import InputError
from edge.values import EMOTIONS
from train.datasets.faces import FaceSet

LAYOUT = "FER2013 csv"
SIDE = 48
USAGES = {"Training": "train", "PublicTest": "test", "PrivateTest": "private"}


def read_csv(path: Path) -> FaceSet:
    """Read the official csv into a FaceSet of `(N, 48, 48)` gray crops with the official split.

    Raises:
        InputError: the file is missing, has other columns, or a row is short, has a wrong class or usage; the row is
            named.
    """
    images: list[np.ndarray] = []
    targets: list[int] = []
    names: list[str] = []
    splits: list[str] = []
    try:
        file = path.open(newline="", encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    with file:
        rows = csv.DictReader(file)
        try:
            missing = {"emotion", "pixels", "Usage"} - set(rows.fieldnames or ())
            if missing:
                raise InputError(f"{path}: no column {', '.join(sorted(missing))}; is it the official fer2013.csv?")
            for number, row in enumerate(rows, start=2):
                images.append(_pixels(path, number, row["pixels"]))
                targets.append(_target(path, number, row["emotion"]))
                if row["Usage"] not in USAGES:
                    raise InputError(f'{path}, line {number}: usage "{row["Usage"]}" is none of {", ".join(USAGES)}')
                names.append(f"{row['Usage']}_{number}")
                splits.append(USAGES[row["Usage"]])
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not readable as csv ({error})") from None
    if not images:
        raise InputError(f"{path}: it has no rows")
    return FaceSet(np.stack(images), np.array(targets, np.int64), np.array(names), np.array(splits), layout=LAYOUT)


def _pixels(path: Path, number: int, text: str | None) -> np.ndarray:
    try:
        values = np.array((text or "").split(), np.int64)
    except (ValueError, OverflowError):
        raise InputError(f"{path}, line {number}: its pixels are not whole numbers from 0 to 255") from None
    if values.size != SIDE * SIDE:
        raise InputError(f"{path}, line {number}: {values.size} pixels instead of {SIDE * SIDE}; is the file cut off?")
    if values.min() < 0 or values.max() > 255:
        raise InputError(f"{path}, line {number}: a pixel outside 0 to 255")
    return values.astype(np.uint8).reshape(SIDE, SIDE)


def _target(path: Path, number: int, text: str | None) -> int:
    known = {str(index) for index in range(len(EMOTIONS))}
    if text is None or text.strip() not in known:
        raise InputError(
            f'{path}, line {number}: emotion "{str(text)[:20]}" is no number from 0 to {len(EMOTIONS) - 1}'
        )
    return int(text)
