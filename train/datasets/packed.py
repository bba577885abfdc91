"""A data set in one small file, to carry to a machine with an accelerator: one mosaic, and what is known of it."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np

from edge.errors import InputError
from edge.files import write_whole
from train.datasets.faces import FaceSet

SUFFIX = ".faces"
COLUMNS = 160
"""Faces across the mosaic: 48 pixels each, it stays far below JPEG's 65,535."""

PARTS = ("train", "dev", "test")
STORED = (1980, 1, 1, 0, 0, 0)
"""The time that the file's entries bear, so that the same faces make the same file."""


def write_packed(faces: FaceSet, parts: np.ndarray, path: Path, quality: int = 92) -> None:
    """Write the faces that are in `train`, `dev` or `test` as one file; who is left out stays out.

    The pictures become one JPEG, so they change a little; the parts are written down, so they stay as they are.

    Args:
        faces: the set.
        parts: `(N,)` strings of `train.datasets.split.assign_parts`.
        path: the file, with the ending `.faces`.
        quality: JPEG quality of the mosaic, 1 to 100.

    Raises:
        InputError: the file has another ending or cannot be written.
    """
    if path.suffix != SUFFIX:
        raise InputError(f"--out {path}: give it the ending {SUFFIX}, by which it is known when it is read")
    kept = faces.take(np.isin(parts, PARTS))
    side = kept.images.shape[1]
    rows = -(-len(kept) // COLUMNS)
    mosaic = np.zeros((rows * side, COLUMNS * side, *kept.images.shape[3:]), np.uint8)
    for index, image in enumerate(kept.images):
        row, column = divmod(index, COLUMNS)
        mosaic[row * side : (row + 1) * side, column * side : (column + 1) * side] = image
    if not kept.gray:
        mosaic = cv2.cvtColor(mosaic, cv2.COLOR_RGB2BGR)
    known = {
        "faces": len(kept), "side": side, "gray": kept.gray, "labels": list(kept.labels), "quality": quality,
        "targets": kept.targets.tolist(), "names": [str(name) for name in kept.names],
        "parts": [str(part) for part in parts[np.isin(parts, PARTS)]],
        "persons": None if kept.persons is None else [str(person) for person in kept.persons],
    }  # fmt: skip
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        picture = cv2.imencode(".jpg", mosaic, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        archive.writestr(zipfile.ZipInfo("mosaic.jpg", STORED), picture)
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
            known = json.loads(archive.read("faces.json"))
            data = np.frombuffer(archive.read("mosaic.jpg"), np.uint8)
        mosaic = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if known["gray"] else cv2.IMREAD_COLOR)
        side, count = int(known["side"]), int(known["faces"])
        if mosaic is None or mosaic.shape[:2] != (-(-count // COLUMNS) * side, COLUMNS * side):
            raise ValueError("its mosaic is damaged")
        if not known["gray"]:
            mosaic = cv2.cvtColor(mosaic, cv2.COLOR_BGR2RGB)
        images = np.empty((count, side, side, *mosaic.shape[2:]), np.uint8)
        for index in range(count):
            row, column = divmod(index, COLUMNS)
            images[index] = mosaic[row * side : (row + 1) * side, column * side : (column + 1) * side]
        persons = known["persons"]
        faces = FaceSet(
            images, np.array(known["targets"], np.int64), np.array(known["names"]), np.array(known["parts"]),
            tuple(known["labels"]), persons=None if persons is None else np.array(persons), layout="packed",
        )  # fmt: skip
        if not len(faces.targets) == len(faces.names) == len(faces.splits) == count:
            raise ValueError("its columns have different lengths")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: it is no file that edge train pack wrote ({error})") from None
    return faces
