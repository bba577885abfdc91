"""From faces in memory to the augmented micro-batches of one process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from edge.errors import InputError
from train.augment import PRESETS, Augmentation, augment, sample_generator
from train.config import FitConfig
from train.datasets import FaceSet


class AugmentedFaces(Dataset[tuple[np.ndarray, int]]):
    """Faces of one epoch, each varied by a generator of its own: the same in whichever process or batch it comes."""

    def __init__(
        self, faces: FaceSet, aligned: np.ndarray | None, config: FitConfig, settings: Augmentation, size: int,
        epoch: int,
    ) -> None:  # fmt: skip
        self.images, self.aligned, self.settings, self.size = faces.images, aligned, settings, size
        self.share, self.seed, self.epoch = config.aligned_share, config.seed, epoch

    def __getitem__(self, place: tuple[int, int]) -> tuple[np.ndarray, int]:
        """Return face number and showing `(index, showing)` as a varied picture, and its number."""
        index, showing = place
        rng = sample_generator(self.seed, self.epoch, index, showing)
        images = self.aligned if self.aligned is not None and rng.random() < self.share else self.images
        return augment(images[index], self.size, self.settings, rng), index


def batches(
    faces: FaceSet,
    order: np.ndarray,
    config: FitConfig,
    epoch: int,
    *,
    aligned: np.ndarray | None = None,
    rank: int = 0,
    team: int = 1,
    workers: int = 0,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield this process's micro-batches: `(B, size, size[, 3])` uint8, and whose faces they are, `(B,)` int64.

    Args:
        faces: what is trained on.
        order: `(L, 2)` int of `train.sampling.epoch_order`, `L` a multiple of the batch.
        config: the run's.
        epoch: its number, from 0.
        aligned: `(N, S, S[, 3])` uint8 crops of the same faces, which stand in for `config.aligned_share` of them.
        rank, team: number of this process, and how many there are; they take the micro-batches in turn.
        workers: processes that vary pictures beside this one; 0: this one does.
    """
    settings = PRESETS["light"] if epoch >= config.epochs - config.finish_epochs else config.augmentation
    size = config.early_size if epoch < config.early_epochs else config.size
    micro = micro_size(config, team)
    whole = [order[start : start + micro].tolist() for start in range(0, len(order), micro)]
    dataset = AugmentedFaces(faces, aligned, config, settings, size, epoch)
    mine = [[(index, showing) for index, showing in part] for part in whole[rank::team]]
    loader = DataLoader(dataset, batch_sampler=mine, num_workers=workers, collate_fn=_collate)  # type: ignore[arg-type]
    yield from loader


def micro_size(config: FitConfig, team: int) -> int:
    """Return how many faces go through the network at once in each of `team` processes.

    Raises:
        InputError: the batch cannot be dealt out evenly.
    """
    micro = config.micro_batch or config.batch // team
    if micro < 2 or config.batch % (micro * team):
        raise InputError(
            f"a batch of {config.batch} cannot be dealt to {team} processes in micro-batches of {micro}: choose a "
            f"--batch that is a multiple of {max(micro, 2) * team}"
        )
    return micro


def _collate(items: list[tuple[np.ndarray, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    images, indices = zip(*items, strict=True)
    return torch.from_numpy(np.stack(images)), torch.tensor(indices, dtype=torch.int64)
