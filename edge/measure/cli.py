"""The command `edge evaluate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from edge.errors import InputError


@click.command("evaluate")
@click.argument("model")
@click.argument("data")
@click.option("--split", metavar="NAME", help="Which split to score, when DATA holds several (train, test).")
@click.option(
    "--label-map", "pairs", multiple=True, metavar="FOLDER=LABEL",
    help="What a folder of another name means; an empty LABEL leaves it out. May be repeated.",
)  # fmt: skip
@click.option(
    "--detect", is_flag=True, help="Whole pictures: find the face first; without it each picture is a ready crop."
)
@click.option(
    "--min-face",
    type=click.IntRange(12, 10_000),
    default=40,
    show_default=True,
    help="With --detect: smallest face, pixels.",
)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Processor threads.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(
    model: str,
    data: str,
    split: str | None,
    pairs: tuple[str, ...],
    detect: bool,
    min_face: int,
    threads: int,
    as_json: bool,
) -> None:
    """Score a model file on labelled pictures, through the device's own runtime.

    DATA is a folder with one folder per class, or a zip of it. Prints accuracy, balanced accuracy, macro F1, expected
    calibration error, the figures per class and the confusion matrix.

    \b
    Examples:
      edge evaluate model.onnx fer2013.zip --split test
      edge evaluate model.onnx kdef/ --label-map afraid=fear --label-map contempt= --detect --json
    """
    from edge.detect import load_detector
    from edge.measure.evaluate import as_text, evaluate
    from edge.measure.folders import open_labelled
    from edge.model import load_model

    classifier = load_model(Path(model), threads=threads)
    pictures = open_labelled(data, labels=classifier.info.labels, label_map=parse_label_map(pairs), split=split)
    detector = load_detector(min_face=min_face, threads=threads) if detect else None
    with click.progressbar(
        length=len(pictures), label="pictures", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        result = evaluate(classifier, pictures, detector=detector, progress=_advance(bar))
    click.echo(json.dumps(result, indent=2, allow_nan=False) if as_json else as_text(result))
    if not result["n"]:
        raise InputError(f"{data}: not one of its {len(pictures)} pictures could be scored")


def _advance(bar: Any) -> Any:
    return lambda done: bar.update(1)


def parse_label_map(pairs: tuple[str, ...]) -> dict[str, str]:
    """Turn `("afraid=fear", "contempt=")` into a map.

    Raises:
        InputError: a pair has no `=`.
    """
    for pair in pairs:
        if "=" not in pair:
            raise InputError(f'--label-map {pair}: write it as FOLDER=LABEL, such as "afraid=fear"')
    return dict(pair.split("=", 1) for pair in pairs)
