"""What following faces gave up, frame by frame, against the seeds' faces and detection on every frame. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.track import iou
from edge.values import Face
from scripts.bench.ways import Seen


def loss(seeds: list[Seen], exact: list[Seen], ours: list[Seen], fps: float) -> dict[str, Any]:
    """Return what following gave up: against the seeds' faces, and against detection on every frame."""
    wanted = sum(len(seen.faces) for seen in seeds)
    found = sum(len(_pairs(a.faces, b.faces)) for a, b in zip(seeds, ours, strict=True))
    overlaps, errors, same = [], [], []
    ghosts = 0
    for truth, seen in zip(exact, ours, strict=True):
        pairs = _pairs(truth.faces, seen.faces)
        ghosts += len(pairs) < len(seen.faces)
        for i, j, overlap in pairs:
            marks = truth.faces[i].landmarks
            apart = np.linalg.norm(marks - seen.faces[j].landmarks, axis=1).mean()
            overlaps.append(overlap)
            errors.append(float(apart / np.linalg.norm(marks[0] - marks[1])))
            same.append(truth.labels[i] == seen.labels[j])
    leaves = []
    for index, seen in enumerate(ours):
        if seen.left:
            last = max((i for i in range(index) if len(seeds[i].faces) > len(seeds[index].faces)), default=index)
            leaves.append(round((index - last) / fps, 3))
    return {
        "found": round(found / wanted, 4) if wanted else None, "faces": wanted,
        "iou_median": _middle(overlaps), "iou_p5": _middle(overlaps, 5),
        "landmarks_median": _middle(errors), "landmarks_p95": _middle(errors, 95),
        "same_label": round(float(np.mean(same)), 4) if same else None,
        "ghosts": round(ghosts / len(ours), 4), "leave_s": leaves,
    }  # fmt: skip


def _pairs(truth: list[Face], seen: list[Face]) -> list[tuple[int, int, float]]:
    """Pair faces one to one by overlap, 0.4 at least."""
    if not truth or not seen:
        return []
    table = iou(np.stack([face.box for face in truth]), np.stack([face.box for face in seen]))
    pairs: list[tuple[int, int, float]] = []
    while table.max() >= 0.4:
        i, j = np.unravel_index(int(table.argmax()), table.shape)
        pairs.append((int(i), int(j), float(table[i, j])))
        table[i], table[:, j] = -1, -1
    return pairs


def _middle(values: list[float], percent: float = 50) -> float | None:
    return round(float(np.percentile(values, percent)), 4) if values else None
