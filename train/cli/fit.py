"""`edge train fit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from edge.errors import InputError
from edge.machine import cores
from train.cli.names import plain_name
from train.cli.order import InSections
from train.cli.progress import Report, Stopped, progress_bar

Command = TypeVar("Command", bound=Callable[..., Any])

FIT_OPTIONS: Mapping[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "Faces": (
        ("--label-map", {"multiple": True, "metavar": "FOLDER=LABEL", "help": "What a folder of another name means."}),
        ("--aligned", {"metavar": "DIR", "help": "Learn from the crops that edge train align made of DATA."}),
        ("--aligned-share", {"type": float, "help": "How often they stand in for whole pictures (default 1: always)."}),
        ("--folds", {"type": int, "help": "Where DATA names persons: parts that they are dealt to (default 5)."}),
        ("--fold", {"type": int, "help": "Which part is the test split (default 0); the next one is dev."}),
        ("--limit", {"type": int, "metavar": "N", "help": "Use only N training faces, always the same, for a trial."}),
    ),
    "Network": (
        ("--network", {"metavar": "NAME", "help": "timm's name, or xception, lite0, cnn (default "
                       "tf_efficientnet_lite0)."}),
        ("--pretrained", {"metavar": "hub|package|PATH", "help": "Start from timm's download, from an installed "
                          "package that carries weights, or from a file in timm's keys."}),
        ("--adopt", {"metavar": "PATH", "help": "Take over what fits of a related network's weights."}),
        ("--start", {"multiple": True, "metavar": "RUN", "help": "Begin with another run's best weights on dev, "
                     "head and all; given several times, with the mean of their weights."}),
        ("--drop", {"type": float, "help": "Dropout before the classifier (default 0.3)."}),
        ("--drop-path", {"type": float, "help": "Stochastic depth (default 0.1)."}),
    ),
    "Length and size": (
        ("--epochs", {"type": int, "help": "Times through the data (default 20)."}),
        ("--steps", {"type": int, "help": "Steps an epoch, whatever the number of faces."}),
        ("--batch", {"type": int, "help": "Faces a step, over all processes (default 96)."}),
        ("--micro-batch", {"type": int, "help": "Faces that go through at once in a process; gradients add up."}),
        ("--size", {"type": int, "help": "Side of the network's input, pixels (default 96)."}),
        ("--early-epochs", {"type": int, "help": "How many epochs use small pictures first (default 0)."}),
        ("--early-size", {"type": int, "help": "Side of those, pixels (default 64)."}),
        ("--freeze-epochs", {"type": int, "help": "How many first epochs train the new classifier alone (default 0)."}),
        ("--finish-epochs", {"type": int, "help": "How many last epochs vary pictures only lightly (default 0)."}),
    ),
    "Variety and balance": (
        ("--augmentation", {"type": click.Choice(["strong", "light", "camera"]), "help": "How pictures are varied: "
                            "strong (default) to learn from, light to finish with, camera to meet a camera's faults."}),
        ("--mixup", {"type": float, "metavar": "ALPHA", "help": "Blend pairs of pictures (default 0: not)."}),
        ("--cutmix", {"type": float, "metavar": "ALPHA", "help": "Paste a piece of another picture (default 0: not)."}),
        ("--sampling", {"type": click.Choice(["none", "under", "over", "hybrid"]), "help": "Thin out common classes, "
                        "repeat rare ones, or both up to --sample-count (default none)."}),
        ("--sample-count", {"type": int, "help": "Pictures a class with hybrid sampling (default 8989)."}),
        ("--class-weights", {"type": click.Choice(["none", "balanced", "effective"]), "help": "How much rare classes "
                             "weigh in the loss: alike (default), inverse to their count, or to their effective "
                             "number."}),
        ("--beta", {"type": float, "help": "Of the effective number (default 0.999)."}),
    ),
    "Loss and teachers": (
        ("--loss", {"type": click.Choice(["cross-entropy", "focal"]), "help": "Default cross-entropy."}),
        ("--gamma", {"type": float, "help": "Of the focal loss (default 2)."}),
        ("--smoothing", {"type": float, "help": "Label smoothing (default 0.1)."}),
        ("--votes", {"metavar": "CSV", "help": "FER+'s votes on FER2013: soft labels beside the hard ones."}),
        ("--votes-share", {"type": float, "help": "How much of a face's target the votes make (default 0.5)."}),
        ("--teacher", {"multiple": True, "metavar": "RUN", "help": "A finished run to learn from; may be repeated."}),
        ("--teacher-share", {"type": float, "help": "How much of the loss the teachers make (default 0.5)."}),
        ("--teacher-temperature", {"type": float, "help": "What answers are softened by (default 2)."}),
    ),
    "Optimizer": (
        ("--rate", {"type": float, "help": "Peak learning rate (default 0.001)."}),
        ("--head-rate", {"type": float, "help": "Peak learning rate of the new classifier (default 0.003)."}),
        ("--warmup", {"type": int, "metavar": "STEPS", "help": "Steps over which the rate rises (default 300)."}),
        ("--decay", {"type": float, "help": "Weight decay (default 0.02)."}),
        ("--ema", {"type": float, "help": "Decay a step of the averaged weights (default 0.9985)."}),
        ("--clip", {"type": float, "help": "Largest norm of a step's gradient (default 5)."}),
        ("--precision", {"type": click.Choice(["auto", "fp32", "bf16"]), "help": "Arithmetic (default auto)."}),
        ("--seed", {"type": int, "help": "Seed of weights, order, augmentation and dropout (default 0)."}),
    ),
}  # fmt: skip
"""The options that are settings of `train.config.FitConfig`, by section; its docstrings say more of each."""


def _fit_options(command: Command) -> Command:
    for name, settings in reversed([each for section in FIT_OPTIONS.values() for each in section]):
        command = click.option(name, **settings)(command)
    return command


@click.command(
    "fit", cls=InSections, sections={title: [name for name, _ in each] for title, each in FIT_OPTIONS.items()}
)
@click.argument("data")
@click.option("--name", required=True, help="Name of the run; the same name again goes on with it.")
@_fit_options
@click.option("--threads", type=click.IntRange(1, 256), help="Processor threads (default: the cores that it may use).")
@click.option("--workers", type=click.IntRange(0, 256), help="Processes that vary pictures beside the one that trains.")
@click.option("--tensorboard", is_flag=True, help="Also log for TensorBoard, in the run's folder.")
def fit_command(
    data: str, name: str, threads: int | None, workers: int | None, tensorboard: bool, **options: Any
) -> None:
    """Fine-tune a network on DATA.

    DATA is fer2013.csv, KDEF, RAF-DB, JAFFE, CK+, a folder per class, or a zip of it. A fixed tenth of the training
    pictures (dev) is held out to choose the best epoch; near-duplicates of test pictures leave training; where DATA
    names persons, nobody stands in two splits. Stop it with Ctrl-C; the same command goes on after the last whole
    epoch. Under torchrun several processes share the work.

    \b
    Example:
      edge train fit fer2013.zip --name lite0 --pretrained package --votes ferplus.csv
      edge train fit fer2013.zip --name fine --start lite0 --epochs 5 --rate 2e-4 --augmentation light
      edge train fit fer2013.zip --name small --network mobilenetv3_large_100 --teacher lite0
      torchrun --standalone --no-python --nproc-per-node 2 edge train fit fer2013.zip --name two
    """
    import torch

    from train.augment import PRESETS
    from train.config import FitConfig, config_from
    from train.fit import fit
    from train.parallel import join_team
    from train.runs import Run, home

    run = Run(home() / "runs" / plain_name(name))
    options["teachers"] = options.pop("teacher")
    given = {key: value for key, value in options.items() if value is not None and value != ()}
    if "augmentation" in given:
        given["augmentation"] = PRESETS[given["augmentation"]]
    for other in (*given.get("start", ()), *given.get("teachers", ())):
        if plain_name(other) == name:
            raise InputError(f"{name}: a run can neither begin with itself nor be its own teacher")
    stored = run.read_config()
    config = replace(FitConfig(data=data), **given)
    if stored is not None:
        earlier = config_from(stored)
        changed = [f.name for f in fields(earlier) if f.name in given and getattr(earlier, f.name) != given[f.name]]
        if changed:
            begun = ", ".join(f"{key} {getattr(earlier, key)}, now {given[key]}" for key in changed)
            raise InputError(
                f"{run.folder}: it was begun otherwise ({begun}); choose another --name, which may --start with it"
            )
        config = replace(earlier, data=data)
    with ExitStack() as stack:
        team = stack.enter_context(join_team())
        torch.set_num_threads(threads or max(cores() // team.size, 1))
        if workers is None:
            workers = 0 if team.device.type == "cpu" else max(cores() // team.size - 1, 0)
        if team.leads and run.last.exists():
            click.echo(f"going on with {run.folder} behind epoch {run.epochs_done()}", err=True)
        report: Callable[[dict[str, float]], None] = _silent
        say: Callable[[str], None] = _silent_line
        if team.leads:
            bar = stack.enter_context(progress_bar())
            report = Report(bar, epochs=config.epochs)
            say = partial(bar.console.print, soft_wrap=True, markup=False, highlight=False)
            if tensorboard:
                report = _also_for_tensorboard(report, run.folder)
        try:
            best = fit(config, run, report, team=team, workers=workers, say=say)
        except KeyboardInterrupt:
            raise Stopped(f"stopped; the same command goes on after the last whole epoch of {run.folder}") from None
    if best:
        click.echo(
            f"{run.folder}: best epoch {best['epoch']}, dev accuracy {best['dev_accuracy']}, "
            f"macro F1 {best['dev_macro_f1']}"
        )
        click.echo(f"next: edge train evaluate {name}", err=True)


def _silent(state: dict[str, float]) -> None:
    """What the processes that do not lead report."""


def _silent_line(line: str) -> None:
    """What they say."""


def _also_for_tensorboard(report: Callable[[dict[str, float]], None], folder: Path) -> Callable[..., None]:
    """Return a report that also writes each epoch's figures for TensorBoard.

    Raises:
        InputError: its package is not installed.
    """
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise InputError("--tensorboard: its package is not here: pip install tensorboard") from None
    writer: Any = None

    def both(state: dict[str, float]) -> None:
        nonlocal writer
        report(state)
        if "step" not in state:
            writer = writer or SummaryWriter(str(folder / "tensorboard"))  # type: ignore[no-untyped-call]
            for key, value in state.items():
                if key != "epoch":
                    writer.add_scalar(key, value, int(state["epoch"]))
            writer.flush()

    return both
