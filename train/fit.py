"""A run from its data to the best weights on dev, going on where its folder stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from edge.errors import InputError
from edge.measure.cli import parse_label_map
from edge.measure.scores import score
from train.alignment import use_aligned
from train.allocator import keep_freed_memory
from train.config import FitConfig
from train.datasets import FaceSet, as_crops, open_faces
from train.datasets.split import Split, split_faces
from train.losses import target_distributions
from train.networks import to_input
from train.parallel import Team
from train.restore import restored_from
from train.runs import Run, check_creatable, save_tensors
from train.sampling import stratified
from train.trainer import Progress, Trainer, check_weights


def read_split(config: FitConfig) -> Split:
    """Read a run's faces and split them, as its configuration says.

    Where a folder of aligned crops is named, they stand in for the pictures after the split, so that dev and test hold
    the same faces with and without.

    Raises:
        InputError: the data cannot be read, or is not what was aligned.
    """
    return _read(config)[0]


def _read(config: FitConfig) -> tuple[Split, np.ndarray | None]:
    """Return the split and, where aligned crops stand in only at times, those of the training faces.

    Raises:
        InputError: the data cannot be read, or is not what was aligned.
    """
    faces = open_faces(config.data, parse_label_map(config.label_map))
    split = split_faces(faces, folds=config.folds, fold=config.fold)
    if config.limit:
        split = replace(split, train=split.train.take(stratified(split.train.targets, config.limit)))
    if config.aligned is None:
        return split, None
    swapped = use_aligned(faces, split, Path(config.aligned))
    return (split, swapped.train.images) if config.aligned_share < 1 else (swapped, None)


def fit(
    config: FitConfig, run: Run, progress: Progress = lambda state: None, *, team: Team | None = None, workers: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, object]:  # fmt: skip
    """Train until the last epoch, going on where the run's folder stops; return the best epoch's dev figures.

    An epoch's order, augmentation and dropout depend on the seed and its number alone, so a run that was killed and
    started again ends with the same weights as one that was not.
    """
    team = team or Team(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if team.leads:
        if run.folder.exists():
            run.lock()
        else:
            check_creatable(run.folder)
    if restored_from(run) is not None:
        raise InputError(
            f"{run.folder}: it was restored from a shipped model and has no epoch to go on from; "
            f"choose another --name, which may --start with {run.folder.name}"
        )
    split, aligned = _read(config)
    if len(split.train) < config.batch or not len(split.dev):
        raise InputError(f"{config.data}: {len(split.train)} training and {len(split.dev)} dev faces are too few")
    if len(np.unique(split.train.targets)) < 2:
        raise InputError(f"{config.data}: its training faces are of one class alone, so there is nothing to tell apart")
    labels = split.train.labels
    described = {**split.describe(), "labels": list(labels), "gray": split.train.gray}
    begun = run.last.exists() or run.best.exists()
    recorded = run.read_data() if begun else described
    if any(recorded.get(key) != value for key, value in described.items() if key != "left_out"):
        raise InputError(f"{config.data}: it is not what {run.folder} was begun with; choose another --name")
    if team.device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(config.seed)
    targets = target_distributions(
        split.train, smoothing=config.smoothing, votes=config.votes, votes_share=config.votes_share
    )
    trainer = Trainer(config, split.train, targets, team, aligned=aligned, workers=workers)
    start = trainer.restore(run.last) if run.last.exists() else 0
    if run.best.exists():
        check_weights(trainer.network, run.best)
    rows: list[dict[str, object]] = [dict(row) for row in run.read_metrics(start)]
    team.wait()
    if team.leads:
        run.lock()
        run.write_config(config)
        run.write_json("data.json", described)
        run.write_environment()
        for line in (*_told(config, split, trainer.steps), *_advice(config, split, trainer.steps)):
            say(line)
    for epoch in range(start, config.epochs):
        began = time.monotonic()
        loss = trainer.train_epoch(epoch, progress)
        if team.leads:
            answers = logits(trainer.averaged, split.dev, config.size, team.device)
            figures = score(F.softmax(torch.from_numpy(answers), dim=1).numpy(), split.dev.targets, labels)
            row = {
                "epoch": epoch + 1,
                "loss": loss,
                "dev_accuracy": figures["accuracy"],
                "dev_balanced_accuracy": figures["balanced_accuracy"],
                "dev_macro_f1": figures["macro_f1"],
                "dev_nll": _mean_nll(answers, split.dev.targets),
                "seconds": time.monotonic() - began,
            }
            _keep(run, trainer, rows, row, figures)
            progress({key: float(str(value)) for key, value in row.items()})
        team.wait()
    best = dict(max(rows, key=lambda r: float(str(r["dev_accuracy"])))) if rows else {}
    usual = float(np.bincount(split.dev.targets).max() / len(split.dev))
    if best and team.leads and float(str(best["dev_accuracy"])) <= round(usual, 5):
        say(f"it has learned nothing yet: whoever always says the same is right on {usual:.1%} of dev, too")
    return best


FEW_STEPS = 300
"""Steps of a whole training under which a network that begins anew has hardly begun."""


def _told(config: FitConfig, split: Split, steps: int) -> list[str]:
    """Say what is about to be trained, on how much."""
    return [
        f"{len(split.train):,} training and {len(split.dev):,} dev faces; {config.network} at {config.size} px; "
        f"epochs: {config.epochs}, steps in each: {steps:,}"
    ]


def _advice(config: FitConfig, split: Split, steps: int) -> list[str]:
    """Say what will fall short, while there is time to begin otherwise."""
    said = []
    if not len(split.test):
        said.append(
            "there is no test split: what judges on one (edge calibrate run, --split test) will refuse; "
            "put the pictures into train/ and test/"
        )
    if steps * config.epochs < FEW_STEPS and not config.start and config.pretrained is None:
        said.append(
            f"steps in all: {steps * config.epochs}, few for a network that begins anew: begin with trained weights "
            "(--pretrained, --start), or take a smaller --batch and more --epochs"
        )
    return said


def _mean_nll(answers: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean negative log-likelihood of `(N, C)` logits: a finer judge of close epochs than accuracy."""
    return float(F.cross_entropy(torch.from_numpy(answers), torch.from_numpy(targets)))


def _keep(
    run: Run, trainer: Trainer, rows: list[dict[str, object]], row: dict[str, object], figures: dict[str, object]
) -> None:
    """Write an epoch into the run's folder: the weights if they are the best yet, the metrics, the checkpoint."""
    epoch = int(str(row["epoch"]))
    best = max((float(str(earlier["dev_accuracy"])) for earlier in rows), default=-1.0)
    best = max(best, run.best_accuracy(but=epoch))
    rows.append({key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()})
    if float(str(row["dev_accuracy"])) > best:
        state = {key: value.cpu() for key, value in trainer.averaged.state_dict().items()}
        save_tensors(run.best, state, {"epoch": str(epoch), "dev_accuracy": str(rows[-1]["dev_accuracy"])})
        run.write_json("dev.json", figures)
    run.write_metrics(rows)
    trainer.save(run.last, epoch)


@torch.inference_mode()
def logits(network: nn.Module, faces: FaceSet, size: int, device: torch.device, batch: int = 128) -> np.ndarray:
    """Return `(N, classes)` float32 logits of whole pictures as ready crops, one view each."""
    network.eval()
    rows = []
    for start in range(0, len(faces), batch):
        crops = as_crops(faces.images[start : start + batch], size)  # (B, size, size, 3)
        rows.append(network(to_input(torch.from_numpy(crops).to(device))).float().cpu().numpy())
    return np.concatenate(rows) if rows else np.zeros((0, len(faces.labels)), np.float32)
