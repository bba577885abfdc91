"""What a run is made of: every setting with its meaning, checked, and read back from a run's folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

from edge.errors import InputError
from train.augment import Augmentation


@dataclass(frozen=True)
class FitConfig:
    """What a run is made of; written to the run's folder and read back when it resumes."""

    data: str
    """Where the labelled faces are: fer2013.csv, KDEF, RAF-DB, JAFFE, CK+, a folder per class, or a zip of it."""
    label_map: tuple[str, ...] = ()
    """What folders of other names mean: `FOLDER=LABEL`, an empty label leaves a folder out."""
    aligned: str | None = None
    """Folder that `edge train align` made of the same data: its crops stand in for the whole pictures."""
    aligned_share: float = 1.0
    """How often they do in training. Below 1, dev and test stay whole pictures, and the crop is measured on those."""
    folds: int = 5
    """Where the source names persons and has no test split: parts that they are dealt to."""
    fold: int = 0
    """Which part is the test split; the next one is dev."""
    limit: int | None = None
    """Use only so many training faces, in the classes' own shares: always the same ones, for a trial."""

    network: str = "tf_efficientnet_lite0"
    """timm's name of the network, or one of `train.networks.ALIASES`, or `cnn`."""
    pretrained: str | None = None
    """`hub`, `package`, a weights file, or None for random weights."""
    adopt: str | None = None
    """A weights file of a related network: what fits is taken over (`train.weights.adopt`)."""
    start: tuple[str, ...] = ()
    """Other runs, whose best weights on dev this one begins with, head and all; of several, the mean of their weights
    (Wortsman et al. 2022, Model soups), which asks for runs that have begun alike."""
    drop: float = 0.3
    """Dropout before the classifier."""
    drop_path: float = 0.1
    """Stochastic depth."""

    epochs: int = 20
    """Times through the training faces."""
    steps: int | None = None
    """Steps an epoch, whatever the number of faces; None: as many as there are whole batches."""
    batch: int = 96
    """Faces a step, over all processes."""
    micro_batch: int | None = None
    """Faces that go through the network at once in one process; gradients add up to the whole batch."""
    size: int = 96
    """Side of the network's input, pixels."""
    early_size: int = 64
    """Side in the first epochs: small pictures teach the coarse things at half the price (progressive resizing)."""
    early_epochs: int = 0
    """How many epochs use `early_size`."""
    freeze_epochs: int = 0
    """How many of the first epochs train the new classifier alone, on a frozen body."""
    finish_epochs: int = 0
    """How many of the last epochs vary the pictures only lightly (`train.augment.PRESETS["light"]`)."""

    sampling: str = "none"
    """`none`, `under`, `over` or `hybrid`: how often the classes are shown (`train.sampling`)."""
    sample_count: int = 8989
    """Pictures a class with hybrid sampling."""
    loss: str = "cross-entropy"
    """`cross-entropy` or `focal`."""
    gamma: float = 2.0
    """How much the focal loss turns away from what is easy."""
    class_weights: str = "none"
    """`none`, `balanced` or `effective`: how much a class weighs in the loss (`train.losses`)."""
    beta: float = 0.999
    """Of the effective number of samples."""
    smoothing: float = 0.1
    """Label smoothing."""
    votes: str | None = None
    """FER+'s csv of votes, for soft labels."""
    votes_share: float = 0.5
    """How much of a face's target the votes make; the rest is its label."""
    teachers: tuple[str, ...] = ()
    """Runs whose best weights teach this one."""
    teacher_share: float = 0.5
    """How much of the loss is the distance to the teachers' mean answer."""
    teacher_temperature: float = 2.0
    """What teachers' and student's logits are divided by before they are compared."""
    mixup: float = 0.0
    """Alpha of mixup, 0 for none."""
    cutmix: float = 0.0
    """Alpha of cutmix, 0 for none; with both, a coin decides for each batch."""

    rate: float = 1e-3
    """Peak learning rate of the body."""
    head_rate: float = 3e-3
    """Peak learning rate of the new classifier."""
    warmup: int = 300
    """Steps over which the rate rises from 0; then it falls by a cosine to 0."""
    decay: float = 0.02
    """AdamW's weight decay, on matrices only."""
    ema: float = 0.9985
    """Decay a step of the averaged weights, which are what is kept."""
    clip: float = 5.0
    """Largest norm of a step's gradient."""
    precision: str = "auto"
    """`fp32`, `bf16`, or `auto`: bf16 on an accelerator, fp32 on a processor."""
    seed: int = 0
    """Seed of weights, order, augmentation and dropout."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """How training pictures are varied."""

    def __post_init__(self) -> None:
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if value is None and FitConfig.__dataclass_fields__[name].default is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
                raise InputError(f"{name} is {value!r:.60}: it must be a number from {least:g} to {most:g}")
            if isinstance(value, float) and not isinstance(FitConfig.__dataclass_fields__[name].default, float):
                raise InputError(f"{name} is {value!r:.60}: it must be a whole number")
        for name in ("data", "network", "pretrained", "adopt", "precision", "votes", "aligned"):
            if not isinstance(getattr(self, name), (str, type(None))):
                raise InputError(f"{name} is {getattr(self, name)!r:.60}: it must be text")
        for name in ("label_map", "start", "teachers"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
                raise InputError(f"{name} is {value!r:.60}: it must be a list of texts")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(f'{name} is "{getattr(self, name)!s:.60}": choose {", ".join(known)}')
        if self.limit is not None and self.limit < self.batch:
            raise InputError(f"limit is {self.limit}: it must hold a batch of {self.batch} at least")
        if self.micro_batch is not None and self.batch % self.micro_batch:
            raise InputError(f"micro_batch is {self.micro_batch}: the batch of {self.batch} must be a multiple of it")
        for name in ("early_epochs", "freeze_epochs", "finish_epochs"):
            if getattr(self, name) > self.epochs:
                raise InputError(f"{name} is {getattr(self, name)}: the run has {self.epochs} epochs in all")
        if self.early_epochs and self.early_size > self.size:
            raise InputError(f"early_size is {self.early_size}: small pictures first, of {self.size} pixels at most")
        if self.aligned is None and self.aligned_share != 1:
            raise InputError(f"aligned_share is {self.aligned_share}: it means nothing without --aligned")
        if self.fold >= self.folds:
            raise InputError(f"fold is {self.fold}: with {self.folds} folds it must be from 0 to {self.folds - 1}")


BOUNDS: dict[str, tuple[float, float]] = {
    "aligned_share": (0, 1), "folds": (3, 1000), "fold": (0, 999),
    "limit": (2, 2**31 - 1), "epochs": (1, 10_000), "steps": (1, 10_000_000),
    "batch": (2, 65_536), "micro_batch": (2, 65_536), "size": (8, 1024), "early_size": (8, 1024),
    "early_epochs": (0, 10_000), "freeze_epochs": (0, 10_000), "finish_epochs": (0, 10_000),
    "sample_count": (1, 10_000_000), "gamma": (0, 20), "beta": (0, 0.9999999), "smoothing": (0, 0.9),
    "votes_share": (0, 1), "teacher_share": (0, 1), "teacher_temperature": (0.1, 100), "mixup": (0, 10),
    "cutmix": (0, 10), "rate": (1e-9, 100), "head_rate": (1e-9, 100), "warmup": (0, 1_000_000), "decay": (0, 10),
    "drop": (0, 0.95), "drop_path": (0, 0.95), "ema": (0, 0.999999), "clip": (1e-6, 1e6), "seed": (0, 2**31 - 1),
}  # fmt: skip
"""Smallest and largest sensible value of each number in a configuration."""

CHOICES: dict[str, tuple[str, ...]] = {
    "precision": ("auto", "fp32", "bf16"),
    "sampling": ("none", "under", "over", "hybrid"),
    "loss": ("cross-entropy", "focal"),
    "class_weights": ("none", "balanced", "effective"),
}
"""What may be chosen from."""


def config_from(values: dict[str, object]) -> FitConfig:
    """Rebuild a configuration that was written to a run's folder.

    Raises:
        InputError: it has keys that this version does not know.
    """
    unknown = set(values) - {each.name for each in fields(FitConfig)}
    if unknown:
        raise InputError(f"config.toml: unknown key {', '.join(sorted(unknown))}")
    settings = _with_tuples(values)
    if isinstance(settings.get("start"), str):  # as runs had it that could begin with one other alone
        settings["start"] = (settings["start"],)
    inner = settings.pop("augmentation", {})
    if not isinstance(inner, dict):
        raise InputError("config.toml: augmentation is no table")
    if "data" not in settings or set(inner) - set(asdict(Augmentation())):
        raise InputError("config.toml: it has no data, or an unknown key under augmentation")
    return FitConfig(**settings, augmentation=Augmentation(**_with_tuples(inner)))  # type: ignore[arg-type]


def _with_tuples(values: dict[str, object]) -> dict[str, object]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
