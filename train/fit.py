"""The training loop: from faces in memory to the best weights on dev."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edge.errors import InputError
from edge.measure.scores import score
from train.augment import PRESETS, Augmentation, augment, sample_generator
from train.datasets import FaceSet, as_crops, open_faces
from train.datasets.split import Split, split_faces
from train.losses import soft_cross_entropy, target_distributions
from train.networks import build, parameter_groups, to_input
from train.runs import Run, check_creatable, home, load_tensors, save_tensors


@dataclass(frozen=True)
class FitConfig:
    """What a run is made of; written to the run's folder and read back when it resumes."""

    data: str
    """Where the labelled faces are: fer2013.csv, a folder per class, or a zip of it."""
    network: str = "tf_efficientnet_lite0"
    """timm's name of the network."""
    pretrained: str | None = None
    """`hub`, a weights file, or None for random weights."""
    epochs: int = 20
    """Times through the training faces."""
    batch: int = 96
    """Faces a step."""
    size: int = 96
    """Side of the network's input, pixels."""
    early_size: int = 64
    """Side in the first epochs: small pictures teach the coarse things at half the price (progressive resizing)."""
    early_epochs: int = 0
    """How many epochs use `early_size`."""
    finish_epochs: int = 0
    """How many of the last epochs vary the pictures only lightly (`train.augment.PRESETS["light"]`)."""
    rate: float = 1e-3
    """Peak learning rate of the body."""
    head_rate: float = 3e-3
    """Peak learning rate of the new classifier."""
    warmup: int = 300
    """Steps over which the rate rises from 0; then it falls by a cosine to 0."""
    decay: float = 0.02
    """AdamW's weight decay, on matrices only."""
    smoothing: float = 0.1
    """Label smoothing."""
    votes: str | None = None
    """FER+'s csv of votes, for soft labels."""
    votes_share: float = 0.5
    """How much of a face's target the votes on it make; the rest is its label."""
    drop: float = 0.3
    """Dropout before the classifier."""
    drop_path: float = 0.1
    """Stochastic depth."""
    ema: float = 0.9985
    """Decay a step of the averaged weights, which are what is kept."""
    clip: float = 5.0
    """Largest norm of a step's gradient."""
    precision: str = "auto"
    """`fp32`, `bf16`, or `auto`: bf16 on an accelerator, fp32 on a processor."""
    start: str | None = None
    """Another run, whose best averaged weights on dev this one begins with, head and all."""
    seed: int = 0
    """Seed of weights, order, augmentation and dropout."""
    limit: int | None = None
    """Use only so many training faces (a fixed draw), for a trial."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """How training pictures are varied."""

    def __post_init__(self) -> None:
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
                raise InputError(f"{name} is {value!r:.60}: it must be a number from {least:g} to {most:g}")
            if isinstance(value, float) and isinstance(FitConfig.__dataclass_fields__[name].default, int):
                raise InputError(f"{name} is {value!r:.60}: it must be a whole number")
        for name in ("data", "network", "pretrained", "start", "precision", "votes"):
            if not isinstance(getattr(self, name), (str, type(None))):
                raise InputError(f"{name} is {getattr(self, name)!r:.60}: it must be text")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise InputError(f'precision is "{self.precision}": choose auto, fp32 or bf16')
        if self.limit is not None and (type(self.limit) is not int or self.limit < self.batch):
            raise InputError(f"limit is {self.limit!r:.60}: it must hold a batch of {self.batch} at least")


BOUNDS: dict[str, tuple[float, float]] = {
    "epochs": (1, 10_000), "batch": (2, 65_536), "size": (8, 1024), "early_size": (8, 1024),
    "early_epochs": (0, 10_000), "rate": (1e-9, 100), "head_rate": (1e-9, 100), "warmup": (0, 1_000_000),
    "decay": (0, 10), "smoothing": (0, 0.9), "votes_share": (0, 1), "finish_epochs": (0, 10_000),
    "drop": (0, 0.95), "drop_path": (0, 0.95), "ema": (0, 0.999999), "clip": (1e-6, 1e6), "seed": (0, 2**31 - 1),
}  # fmt: skip
"""Smallest and largest sensible value of each number in a configuration."""


Progress = Callable[[dict[str, float]], None]
"""Called after each step with `epoch`, `step`, `steps`, `loss` and, at an epoch's end, its metrics."""


def fit(config: FitConfig, run: Run, progress: Progress = lambda state: None) -> dict[str, object]:
    """Train until the last epoch, going on where the run's folder stops; return the best epoch's dev figures.

    An epoch's order, augmentation and dropout depend on the seed and its number alone, so a run that was killed and
    started again ends with the same weights as one that was not.
    """
    if run.folder.exists():
        run.lock()
    else:
        check_creatable(run.folder)
    faces = open_faces(config.data)
    split = split_faces(faces)
    if config.limit:
        chosen = np.random.default_rng(config.seed).permutation(len(split.train))[: config.limit]
        split = Split(split.train.take(np.sort(chosen)), split.dev, split.test, split.left_out)
    if len(split.train) < config.batch or not len(split.dev):
        raise InputError(f"{config.data}: {len(split.train)} training and {len(split.dev)} dev faces are too few")
    described = {**split.describe(), "labels": list(faces.labels), "gray": faces.gray}
    begun = run.last.exists() or run.best.exists()
    recorded = run.read_data() if begun else described
    if any(recorded.get(key) != value for key, value in described.items() if key != "left_out"):
        raise InputError(f"{config.data}: it is not what {run.folder} was begun with; choose another --name")
    torch.manual_seed(config.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = Trainer(config, len(faces.labels), len(split.train) // config.batch, device)
    run.lock()
    start = trainer.restore(run.last) if run.last.exists() else 0
    targets = target_distributions(
        split.train, smoothing=config.smoothing, votes=config.votes, votes_share=config.votes_share
    )
    rows: list[dict[str, object]] = [dict(row) for row in run.read_metrics(start)]
    run.write_config(config)
    run.write_json("data.json", described)
    for epoch in range(start, config.epochs):
        began = time.monotonic()
        loss = trainer.train_epoch(split.train, targets, epoch, progress)
        probabilities = torch.softmax(torch.from_numpy(logits(trainer.averaged, split.dev, config.size, device)), dim=1)
        figures = score(probabilities.numpy(), split.dev.targets, faces.labels)
        row = {
            "epoch": epoch + 1,
            "loss": loss,
            "dev_accuracy": figures["accuracy"],
            "dev_balanced_accuracy": figures["balanced_accuracy"],
            "dev_macro_f1": figures["macro_f1"],
            "seconds": time.monotonic() - began,
        }
        best = max((float(str(r["dev_accuracy"])) for r in rows), default=-1.0)
        best = max(best, run.best_accuracy(but=epoch + 1))
        rows.append({key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()})
        if float(str(row["dev_accuracy"])) > best:
            state = {key: value.cpu() for key, value in trainer.averaged.state_dict().items()}
            save_tensors(run.best, state, {"epoch": str(epoch + 1), "dev_accuracy": str(rows[-1]["dev_accuracy"])})
            run.write_json("dev.json", figures)
        run.write_metrics(rows)
        trainer.save(run.last, epoch + 1)
        progress({key: float(str(value)) for key, value in row.items()})
    return dict(max(rows, key=lambda r: float(str(r["dev_accuracy"]))))


class Trainer:
    """Network, averaged network, optimizer and their step; knows nothing of files but its own checkpoint."""

    def __init__(self, config: FitConfig, classes: int, steps: int, device: torch.device) -> None:
        from timm.utils import ModelEmaV3

        self.config, self.steps, self.device = config, steps, device
        network = build(
            config.network, classes, pretrained=config.pretrained, drop=config.drop, drop_path=config.drop_path
        )
        if config.start is not None:
            load_start(network, Run(home() / "runs" / config.start).best)
        self._probe(network)
        self.network: nn.Module = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = ModelEmaV3(self.network, decay=config.ema, use_warmup=True)
        self.optimizer = torch.optim.AdamW(parameter_groups(self.network, config.rate, config.head_rate, config.decay))
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and device.type == "cuda")
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

    @property
    def averaged(self) -> nn.Module:
        """The network with averaged weights."""
        return self.ema.module

    def train_epoch(self, faces: FaceSet, targets: np.ndarray, epoch: int, progress: Progress) -> float:
        """Go once through the faces, with a `(N, C)` distribution each to learn; return the mean loss."""
        config = self.config
        torch.manual_seed(config.seed * 100_003 + epoch + 1)
        size = config.early_size if epoch < config.early_epochs else config.size
        self.network.train()
        total = 0.0
        for step, (images, chosen) in enumerate(batches(faces, config, epoch, size)):
            for group in self.optimizer.param_groups:
                group["lr"] = group["peak"] * self._rate_now()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                outputs = self.network(to_input(images.to(self.device)))  # (B, classes)
            wanted = torch.from_numpy(targets[chosen]).to(self.device)
            loss = soft_cross_entropy(outputs.float(), wanted)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
            self.optimizer.step()
            self.done += 1
            self.ema.update(self.network, step=self.done)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise InputError(f"the loss became {value} in epoch {epoch + 1}, step {step + 1}: lower --rate")
            total += value
            progress({"epoch": epoch + 1, "step": step + 1, "steps": self.steps, "loss": total / (step + 1)})
        return total / self.steps

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


def load_start(network: nn.Module, path: Path) -> None:
    """Load the averaged weights of another run's best epoch on dev.

    Raises:
        InputError: there is no such run, or it is one of another network.
    """
    if not path.exists():
        raise InputError(f"{path.parent}: no finished epoch in it to start from")
    tensors = load_tensors(path)[0]
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise InputError(f"{path.parent}: it is a run of another network or other classes") from None


def batches(faces: FaceSet, config: FitConfig, epoch: int, size: int) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
    """Yield an epoch's augmented batches, `(B, size, size[, 3])` uint8, and whose faces they are, `(B,)`.

    A last short batch is left out.
    """
    settings = PRESETS["light"] if epoch >= config.epochs - config.finish_epochs else config.augmentation
    order = np.random.default_rng([config.seed, epoch]).permutation(len(faces))
    for start in range(0, len(order) - config.batch + 1, config.batch):
        chosen = order[start : start + config.batch]
        images = [
            augment(faces.images[i], size, settings, sample_generator(config.seed, epoch, int(i))) for i in chosen
        ]
        yield torch.from_numpy(np.stack(images)), chosen


@torch.inference_mode()
def logits(network: nn.Module, faces: FaceSet, size: int, device: torch.device, batch: int = 128) -> np.ndarray:
    """Return `(N, classes)` float32 logits of whole pictures as ready crops, one view each."""
    network.eval()
    rows = []
    for start in range(0, len(faces), batch):
        crops = as_crops(faces.images[start : start + batch], size)  # (B, size, size, 3)
        rows.append(network(to_input(torch.from_numpy(crops).to(device))).float().cpu().numpy())
    return np.concatenate(rows) if rows else np.zeros((0, len(faces.labels)), np.float32)


def config_from(values: dict[str, object]) -> FitConfig:
    """Rebuild a configuration that was written to a run's folder.

    Raises:
        InputError: it has keys that this version does not know.
    """
    known = set(asdict(FitConfig(data="")))
    unknown = set(values) - known
    if unknown:
        raise InputError(f"config.toml: unknown key {', '.join(sorted(unknown))}")
    settings = dict(values)
    inner = settings.pop("augmentation", {})
    if not isinstance(inner, dict):
        raise InputError("config.toml: augmentation is no table")
    inner = {key: tuple(value) if isinstance(value, list) else value for key, value in inner.items()}
    if "data" not in settings or set(inner) - set(asdict(Augmentation())):
        raise InputError("config.toml: it has no data, or an unknown key under augmentation")
    return FitConfig(**settings, augmentation=Augmentation(**inner))  # type: ignore[arg-type]
