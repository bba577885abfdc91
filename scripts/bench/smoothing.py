"""What smoothing does to real faces: how often the label flips, how late a change is, what the frame rate matters.

    python -m scripts.bench.smoothing CLIP [CLIP ...]

Every frame of a clip is detected and classified once; smoothing is then done with these scores, at the clip's own rate
and at 5 frames/s. A true change is made of two stretches of real scores, spliced: one of a face in which every reading
says the same, then one in which every reading by itself would change that.
Writes docs/bench/smoothing.json; exits 1 when a change is told later than the time constant.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.detect import load_detector
from edge.model import Classifier, load_model
from edge.read import classify_faces
from edge.smooth import Smoother, settle
from edge.sources import open_source
from edge.track import Tracker
from scripts.bench.machine import write
from scripts.extras import needs

SETTINGS = [(0.0, 0.0), (0.25, 0.1), (0.5, 0.1), (0.6, 0.0), (0.6, 0.1), (0.8, 0.1), (1.0, 0.1), (2.0, 0.1)]
"""Time constant, seconds, and margin; the first is what there was before."""
SLOW = 5.0
STRETCH = 1.2
"""Seconds that a spliced stretch has before the change; the change itself must last as long as the time constant."""


@dataclass(frozen=True)
class Reading:
    """One face in one frame: seconds since the clip's start, and `(K,)` scores."""

    time: float
    scores: np.ndarray


Series = list[Reading]


@dataclass(frozen=True)
class Recording:
    """A clip's name, frames a second, and the readings of every face in it."""

    name: str
    fps: float
    faces: list[Series]


@needs()
def main() -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--out", default="docs/bench/smoothing.json")
    given = parser.parse_args()
    classifier = load_model()
    info = classifier.info
    clips = [record(path, classifier) for path in given.clips]
    rows = []
    for time_constant, margin in SETTINGS:

        def smoother(time_constant: float = time_constant, margin: float = margin) -> Smoother:
            return Smoother(info.labels, info.threshold, time_constant, margin)

        row: dict[str, Any] = {"time_constant_s": time_constant, "margin": margin}
        row["clips"] = {clip.name: steadiness(clip, smoother) for clip in clips}
        row["all"] = total(list(row["clips"].values()))
        if time_constant:
            row["delay"] = delays(clips, smoother)
        rows.append(row)
        print(time_constant, margin, row["all"], row.get("delay"))
    write(given.out, {"model": info.id, "threshold": info.threshold, "settings": rows})
    late = [row for row in rows if "delay" in row and row["delay"]["later_than_time_constant"]]
    return 1 if late else 0


def record(path: Path, classifier: Classifier) -> Recording:
    """Read the emotion of every face in every frame."""
    detector, tracker = load_detector("mtcnn", min_face=40), Tracker()
    source = open_source(str(path), "bench")
    start = None
    faces: dict[int, Series] = {}
    while (frame := source.read()) is not None:
        start = frame.mono if start is None else start
        found = detector.detect(frame.image)
        emotions = classify_faces(frame.image, found, classifier)
        for face, emotion in zip(tracker.update(found, frame.mono).faces, emotions, strict=True):
            scores = np.array(list(emotion.scores.values()))
            faces.setdefault(face.track, []).append(Reading(frame.mono - start, scores))
    source.close()
    return Recording(path.name, source.fps or 25.0, list(faces.values()))


def thinned(series: Series, fps: float) -> Series:
    """Leave of a face's readings about `SLOW` a second."""
    return series[:: max(round(fps / SLOW), 1)]


def said(smooth: Smoother, series: Series) -> list[str | None]:
    """Return what is said of one face, reading by reading."""
    return [smooth.update(0, reading.scores, reading.time).label for reading in series]


def flips(labels: list[str | None]) -> int:
    """Count the changes in a row of labels."""
    return sum(a != b for a, b in itertools.pairwise(labels))


def steadiness(clip: Recording, smoother: Any) -> dict[str, Any]:
    """Count flips, and compare what is said at the same moments at the two rates."""
    changes, seconds, same, compared = 0, 0.0, 0, 0
    for series in clip.faces:
        full = said(smoother(), series)
        few = said(smoother(), thinned(series, clip.fps))
        changes += flips(full)
        seconds += series[-1].time - series[0].time
        same += sum(a == b for a, b in zip(thinned(full, clip.fps), few, strict=True))  # type: ignore[type-var]
        compared += len(few)
    return {
        "fps": round(clip.fps, 2), "faces": len(clip.faces), "face_seconds": round(seconds, 2), "flips": changes,
        "flips_per_minute": round(changes * 60 / seconds, 1) if seconds else None,
        "compared": compared, "same_at_5_a_second": round(same / compared, 4) if compared else None,
    }  # fmt: skip


def total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Add the clips up."""
    seconds, compared = sum(row["face_seconds"] for row in rows), sum(row["compared"] for row in rows)
    same = sum(row["same_at_5_a_second"] * row["compared"] for row in rows if row["compared"])
    changes = sum(row["flips"] for row in rows)
    return {
        "face_seconds": round(seconds, 2), "flips": changes, "flips_per_minute": round(changes * 60 / seconds, 1),
        "compared": compared, "same_at_5_a_second": round(same / compared, 4),
    }  # fmt: skip


def delays(clips: list[Recording], smoother: Any) -> dict[str, Any]:
    """Splice stretches of different faces and measure from the first reading of the second to its label, seconds."""
    figures: dict[str, Any] = {"changes": 0, "later_than_time_constant": 0}
    found: dict[str, list[float]] = {"full_rate_s": [], "at_5_a_second_s": []}
    time_constant = smoother().time_constant
    everyone = [(clip, series) for clip in clips for series in clip.faces]
    for (one, first), (other, second) in itertools.permutations(everyone, 2):
        for before, label in stretches(first, smoother(), None, STRETCH):
            for after, _ in stretches(second, smoother(), label, time_constant + 1 / SLOW):
                figures["changes"] += 1
                for name, thin in (("full_rate_s", False), ("at_5_a_second_s", True)):
                    a, b = (thinned(before, one.fps), thinned(after, other.fps)) if thin else (before, after)
                    late = delay(smoother(), a, b)
                    found[name].append(late)
                    figures["later_than_time_constant"] += late > time_constant + 1e-6
    for name, values in found.items():
        figures[name] = (
            {"median": round(statistics.median(values), 3), "max": round(max(values), 3)} if values else None
        )
    return figures


def stretches(series: Series, smooth: Smoother, present: str | None, least: float) -> list[tuple[Series, str]]:
    """Return the longest stretches of a face, one a label and `least` seconds long, in which all readings agree.

    With `present`, each reading by itself would change that to the same other label.
    """
    labels = [settle(smooth.labels, r.scores, present, smooth.threshold, smooth.margin) for r in series]
    best: dict[str, Series] = {}
    for label, group in itertools.groupby(range(len(series)), key=labels.__getitem__):
        indices = list(group)
        part = series[indices[0] : indices[-1] + 1]
        seconds = part[-1].time - part[0].time
        longest = best.get(label)
        if label != present and seconds >= max(least, longest[-1].time - longest[0].time if longest else 0.0):
            best[label] = part
    return [(part, label) for label, part in best.items()]


def delay(smooth: Smoother, before: Series, after: Series) -> float:
    """Return how long after its first reading a spliced change is told, seconds; the stretch's length if it is not."""
    for reading in before:
        old = smooth.update(0, reading.scores, reading.time).label
    step = after[1].time - after[0].time
    shift = before[-1].time + step - after[0].time
    new = settle(smooth.labels, after[0].scores, old, smooth.threshold, smooth.margin)
    for reading in after:
        if smooth.update(0, reading.scores, reading.time + shift).label == new:
            return reading.time - after[0].time
    return after[-1].time - after[0].time + step


if __name__ == "__main__":
    sys.exit(main())
