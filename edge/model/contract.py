"""What every model file carries about itself, and the check that it does. Pure.

The facts travel as text in the file's own metadata, one key each; values that are not plain text are JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge.align import Crop
from edge.errors import InputError

LONGEST = 2**28
"""Bytes of a model file at most: fifty times the one that ships."""

VERSION = "1"
"""Version of the contract; key `emotion_edge`."""

RESERVED = frozenset({"uncertain", "none"})
"""What is said instead of a label, so that no label may be called so."""

MOST_LABELS = 100
LONGEST_NAME = 100

MAKE_ONE = 'make one with "edge train export"'


@dataclass(frozen=True)
class ModelInfo:
    """The facts in a model file. Input is `(N, S, S, 3)` uint8 RGB, output `(N, classes)` float32 probabilities.

    Attributes:
        name: short name, such as `lite0`.
        network: the architecture's name.
        precision: `fp32` or `int8`.
        labels: class names in the order of the output.
        crop: how a face is framed; its size is the input's side.
        gray: whether the model makes gray of its input, because it learned from gray pictures.
        temperature: what the logits were divided by before the softmax, chosen on dev.
        threshold: confidence below which the answer is *uncertain*; 0 for never.
        trained_on: the data, in words.
        accuracy: accuracy by data set, shares of 1: `dev`, `public_test`, as far as known.
        licence: licence of the weights, and what they derive from.
        parent_sha256: sha256 of the float parent's weights file.
        calibration: of an int8 file, the pictures that it was fitted to: `count`, `per_class`, `seed` and the crops'
            `sha256`, and `method`; empty where that was not kept.
        sha256: sha256 of this file; not stored in it.
    """

    name: str
    network: str
    precision: str
    labels: tuple[str, ...]
    crop: Crop
    gray: bool
    temperature: float
    threshold: float
    trained_on: str
    accuracy: dict[str, float]
    licence: str
    parent_sha256: str
    calibration: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""

    @property
    def id(self) -> str:
        """Name, precision and the first digits of the file's hash: what events carry."""
        return f"{self.name}-{self.precision}@{self.sha256[:4]}"

    def to_metadata(self) -> dict[str, str]:
        """Return the facts as the file's metadata."""
        return {
            "emotion_edge": VERSION,
            "name": self.name,
            "network": self.network,
            "precision": self.precision,
            "labels": json.dumps(self.labels),
            "input_size": str(self.crop.size),
            "color_order": "RGB",
            "crop": json.dumps(
                {
                    "template": np.round(self.crop.template.astype(float), 5).tolist(),
                    "margin": self.crop.margin,
                    "offset": list(self.crop.offset),
                }
            ),
            "gray": json.dumps(self.gray),
            "temperature": json.dumps(self.temperature),
            "threshold": json.dumps(self.threshold),
            "trained_on": self.trained_on,
            "accuracy": json.dumps(self.accuracy),
            "licence": self.licence,
            "parent_sha256": self.parent_sha256,
            **({"calibration": json.dumps(self.calibration)} if self.calibration else {}),
        }


def read_metadata(file: str, metadata: Mapping[str, str], sha256: str) -> ModelInfo:
    """Check a file's metadata and return its facts.

    Args:
        file: the file's name, for errors.
        metadata: key to text, as stored.
        sha256: of the file.

    Raises:
        InputError: a key is missing or wrong; the key is named.
    """
    read = _Reader(file, metadata)
    version = read("emotion_edge", str)
    if version != VERSION:
        raise InputError(f'model {file}: its contract is version "{version}", this kit reads {VERSION}: update the kit')
    if read("color_order", str) != "RGB":
        raise read.wrong("color_order", "RGB")
    labels = read("labels", _labels)
    size = read("input_size", _size)
    margin, offset, template = read("crop", _crop)
    return ModelInfo(
        name=read("name", _name),
        network=read("network", _name),
        precision=read("precision", _one_of("fp32", "int8")),
        labels=labels,
        crop=Crop(size, template, margin, offset),
        gray=read("gray", _boolean),
        temperature=read("temperature", _between(1e-3, 1e3)),
        threshold=read("threshold", _between(0.0, 1.0)),
        trained_on=read("trained_on", str),
        accuracy=read("accuracy", _accuracy),
        licence=read("licence", str),
        parent_sha256=read("parent_sha256", str),
        calibration=read("calibration", _object) if "calibration" in metadata else {},
        sha256=sha256,
    )


class _Reader:
    """Reads one key after the other and turns what is wrong into an error that names file and key."""

    def __init__(self, file: str, metadata: Mapping[str, str]) -> None:
        self.file, self.metadata = file, metadata

    def __call__(self, key: str, parse: Callable[[str], Any]) -> Any:
        if key not in self.metadata:
            raise InputError(f'model {self.file} has no key "{key}" in its metadata: {MAKE_ONE}')
        try:
            return parse(self.metadata[key])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            raise self.wrong(key, str(error)) from None

    def wrong(self, key: str, expected: str) -> InputError:
        """Return the error for a key whose value does not fit."""
        value = self.metadata[key]
        shown = value if len(value) <= 60 else value[:57] + "..."
        return InputError(f'model {self.file}: key "{key}" is {shown!a}, expected {expected}: {MAKE_ONE}')


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("a JSON object")
    return value


def _labels(text: str) -> tuple[str, ...]:
    labels = json.loads(text)
    if not isinstance(labels, list) or not all(isinstance(v, str) and v for v in labels) or len(labels) < 2:
        raise ValueError("a JSON list of two or more names")
    if len(set(labels)) < len(labels) or len(labels) > MOST_LABELS:
        raise ValueError(f"at most {MOST_LABELS} names that differ")
    if not all(_plain(label) for label in labels) or RESERVED & set(labels):
        raise ValueError(f"printable names, none of them {' or '.join(sorted(RESERVED))}")
    return tuple(labels)


def _plain(text: str) -> bool:
    return text.isprintable() and len(text) <= LONGEST_NAME


def _name(text: str) -> str:
    if not text or not _plain(text):
        raise ValueError(f"a printable name of at most {LONGEST_NAME} characters")
    return text


def _size(text: str) -> int:
    if not text.isdigit() or not 8 <= int(text) <= 1024:
        raise ValueError("a number of pixels from 8 to 1024")
    return int(text)


def _crop(text: str) -> tuple[float, tuple[float, float], np.ndarray]:
    crop = json.loads(text)
    expected = ValueError("JSON with template (five points), margin and offset")
    try:
        template = np.array(crop["template"], np.float32)
        margin, offset = float(crop["margin"]), (float(crop["offset"][0]), float(crop["offset"][1]))
    except (KeyError, TypeError, ValueError, IndexError):
        raise expected from None
    if (
        template.shape != (5, 2)
        or not np.isfinite(template).all()
        or not 0.1 <= margin <= 10
        or np.ptp(template) < 0.05
    ):
        raise expected
    if not all(math.isfinite(v) and abs(v) <= 2 for v in offset):
        raise expected
    return margin, offset, template


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def _between(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return value

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(" or ".join(choices))
        return text

    return parse


def _accuracy(text: str) -> dict[str, float]:
    value = json.loads(text)
    if not isinstance(value, dict) or not all(isinstance(v, (int, float)) and 0 <= v <= 1 for v in value.values()):
        raise ValueError("JSON of shares from 0 to 1 by data set")
    return {str(key): float(share) for key, share in value.items()}
