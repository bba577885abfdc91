"""`edge train fit`."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from typing import Any

import click

from edge.errors import InputError
from train.cli.names import plain_name
from train.cli.progress import Report, Stopped, progress_bar


@click.command("fit")
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
@click.option("--finish-epochs", type=int, help="How many of the last epochs vary them only lightly (default 0).")
@click.option("--votes", metavar="CSV", help="FER+'s votes on FER2013: soft labels beside the hard ones.")
@click.option("--votes-share", type=float, help="How much of a face's target the votes make (default 0.5).")
@click.option("--smoothing", type=float, help="Label smoothing (default 0.1).")
@click.option("--start", metavar="RUN", help="Begin with another run's best weights on dev, head and all.")
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

    run = Run(home() / "runs" / plain_name(name))
    given = {key: value for key, value in options.items() if value is not None}
    if "augmentation" in given:
        given["augmentation"] = PRESETS[given["augmentation"]]
    if "start" in given and plain_name(given["start"]) == name:
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
        with progress_bar() as bar:
            best = fit(config, run, Report(bar))
    except KeyboardInterrupt:
        raise Stopped(f"stopped; the same command goes on after the last whole epoch of {run.folder}") from None
    click.echo(
        f"{run.folder}: best epoch {best['epoch']}, dev accuracy {best['dev_accuracy']}, "
        f"macro F1 {best['dev_macro_f1']}"
    )
