"""A model over labelled pictures, as ready crops and, when asked, after alignment: probabilities and their figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edge
from edge.detect import Detector, load_detector
from edge.measure.evaluate import classify_all
from edge.measure.scores import score
from train.alignment import align_images
from train.datasets import FaceSet, as_crops
from train.report.curves import Curve, precision_recall, receiver_operating
from train.report.sources import targets_for
from train.report.subject import Subject
from train.stages import Stages


@dataclass(frozen=True)
class View:
    """One way of framing the same pictures, and what the model says of them.

    Attributes:
        crops: `(N, S, S, 3)` uint8 RGB.
        probabilities: `(N, C)` float32.
        figures: what `edge.measure.scores.score` gives.
        found: `(N,)` bool: where a face was found; None for whole pictures.
    """

    crops: np.ndarray
    probabilities: np.ndarray
    figures: dict[str, Any]
    found: np.ndarray | None = None


@dataclass(frozen=True)
class Evaluation:
    """A model, the pictures of one split, and what it says of them.

    Attributes:
        subject: the model.
        data: name of the source.
        split: `test` or `dev`.
        faces: the pictures.
        targets: `(N,)` int64, index into the model's labels.
        whole: whole pictures as ready crops: the headline.
        aligned: the same pictures, detected and aligned; None when that was not asked for.
    """

    subject: Subject
    data: str
    split: str
    faces: FaceSet
    targets: np.ndarray
    whole: View
    aligned: View | None

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's labels."""
        return self.subject.classifier.info.labels


def measure(subject: Subject, data: str, split: str, faces: FaceSet, *, align: bool, stages: Stages) -> Evaluation:
    """Run the model over all pictures.

    Args:
        subject: the model.
        data: where the pictures came from.
        split: what they are.
        faces: the pictures.
        align: whether to detect and align them, too.
        stages: shows what is being done.

    Raises:
        InputError: a class of the pictures is none of the model's.
    """
    info = subject.classifier.info
    targets = targets_for(faces, info.labels, info.id)
    whole = _view(subject, as_crops(faces.images, info.crop.size), targets, None, "classifying whole pictures", stages)
    aligned = None
    if align:
        crops, found = align_pictures(faces.images, subject, load_detector(), stages)
        aligned = _view(subject, crops, targets, found, "classifying aligned faces", stages)
    return Evaluation(subject, Path(data).name, split, faces, targets, whole, aligned)


def align_pictures(
    images: np.ndarray, subject: Subject, detector: Detector, stages: Stages
) -> tuple[np.ndarray, np.ndarray]:
    """Detect and align faces with the model's own crop; where none is found, the whole picture is taken.

    Returns:
        `(N, S, S, 3)` uint8 RGB crops, and `(N,)` bool: where a face was found.
    """
    moved = stages.stage("detecting and aligning faces", len(images))
    made = align_images(images, detector, subject.classifier.info.crop, moved)
    return made.images, made.found


def _view(
    subject: Subject, crops: np.ndarray, targets: np.ndarray, found: np.ndarray | None, what: str, stages: Stages
) -> View:
    probabilities = classify_all(subject.classifier, crops, stages.stage(what, len(crops)))
    return View(crops, probabilities, score(probabilities, targets, subject.classifier.info.labels), found)


def as_metrics(evaluation: Evaluation, command: str) -> dict[str, Any]:
    """Return what goes into `metrics.json`: the scorer's figures, and whose they are."""
    subject, info = evaluation.subject, evaluation.subject.classifier.info
    whole, aligned = evaluation.whole, evaluation.aligned
    result: dict[str, Any] = {
        "command": command, "kit": edge.__version__,
        "model": info.id, "network": info.network, "precision": info.precision,
        "file": {"name": subject.file.name, "bytes": subject.file.stat().st_size, "sha256": info.sha256},
        "temperature": info.temperature, "threshold": info.threshold, "template": subject.template,
        "data": evaluation.data, "data_sha256": evaluation.faces.fingerprint(), "split": evaluation.split,
        "n": len(evaluation.targets), "labels": list(info.labels), "mode": "ready crops",
        "figures": whole.figures,
        "roc_auc": {curve.label: curve.area for curve in receiver_operating_of(evaluation)},
        "average_precision": {curve.label: curve.area for curve in precision_recall_of(evaluation)},
    }  # fmt: skip
    if aligned is not None and aligned.found is not None:
        found, targets = aligned.found, evaluation.targets
        for name, view in (("before_alignment", whole), ("after_alignment", aligned)):
            of_found = score(view.probabilities[found], targets[found], info.labels)
            result[name] = {**view.figures, "found": int(found.sum()), "of_found": of_found}
    if subject.run is not None:
        run = {key: subject.run[key] for key in ("name", "config", "weights_sha256")}
        result["run"] = {**run, "data": subject.run["data"], "epochs_done": len(subject.run["epochs"])}
    return result


def receiver_operating_of(evaluation: Evaluation) -> list[Curve]:
    """Return each class's ROC curve over whole pictures."""
    return receiver_operating(evaluation.whole.probabilities, evaluation.targets, evaluation.labels)


def precision_recall_of(evaluation: Evaluation) -> list[Curve]:
    """Return each class's precision-recall curve over whole pictures."""
    return precision_recall(evaluation.whole.probabilities, evaluation.targets, evaluation.labels)
