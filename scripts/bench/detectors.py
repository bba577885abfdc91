"""Every detector on the same frames: what it finds of what MTCNN finds, what it costs, what the classifier makes of it.

python -m scripts.bench.detectors DATA CLIPS [--split test] [--count N] [--every N] [--mediapipe] [--yunet FILE]

Pictures of PublicTest, N of each class, are enlarged and set into camera-sized frames and spoilt as in
`scripts.bench.camera`; of the clips every N-th frame is taken. All detectors look at each frame in turn, in an order
that goes round, one thread each, MTCNN too; what MTCNN finds is what the others are held against. Times are processor
milliseconds, which other work on the machine spoils less than the wall clock's; their ratios are taken frame by frame.
The shipped classifier reads the frame's largest face through each detector's crop. Crops are compared on the frames in
which both MTCNN and the other find a face; a second figure takes all frames, and one without a face as wrong.
Writes docs/bench/detectors.json.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.align import align
from edge.detect import Detector, load_detector
from edge.measure.evaluate import largest
from edge.measure.folders import open_labelled
from edge.model import Classifier, load_model
from edge.track import iou, match
from edge.values import Face
from scripts.bench.clips import paths_of, pictures_of
from scripts.bench.framing import MIN_FACE, SEED, staged_pictures, stratified
from scripts.bench.machine import write
from scripts.extras import needs

SAME = 0.5
"""Overlap from which a box is MTCNN's face."""

Frames = Iterable[tuple[np.ndarray, int | None]]


@dataclass
class Row:
    """What one detector did on one set of frames."""

    cpu: list[float] = field(default_factory=list)  # s
    wall: list[float] = field(default_factory=list)  # s
    refine_cpu: list[float] = field(default_factory=list)
    faces: int = 0
    refined: int = 0
    overlaps: list[float] = field(default_factory=list)
    distances: list[np.ndarray] = field(default_factory=list)  # (P,) in MTCNN's eye distances
    right: list[bool | None] = field(default_factory=list)  # by frame: whether its label was; None without a face
    targets: list[int] = field(default_factory=list)


@needs("litert")
def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("clips", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--count", type=int, default=100, help="pictures of each class (100)")
    parser.add_argument("--every", type=int, default=10, help="take every n-th frame of a clip (10)")
    parser.add_argument("--mediapipe", action="store_true", help="MediaPipe's own detector as well")
    parser.add_argument("--yunet", help="YuNet's ONNX file, for YuNet as well")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    names = ["mtcnn", "blazeface", *["mediapipe"] * given.mediapipe, *["yunet"] * bool(given.yunet), "haar"]
    detectors = {name: load_detector(name, min_face=MIN_FACE, yunet_model=given.yunet) for name in names}
    pictures = open_labelled(given.data, split=given.split)
    chosen = stratified(pictures.targets, given.count)
    load = round(os.getloadavg()[0], 2)
    on_pictures = measure(detectors, staged_pictures(pictures, chosen))
    on_clips = measure(
        detectors, ((frame, None) for path in paths_of(given.clips) for frame in pictures_of(path, given.every))
    )
    figures: dict[str, Any] = {
        "split": given.split, "n": len(chosen), "seed": SEED, "min_face": MIN_FACE, "same_iou": SAME,
        "threads": 1, "opencv": cv2.__version__, "model": load_model().info.id, "load_at_start": load,
        "pictures": summaries(on_pictures), "clips": summaries(on_clips),
    }  # fmt: skip
    write("docs/bench/detectors.json", figures)
    for where in ("pictures", "clips"):
        for name, row in figures[where].items():
            print(f"{where:<9} {name:<10} {row}")


def measure(detectors: dict[str, Detector], frames: Frames) -> dict[str, Row]:
    """Show each frame to each detector; return what they did."""
    classifier = load_model()
    rows = {name: Row() for name in detectors}
    turn = list(detectors)
    for index, (frame, target) in enumerate(frames):
        found: dict[str, list[Face]] = {}
        if index == 0:  # not timed: buffers are made for this size
            for detector in detectors.values():
                detector.detect(frame)
        turn = turn[1:] + turn[:1]
        for name in turn:
            cpu, wall = time.process_time(), time.perf_counter()
            found[name] = detectors[name].detect(frame)
            rows[name].cpu.append(time.process_time() - cpu)
            rows[name].wall.append(time.perf_counter() - wall)
        truth = found["mtcnn"]
        boxes = np.array([face.box for face in truth], np.float32).reshape(-1, 4)
        for name in turn:
            compare(rows[name], found[name], truth)
            if len(boxes):
                cpu = time.process_time()
                refined = detectors[name].refine(frame, boxes)
                rows[name].refine_cpu.append((time.process_time() - cpu) / len(boxes))
                rows[name].refined += sum(
                    face is not None and float(iou(face.box[None], box[None])[0, 0]) > SAME
                    for face, box in zip(refined, boxes, strict=True)
                )
            if target is not None:
                rows[name].targets.append(target)
                rows[name].right.append(classified(frame, found[name], classifier) == target if found[name] else None)
    return rows


def classified(frame: np.ndarray, faces: list[Face], classifier: Classifier) -> int:
    """Return the class of the largest face, through the crop that its detector gives."""
    face = largest(faces)
    crop = align(frame, face.box, face.landmarks, classifier.info.crop)
    return int(classifier.classify(crop[None])[0].argmax())


def compare(row: Row, found: list[Face], truth: list[Face]) -> None:
    """Pair a detector's faces with MTCNN's and note how far apart they are."""
    row.faces += len(found)
    boxes, real = (np.array([face.box for face in faces], np.float32).reshape(-1, 4) for faces in (found, truth))
    for i, j in match(boxes, real, SAME).items():
        row.overlaps.append(float(iou(boxes[i : i + 1], real[j : j + 1])[0, 0]))
        eyes = float(np.linalg.norm(truth[j].landmarks[1] - truth[j].landmarks[0]))
        apart = np.linalg.norm(found[i].landmarks - truth[j].landmarks, axis=1) / max(eyes, 1.0)
        if np.isfinite(apart).any():
            row.distances.append(apart[np.isfinite(apart)])


def summaries(rows: dict[str, Row]) -> dict[str, Any]:
    """Return the figures of each detector; MTCNN's own faces are what recall is a share of."""
    truth, ours = rows["mtcnn"].faces, rows["mtcnn"]
    return {name: summary(row, truth, ours) for name, row in rows.items()}


def summary(row: Row, truth: int, mtcnn: Row) -> dict[str, Any]:
    """Return one detector's figures."""
    cpu, wall = np.array(row.cpu) * 1000, np.array(row.wall) * 1000
    figures: dict[str, Any] = {
        "frames": len(cpu), "faces": row.faces, "mtcnn_faces": truth,
        "recall": share(len(row.overlaps), truth),
        "faces_that_mtcnn_has_not": row.faces - len(row.overlaps),
        "iou_median": rounded(np.median(row.overlaps)) if row.overlaps else None,
        "landmarks_apart_median_eye_distances": (
            rounded(np.median(np.concatenate(row.distances))) if row.distances else None
        ),
        "cpu_ms_median": rounded(np.median(cpu), 2), "cpu_ms_p95": rounded(np.percentile(cpu, 95), 2),
        "wall_ms_median": rounded(np.median(wall), 2),
        "times_as_fast_as_mtcnn": rounded(np.median(np.array(mtcnn.cpu) / np.array(row.cpu)), 2),
    }  # fmt: skip
    if row.refine_cpu:
        figures["refine_recall"] = share(row.refined, truth)
        figures["refine_cpu_ms_a_face"] = rounded(np.median(row.refine_cpu) * 1000, 2)
    if row.targets:
        targets, right = np.array(row.targets), np.array([bool(each) for each in row.right])
        both = np.array([a is not None and b is not None for a, b in zip(row.right, mtcnn.right, strict=True)])
        theirs = np.array([bool(each) for each in mtcnn.right])
        figures["frames_without_face"] = row.right.count(None)
        figures["frames_with_face_by_both"] = int(both.sum())
        figures["balanced_accuracy"] = balanced(right[both], targets[both])
        figures["balanced_accuracy_mtcnn_same_frames"] = balanced(theirs[both], targets[both])
        figures["balanced_accuracy_all_frames"] = balanced(right, targets)
    return figures


def balanced(right: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean over the classes of the share of `(N,)` answers that are right."""
    return rounded(np.mean([right[targets == label].mean() for label in np.unique(targets)]), 4)


def share(part: int, whole: int) -> float | None:
    """Return a share, or None of nothing."""
    return rounded(part / whole, 4) if whole else None


def rounded(value: Any, digits: int = 3) -> float:
    """Return a plain float for JSON."""
    return round(float(value), digits)


if __name__ == "__main__":
    main()
