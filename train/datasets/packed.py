"""A data set in one small file, to carry to a machine with an accelerator: mosaics, and what is known of the faces."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.errors import InputError
from edge.files import write_whole
from edge.measure.folders import UNREADABLE
from train.datasets.faces import FaceSet

SUFFIX = ".faces"
EDGE = 4096
"""Largest side of a mosaic, pixels: JPEG ends at 65,535, and OpenCV decodes no more than a device could hold."""

LARGEST = 2**28
"""Bytes that a part of the file may unpack to: nobody's memory is filled by what a file says of itself."""

PARTS = ("train", "dev", "test")
STORED = (1980, 1, 1, 0, 0, 0)
"""The time that the file's entries bear, so that the same faces make the same file."""


def write_packed(faces: FaceSet, parts: np.ndarray, path: Path, quality: int = 92) -> None:
    """Write the faces that are in `train`, `dev` or `test` as one file; who is left out stays out.

    The pictures become JPEG, so they change a little; the parts are written down, so they stay as they are.

    Args:
        faces: the set.
        parts: `(N,)` strings of `train.datasets.split.assign_parts`.
        path: the file, with the ending `.faces`.
        quality: JPEG quality of the mosaics, 1 to 100.

    Raises:
        InputError: the file has another ending or cannot be written, or the pictures are too large.
    """
    if path.suffix.lower() != SUFFIX:
        raise InputError(f"--out {path}: give it the ending {SUFFIX}, by which it is known when it is read")
    chosen = np.isin(parts, PARTS)
    kept = faces.take(chosen)
    side = kept.images.shape[1]
    if side > EDGE:
        raise InputError(f"pictures of {side} pixels are too large to pack: {EDGE} at most")
    known = {
        "faces": len(kept), "side": side, "gray": kept.gray, "labels": list(kept.labels), "quality": quality,
        "targets": kept.targets.tolist(), "names": [str(name) for name in kept.names],
        "parts": [str(part) for part in parts[chosen]],
        "persons": None if kept.persons is None else [str(person) for person in kept.persons],
    }  # fmt: skip
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, start in enumerate(range(0, len(kept), _per_mosaic(side))):
            picture = _mosaic(kept.images[start : start + _per_mosaic(side)])
            encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            archive.writestr(zipfile.ZipInfo(f"{number:04d}.jpg", STORED), encoded.tobytes())
        text = zipfile.ZipInfo("faces.json", STORED)
        text.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(text, json.dumps(known))
    write_whole(path, buffer.getvalue())


def read_packed(path: Path) -> FaceSet:
    """Read such a file; its splits are `train`, `dev` and `test`, as they were when it was written.

    Raises:
        InputError: it is missing, damaged, or no such file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (*UNREADABLE, KeyError, ValueError, TypeError, RecursionError, cv2.error) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise InputError(f"{path}: it is no file that edge train pack wrote, or is damaged ({reason})") from None


def _read(archive: zipfile.ZipFile) -> FaceSet:
    known = json.loads(_unpacked(archive, "faces.json"))
    count, side = known["faces"], known["side"]
    if type(count) is not int or type(side) is not int or not 0 < count < 2**26 or not 0 < side <= EDGE:
        raise ValueError("its counts are none")
    labels, names = _texts(known["labels"]), _texts(known["names"], count)
    parts, targets = _texts(known["parts"], count), known["targets"]
    persons = None if known["persons"] is None else np.array(_texts(known["persons"], count))
    if len(set(labels)) < len(labels) or len(set(names)) < count or set(parts) - set(PARTS):
        raise ValueError("its labels, names or parts are not what they should be")
    if len(targets) != count or not all(type(t) is int and 0 <= t < len(labels) for t in targets):
        raise ValueError("its targets are not what they should be")
    pieces = []
    for number, start in enumerate(range(0, count, _per_mosaic(side))):
        wanted = min(_per_mosaic(side), count - start)
        pieces.append(_faces_in(_unpacked(archive, f"{number:04d}.jpg"), wanted, side, gray=bool(known["gray"])))
    return FaceSet(
        np.concatenate(pieces), np.array(targets, np.int64), np.array(names), np.array(parts), tuple(labels),
        persons=persons, layout="packed",
    )  # fmt: skip


def _unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > LARGEST:
        raise ValueError(f"{name} is too large")
    return archive.read(name)


def _texts(value: Any, count: int | None = None) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise ValueError("a list of texts is none")
    if count is not None and len(value) != count:
        raise ValueError("its lists have different lengths")
    return value


def _per_mosaic(side: int) -> int:
    return (EDGE // side) ** 2


def _mosaic(images: np.ndarray) -> np.ndarray:
    """Return `(N, S, S[, 3])` RGB pictures side by side and row by row, as BGR, on black."""
    side = images.shape[1]
    columns = EDGE // side
    out = np.zeros((-(-len(images) // columns) * side, columns * side, *images.shape[3:]), np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        out[row * side : (row + 1) * side, column * side : (column + 1) * side] = image
    return out if out.ndim == 2 else np.ascontiguousarray(out[..., ::-1])


def _faces_in(data: bytes, count: int, side: int, *, gray: bool) -> np.ndarray:
    """Return the pictures of a mosaic, `(count, side, side[, 3])` uint8, RGB."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR)
    columns = EDGE // side
    if picture is None or picture.shape[:2] != (-(-count // columns) * side, columns * side):
        raise ValueError("a mosaic is damaged")
    rows = picture.shape[0] // side
    tiles = picture.reshape(rows, side, columns, side, *picture.shape[2:]).swapaxes(1, 2)
    tiles = tiles.reshape(rows * columns, side, side, *picture.shape[2:])[:count]
    return np.ascontiguousarray(tiles if gray else tiles[..., ::-1])
