"""The command `edge bench`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edge.errors import InputError
from edge.terminal import say


@click.command("bench")
@click.option(
    "--models", "models", multiple=True, metavar="FILE",
    help="A model file, .onnx or .tflite; may be repeated. Without it: those that ship with the kit.",
)  # fmt: skip
@click.option(
    "--threads", multiple=True, type=click.IntRange(1, 64), metavar="N",
    help="Processor threads; may be repeated. Without it: 1, 2, 4 and so on up to the cores.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(0.1, 3600), default=20.0, show_default=True, metavar="S",
    help="How long to measure; starting each row once comes on top.",
)  # fmt: skip
@click.option(
    "--clip", metavar="FILE", help="Video for detection and the frame loop; default: the checkout's own, if there."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--save", is_flag=True, help='Store what was fastest: "edge run" then takes it without --model.')
def command(
    models: tuple[str, ...], threads: tuple[int, ...], seconds: float, clip: str | None, as_json: bool, save: bool
) -> None:
    """Measure what model files cost on this device, in each runtime that is installed.

    A row for each file, runtime and number of threads: the first crop, median and 95th percentile of one crop (ms),
    crops a second one by one and in batches of eight, memory. Rows are measured in turns, so that what else the device
    does falls on all alike. Then detection (ms) and the whole frame loop (frames/s) on a clip, with the fastest row.

    The choice of --save is kept under $EMOTION_EDGE_HOME (default ~/.local/share/emotion-edge) and holds as long as
    processor, runtime and file stay the same.

    \b
    Examples:
      edge bench
      edge bench --models mine.onnx --models mine.tflite --threads 1 --save
      edge bench --seconds 60 --json > bench.json
    """
    from edge.measure.bench import CLIP, bench, save_choice, shipped, thread_counts
    from edge.measure.bench_show import show

    if math.isnan(seconds):  # which lies within every range
        raise InputError("--seconds nan: give a number from 0.1 to 3600")
    chosen = Path(clip) if clip else CLIP if CLIP.is_file() else None
    if chosen is not None and not chosen.exists():
        raise InputError(f"--clip {clip}: no such file or folder")
    files = [Path(model) for model in dict.fromkeys(models)] or shipped()
    with click.progressbar(length=1000, label="measuring", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        result = bench(files, threads or thread_counts(), seconds, chosen, _forward(bar))
    stored = save_choice(result.best) if save and result.best else None
    if as_json:
        click.echo(json.dumps({**asdict(result), "saved": str(stored) if stored else None}, indent=2, allow_nan=False))
    else:
        show(result, sys.stdout)
    if chosen is None:
        say("detection and the frame loop are not measured: name a video with --clip")
    if stored:
        say(f'{stored}: "edge run" takes {Path(str(result.best and result.best.file)).name} from now on')
    if not result.rows:
        raise InputError("no model file could be measured")


def _forward(bar: Any) -> Callable[[float], None]:
    """Return what moves a bar of a thousand steps to a share."""
    at = 0

    def move(share: float) -> None:
        nonlocal at
        steps = round(share * 1000) - at
        at += steps
        bar.update(steps)

    return move
