"""What a run learns from: a distribution over the labels for each face, and the losses against it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from train.datasets import FaceSet
from train.datasets.ferplus import read_votes, translate_votes

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From `(B, C)` logits and `(B, C)` target distributions to a scalar."""


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


def class_weights(counts: np.ndarray, how: str, beta: float = 0.999) -> np.ndarray:
    """Return `(C,)` float32: how much each class weighs in the loss, 1 on average over the faces.

    Args:
        counts: `(C,)` int, faces a class.
        how: `none`; `balanced`: inverse to the count; `effective`: inverse to the effective number of samples
            (1 - beta^n) / (1 - beta), in which each further picture of a class brings less news.
        beta: of `effective`, below 1; the nearer, the more like `balanced`.

    Source: King and Zeng 2001 (balanced); Cui et al. 2019, Class-Balanced Loss (effective).
    """
    number = counts.astype(np.float64)
    if how == "none":
        return np.ones(len(counts), np.float32)
    weight = 1 / np.maximum(number, 1) if how == "balanced" else (1 - beta) / (1 - beta ** np.maximum(number, 1))
    weight[counts == 0] = 0
    return (weight * number.sum() / max((weight * number).sum(), 1e-12)).astype(np.float32)


def make_loss(name: str, weights: torch.Tensor, gamma: float = 2.0) -> Loss:
    """Return a loss over soft targets.

    Args:
        name: `cross-entropy`, or `focal`: the cross-entropy of each class times (1 - p)^gamma, so that faces which are
            already told apart count less.
        weights: `(C,)` float32: what the term of each class is multiplied with.
        gamma: of `focal`; 0 makes it a cross-entropy.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection.
    """

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        log_likely = F.log_softmax(logits, dim=1)  # (B, C)
        terms = targets * log_likely * weights
        if name == "focal":
            terms = terms * (1 - log_likely.exp()).pow(gamma)
        return -terms.sum(dim=1).mean()

    return loss


def distillation(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the mean divergence of the student's answers from the teacher's, both softened, times temperature².

    Args:
        student: `(B, C)` logits.
        teacher: `(B, C)` log-probabilities, already softened (`Teachers`).
        temperature: what the student's logits are divided by; its square keeps the gradient's size.

    Source: Hinton et al. 2015, Distilling the Knowledge in a Neural Network.
    """
    soft = F.log_softmax(student / temperature, dim=1)
    return F.kl_div(soft, teacher, log_target=True, reduction="batchmean") * temperature**2
