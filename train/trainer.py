"""The training step: network, averaged network, optimizer; one process of a team. Knows no file but its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edge.errors import InputError
from train.answers import KeptAnswers, answers_folder
from train.batches import batches, micro_size
from train.config import FitConfig
from train.datasets import FaceSet
from train.depthwise import keep_depthwise_float
from train.losses import class_weights, distillation, make_loss
from train.mixing import mix
from train.networks import build, classifier_of, parameter_groups, to_input
from train.parallel import Team, unsynced
from train.runs import Run, home, load_tensors, save_tensors
from train.sampling import epoch_order, resample
from train.teachers import Teachers
from train.weights import adopt

Progress = Callable[[dict[str, float]], None]
"""Called after each step with `epoch`, `step`, `steps`, `loss` and, at an epoch's end, its metrics."""

Batch = tuple[torch.Tensor, torch.Tensor]


class Trainer:
    """Trains a network on faces, epoch by epoch."""

    def __init__(
        self, config: FitConfig, faces: FaceSet, targets: np.ndarray, team: Team, *, aligned: np.ndarray | None = None,
        workers: int = 0,
    ) -> None:  # fmt: skip
        """Build the network and what trains it.

        Args:
            config: the run's.
            faces: what is trained on.
            targets: `(N, C)` float32 distributions to learn, of `train.losses.target_distributions`.
            team: the processes that train together.
            aligned: crops of the same faces that stand in for some of them, as `train.batches.batches` takes them.
            workers: processes that vary pictures beside this one.

        Raises:
            InputError: something in the configuration does not fit the network, the faces or the team.
        """
        from timm.utils import ModelEmaV3

        self.config, self.faces, self.aligned, self.team, self.workers = config, faces, aligned, team, workers
        self.targets = torch.from_numpy(targets).to(team.device)
        self.shown = resample(faces.targets, config.sampling, config.sample_count, config.seed)
        self.steps = config.steps or len(self.shown) // config.batch
        if not self.steps:
            raise InputError(f"{len(self.shown)} faces to show are too few for a batch of {config.batch}")
        self.micro_batches = config.batch // (micro_size(config, team.size) * team.size)
        network = build(
            config.network, len(faces.labels), pretrained=config.pretrained, drop=config.drop,
            drop_path=config.drop_path,
        )  # fmt: skip
        if config.adopt is not None:
            adopt(network, Path(config.adopt))
        if config.start:
            load_start(network, [Run(home() / "runs" / name).best for name in config.start])
        self._probe(network)
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and team.device.type == "cuda")
        if self.bf16 and team.device.type == "cpu":
            keep_depthwise_float(network)
        self.network: nn.Module = network.to(team.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = ModelEmaV3(self.network, decay=config.ema, use_warmup=True)
        self.optimizer = torch.optim.AdamW(parameter_groups(self.network, config.rate, config.head_rate, config.decay))
        counts = np.bincount(faces.targets[self.shown], minlength=len(faces.labels))
        weights = torch.from_numpy(class_weights(counts, config.class_weights, config.beta)).to(team.device)
        self.loss = make_loss(config.loss, weights, config.gamma)
        self.teachers: KeptAnswers | None = None
        if config.teachers:
            teachers = Teachers(config.teachers, faces.labels, config.teacher_temperature, team.device)
            folder = answers_folder(config, faces.fingerprint()) if team.size == 1 else None
            self.teachers = KeptAnswers(teachers, folder, self.steps * config.batch)
        self.done = 0

    def _probe(self, network: nn.Module) -> None:
        """Make sure that the network takes pictures of the sizes asked for, before any work is done."""
        for size in {self.config.size, self.config.early_size if self.config.early_epochs else self.config.size}:
            try:
                with torch.no_grad():
                    network.eval()(torch.zeros(1, 3, size, size))
            except (RuntimeError, AssertionError, ValueError) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
                raise InputError(f"{self.config.network} takes no pictures of {size} x {size}: {reason}") from None
        if self.config.freeze_epochs and classifier_of(network) is None:
            raise InputError(f"{self.config.network}: its classifier is not known, so --freeze-epochs cannot be used")

    @property
    def averaged(self) -> nn.Module:
        """The network with averaged weights."""
        return self.ema.module

    def train_epoch(self, epoch: int, progress: Progress) -> float:
        """Go once through what is shown; return the mean loss over all processes."""
        config = self.config
        torch.manual_seed(config.seed * 100_003 + epoch + 1 + self.team.rank * 1_000_003)
        network = self._ready(frozen=epoch < config.freeze_epochs)
        order = epoch_order(self.shown, self.steps * config.batch, config.seed, epoch)
        parts = iter(
            batches(
                self.faces, order, config, epoch, aligned=self.aligned, rank=self.team.rank, team=self.team.size,
                workers=self.workers,
            )
        )  # fmt: skip
        total = torch.zeros((), device=self.team.device)
        for step in range(self.steps):
            total += self.take_step(network, [next(parts) for _ in range(self.micro_batches)], epoch, step)
            so_far = float(total) / (step + 1)
            if not math.isfinite(so_far):
                raise InputError(f"the loss became {so_far} in epoch {epoch + 1}, step {step + 1}: lower --rate")
            progress({"epoch": epoch + 1, "step": step + 1, "steps": self.steps, "loss": so_far})
        return self.team.mean(total) / self.steps

    def take_step(self, network: nn.Module, parts: list[Batch], epoch: int, step: int) -> torch.Tensor:
        """Learn from this process's micro-batches of one step; return their mean loss.

        Args:
            network: what `Team.share` returned.
            parts: `(B, S, S[, 3])` uint8 pictures each, and whose faces they are, `(B,)` int64.
            epoch, step: their numbers, from 0.
        """
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self._rate_now()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.team.device)
        for number, (images, chosen) in enumerate(parts):
            part = number * self.team.size + self.team.rank
            mixer = np.random.default_rng([config.seed, epoch, step, part])
            place = epoch, step * config.batch + part * len(images)
            with unsynced(network, last=number == len(parts) - 1):
                loss = self._loss(network, images, chosen, mixer, place) / len(parts)
                loss.backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimizer.step()
        self.done += 1
        self.ema.update(self.network, step=self.done)
        return total

    def _loss(
        self, network: nn.Module, images: torch.Tensor, chosen: torch.Tensor, mixer: np.random.Generator,
        place: tuple[int, int],
    ) -> torch.Tensor:  # fmt: skip
        """Return the loss of one micro-batch: `(B, S, S[, 3])` uint8 pictures of the faces `chosen`, `(B,)`.

        They stand at `place`: an epoch, and where in it the first of them is.
        """
        config, device = self.config, self.team.device
        inputs, wanted = to_input(images.to(device)), self.targets[chosen.to(device)]
        inputs, wanted = mix(inputs, wanted, mixup=config.mixup, cutmix=config.cutmix, rng=mixer)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            outputs = network(inputs)  # (B, C)
        loss = self.loss(outputs.float(), wanted)
        if self.teachers is None:
            return loss
        # On a processor teachers answer in float32, whatever the student computes in: each student hears the same.
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16 and device.type != "cpu"):
            taught = self.teachers(inputs, *place)
        distance = distillation(outputs.float(), taught, config.teacher_temperature)
        return (1 - config.teacher_share) * loss + config.teacher_share * distance

    def _ready(self, *, frozen: bool) -> nn.Module:
        """Return the network to call in training: all of it, or on a frozen body (its norms too) the classifier."""
        self.network.requires_grad_(not frozen)
        self.network.train(not frozen)
        head = classifier_of(self.network)
        if frozen and head is not None:
            head.requires_grad_(True)
        return self.team.share(self.network)

    def _rate_now(self) -> float:
        """Share of the peak rate: linear warm-up, then half a cosine."""
        whole = self.steps * self.config.epochs
        warmup = min(self.config.warmup, whole // 10 + 1)
        if self.done < warmup:
            return (self.done + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (self.done - warmup) / max(whole - warmup, 1)))

    def save(self, path: Path, epoch: int) -> None:
        """Write everything that going on needs as one safetensors file."""
        tensors = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        tensors |= {f"ema.{key}": value for key, value in self.averaged.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
        save_tensors(path, tensors, {"epoch": str(epoch), "done": str(self.done)})

    def restore(self, path: Path) -> int:
        """Take up a checkpoint; return the number of epochs that it has behind it."""
        tensors, metadata = load_tensors(path)
        parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "ema": {}, "optimizer": {}}
        for key, value in tensors.items():
            part, _, rest = key.partition(".")
            parts.setdefault(part, {})[rest] = value
        if not metadata.get("epoch", "").isdigit() or not metadata.get("done", "").isdigit() or len(parts) > 3:
            raise InputError(f"{path}: it is no checkpoint of a run; move it away to begin anew")
        try:
            self.network.load_state_dict(parts["network"])
            self.averaged.load_state_dict(parts["ema"])
        except RuntimeError:
            raise InputError(f"{path}: it belongs to another network; choose another --name") from None
        shapes = [value.shape for group in self.optimizer.param_groups for value in group["params"]]
        moments: dict[int, dict[str, torch.Tensor]] = {}
        try:
            for key, value in parts["optimizer"].items():
                index, _, name = key.partition(".")
                if name != "step" and value.shape != shapes[int(index)]:
                    raise ValueError(key)
                moments.setdefault(int(index), {})[name] = value
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        except (ValueError, IndexError, KeyError):
            raise InputError(f"{path}: its optimizer's state is damaged; choose another --name") from None
        self.done = int(metadata["done"])
        return int(metadata["epoch"])


def check_weights(network: nn.Module, path: Path) -> None:
    """Make sure that a file holds weights of this network.

    Raises:
        InputError: it is damaged, or of another network.
    """
    kept, ours = load_tensors(path)[0], network.state_dict()
    if kept.keys() != ours.keys() or any(kept[key].shape != ours[key].shape for key in ours):
        raise InputError(f"{path}: these are not this network's weights; choose another --name")


def load_start(network: nn.Module, paths: list[Path]) -> None:
    """Load the mean of the best weights of other runs.

    Raises:
        InputError: there is no such run, or it is one of another network.
    """
    kept: dict[str, torch.Tensor] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path.parent}: no finished epoch in it to start from")
        tensors = load_tensors(path)[0]
        try:
            network.load_state_dict(tensors)
        except RuntimeError:
            raise InputError(f"{path.parent}: it is a run of another network or other classes") from None
        for key, value in tensors.items():
            kept[key] = value if key not in kept or not value.is_floating_point() else kept[key] + value
    means = {key: value / len(paths) if value.is_floating_point() else value for key, value in kept.items()}
    network.load_state_dict(means)
