"""The commands `edge train …`."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from edge.errors import EdgeError, InputError


class Stopped(EdgeError):
    """A person pressed Ctrl-C; nothing is lost."""

    exit_code = 130


@click.group("train")
def group() -> None:
    """Make a float model from labelled faces.

    Runs live under $EMOTION_EDGE_HOME/runs (default ~/.local/share/emotion-edge/runs).
    """


@group.command("fit")
@click.argument("data")
@click.option("--name", required=True, help="Name of the run; the same name again goes on with it.")
@click.option("--network", metavar="TIMM", help="timm's name of the network (default tf_efficientnet_lite0).")
@click.option(
    "--pretrained", metavar="hub|PATH", help="Start from timm's download, or from a weights file in timm's keys."
)
@click.option("--epochs", type=int, help="Times through the data (default 20).")
@click.option("--early-epochs", type=int, help="How many of them use small pictures first (default 0).")
@click.option("--early-size", type=int, help="Side of those, pixels (default 64).")
@click.option("--size", type=int, help="Side of the network's input, pixels (default 96).")
@click.option("--batch", type=int, help="Faces a step (default 96).")
@click.option("--rate", type=float, help="Peak learning rate (default 0.001).")
@click.option("--head-rate", type=float, help="Peak learning rate of the new classifier (default 0.003).")
@click.option("--warmup", type=int, metavar="STEPS", help="Steps over which the rate rises (default 300).")
@click.option(
    "--augmentation", type=click.Choice(["strong", "light"]),
    help="How much pictures are varied: strong (default) to learn from, light to finish with.",
)  # fmt: skip
@click.option("--start", metavar="RUN", help="Begin with another run's averaged weights, head and all.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), help="Arithmetic (default auto).")
@click.option("--seed", type=int, help="Seed of weights, order, augmentation and dropout (default 0).")
@click.option("--limit", type=int, metavar="N", help="Use only N training faces, for a trial.")
@click.option("--threads", type=click.IntRange(1, 256), help="Processor threads (default: all).")
def fit_command(data: str, name: str, threads: int | None, **options: Any) -> None:
    """Fine-tune a network on DATA: fer2013.csv, a folder per class, or a zip of it.

    A fixed tenth of the training pictures (dev) is held out to choose the best epoch; near-duplicates of test pictures
    leave training. Stop it with Ctrl-C; the same command goes on after the last whole epoch.

    \b
    Example:
      edge train fit fer2013.zip --name lite0 --pretrained tf_efficientnet_lite0.safetensors
      edge train fit fer2013.zip --name fine --start lite0 --epochs 5 --rate 2e-4 --augmentation light
    """
    import torch

    from train.augment import PRESETS
    from train.fit import FitConfig, config_from, fit
    from train.runs import Run, home

    run = Run(home() / "runs" / _plain(name))
    given = {key: value for key, value in options.items() if value is not None}
    if "augmentation" in given:
        given["augmentation"] = PRESETS[given["augmentation"]]
    if "start" in given and _plain(given["start"]) == name:
        raise InputError(f"--start {name}: a run cannot begin with itself")
    stored = run.read_config()
    config = replace(FitConfig(data=data), **given)
    if stored is not None:
        earlier = config_from(stored)
        changed = [f.name for f in fields(earlier) if f.name in given and getattr(earlier, f.name) != given[f.name]]
        if changed:
            raise InputError(
                f"{run.folder}: this run was begun with another {', '.join(changed)}; choose another --name"
            )
        config = replace(earlier, data=data)
    torch.set_num_threads(threads or os.cpu_count() or 1)
    if run.last.exists():
        click.echo(f"going on with {run.folder}", err=True)
    try:
        with _bar() as bar:
            best = fit(config, run, _Report(bar))
    except KeyboardInterrupt:
        raise Stopped(f"stopped; the same command goes on after the last whole epoch of {run.folder}") from None
    click.echo(
        f"{run.folder}: best epoch {best['epoch']}, dev accuracy {best['dev_accuracy']}, "
        f"macro F1 {best['dev_macro_f1']}"
    )


@group.command("export")
@click.argument("run_name", metavar="RUN")
@click.option("--out", required=True, metavar="DIR", help="Where to write NAME-fp32.onnx and NAME.fp16.safetensors.")
@click.option("--name", help="Name of the model (default: the run's).")
@click.option("--data", help="Where the run's data is now, when it has moved.")
@click.option("--licence", default="Apache-2.0", show_default=True, help="Licence of the weights.")
@click.option(
    "--faces", type=click.IntRange(min=100), default=3000, show_default=True, help="Pictures for the crop template."
)
def export_command(run_name: str, out: str, name: str | None, data: str | None, licence: str, faces: int) -> None:
    """Write the best weights of RUN as a float ONNX that keeps the model file contract, and as fp16 safetensors.

    Temperature, threshold and the crop template are measured here: on dev, and on training pictures.
    """
    from train.deliver import deliver
    from train.runs import Run, home

    run = Run(home() / "runs" / _plain(run_name))
    with _bar() as bar:
        written = deliver(run, Path(out), _plain(name or run_name), licence, data, faces, _Report(bar))
    for path in written:
        click.echo(f"{path}: {path.stat().st_size:,} bytes")


@group.command("export-mtcnn")
@click.option("--out", required=True, metavar="DIR", help="Where to write pnet.onnx, rnet.onnx and onet.onnx.")
def export_mtcnn_command(out: str) -> None:
    """Write MTCNN's three nets from facenet-pytorch's weights as ONNX, for the device."""
    from train.mtcnn import export_mtcnn

    for path in export_mtcnn(Path(out)):
        click.echo(f"{path}: {path.stat().st_size:,} bytes")


def _plain(name: str) -> str:
    if not name or name.startswith(".") or Path(name).name != name or not name.isprintable() or len(name) > 100:
        raise InputError(f"name {name[:60]!a}: use a plain name, without folders")
    return name


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


class _Report:
    """Shows a run's state as a bar a stage, and one line an epoch that stays."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar
        self.task = bar.add_task("reading the data", total=None)

    def __call__(self, state: dict[str, float]) -> None:
        """Take a state of `train.fit.Progress`."""
        if "step" in state:
            text = f"epoch {state['epoch']:.0f}  loss {state['loss']:.4f}"
            self.bar.update(self.task, description=text, completed=state["step"], total=state["steps"])
        else:
            figures = "  ".join(f"{key} {value:.4f}" for key, value in state.items() if key not in ("epoch", "seconds"))
            self.bar.console.print(f"epoch {state['epoch']:.0f}: {figures}  ({state['seconds']:.0f} s)")

    def stage(self, text: str, total: int | None = None) -> Any:
        """Begin a stage with a bar of its own; return what takes the number done."""
        self.bar.reset(self.task, description=text, total=total)
        return lambda done: self.bar.update(self.task, completed=done)
