"""How other detectors frame a face next to MTCNN: the constants in `edge/detect`.

python -m scripts.bench.framing DATA [CLIPS] [--split train] [--count N]

Pictures of the training split, spread evenly over the classes, are enlarged and set into camera-sized frames (as in
`scripts.bench.camera`); on each frame both detectors look, and what is one face to both is compared. PublicTest stays
out of it: what is chosen is not chosen there. The clips are a check that other faces say the same.
Writes docs/bench/framing.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edge.detect import load_detector
from edge.detect.blazeface import BlazeFace
from edge.detect.framing import measure_framing
from edge.detect.haar import Haar
from edge.measure.folders import LabelledPictures, open_labelled
from edge.track import iou, match
from scripts.bench.camera import spoil, stage
from scripts.bench.clips import paths_of, pictures_of
from scripts.bench.machine import write
from scripts.extras import needs

MIN_FACE = 40
SEED = 7
LEAST = 0.25
"""Overlap from which raw boxes are taken for one face: framings differ, faces in these frames do not overlap."""

Points = tuple[np.ndarray, np.ndarray]


@needs("litert")
def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("clips", nargs="?", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--count", type=int, default=100, help="pictures of each class (100)")
    given = parser.parse_args()
    pictures = open_labelled(given.data, split=given.split)
    chosen = stratified(pictures.targets, given.count)
    figures: dict[str, Any] = {
        "split": given.split, "pictures": len(chosen), "seed": SEED, "min_face": MIN_FACE,
        "staged": compare(frame for frame, _ in staged_pictures(pictures, chosen)),
    }  # fmt: skip
    if given.clips:
        figures["clips"] = compare(frame for path in paths_of(given.clips) for frame in pictures_of(path, 10))
    write("docs/bench/framing.json", figures)
    for where in ("staged", "clips"):
        for name, row in figures.get(where, {}).items():
            print(f"{where:<8}{name:<12}{row}")


def stratified(targets: np.ndarray, count: int) -> np.ndarray:
    """Return indices of `count` pictures of each class, of all where there are fewer, in order."""
    rng = np.random.default_rng(SEED)
    of_class = [np.flatnonzero(targets == label) for label in np.unique(targets)]
    return np.sort(np.concatenate([rng.permutation(indices)[:count] for indices in of_class]))


def staged_pictures(pictures: LabelledPictures, chosen: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Yield a camera-sized frame `(480, 640, 3)` uint8 BGR and the label of each picture; the same on every run."""
    for index in chosen:
        image = pictures.read(int(index))
        if image is not None:
            rng = np.random.default_rng([SEED, int(index)])
            yield spoil(stage(image, rng), rng), int(pictures.targets[index])


def compare(frames: Iterable[np.ndarray]) -> dict[str, Any]:
    """Return for each detector how MTCNN's boxes and landmarks lie to its own, on the faces that both find."""
    mtcnn, blaze, haar = load_detector("mtcnn", min_face=MIN_FACE), BlazeFace(), Haar()

    def of_blaze(image: np.ndarray) -> Points:
        found = blaze.raw(image)
        return found.boxes, found.points[:, :3]

    def of_haar(image: np.ndarray) -> Points:
        boxes, _ = haar.raw(image, MIN_FACE)
        return boxes, np.zeros((len(boxes), 0, 2), np.float32)

    others: dict[str, Callable[[np.ndarray], Points]] = {"blazeface": of_blaze, "haar": of_haar}
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {name: [] for name in others}
    faces = 0
    for frame in frames:
        truth = mtcnn.detect(frame)
        faces += len(truth)
        if not truth:
            continue
        boxes = np.array([face.box for face in truth])
        for name, look in others.items():
            found, points = look(frame)
            for i, j in match(found, boxes, LEAST).items():
                apart = truth[j].landmarks[: len(points[i])] - points[i]
                pairs[name].append((found[i], boxes[j], apart / (found[i, 2] - found[i, 0])))
    return {name: summary(rows, faces) for name, rows in pairs.items()}


def summary(rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]], faces: int) -> dict[str, Any]:
    """Return the framing, how well it fits, and where MTCNN's first landmarks lie from the detector's."""
    if not rows:
        return {"mtcnn_faces": faces, "pairs": 0}
    found, boxes, apart = (np.array(column) for column in zip(*rows, strict=True))
    framing = measure_framing(found, boxes)
    before = np.diagonal(iou(found, boxes))
    after = np.diagonal(iou(framing.apply(found), boxes))
    return {
        "mtcnn_faces": faces, "pairs": len(rows), "framing": asdict(framing),
        "iou_median_before": round(float(np.median(before)), 3), "iou_median_after": round(float(np.median(after)), 3),
        "landmarks_apart_mean": np.round(apart.mean(axis=0).astype(float), 3).tolist(),
        "landmarks_apart_std": np.round(apart.std(axis=0).astype(float), 3).tolist(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
