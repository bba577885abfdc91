"""What `edge bench` shows a person: the machine, a table of the rows, the loop, and which row won."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from edge.machine import in_words, is_busy, state_in_words
from edge.measure.bench import Bench, Row
from edge.terminal import printable

COLUMNS = (
    "", "file", "runtime", "threads", "load ms", "first ms", "p50 ms", "p95 ms", "crops/s", "in eights", "peak MiB",
)  # fmt: skip
TEXTS = 3
"""So many columns are words, the others figures."""

BEST = "*"


def show(result: Bench, out: TextIO) -> None:
    """Write a measurement: a table drawn by rich on a terminal where it is installed, aligned text otherwise."""
    names = _names(result.rows)
    cells = [_cells(row, name, row is result.best) for row, name in zip(result.rows, names, strict=True)]
    for line in _machine(result):
        print(printable(line), file=out)
    if cells and not (out.isatty() and _drawn(cells, out)):
        for line in aligned(cells):
            print(line, file=out)
    for line in _rest(result):
        print(printable(line), file=out)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows as lines under their headings."""
    table = [COLUMNS, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        parts = [
            cell.ljust(w) if i < TEXTS else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(parts).rstrip()


def _drawn(rows: Sequence[Sequence[str]], out: TextIO) -> bool:
    """Draw the table; False where rich is not installed."""
    try:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for index, heading in enumerate(COLUMNS):
        words = index in (1, 2)  # file and runtime give way on a narrow terminal, the figures stay whole
        heading = heading.replace(" ", "\n")
        table.add_column(heading, justify="left" if index < TEXTS else "right", no_wrap=not words, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row), style="bold green" if row[0] == BEST else "")
    Console(file=out).print(table)
    return True


def _names(rows: Sequence[Row]) -> list[str]:
    """Return the files' names; their paths where two of a name lie in different folders."""
    paths: dict[str, set[str]] = {}
    for row in rows:
        paths.setdefault(Path(row.file).name, set()).add(row.file)
    return [row.file if len(paths[Path(row.file).name]) > 1 else Path(row.file).name for row in rows]


def _cells(row: Row, name: str, best: bool) -> list[str]:
    return [
        BEST if best else "", printable(name), row.runtime, str(row.threads), f"{row.load_ms:.0f}",
        f"{row.first_ms:.2f}", f"{row.p50_ms:.2f}", f"{row.p95_ms:.2f}", f"{row.per_second_1:.0f}",
        f"{row.per_second_8:.0f}", "" if row.peak_mb is None else f"{row.peak_mb:.0f}",
    ]  # fmt: skip


def _machine(result: Bench) -> Iterator[str]:
    yield in_words(result.machine)
    yield ", ".join(f"{package} {found}" for package, found in result.machine["versions"].items())
    yield f"before: {state_in_words(result.machine)}"
    yield f"after:  {state_in_words(result.after)}"


def _rest(result: Bench) -> Iterator[str]:
    for failed in result.failures:
        threads = "1 thread" if failed.threads == 1 else f"{failed.threads} threads"
        yield f"not measured: {failed.file} in {failed.runtime}, {threads}: {failed.reason}"
    best, ran = result.best, result.loop
    if is_busy(result.machine):
        load = result.machine["load"]
        yield f"something else kept the processor busy (load {load:.1f}): measure again when it is idle"
    if best:
        yield f"{BEST} fastest of its forms: {Path(best.file).name} in {best.runtime}, threads {best.threads}"
    if ran:
        width, height = ran["size"]
        yield (
            f"{ran['clip']}, {width}x{height}: {ran['per_second']:.1f} frames/s; {ran['detector']} (faces from "
            f"{ran['min_face']} pixels) {_spread(ran['detect_ms'])}, classify {_spread(ran['classify_ms'])}, "
            f"whole step {_spread(ran['total_ms'])}; {ran['frames']} frames, {ran['with_face']} with a face"
        )


def _spread(values: dict[str, float] | None) -> str:
    return f"{values['p50']:.1f} ms (p95 {values['p95']:.1f})" if values else "not seen"
