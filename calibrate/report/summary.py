"""The report in short, as Markdown for a model card. Every figure comes from the report's record. Pure."""

from __future__ import annotations

from typing import Any

from calibrate.evidence import FP32_ONNX
from calibrate.report.page import megabytes, number, p_value, percent, points, span


def as_markdown(record: dict[str, Any]) -> str:
    """Return the summary."""
    verdict, test = record["verdict"], record["figures"].get("test", {})
    lines = [f"## What int8 cost: {record['name']}", ""]
    if verdict["passes"]:
        lines.append(f"**Passes the gate** on {record['sets']['test']:,} test pictures of {record['data']}.")
    else:
        lines += ["**Fails the gate**; not to be released:", "", *(f"- {reason}" for reason in verdict["against"])]
    for name, each in verdict["files"].items():
        lines += ["", f"`{name}` against `{FP32_ONNX}`: {each['says']} (a minus is a gain); {_costs(record, name)}."]
    if record["missing"]:
        lines += ["", f"Not made: {', '.join(f'`{name}`' for name in record['missing'])}."]
    lines += [f"\n{note}" for note in record["notes"]]
    if test:
        rows = [["file", "accuracy %", "macro F1 %", "balanced %", "NLL", "Brier", "ECE %", "ECE % before T", "MB"]]
        rows += [
            [f"`{name}`", percent(row["accuracy"]), percent(row["macro_f1"]), percent(row["balanced_accuracy"]),
             number(row["nll"], 4), number(row["brier"], 4), percent(row["ece"]), percent(row["before"]["ece"]),
             megabytes(record["files"][name]["size"])]
            for name, row in test.items() if name in record["files"]
        ]  # fmt: skip
        lines += ["", *table(rows)]
    for name, each in verdict["files"].items():
        rows = [["class", "pictures", "float %", "now %", "lost", "won", "drop, points", "95 % interval", "McNemar p"]]
        rows += [
            [row["label"], f"{row['support']:,}", percent(row["parent"]), percent(row["candidate"]), str(row["lost"]),
             str(row["won"]), points(row["drop"]), span(row["interval"]), p_value(row["p_value"])]
            for row in [each["overall"], *each["classes"]]
        ]  # fmt: skip
        lines += ["", f"Recall by class, `{name}`; a minus is a gain:", "", *table(rows)]
    agreed = [
        f"- {row['second']} and {row['first']} give the same label on {percent(row['share'])} % of {row['n']:,} "
        f"pictures of {name} (mean KL {number(row['kl'], 5)} nats)."
        for name, rows in record["agreement"].items() if name != "dev" for row in rows
    ]  # fmt: skip
    lines += ["", *agreed] if agreed else []
    lines += ["", f"`{record['command']}`; all figures in `report.json`, charts in `report.html`.", ""]
    return "\n".join(lines)


def _costs(record: dict[str, Any], name: str) -> str:
    """Return size, time and rung of a file in words."""
    short = record["in_short"].get(name)
    share = record["files"][name]["share_of_float"]
    said = "size of the float unknown" if share is None else f"{share:.2f} of its size"
    if short is None:
        return said
    if short["latency_ratio"] is None:
        said += ", time not measured"
    else:
        threads = "one thread" if short["threads"] == 1 else f"{short['threads']} threads"
        said += f", {short['latency_ratio']:.2f} of the time of its float file ({short['runtime']}, {threads})"
    return said if short["rung"] is None else f"{said}; rung: {short['rung']}"


def table(rows: list[list[str]]) -> list[str]:
    """Return rows as lines of a Markdown table, the first its heading."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in [cells[0], ["---", *["---:"] * (len(cells[0]) - 1)], *cells[1:]]]
