"""Where a face can no longer be read: accuracy on dev as it is blurred, made small, turned away; and clips beside it.

    python -m scripts.bench.quality FER2013 [--clips CLIP ...]

Choices are made on dev, the pictures held out of training. Blur and size are done to ready crops; for the turn, each
picture is set into a frame, where MTCNN finds its landmarks. Needs the train extra. Writes docs/bench/quality.json.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.align import align, ready_crop
from edge.config import QualityConfig
from edge.detect import load_detector
from edge.measure.evaluate import classify_all, largest
from edge.model import Classifier, load_model
from edge.model.flip import Flipped
from edge.quality import sharpness, side, turn
from edge.sources import open_source
from scripts.bench.camera import stage
from scripts.bench.machine import write
from scripts.extras import needs

FOCUS = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0)
"""Standard deviation of the blur, pixels of a crop of 96."""
MOTION = (5, 9, 13, 17, 21)
"""Length of the blur along the rows, pixels of a crop of 96."""
SIDES = (12, 16, 20, 24, 32, 40)
TURNS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 9.0)
FEWEST = 20
"""Pictures that a bin of turns must hold to have a figure."""


@needs("train")
def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--clips", nargs="*", default=[])
    parser.add_argument("--count", type=int, default=1000, help="pictures of dev, spread evenly")
    parser.add_argument("--staged", type=int, default=2000, help="pictures of dev that are set into frames")
    given = parser.parse_args()
    from train.datasets import open_faces
    from train.datasets.split import split_faces

    dev, classifier = split_faces(open_faces(given.data)).dev, load_model()
    size = classifier.info.crop.size
    chosen = dev.take(np.linspace(0, len(dev) - 1, min(given.count, len(dev))).astype(int))
    crops = np.array([ready_crop(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), size) for image in chosen.images])
    blurred = [row(classifier, made, chosen.targets) | what for what, made in spoilt(crops)]
    staged = dev.take(np.linspace(0, len(dev) - 1, min(given.staged, len(dev))).astype(int))
    figures = {
        "model": classifier.info.id, "pictures": len(chosen), "limits": vars(QualityConfig()), "ready_crops": blurred,
        "flip": flipped(classifier, crops, chosen.targets), "turned": turned(classifier, staged.images, staged.targets),
        "clips": {Path(clip).name: of_clip(clip, classifier) for clip in given.clips},
    }  # fmt: skip
    write("docs/bench/quality.json", figures)
    for line in [*blurred, figures["flip"], *figures["turned"]["bins"], *figures["clips"].items()]:
        print(line)


def spoilt(crops: np.ndarray) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Yield what was done, and the crops that it gave."""
    for sigma in FOCUS:
        yield {"focus": sigma}, np.array([cv2.GaussianBlur(c, (0, 0), sigma) if sigma else c for c in crops])
    for length in MOTION:
        kernel = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1 / length
        yield {"motion": length}, np.array([cv2.filter2D(c, -1, kernel) for c in crops])
    for small in SIDES:
        tiny = (cv2.resize(c, (small, small), interpolation=cv2.INTER_AREA) for c in crops)
        yield {"side": small}, np.array([cv2.resize(c, crops.shape[1:3], interpolation=cv2.INTER_LINEAR) for c in tiny])
    rng = np.random.default_rng(0)
    noisy = crops + rng.normal(0, 3, crops.shape)
    yield {"noise": 3}, np.clip(noisy, 0, 255).astype(np.uint8)


def row(classifier: Classifier, crops: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Return accuracy and the sharpness that these crops have, and how many the default limit leaves out."""
    answers = classify_all(classifier, crops)
    sharp = np.array([sharpness(crop) for crop in crops])
    return {
        "accuracy": round(float((answers.argmax(axis=1) == targets).mean()), 4),
        "uncertain": round(float((answers.max(axis=1) < classifier.info.threshold).mean()), 4),
        "sharpness_p1_p50_p99": spread(sharp),
        "left_out": round(float((sharp < QualityConfig().sharpness).mean()), 4),
    }


def spread(values: np.ndarray) -> list[float]:
    """Return the first, fiftieth and ninety-ninth percentile."""
    return [round(float(v), 4) for v in np.nanpercentile(values, (1, 50, 99))]


def flipped(classifier: Classifier, crops: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Return accuracy with one view and with two."""
    arms = {"one_view": classifier, "two_views": Flipped(classifier)}
    return {
        name: round(float((classify_all(arm, crops).argmax(axis=1) == targets).mean()), 4) for name, arm in arms.items()
    }


def turned(classifier: Classifier, images: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Return accuracy by turn, of the faces that are found in frames."""
    detector = load_detector("mtcnn", min_face=50)
    turns, right = [], []
    for index, image in enumerate(images):
        frame = stage(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.random.default_rng([7, index]))
        faces = detector.detect(frame)
        if faces:
            face = largest(faces)
            crop = align(frame, face.box, face.landmarks, classifier.info.crop)
            turns.append(turn(face.landmarks))
            right.append(bool(classifier.classify(crop[None])[0].argmax() == targets[index]))
    of, hits = np.array(turns), np.array(right)
    bins = []
    for low, high in itertools.pairwise(TURNS):
        inside = (of >= low) & (of < high)
        accuracy = round(float(hits[inside].mean()), 4) if inside.sum() >= FEWEST else None
        bins.append({"turn": [low, high], "faces": int(inside.sum()), "accuracy": accuracy})
    return {"pictures": len(images), "found": len(of), "accuracy": round(float(hits.mean()), 4), "bins": bins}


def of_clip(path: str, classifier: Classifier) -> dict[str, Any]:
    """Return the three measures over every fourth frame of a clip, and how many faces the default limits leave out."""
    detector, source, limits = load_detector("mtcnn", min_face=40), open_source(path, "bench"), QualityConfig()
    rows = []
    while (frame := source.read()) is not None:
        for face in detector.detect(frame.image) if frame.index % 4 == 0 else []:
            crop = align(frame.image, face.box, face.landmarks, classifier.info.crop)
            rows.append((side(face.box), sharpness(crop), turn(face.landmarks)))
    source.close()
    table = np.array(rows).reshape(-1, 3)
    if not len(table):
        return {"faces": 0}
    out = (table[:, 0] < limits.min_side, table[:, 1] < limits.sharpness, table[:, 2] > limits.turn)
    names = ("side", "sharpness", "turn")
    return {"faces": len(table)} | {
        name: {"p1_p50_p99": spread(table[:, i]), "left_out": int(out[i].sum())} for i, name in enumerate(names)
    }


if __name__ == "__main__":
    main()
