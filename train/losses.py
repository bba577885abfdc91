"""What a run learns from: a distribution over the labels for each face, and the loss against it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from train.datasets import FaceSet
from train.datasets.ferplus import read_votes, translate_votes


def target_distributions(
    faces: FaceSet, *, smoothing: float = 0.0, votes: str | None = None, votes_share: float = 0.0
) -> np.ndarray:
    """Return `(N, C)` float32 rows of sum 1 that a loss compares the network's answers with.

    Args:
        faces: what is trained on.
        smoothing: share given to all labels alike (Szegedy et al. 2016, label smoothing).
        votes: FER+'s votes on these faces, translated into the collection's labels.
        votes_share: how much of a face's target the votes make; faces without votes keep their label.
    """
    classes = len(faces.labels)
    targets = np.eye(classes, dtype=np.float32)[faces.targets]
    if votes is not None and votes_share:
        soft = translate_votes(read_votes(Path(votes), faces), faces.targets, classes)
        voted = ~np.isnan(soft).any(axis=1)
        targets[voted] = (1 - votes_share) * targets[voted] + votes_share * soft[voted]
    return (1 - smoothing) * targets + smoothing / classes


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of `(B, C)` logits against `(B, C)` distributions."""
    return -(targets * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
