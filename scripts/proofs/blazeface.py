"""BlazeFace run by the TFLite runtime alone finds what MediaPipe's own detector finds with the same file.

Needs mediapipe, which brings an OpenCV of its own: in an environment for it, `pip install -e ".[mediapipe,litert]"`
and `python scripts/proving.py blazeface`. OpenCV 5 warps pictures otherwise than MediaPipe does: it must be 4.
Pictures, and frames of videos, from ../shared/data/clips.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edge.detect.blazeface import Detections

COVERS = ["edge/detect/blazeface.py", "edge/detect/mediapipe.py", "edge/models/blazeface/*", "edge/interpreter.py"]
ROOT = Path(__file__).resolve().parents[2]
CLIPS = ROOT.parent / "shared" / "data" / "clips"
EVERY = 10
LEAST_IOU, MOST_APART = 0.95, 0.01  # of boxes, ours cut to whole pixels as theirs are; of key points, in box sides


def prove() -> dict[str, Any]:
    """Return the figures; raise when a face is missing to one of them, or boxes or key points differ."""
    sys.path.insert(0, str(ROOT))
    if find_spec("mediapipe") is None:
        raise SystemExit("prove blazeface: it needs mediapipe, which is not installed here: see the file's first lines")
    if not CLIPS.is_dir():
        raise SystemExit("prove blazeface: it needs the clips in ../shared/data, which are not here")
    import cv2

    from edge.detect.blazeface import BlazeFace
    from edge.detect.mediapipe import MediaPipe
    from scripts.bench.clips import paths_of, pictures_of

    ours, theirs = BlazeFace(), MediaPipe()
    clips = {
        path.name: compare([(ours.raw(picture), theirs.raw(picture)) for picture in pictures_of(path, EVERY)])
        for path in paths_of(CLIPS)
    }
    theirs.close()
    seen = [figures for figures in clips.values() if figures["faces"]]
    total = {
        "mediapipe": version("mediapipe"), "runtime": ours.runtime, "opencv": cv2.__version__,
        **{key: sum(figures[key] for figures in clips.values()) for key in ("pictures", "faces", "faces_of_one_alone")},
        **{key: min(figures[key] for figures in seen) for key in ("iou_min", "iou_min_uncut")},
        **{key: max(figures[key] for figures in seen) for key in ("points_apart_max_sides", "scores_apart_max")},
        "clips": clips,
    }  # fmt: skip
    agree = total["iou_min"] >= LEAST_IOU and total["points_apart_max_sides"] <= MOST_APART
    if total["faces_of_one_alone"] or not agree:
        raise SystemExit(f"prove blazeface: {total}: no face alone and boxes of IoU {LEAST_IOU} were to be shown")
    return total


def compare(found: list[tuple[Detections, Detections]]) -> dict[str, Any]:
    """Pair our detections with MediaPipe's, picture by picture; return how far apart they are."""
    from edge.track import iou, match

    uncut, whole, points, scores, alone = [], [], [], [], 0
    for mine, other in found:
        pairs = match(mine.boxes, other.boxes, 0.5)
        alone += len(mine.boxes) + len(other.boxes) - 2 * len(pairs)
        corner, side = np.trunc(mine.boxes[:, :2]), mine.boxes[:, 2:] - mine.boxes[:, :2]
        cut = np.hstack([corner, corner + np.trunc(side)])
        for i, j in pairs.items():
            uncut.append(float(iou(mine.boxes, other.boxes)[i, j]))
            whole.append(float(iou(cut, other.boxes)[i, j]))
            points.append(float(np.abs(mine.points[i] - other.points[j]).max() / side[i, 0]))
            scores.append(abs(float(mine.scores[i] - other.scores[j])))
    return {
        "pictures": len(found), "faces": len(whole), "faces_of_one_alone": alone,
        "iou_min": min(whole, default=None), "iou_min_uncut": min(uncut, default=None),
        "points_apart_max_sides": max(points, default=None), "scores_apart_max": max(scores, default=None),
    }  # fmt: skip
