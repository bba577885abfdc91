"""`edge train align`: a data set aligned, with a report of how many faces were found and a sheet to look at."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from edge.detect import Finder, load_detector
from edge.errors import InputError
from edge.files import write_whole
from edge.model import load_model
from train.alignment import Aligned, align_set, check_folder
from train.datasets import FaceSet, as_crops, open_faces
from train.datasets.pictures import letterbox
from train.framing import Framing, measure_framing
from train.stages import Stages

SHEET = 12
"""Faces across the before-and-after sheet."""

GAP = 4

LARGE = 256
"""Side to which pictures of mixed sizes come before a face is looked for in them, pixels."""


def align(
    data: str, out: Path, label_map: dict[str, str], model: Path | None, detector: str, size: int, count: int,
    stages: Stages,
) -> str:  # fmt: skip
    """Align every face of `data` into `out`, with `report.json` and `before-after.png`; return a line to show.

    Args:
        data: as `train.datasets.open_faces` takes it.
        out: folder for the crops; what is there of the same call is gone on with.
        label_map: folder name to label.
        model: a model file whose crop to use; None: measured on training pictures, `count` of them.
        detector: `mtcnn`, the device's, or `facenet`, the original.
        size: side of the crops where none is given by a model.
        stages: shows progress.

    Raises:
        InputError: the data or the model cannot be read, too few faces are found to measure framing, or `out` holds
            something else.
    """
    check_folder(out)
    stages.stage("reading the data")
    faces, pictures = _read(data, label_map)
    finder = _detector(detector)
    framing = _framing(faces, pictures, finder, model, size, count, stages)
    moved = stages.stage("aligning", len(faces))
    aligned = align_set(faces, out, finder, framing, moved, pictures=pictures)
    report = {"data": Path(data).name, "detector": finder.name, **_found(faces, aligned)}
    write_whole(out / "report.json", (json.dumps(report, indent=2) + "\n").encode())
    write_whole(out / "before-after.png", cv2.imencode(".png", sheet(faces, aligned))[1].tobytes())
    return f"{out}: a face found in {int(aligned.found.sum())} of {len(faces)} pictures"


def _read(data: str, label_map: dict[str, str]) -> tuple[FaceSet, np.ndarray]:
    """Return the faces as `edge train fit` reads them, and their pictures undistorted."""
    letterboxed = False

    def bring(image: np.ndarray, side: int) -> np.ndarray:
        nonlocal letterboxed
        letterboxed = True
        return letterbox(image, side)

    whole = open_faces(data, label_map, LARGE, bring)
    return (open_faces(data, label_map) if letterboxed else whole), whole.images


def _detector(name: str) -> Finder:
    if name == "mtcnn":
        return load_detector("mtcnn")
    from train.facenet import FacenetDetector

    return FacenetDetector()


def _framing(
    faces: FaceSet, pictures: np.ndarray, detector: Finder, model: Path | None, size: int, count: int, stages: Stages
) -> Framing:
    """Return the crop of a model file, or measure it on training pictures."""
    if model is not None:
        return Framing(load_model(model).info.crop, 0, 0, 0.0)
    train = np.flatnonzero(faces.splits == "train")
    if not len(train):
        raise InputError("there is no training picture to measure framing on; give a --model to frame faces as it does")
    sample = np.sort(np.random.default_rng(0).permutation(train)[:count])
    try:
        return measure_framing(pictures[sample], detector, size, stages.stage("measuring the crop", len(sample)))
    except InputError as error:
        raise InputError(f"{error}; give a --model to frame faces as it does") from None


def _found(faces: FaceSet, aligned: Aligned) -> dict[str, object]:
    """Return how many faces were found: in all, a split and a class each."""
    found: Counter[tuple[str, str]] = Counter()
    looked: Counter[tuple[str, str]] = Counter()
    for split, target, hit in zip(faces.splits, faces.targets, aligned.found, strict=True):
        key = str(split), faces.labels[target]
        looked[key] += 1
        found[key] += bool(hit)
    splits = sorted({split for split, _ in looked})
    return {
        "pictures": len(faces), "found": int(aligned.found.sum()),
        "splits": {
            split: {
                label: {"pictures": looked[split, label], "found": found[split, label]}
                for label in faces.labels if looked[split, label]
            }
            for split in splits
        },
        "unreadable": list(faces.unreadable),
    }  # fmt: skip


def sheet(faces: FaceSet, aligned: Aligned) -> np.ndarray:
    """Return a picture of faces before (above) and after (below), BGR: a row of found ones a class, one of not found.

    Which faces are shown is drawn once and for all.
    """
    size = aligned.images.shape[1]
    rng = np.random.default_rng(0)
    kinds = [np.flatnonzero(aligned.found & (faces.targets == target)) for target in range(len(faces.labels))]
    kinds.append(np.flatnonzero(~aligned.found))
    rows = []
    for kind in kinds:
        chosen = np.sort(rng.permutation(kind)[:SHEET])
        if len(chosen):
            rows += [_strip(as_crops(faces.images[chosen], size)), _strip(aligned.images[chosen])]
            rows.append(np.full((3 * GAP, rows[-1].shape[1], 3), 255, np.uint8))
    if not rows:
        return np.full((size, size, 3), 255, np.uint8)
    return np.ascontiguousarray(np.concatenate(rows)[..., ::-1])


def _strip(crops: np.ndarray) -> np.ndarray:
    """Return up to `SHEET` crops side by side on white."""
    size = crops.shape[1]
    strip = np.full((size + GAP, SHEET * (size + GAP), 3), 255, np.uint8)
    for index, crop in enumerate(crops):
        strip[:size, index * (size + GAP) : index * (size + GAP) + size] = crop
    return strip
