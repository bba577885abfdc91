"""The float model that a calibration starts from: a run, or a float ONNX with or without its weights beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load

from calibrate.folding import fold_batch_norms
from edge.errors import InputError
from edge.measure.cli import parse_label_map
from edge.model.contract import ModelInfo
from edge.model.onnx import OnnxClassifier
from train.config import config_from
from train.datasets import open_faces
from train.datasets.split import Split, split_faces
from train.deliver import deliver, moved_to
from train.export import Deployed, deployable, to_onnx
from train.fit import read_split
from train.networks import build
from train.runs import Run, home
from train.stages import Stages

TEMPLATE_FACES = 3000
"""Training pictures that the crop template is measured on."""


@dataclass(frozen=True)
class Parent:
    """A float model and the pictures that it is judged on.

    Attributes:
        info: what its file says of itself, `precision` fp32.
        graph: the float ONNX file's bytes.
        network: ready for export with batch norms folded, its parameters named as in `graph`; None for a bare ONNX.
        split: the data, split as the run split it.
        source: where it came from, in words.
        weights: its fp16 safetensors file's bytes; None where they are not known.
        record: how it came to be, as `edge train export` wrote it, JSON bytes; None where that is not known.
        notes: what a person should know of it first.
    """

    info: ModelInfo
    graph: bytes
    network: Deployed | None
    split: Split
    source: str
    weights: bytes | None = None
    record: bytes | None = None
    notes: tuple[str, ...] = ()


def open_parent(
    source: str, data: str | None, folder: Path, name: str | None, licence: str, stages: Stages, *,
    label_map: tuple[str, ...] = (),
) -> Parent:  # fmt: skip
    """Open what a person named: a run by its name or folder, or a float ONNX file.

    Args:
        source: name or folder of a run, or a file that ends in `.onnx`. When the weights it was exported from
            (`NAME.fp16.safetensors`) lie beside the file, they make the network again.
        data: labelled faces; None for where a run's data was.
        folder: where a run's export is kept, to go on with.
        name: what the model is called; None for the run's or the file's own.
        licence: of a run's weights.
        stages: told what is done.
        label_map: `FOLDER=LABEL`, what folders of other names mean in the data; none for what the training said.

    Raises:
        InputError: nothing of that name is there, it is no float model, or the data is not what it was trained on.
    """
    if source.endswith(".onnx"):
        if data is None:
            raise InputError(f"{source}: an ONNX file does not say where its faces are; add --data")
        return _from_file(Path(source), data, label_map, stages)
    places = [Path(source)] if Path(source).is_dir() else []
    runs = [run for run in map(Run, [*places, home() / "runs" / source]) if run.read_config() is not None]
    run = next(iter(runs), None)  # a folder of that name may be the candidate's own
    if run is None:
        raise InputError(f"{source}: no run of that name or folder, and no file that ends in .onnx")
    return _from_run(run, data, label_map, folder, name or run.folder.name, licence, stages)


def _from_run(
    run: Run, data: str | None, label_map: tuple[str, ...], folder: Path, name: str, licence: str, stages: Stages
) -> Parent:
    exported, weights = folder / f"{name}-fp32.onnx", folder / f"{name}.fp16.safetensors"
    stamp, best = folder / "run.sha256", hashlib.sha256(run.best.read_bytes()).hexdigest() if run.best.exists() else ""
    if not (stamp.exists() and stamp.read_text() == best and exported.exists() and weights.exists()):
        deliver(run, folder, name, licence, data, TEMPLATE_FACES, stages, label_map=label_map)
        stamp.write_text(best)
    stages.stage("reading the data")
    stored = run.read_config()
    assert stored is not None
    split = read_split(config_from({**stored, **moved_to(data, label_map)}))
    info = _float_info(exported)
    held = weights.read_bytes()
    network = _network(held, info)
    record = (folder / f"{name}.export.json").read_bytes()
    graph, source = to_onnx(network, info), f"run {run.folder.name}"
    return Parent(info, graph, network, split, source, held, record, unfinished(run, stored))


def unfinished(run: Run, stored: dict[str, Any]) -> tuple[str, ...]:
    """Return a note for a run that has epochs before it."""
    planned = int(stored.get("epochs", 0))
    done = run.epochs_done() if run.last.exists() else planned
    if done >= planned:
        return ()
    return (f"Run {run.folder.name} is trained for {done} of its {planned} epochs: this is the best of those.",)


def _from_file(path: Path, data: str, label_map: tuple[str, ...], stages: Stages) -> Parent:
    info = _float_info(path)
    stages.stage("reading the data")
    beside = path.with_name(path.name.replace("-fp32.onnx", ".fp16.safetensors"))
    if beside == path or not beside.exists() or hashlib.sha256(beside.read_bytes()).hexdigest() != info.parent_sha256:
        return Parent(
            info, path.read_bytes(), None, _split(data, {"label_map": label_map}, info), f"bare float ONNX {path.name}"
        )
    with safe_open(beside, "pt") as weights:
        config = json.loads((weights.metadata() or {}).get("config", "{}"))
    config = {**config, **({"label_map": label_map} if label_map else {})}
    held = beside.read_bytes()
    network, split = _network(held, info), _split(data, config, info)
    record = beside.with_name(path.name.replace("-fp32.onnx", ".export.json"))
    return Parent(
        info, to_onnx(network, info), network, split, f"{path.name} with its weights {beside.name}", held,
        record.read_bytes() if record.is_file() else None,
    )  # fmt: skip


def _split(data: str, config: dict[str, Any], info: ModelInfo) -> Split:
    faces = open_faces(data, parse_label_map(tuple(config.get("label_map", ()))))
    if faces.labels != info.labels:
        raise InputError(f"model {info.name} knows {', '.join(info.labels)}; {data} is of other classes")
    return split_faces(faces, folds=config.get("folds", 5), fold=config.get("fold", 0))


def _float_info(path: Path) -> ModelInfo:
    info = OnnxClassifier(path).info
    if info.precision != "fp32":
        raise InputError(f"model {path} is {info.precision} already: give its float parent")
    return replace(info, accuracy={})


def _network(weights: bytes, info: ModelInfo) -> Deployed:
    """Build the network of fp16 weights again, as it is deployed, its batch norms folded."""
    network = build(info.network, len(info.labels))
    state = {key: value.float() if value.is_floating_point() else value for key, value in load(weights).items()}
    try:
        network.load_state_dict(state)
    except RuntimeError:
        raise InputError(
            f"model {info.name}: the weights beside it are of another network than {info.network}"
        ) from None
    model = deployable(network, size=info.crop.size, gray=info.gray, temperature=info.temperature)
    return fold_batch_norms(model, info.crop.size)
