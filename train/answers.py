"""Teachers' answers to an epoch's pictures, kept on disk: the next student of the same teachers does not ask again.

A picture is varied by its seed, its epoch and its number alone, so students with the same settings see the same
pictures, and their teachers say the same of them. For a small student that is a good part of an epoch's time.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

import train.augment
import train.batches
from edge.errors import EdgeError
from edge.files import write_whole
from train.config import FitConfig
from train.runs import Run, home

SEEN_BY = (
    "seed", "epochs", "steps", "batch", "micro_batch", "size", "early_size", "early_epochs", "finish_epochs",
    "sampling", "sample_count", "augmentation", "teacher_temperature",
)  # fmt: skip
"""Settings that decide which pictures an epoch shows, in which order, and how softly the teachers answer."""


class KeptAnswers:
    """What teachers say to the pictures of one epoch after the other: read where it is kept, else asked and kept."""

    def __init__(self, ask: Callable[[torch.Tensor], torch.Tensor], folder: Path | None, length: int) -> None:
        """Keep answers in a folder.

        Args:
            ask: the teachers: `(B, 3, S, S)` float32 to `(B, C)` float32.
            folder: where an epoch's answers lie; None keeps nothing.
            length: pictures an epoch.
        """
        self.ask, self.folder, self.length = ask, folder, length
        self._epoch = -1
        self._read: np.ndarray | None = None  # (length, C) float32 of the present epoch, as it was kept
        self._asked: list[np.ndarray] = []  # (B, C) each, of the present epoch from its first picture on

    def __call__(self, inputs: torch.Tensor, epoch: int, place: int) -> torch.Tensor:
        """Return the answers to a batch, `(B, C)`.

        Args:
            inputs: `(B, 3, S, S)` float32 in -1..1.
            epoch: its number, from 0.
            place: which of the epoch's pictures the first one is; an epoch that is begun in its middle is not kept.
        """
        if self.folder is None:
            return self.ask(inputs)
        if epoch != self._epoch:
            self._epoch, self._asked, self._read = epoch, [], self._kept(epoch)
        if self._read is not None:
            return torch.from_numpy(self._read[place : place + len(inputs)]).to(inputs.device)
        answers = self.ask(inputs)
        if place == sum(map(len, self._asked)):
            self._asked.append(answers.float().cpu().numpy())
            if place + len(inputs) == self.length:
                self._keep(epoch, np.concatenate(self._asked))
        return answers

    def _path(self, epoch: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{epoch:05d}.npy"

    def _kept(self, epoch: int) -> np.ndarray | None:
        with suppress(OSError, ValueError, EOFError):
            kept = np.load(self._path(epoch), allow_pickle=False)
            if kept.dtype == np.float32 and kept.ndim == 2 and len(kept) == self.length and np.isfinite(kept).all():
                return np.asarray(kept)
        return None

    def _keep(self, epoch: int, answers: np.ndarray) -> None:
        buffer = io.BytesIO()
        np.save(buffer, answers, allow_pickle=False)
        with suppress(EdgeError, OSError):  # what cannot be kept is asked again
            write_whole(self._path(epoch), buffer.getvalue())


def answers_folder(config: FitConfig, fingerprint: str) -> Path | None:
    """Return where answers to a run's pictures are kept; None where a student's pictures are its own.

    Mixed pictures are, and those of which some are aligned crops.

    Args:
        config: the run's, with teachers.
        fingerprint: of the training faces.
    """
    if config.mixup or config.cutmix or config.aligned is not None:
        return None
    settings = asdict(config)
    weights = [hashlib.sha256(Run(home() / "runs" / name).best.read_bytes()).hexdigest() for name in config.teachers]
    code = [Path(str(module.__file__)).read_text() for module in (train.augment, train.batches)]
    told = json.dumps([{key: settings[key] for key in SEEN_BY}, weights, fingerprint, code], sort_keys=True)
    return home() / "cache" / "answers" / hashlib.sha256(told.encode()).hexdigest()[:16]
