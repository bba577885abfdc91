"""`edge evaluate`: a model file over labelled pictures, through the device's own runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from edge.align import align, ready_crop
from edge.detect import Detector
from edge.measure.folders import LabelledPictures
from edge.measure.scores import score
from edge.model import Classifier
from edge.values import Face

BATCH = 32


def evaluate(
    classifier: Classifier,
    pictures: LabelledPictures,
    *,
    detector: Detector | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, object]:
    """Score a model.

    Args:
        classifier: the model.
        pictures: labelled with the model's own labels.
        detector: when given, each picture goes through detect, align and classify, and its largest face counts; else
            the whole picture is taken as a ready crop.
        progress: called with the number of pictures done.

    Returns:
        what `edge.measure.scores.score` gives over the scored pictures, and `model`, `data`, `mode`, `unreadable`
        (names) and, with a detector, `without_face` (count) and `accuracy_of_all` (a picture without a face is wrong).
    """
    crop = classifier.info.crop
    unreadable: list[str] = []
    without_face = 0
    rows: list[np.ndarray] = []
    targets: list[int] = []
    crops: list[np.ndarray] = []

    def flush() -> None:
        if crops:
            rows.append(classifier.classify(np.stack(crops)))
            crops.clear()

    for index in range(len(pictures)):
        image = pictures.read(index)
        if image is None:
            unreadable.append(pictures.names[index])
        elif detector is None:
            crops.append(ready_crop(image, crop.size))
            targets.append(int(pictures.targets[index]))
        elif faces := detector.detect(image):
            face = largest(faces)
            crops.append(align(image, face.box, face.landmarks, crop))
            targets.append(int(pictures.targets[index]))
        else:
            without_face += 1
        if len(crops) == BATCH:
            flush()
        progress(index + 1)
    flush()
    labels = classifier.info.labels
    probabilities = np.concatenate(rows) if rows else np.zeros((0, len(labels)), np.float32)
    result: dict[str, object] = {
        "model": classifier.info.id,
        "data": Path(pictures.source).name,
        "mode": "ready crops" if detector is None else f"detect ({detector.name})",
        **score(probabilities, np.array(targets, np.int64), labels),
        "unreadable": unreadable,
    }
    if detector is not None:
        hits = int((probabilities.argmax(axis=1) == np.array(targets)).sum()) if rows else 0
        result["without_face"] = without_face
        result["accuracy_of_all"] = hits / (len(targets) + without_face) if targets or without_face else None
    return result


def score_crops(classifier: Classifier, crops: np.ndarray, targets: np.ndarray) -> dict[str, object]:
    """Score a model on `(N, S, S, 3)` uint8 RGB crops in memory against `(N,)` int targets."""
    return score(classify_all(classifier, crops), targets, classifier.info.labels)


def classify_all(
    classifier: Classifier, crops: np.ndarray, progress: Callable[[int], None] = lambda done: None
) -> np.ndarray:
    """Return `(N, C)` float32 probabilities of `(N, S, S, 3)` uint8 RGB crops, a batch at a time.

    Args:
        classifier: the model.
        crops: ready for it; N may be 0.
        progress: called with the number of crops done.
    """
    rows = []
    for start in range(0, len(crops), BATCH):
        rows.append(classifier.classify(crops[start : start + BATCH]))
        progress(min(start + BATCH, len(crops)))
    return np.concatenate(rows) if rows else np.zeros((0, len(classifier.info.labels)), np.float32)


def largest(faces: list[Face]) -> Face:
    """Return the face with the largest box."""
    return max(faces, key=lambda face: float(np.prod(face.box[2:] - face.box[:2])))


def as_text(result: dict[str, object]) -> str:
    """Return an evaluation as lines for a terminal."""
    return "\n".join(_lines(result))


def _lines(result: dict[str, object]) -> Iterator[str]:
    labels, per_class, confusion = result["labels"], result["per_class"], result["confusion"]
    assert isinstance(labels, list)
    assert isinstance(per_class, dict)
    assert isinstance(confusion, list)
    yield f"{result['model']} on {result['data']}, {result['mode']}: {result['n']} pictures"
    for key in ("accuracy", "balanced_accuracy", "macro_f1", "ece"):
        yield f"  {key:<18}{_figure(result[key])}"
    if "without_face" in result:
        yield f"  {'without_face':<18}{result['without_face']} (accuracy of all {_figure(result['accuracy_of_all'])})"
    unreadable = result["unreadable"]
    assert isinstance(unreadable, list)
    if unreadable:
        named = ", ".join(unreadable[:3]) + (" ..." if len(unreadable) > 3 else "")
        yield f"  {'unreadable':<18}{len(unreadable)}: {named}"
    width = max(len(label) for label in labels) + 2
    yield ""
    yield f"{'class':<{width}}precision  recall      f1  support   predicted as " + " ".join(
        f"{n[:7]:>7}" for n in labels
    )
    for label, row in zip(labels, confusion, strict=True):
        figures = per_class[label]
        shares = "  ".join(f"{_figure(figures[key]):>6}" for key in ("precision", "recall", "f1"))
        yield f"{label:<{width}}   {shares}  {figures['support']:>7}" + " " * 16 + " ".join(f"{n:>7}" for n in row)


def _figure(value: object) -> str:
    return "-" if value is None else f"{value:.4f}"
