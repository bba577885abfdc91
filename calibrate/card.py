"""The model card: figures measured by this command, facts from the files, words that stay true for any model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from edge.errors import InputError
from edge.files import check_writable, write_whole
from edge.measure.evaluate import evaluate
from edge.measure.folders import open_labelled
from edge.model import load_model
from edge.model.contract import ModelInfo
from train.augment import PRESETS
from train.config import FitConfig

COLUMNS = (("int8 ONNX", "int8"), ("int8 TFLite", "int8_tflite"), ("float parent", "fp32"))
"""Of the first table."""


def write_card(fp32: Path, int8: Path, data: str, split: str | None, record: Path, out: Path) -> tuple[Path, Path]:
    """Measure both files on labelled pictures as ready crops and write the card and its figures.

    Args:
        fp32, int8: the float file and its quantized child.
        data, split: labelled pictures, as `edge evaluate` takes them.
        record: the training side's `NAME.export.json`.
        out: the Markdown file; the figures go into a JSON file beside it.

    Raises:
        InputError: a file is missing, or the two files are not parent and child.
    """
    numbers = out.with_suffix(".json")
    inputs = [path for path in (record, fp32, int8, Path(data)) if path.exists()]
    existing = [path for path in (out, numbers) if path.exists()]
    if any(path.is_dir() for path in existing):
        raise InputError(f"--out {out}: it, or {numbers.name} beside it, is a folder; choose another file")
    if any(path.samefile(source) for path in existing for source in inputs):
        raise InputError(f"--out {out}: it, or {numbers.name} beside it, would write over what the card is made from")
    check_writable(out.parent)
    try:
        made = json.loads(record.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{record}: not readable ({error}); it is written by edge train export") from None
    if not is_record(made):
        raise InputError(f"{record}: it is no record of edge train export")
    small, large = load_model(int8, threads=2), load_model(fp32, threads=2)
    if small.info.parent_sha256 != large.info.parent_sha256:
        raise InputError(f"{int8} is not made from {fp32}: their parent_sha256 differ")
    pictures = open_labelled(data, labels=small.info.labels, split=split)
    figures = {"int8": evaluate(small, pictures), "fp32": evaluate(large, pictures)}
    command = f"edge calibrate card {fp32.name} {int8.name} --data {Path(data).name}" + (
        f" --split {split}" if split else ""
    )
    result = {
        "command": f"{command} --out {out.name}", "bytes": {"int8": int8.stat().st_size, "fp32": fp32.stat().st_size},
        "figures": figures, "made": made,
    }  # fmt: skip
    write_whole(numbers, (json.dumps(result, indent=1) + "\n").encode())
    name, source = small.info.name, made["config"]["data"]
    how = [
        f"edge train export {made['name']} --name {name} --out .",
        f"edge calibrate quantize {name}-fp32.onnx --data {source} --out {int8.name}",
    ]
    write_whole(out, render(small.info, result, int8.name, split, how).encode())
    return out, numbers


def is_record(made: Any) -> bool:
    """Return whether a record of `edge train export` holds what a card says of the training."""
    try:
        run, template = made["run"], made["template"]
        counts = [run["train"], run["dev"], *run["left_out"].values(), template["found"], template["looked_at"]]
        for config in [*made["started_from"], made["config"]]:
            _fit_command(config, str(config.get("name")))
    except (KeyError, TypeError, AttributeError, IndexError):
        return False
    return all(isinstance(count, int) for count in counts)


def render(info: ModelInfo, result: dict[str, Any], file: str, split: str | None, how: Sequence[str]) -> str:
    """Return the card as Markdown.

    Args:
        info: of the int8 ONNX file.
        result: `figures` as `edge evaluate` gives them, by `int8`, `int8_tflite` (may be missing) and `fp32`; `bytes`
            likewise; `made`, the export's record; and the `command` that measured.
        file: name of the int8 ONNX file.
        split: that was measured on.
        how: the commands that make the file from the trained run.
    """
    made, figures = result["made"], result["figures"]
    small, large = figures["int8"], figures["fp32"]
    columns = [(title, figures[key]) for title, key in COLUMNS if key in figures]
    run, config, template = made["run"], made["config"], made["template"]
    left_out = ", ".join(f"{count} {why}" for why, count in run["left_out"].items()) or "nothing"
    part = f" ({split} split)" if split else ""
    overall = "\n".join(
        f"| {title} | {' | '.join(_pct(each[key]) for _, each in columns)} |"
        for title, key in (
            ("accuracy", "accuracy"), ("balanced accuracy", "balanced_accuracy"), ("macro F1", "macro_f1"),
            ("expected calibration error", "ece"),
        )
    )  # fmt: skip
    classes = "\n".join(
        f"| {label} | {row['support']} | {_pct(row['precision'])} | {_pct(row['recall'])} | {_pct(row['f1'])} "
        f"| {_pct(large['per_class'][label]['f1'])} |"
        for label, row in small["per_class"].items()
    )
    weakest = min(small["per_class"], key=lambda label: small["per_class"][label]["recall"] or 0.0)
    name = info.name
    last = {**config, "name": made["name"], "restored_from": made.get("restored_from")}
    fits = [_fit_command(each, each["name"]) for each in [*made["started_from"], last]]
    commands = "\n".join([*fits, *how])
    return f"""# {info.id}

`{file}`: {info.network}, {info.precision}, {result["bytes"]["int8"]:,} bytes (its float ONNX: {result["bytes"]["fp32"]:,}).
Input `uint8 [N, {info.crop.size}, {info.crop.size}, 3]` RGB, output probabilities of {", ".join(info.labels)}.
Licence: {info.licence}. Every figure on this page was written by the command below it.

## Figures on {small["data"]}{part}, {small["n"]} pictures as ready crops, one view

| percent | {" | ".join(title for title, _ in columns)} |
|---|{"---|" * len(columns)}
{overall}

| class | pictures | precision | recall | F1 | F1 of the float parent |
|---|---|---|---|---|---|
{classes}

`{result["command"]}`; the same figures with the confusion matrices are in `{Path(file).stem.split("-")[0]}.json`.

## What it learned from

{info.trained_on}: {run["train"]} faces; {run["dev"]} more (dev) chose the epoch, the temperature ({info.temperature:g}), the
threshold of *uncertain* ({info.threshold:g}) and the calibration method. Left out: {left_out}. The crop template is the mean of
the landmarks that the kit's MTCNN finds in {template["found"]} of {template["looked_at"]} training pictures. {_soft_labels(config)}The pictures
are gray, 48 pixels wide, scraped from the web, and people agree with their labels about 65 % of the time. They are not in this
repository.

## What it cannot do

- It names the expression that a face shows, as taggers would name it. It does not know what anybody feels.
- It is weakest on *{weakest}*: {_pct(small["per_class"][weakest]["recall"])} % of those pictures are recognised.
- Not measured: how it differs by age, sex, skin colour, glasses, masks or beards; sharp colour pictures with labels; faces
  turned away. Expect it to be worse on pictures unlike its training data.
- In the European Union inferring emotions at work and in education is forbidden (AI Act, Art. 5(1)(f)); elsewhere there it is
  high-risk, and people must be told. Do not decide about people with it.

## Make it again

```
{commands}
```

Float parent: `{name}.fp16.safetensors`, sha256 `{info.parent_sha256}`.
"""


def _soft_labels(config: dict[str, Any]) -> str:
    """Return a sentence on where the targets came from besides the labels, with a blank behind it, or nothing."""
    said = ""
    if config.get("votes"):
        share = config["votes_share"]
        said += f"FER+'s votes of ten people a picture, translated into these labels, made {share:.0%} of each target. "
    if config.get("teachers"):
        said += f"It also learned from the answers of {', '.join(config['teachers'])}. "
    return said


def _fit_command(config: dict[str, Any], name: str) -> str:
    """Return the command that trains as a configuration says; what stands at its default is left out.

    A run that was restored from a shipped parent is restored again: how that was trained its own card says.
    """
    if config.get("restored_from"):
        return f"edge train restore {config['restored_from']} --name {name} --data {config['data']}"
    plain = asdict(FitConfig(data=""))
    given = []
    for key, option in OPTIONS.items():
        for value in _values(config.get(key, plain[key])) if config.get(key, plain[key]) != plain[key] else []:
            given.append(f"--{option} {value}")
    for preset, settings in PRESETS.items():
        if preset != "strong" and json.loads(json.dumps(asdict(settings))) == config["augmentation"]:
            given.append(f"--augmentation {preset}")
    before = [f"edge train align {config['data']} --out {config['aligned']}"] if config.get("aligned") else []
    return "\n".join([*before, " ".join(["edge train fit", config["data"], f"--name {name}", *given])])


def _values(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


OPTIONS = {
    field.name: {"teachers": "teacher"}.get(field.name, field.name.replace("_", "-"))
    for field in fields(FitConfig)
    if field.name not in ("data", "augmentation")
}
"""What `edge train fit` calls each setting."""


def _pct(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
