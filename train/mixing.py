"""Mixup and cutmix: two faces in one picture, and their targets in the same shares."""

from __future__ import annotations

import numpy as np
import torch


def mix(
    images: torch.Tensor, targets: torch.Tensor, *, mixup: float, cutmix: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix a batch with a shuffled copy of itself; with both alphas above 0 a coin decides which way.

    Args:
        images: `(B, 3, S, S)` float32.
        targets: `(B, C)` float32 distributions.
        mixup: alpha of the Beta distribution of the shares; 0 turns it off.
        cutmix: the same for a rectangle of the other picture; 0 turns it off.
        rng: where the draws come from.

    Source: Zhang et al. 2018, mixup; Yun et al. 2019, CutMix.
    """
    if not mixup and not cutmix:
        return images, targets
    by_cutting = bool(cutmix) and (not mixup or rng.random() < 0.5)
    share = float(rng.beta(cutmix, cutmix) if by_cutting else rng.beta(mixup, mixup))
    other = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    if by_cutting:
        side = images.shape[-1]
        half = side * np.sqrt(1 - share) / 2
        centre = rng.uniform(0, side, 2)
        (top, left), (bottom, right) = (np.clip(np.round(centre + s * half), 0, side).astype(int) for s in (-1, 1))
        mixed = images.clone(memory_format=torch.preserve_format)
        mixed[:, :, top:bottom, left:right] = images[other, :, top:bottom, left:right]
        share = 1 - float((bottom - top) * (right - left)) / side**2
    else:
        mixed = share * images + (1 - share) * images[other]
    return mixed, share * targets + (1 - share) * targets[other]
