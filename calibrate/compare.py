"""`edge calibrate compare`: several candidates in one table, and what each rung gave each of them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrate.check import check
from calibrate.evidence import INT8_ONNX, INT8_TFLITE, Answers, read_answers
from calibrate.report.page import number, percent, points, span
from calibrate.report.summary import table
from calibrate.report.write import read_record
from calibrate.ship import again
from edge.errors import InputError
from edge.machine import in_words

WORDS = ("model", "file", "rung", "gate")
"""Columns that hold words, not figures."""

SHOWN = (
    (
        ("model", "file", "int8 %", "drop, points", "95 % interval", "worst class, lost/allowed", "gate"),
        "What int8 lost",
    ),
    (("model", "file", "same label as float %", "as the other format %", "size", "time", "rung"), "What it costs"),
)
"""Tables for a terminal: their columns and what they are called."""

FORMATS = {INT8_ONNX: "onnx", INT8_TFLITE: "tflite"}


@dataclass(frozen=True)
class Compared:
    """Candidates side by side.

    Attributes:
        records: what `report.json` of each holds, in the order given.
        passes: whether each passes the gate, judged again from its files.
        problems: what does not fit in its folder, a sentence each, beginning with the candidate's name.
        command: what was typed.
    """

    records: tuple[dict[str, Any], ...]
    passes: tuple[bool, ...]
    problems: tuple[str, ...]
    command: str

    def rows(self) -> list[list[str]]:
        """Return the table, its heading first: a row for each int8 file."""
        heading = ["model", "file", "float %", "int8 %", "drop, points", "95 % interval", "worst class, lost/allowed",
                   "same label as float %", "as the other format %", "size", "time", "rung", "gate"]  # fmt: skip
        found = [heading]
        for record in self.records:
            agreement = {(each["first"], each["second"]): each["share"] for each in record["agreement"].get("test", ())}
            other = agreement.get((INT8_ONNX, INT8_TFLITE))
            for file in FORMATS:
                if file in record["verdict"]["files"]:
                    found.append(_row(record, file, agreement, other))
        return found

    def as_markdown(self) -> str:
        """Return both tables and what they were made of."""
        first = self.records[0]
        lines = [
            f"# {len(self.records)} candidates on {first['data']}, {first['sets']['test']:,} test pictures", "",
            f"`{self.command}`", "",
            "A drop below zero is a gain; the interval is of the paired drop. Size and time are shares of the float",
            "file's, time in the same runtime with one thread, measured in turn in one run.", "",
            *table(self.rows()), "",
            "## What each rung came to", "",
            "On dev: mean divergence from the float model in thousandths of a nat (labels that stayed, percent); bold",
            "is what was kept.", "", *table(ladders(self.records)), "",
        ]  # fmt: skip
        lines += [f"- {problem}" for problem in self.problems]
        machines = dict.fromkeys(in_words(each["machine"]) for each in self.records)
        lines += [f"Times are of: {' / '.join(machines)}.", ""]
        return "\n".join(lines)


def compare(folders: Sequence[Path], command: str) -> Compared:
    """Judge candidates again from their files, and put them side by side.

    Args:
        folders: of candidates that were judged on the same test pictures.
        command: what was typed, for the table.

    Raises:
        InputError: one is no candidate, or two were judged on different data.
    """
    records: list[dict[str, Any]] = []
    passes: list[bool] = []
    problems: list[str] = []
    first: Answers | None = None
    for folder in folders:
        found, record, test = check(folder), read_record(folder), read_answers(folder, "test")
        first = first or test
        if (test.names, test.targets.tolist()) != (first.names, first.targets.tolist()):
            raise InputError(
                f"{folder} was judged on other pictures than {folders[0]} ({len(test.names):,} of {record['data']}, "
                f"{len(first.names):,} of {records[0]['data']}): compare those of one test split"
            )
        records.append(record)
        passes.append(found.passes)
        problems += [f"{record['name']}: {problem}" for problem in found.problems]
    return Compared(tuple(records), tuple(passes), tuple(problems), again(command))


def ladders(records: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return what every rung came to on dev, the heading first: divergence from float and labels that stayed."""
    names = dict.fromkeys(rung["name"] for record in records for rung in record["ladder"])
    columns = [
        (record, kind) for record in records for kind in FORMATS.values()
        if any(rung["format"] == kind for rung in record["ladder"])
    ]  # fmt: skip
    heading = ["rung", *(f"{record['name']}, {kind}" for record, kind in columns)]
    return [heading, *([name, *(_rung(record, kind, name) for record, kind in columns)] for name in names)]


def _row(record: dict[str, Any], file: str, agreement: dict[tuple[str, str], float], other: float | None) -> list[str]:
    verdict, short = record["verdict"]["files"][file], record["in_short"].get(file, {})
    overall = verdict["overall"]
    worst = max(verdict["classes"], key=lambda change: (change["lost"] - change["won"]) / max(change["allowed"], 1e-9))
    float_file = next((first for first, second in agreement if second == file and first.startswith("fp32")), "")
    ratio, share = short.get("latency_ratio"), record["files"][file]["share_of_float"]
    return [
        record["name"], file, percent(overall["parent"]), percent(overall["candidate"]), points(overall["drop"]),
        span(overall["interval"]),
        f"{worst['label']} {worst['lost'] - worst['won']}/{worst['allowed']:.0f}",
        percent(agreement.get((float_file, file))), percent(other),
        "–" if share is None else number(share, 2), "–" if ratio is None else number(ratio, 2),
        short.get("rung") or "–", "passes" if verdict["passes"] else "fails",
    ]  # fmt: skip


def _rung(record: dict[str, Any], kind: str, name: str) -> str:
    rung = next((each for each in record["ladder"] if (each["format"], each["name"]) == (kind, name)), None)
    if rung is None:
        return "–"
    said = f"{1000 * rung['kl']:.2f} ({percent(rung['agreement'])})"
    return f"**{said}**" if rung["kept"] else said


def show(found: Compared) -> None:
    """Print it for a terminal: what was lost, what it costs, and each candidate's ladder."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)

    def draw(rows: list[list[str]], title: str) -> None:
        drawn = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
        for name in rows[0]:
            drawn.add_column(name, justify="left" if name in WORDS else "right")
        for row in rows[1:]:
            drawn.add_row(*(cell.replace("**", "") for cell in row))
        console.print(drawn)

    rows = found.rows()
    for names, title in SHOWN:
        places = [rows[0].index(name) for name in names]
        draw([[row[place] for place in places] for row in rows], title)
    for record in found.records:
        draw(ladders([record]), f"{record['name']}: KL from float on dev, thousandths of a nat (labels kept, %)")
    for problem in found.problems:
        console.print(problem, soft_wrap=True)
