"""Compares our MTCNN with facenet-pytorch's on every 10th frame of a folder of clips: the same faces, and how fast.

    python -m scripts.bench.mtcnn CLIPS

Needs the train extra and facenet-pytorch. Writes docs/bench/mtcnn.json; exits 1 when the tolerance is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.detect import Finder, load_detector
from edge.values import Face
from scripts.bench.clips import paths_of, pictures_of
from scripts.extras import needs

LEAST_IOU, MOST_PIXELS = 0.99, 0.5
PACKAGES = ("facenet-pytorch", "torch", "onnxruntime", "numpy", "opencv-python-headless")


@dataclass
class Clip:
    """What was measured on one clip; the lists hold a figure for each pair of faces."""

    name: str
    frames: int = 0
    faces: int = 0
    faces_ours: int = 0
    frames_apart: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"facenet": 0.0, "ours": 0.0})
    ious: list[float] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def add(self, theirs: list[Face], ours: list[Face]) -> None:
        """Pair the faces of one frame by overlap and note how far apart they are."""
        self.frames += 1
        self.faces += len(theirs)
        self.faces_ours += len(ours)
        pairs = pair(theirs, ours)
        self.frames_apart += not len(pairs) == len(theirs) == len(ours)
        for a, b in pairs:
            self.ious.append(overlap(a.box, b.box))
            self.distances.append(float(np.linalg.norm(a.landmarks - b.landmarks, axis=1).max()))
            self.scores.append(abs(a.score - b.score))

    def summary(self) -> dict[str, Any]:
        """Return the figures as they go into the report."""
        return {
            "frames": self.frames,
            "faces": {"facenet": self.faces, "ours": self.faces_ours, "paired": len(self.ious)},
            "frames_with_other_faces": self.frames_apart,
            "iou_min": min(self.ious, default=None),
            "landmark_px_max": max(self.distances, default=None),
            "pairs_out_of_tolerance": sum(
                iou < LEAST_IOU or pixels > MOST_PIXELS for iou, pixels in zip(self.ious, self.distances, strict=True)
            ),
            "score_difference_max": max(self.scores, default=None),
            "frames_per_s": {name: round(self.frames / seconds, 2) for name, seconds in self.seconds.items()},
            "speedup": round(self.seconds["facenet"] / self.seconds["ours"], 2),
        }


@needs("train")
def main() -> int:
    """Run the comparison; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("clips", type=Path, help="folder of videos and pictures")
    parser.add_argument("--every", type=int, default=10, help="take every n-th frame of a video (10)")
    parser.add_argument("--min-face", type=int, default=40, help="smallest face, pixels (40)")
    parser.add_argument("--out", type=Path, default=Path("docs/bench/mtcnn.json"), help="the report")
    options = parser.parse_args()
    import torch

    paths = paths_of(options.clips)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    ours = load_detector("mtcnn", min_face=options.min_face, threads=1)
    theirs = Facenet(options.min_face)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    clips = [measure(path, options.every, theirs, ours) for path in paths]
    total = Clip("all")
    for clip in clips:
        gather(total, clip)
    report = {
        "what": "MTCNN on ONNX Runtime against facenet-pytorch's, the same frames in turn, one thread each",
        "command": f"python -m scripts.bench.mtcnn CLIPS --every {options.every} --min-face {options.min_face}",
        "tolerance": {"iou_min": LEAST_IOU, "landmark_px_max": MOST_PIXELS},
        "machine": machine(load),
        "total": total.summary(),
        "clips": {clip.name: clip.summary() for clip in clips},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    for clip in [*clips, total]:
        print(row(clip))
    held = total.frames_apart == 0 and total.summary()["pairs_out_of_tolerance"] == 0
    print("tolerance held" if held else "TOLERANCE BROKEN")
    return 0 if held else 1


class Facenet:
    """facenet-pytorch's MTCNN behind our detector's interface."""

    name = "facenet"

    def __init__(self, min_face: int) -> None:
        import train.torchvision_cpu  # noqa: F401, I001  (before facenet-pytorch, which imports torchvision)
        from facenet_pytorch import MTCNN

        self._net = MTCNN(keep_all=True, min_face_size=min_face, device="cpu")

    def detect(self, image: np.ndarray) -> list[Face]:
        """Return the faces in `(H, W, 3)` uint8 RGB, the colour order that facenet-pytorch takes."""
        boxes, scores, landmarks = self._net.detect(image, landmarks=True)
        if boxes is None:
            return []
        return [
            Face(np.asarray(box, np.float32), float(score), np.asarray(points, np.float32), self.name)
            for box, score, points in zip(boxes, scores, landmarks, strict=True)
        ]


def measure(path: Path, every: int, theirs: Finder, ours: Finder) -> Clip:
    """Run both detectors on the frames of one clip, in turn, each going first on every second frame."""
    clip = Clip(path.name)
    for bgr in pictures_of(path, every):
        rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        if clip.frames == 0:  # not timed: both make their buffers for this size
            theirs.detect(rgb), ours.detect(bgr)
        found: dict[str, list[Face]] = {}
        calls: list[tuple[str, Callable[[np.ndarray], list[Face]], np.ndarray]] = [
            ("facenet", theirs.detect, rgb),
            ("ours", ours.detect, bgr),
        ]
        for name, detect, image in calls if clip.frames % 2 else reversed(calls):
            start = time.perf_counter()
            found[name] = detect(image)
            clip.seconds[name] += time.perf_counter() - start
        clip.add(found["facenet"], found["ours"])
    return clip


def pair(theirs: list[Face], ours: list[Face]) -> list[tuple[Face, Face]]:
    """Pair faces one to one, the largest overlap first; faces that do not overlap by half stay alone."""
    ranked = sorted(
        ((overlap(a.box, b.box), i, j) for i, a in enumerate(theirs) for j, b in enumerate(ours)), reverse=True
    )
    pairs: dict[int, int] = {}
    for iou, i, j in ranked:
        if iou >= 0.5 and i not in pairs and j not in pairs.values():
            pairs[i] = j
    return [(theirs[i], ours[j]) for i, j in pairs.items()]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of two boxes."""
    shared = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))


def gather(total: Clip, clip: Clip) -> None:
    """Add one clip's figures to the total."""
    for name in ("frames", "faces", "faces_ours", "frames_apart", "ious", "distances", "scores"):
        setattr(total, name, getattr(total, name) + getattr(clip, name))
    for name, seconds in clip.seconds.items():
        total.seconds[name] += seconds


def machine(load: float | None) -> dict[str, Any]:
    """Describe what ran: the processor and the packages, no names of hosts or folders."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        named = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = named[0] if named else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_at_start": None if load is None else round(load, 2),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def row(clip: Clip) -> str:
    """Return one line of the table."""
    figures = clip.summary()
    iou = "-" if figures["iou_min"] is None else f"{figures['iou_min']:.5f}"
    pixels = "-" if figures["landmark_px_max"] is None else f"{figures['landmark_px_max']:.4f}"
    rate = figures["frames_per_s"]
    return (
        f"{clip.name[:44]:44} frames {clip.frames:4}  faces {clip.faces:4} = {clip.faces_ours:4}  IoU >= {iou:7}  "
        f"landmarks <= {pixels:6} px  frames/s {rate['facenet']:6.1f} -> {rate['ours']:6.1f}  x{figures['speedup']:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
