"""The commands `edge calibrate …`."""

from __future__ import annotations

from pathlib import Path

import click

from edge.errors import InputError


@click.group("calibrate")
def group() -> None:
    """Make a float model small, and show what it cost."""


@group.command("quantize")
@click.argument("model")
@click.option(
    "--data", required=True, help="Labelled faces to calibrate on: fer2013.csv, a folder per class, or a zip of it."
)
@click.option("--out", required=True, metavar="FILE", help="The int8 ONNX file to write.")
@click.option(
    "--method", type=click.Choice(["auto", "minmax", "entropy", "percentile"]), default="auto", show_default=True,
    help="How ranges are taken; auto tries each and takes what is best on dev.",
)  # fmt: skip
@click.option(
    "--count",
    type=click.IntRange(min=10),
    default=280,
    show_default=True,
    help="Calibration pictures, even over the classes.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of their choice.")
def quantize_command(model: str, data: str, out: str, method: str, count: int, seed: int) -> None:
    """Quantize a float ONNX MODEL to int8 under the same model file contract.

    Ranges come from training pictures; the method is chosen on dev; the test split, where there is one, is only
    reported.

    \b
    Example:
      edge calibrate quantize lite0-fp32.onnx --data fer2013.zip --out lite0-int8.onnx
    """
    from calibrate.quantize import quantize_file

    for line in quantize_file(Path(model), data, Path(out), method, count, seed):
        click.echo(line)


@group.command("card")
@click.argument("fp32")
@click.argument("int8")
@click.option("--data", required=True, help="Labelled faces to report on.")
@click.option("--split", metavar="NAME", help="Which split to report, when DATA holds several.")
@click.option("--record", metavar="FILE", help="NAME.export.json of the training side; default: beside FP32.")
@click.option(
    "--out", required=True, metavar="FILE.md", help="The model card to write; figures go into FILE.json beside it."
)
def card_command(fp32: str, int8: str, data: str, split: str | None, record: str | None, out: str) -> None:
    """Write the model card of INT8: what it is, what it was trained on, and its figures beside its float parent's.

    \b
    Example:
      edge calibrate card lite0-fp32.onnx lite0-int8.onnx --data fer2013.zip --split test --out lite0.md
    """
    from calibrate.card import write_card

    if not out.endswith(".md"):
        raise InputError(f"--out {out}: a model card ends in .md")
    beside = Path(fp32).with_name(Path(fp32).name.replace("-fp32.onnx", ".export.json"))
    for path in write_card(Path(fp32), Path(int8), data, split, Path(record) if record else beside, Path(out)):
        click.echo(str(path))
