"""`edge train data`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from train.cli.progress import Report, Stopped, progress_bar

SHOWN = 20
"""How many names of a kind are printed; JSON has them all."""


@click.command("data")
@click.argument("source")
@click.option(
    "--label-map", "pairs", multiple=True, metavar="FOLDER=LABEL",
    help="What a folder of another name means; an empty LABEL leaves it out. May be repeated.",
)  # fmt: skip
@click.option("--votes", metavar="CSV", help="FER+'s votes on FER2013: what most voters chose, beside the labels.")
@click.option("--folds", type=int, default=5, show_default=True, help="Where persons are named: parts to deal them to.")
@click.option("--fold", type=int, default=0, show_default=True, help="Which part is the test split; the next is dev.")
@click.option("--out", metavar="DIR", help="Write data.json and labels.png, the labels of each split as a chart.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, and nothing else.")
def data_command(
    source: str, pairs: tuple[str, ...], votes: str | None, folds: int, fold: int, out: str | None, as_json: bool
) -> None:
    """Describe the pictures in SOURCE before training.

    Counts, persons, copies, doubtful labels. SOURCE is fer2013.csv, or a folder or zip of KDEF, RAF-DB, JAFFE or CK+ as
    they are handed out, or of a folder per class, with or without train and test folders. What it is, is told from the
    names of its files.

    The split is the one that `edge train fit` uses. Where the source says who is in a picture, nobody stands in two of
    train, dev and test: persons are dealt to --folds parts. Near-duplicates of test pictures and blank pictures leave
    training.

    \b
    Example:
      edge train data fer2013.zip --votes fer2013new.csv --out described
      edge train data KDEF/ --fold 1
      edge train data faces/ --label-map afraid=fear --label-map contempt= --json
    """
    from edge.files import check_writable, write_whole
    from edge.measure.cli import parse_label_map
    from train.datasets import open_faces
    from train.describe import describe, draw_labels

    label_map, folder = parse_label_map(pairs), Path(out) if out else None
    if folder is not None:
        check_writable(folder)
    try:
        with progress_bar() as bar:
            stages = Report(bar)
            faces = open_faces(source, label_map)
            stages.stage("looking for copies")
            description = describe(
                faces, source=Path(source).resolve().name, votes=Path(votes) if votes else None, folds=folds, fold=fold
            )
            if folder is not None:
                stages.stage("drawing")
                chart = draw_labels(description)
                write_whole(folder / "data.json", (json.dumps(description, indent=2) + "\n").encode())
                write_whole(folder / "labels.png", chart)
    except KeyboardInterrupt:
        raise Stopped("stopped; nothing was written") from None
    if as_json:
        click.echo(json.dumps(description, indent=2, allow_nan=False))
    else:
        show(description)


def show(description: dict[str, Any]) -> None:
    """Print a description as a table and the lines that go with it."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    height, width = description["size"]
    console.print(
        f"{description['source']}: {description['layout']}, {description['pictures']:,} pictures, "
        f"{width} x {height} {description['colour']}"
    )
    console.print(_table(description))
    for line in lines(description):
        console.print(line, soft_wrap=True)


def _table(description: dict[str, Any]) -> Any:
    from rich.table import Table

    counts, votes, pictures, table = description["counts"], description["votes"], description["pictures"], Table()
    table.add_column("label")
    for heading in (*counts, "all", "share", *(("FER+", "agree") if votes else ())):
        table.add_column(heading, justify="right")
    for label in description["labels"]:
        row = [of[label] for of in counts.values()]
        table.add_row(label, *_figures(row, pictures), *_voted(votes, label))
    table.add_section()
    voted = [f"{votes['with_a_majority']:,}", _percent(votes["agreement"])] if votes else []
    table.add_row("all", *_figures([sum(of.values()) for of in counts.values()], pictures), *voted)
    return table


def _figures(row: list[int], pictures: int) -> list[str]:
    return [f"{count:,}" for count in (*row, sum(row))] + [f"{sum(row) / pictures:.1%}"]


def _voted(votes: dict[str, Any] | None, label: str) -> list[str]:
    return [f"{votes['majority'][label]:,}", _percent(votes["agreement_by_label"].get(label))] if votes else []


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def lines(description: dict[str, Any]) -> list[str]:
    """Say in lines what the table has no room for."""
    split, copies, said = description["split"], description["copies"], []
    if not split["test"]:
        said.append(
            "there is no test split: edge calibrate run has nothing to judge on; put the pictures into train/ and test/"
        )
    for why, count in split["left_out"].items():
        said.append(f"left out of training: {count:,} {why}")
    for why, count in description["not_taken"].items():
        said.append(f"not taken: {count:,} {why}")
    if description["persons"]:
        people = description["persons"]
        said.append(
            f"persons: {people['all']} ({people['train']} train, {people['dev']} dev, {people['test']} test), "
            f"{people['in_several'] or 'nobody'} in several"
        )
    for kind, name in (("exact", "same pixels"), ("near", "near-duplicates, those included")):
        found = copies[kind]
        said.append(
            f"{name}: {found['pictures']:,} pictures in {found['groups']:,} groups, {found['across_splits']:,} of them "
            "across splits"
        )
    torn, blank = description["two_labels"], description["blank"]
    said.append(f"under two labels, pixel by pixel: {torn['pictures']:,} pictures of {torn['groups']:,} photographs")
    said.append(f"blank: {blank['pictures']:,}{_named(blank['names'])}")
    said.append(f"unreadable: {len(description['unreadable']):,}{_named(description['unreadable'])}")
    if description["votes"]:
        votes = description["votes"]
        said.append(
            f"FER+: {votes['voted_on']:,} pictures voted on, {votes['with_a_majority']:,} with a majority for one of "
            "the labels (column FER+); agree: how many of the pictures of a label those are for that label"
        )
    said += [
        f"sha256 of all: {description['sha256']}",
        f"sha256 of train: {split['train_sha256']}",
        f"sha256 of dev: {split['dev_sha256']}",
    ]
    return said


def _named(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f" ({', '.join(names[:SHOWN])}{more})" if names else ""
