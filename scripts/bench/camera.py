"""The gap to the camera: a model on ready crops, and on whole frames that hold the same faces as a camera sees them.

python -m scripts.bench.camera DATA MODEL [MODEL ...] [--split test] [--count N]

Each picture is enlarged, set into a frame of 640x480 in which its blurred edge goes on, and spoiled as cameras do:
exposure, light from a side, motion and focus blur, sensor noise, JPEG. The frame goes through detect, align and
classify. These are no labelled camera pictures, of which none are at hand: what a lens, a room or a skin does is not
in them.
Writes docs/bench/camera.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.align import align, ready_crop
from edge.detect import load_detector
from edge.measure.evaluate import largest
from edge.measure.folders import LabelledPictures, open_labelled
from edge.measure.scores import score
from edge.model import Classifier, load_model
from scripts.bench.machine import write
from scripts.extras import needs

FRAME = (480, 640)
SIDES = (110, 260)
"""Smallest and largest side of the enlarged picture in the frame, pixels: a face two metres away, and one at a desk."""


@needs()
def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--split", default="test")
    parser.add_argument("--count", type=int, help="only so many pictures, spread evenly")
    given = parser.parse_args()
    classifiers = {Path(path).name: load_model(Path(path), threads=2) for path in given.models}
    labels = next(iter(classifiers.values())).info.labels
    pictures = open_labelled(given.data, labels=labels, split=given.split)
    chosen = np.linspace(0, len(pictures) - 1, given.count or len(pictures)).astype(int)
    figures = {
        arm: compare(classifiers, pictures, chosen, spoilt=spoilt)
        for arm, spoilt in (("ready crops", None), ("clean frames", False), ("camera frames", True))
    }
    write("docs/bench/camera.json", {"split": given.split, "pictures": len(chosen), "arms": figures})
    for arm, rows in figures.items():
        for name, row in rows.items():
            print(f"{arm:<14} {name:<24} {row}")


def compare(
    classifiers: dict[str, Classifier], pictures: LabelledPictures, chosen: np.ndarray, *, spoilt: bool | None
) -> dict[str, Any]:
    """Score every model on the same pictures: as ready crops (`spoilt` None), or in clean or spoilt frames."""
    detector = load_detector(min_face=50, threads=2)
    answers: dict[str, list[np.ndarray]] = {name: [] for name in classifiers}
    targets: list[int] = []
    missed = 0
    for index in chosen:
        image = pictures.read(int(index))
        if image is None:
            continue
        rng = np.random.default_rng([7, int(index)])
        frame = image if spoilt is None else stage(image, rng)
        if spoilt:
            frame = spoil(frame, rng)
        faces = [] if spoilt is None else detector.detect(frame)
        if spoilt is not None and not faces:
            missed += 1
            continue
        for name, classifier in classifiers.items():
            crop = classifier.info.crop
            if spoilt is None:
                made = ready_crop(frame, crop.size)
            else:
                face = largest(faces)
                made = align(frame, face.box, face.landmarks, crop)
            answers[name].append(classifier.classify(made[None])[0])
        targets.append(int(pictures.targets[index]))
    result = {}
    for name, classifier in classifiers.items():
        figures = score(np.array(answers[name]), np.array(targets), classifier.info.labels)
        accuracy = float(str(figures["accuracy"]))
        result[name] = {
            "scored": len(targets), "without_face": missed, "accuracy": round(accuracy, 4),
            "accuracy_of_all": round(accuracy * len(targets) / (len(targets) + missed), 4),
            "macro_f1": round(float(str(figures["macro_f1"])), 4), "ece": round(float(str(figures["ece"])), 4),
        }  # fmt: skip
    return result


def stage(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Set a picture, enlarged to a random size, at a random place and tilt into a frame: `(480, 640, 3)` uint8 BGR."""
    height, width = FRAME
    side = int(rng.integers(*SIDES))
    large = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    x, y = rng.uniform(side * 0.7, width - side * 0.7), rng.uniform(side * 0.7, height - side * 0.7)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), float(rng.uniform(-10, 10)), 1.0)
    matrix[:, 2] += np.array([x, y]) - side / 2
    mask = cv2.GaussianBlur(np.pad(np.ones((side - 8, side - 8), np.float32), 4), (0, 0), 3)
    placed = cv2.warpAffine(large, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    around = cv2.GaussianBlur(placed, (0, 0), 25)  # the picture's edge goes on outwards: no second, larger face
    weight = cv2.warpAffine(mask, matrix, (width, height))[..., None]
    return np.clip(placed * weight + around * (1 - weight), 0, 255).astype(np.uint8)


def spoil(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Do to a frame what cameras do; the same frame and generator give the same picture."""
    values = frame.astype(np.float32)
    values *= rng.uniform(0.85, 1.15, 3).astype(np.float32)  # white balance
    values = 255 * np.clip(values / 255, 0, 1) ** np.float32(2 ** rng.uniform(-0.8, 0.8))  # exposure
    ramp = np.linspace(-1, 1, frame.shape[1], dtype=np.float32) * np.float32(rng.uniform(-50, 50))
    values += ramp[None, :, None]  # light from a side
    if rng.random() < 0.3:  # motion
        length = int(rng.integers(2, 8))
        kernel = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1 / length
        values = cv2.filter2D(values, -1, kernel)
    values = cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.1, 1.6)))  # focus
    values += rng.normal(0, rng.uniform(1, 10), values.shape).astype(np.float32)  # sensor
    picture = np.clip(values, 0, 255).astype(np.uint8)
    quality = int(rng.integers(35, 90))
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1))


if __name__ == "__main__":
    main()
