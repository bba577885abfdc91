"""From a finished run to the files that go on: float ONNX under the contract, and the fp16 parent beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load

from edge.detect import load_detector
from edge.errors import InputError
from edge.files import check_writable, write_whole
from edge.measure.evaluate import score_crops
from edge.model.contract import ModelInfo
from edge.model.onnx import OnnxClassifier
from train.alignment import crop_of, read_aligned
from train.config import FitConfig, config_from
from train.datasets import FaceSet, as_crops
from train.export import choose_on_dev, deployable, parent_bytes, parent_metadata, sha256_of, to_onnx, write_model
from train.fit import logits, read_split
from train.framing import Framing, measure_framing
from train.networks import build
from train.restore import restored_from
from train.runs import Run, home, load_tensors
from train.stages import Stages


def deliver(
    run: Run, out: Path, name: str, licence: str, data: str | None, faces: int, stages: Stages, *,
    label_map: tuple[str, ...] = (),
) -> tuple[Path, ...]:  # fmt: skip
    """Write `NAME-fp32.onnx`, `NAME.fp16.safetensors` and `NAME.export.json` (how they came to be) into `out`.

    The ONNX is made from the fp16 weights, so it is the parent to the last bit.

    Args:
        run: a trained run.
        out: the folder.
        name: what the model is called.
        licence: of its weights.
        data: where the labelled faces lie now; None for where they were.
        faces: training pictures that the crop template is measured on.
        stages: told what is done.
        label_map: `FOLDER=LABEL`, what folders of other names mean in the data; none for what the training said.

    Raises:
        InputError: the run has no finished epoch, or its data is not where it was.
    """
    stored = run.read_config()
    if stored is None or not run.best.exists():
        raise run.missing()
    config = config_from({**stored, **moved_to(data, label_map)})
    check_writable(out)
    stages.stage("reading the data")
    split = read_split(config)
    recorded, origin = run.read_data(), restored_from(run)
    epochs = [] if origin else run.read_metrics(run.epochs_done())
    if recorded["dev_sha256"] != split.dev.fingerprint():
        raise InputError(f"{config.data}: it is not what {run.folder.name} was trained on (its dev split differs)")
    labels, gray = split.train.labels, split.train.gray
    network = build(config.network, len(labels), drop=config.drop, drop_path=config.drop_path)
    try:
        network.load_state_dict(load_tensors(run.best)[0])
    except RuntimeError:
        raise InputError(f"{run.best}: these are weights of another network than {config.network}") from None
    earlier = origin["started_from"] if origin else _forebears(config)
    parent = parent_bytes(network, parent_metadata(_without_paths(config), recorded, labels, gray, earlier))
    network.load_state_dict(
        {key: value.float() if value.is_floating_point() else value for key, value in load(parent).items()}
    )
    stages.stage("choosing temperature and threshold on dev")
    choice = choose_on_dev(logits(network, split.dev, config.size, torch.device("cpu")), split.dev.targets)
    framing = _framing(config, split.train, faces, stages)
    model = deployable(network, size=config.size, gray=gray, temperature=choice.temperature)
    info = ModelInfo(
        name=name, network=config.network, precision="fp32", labels=labels, crop=framing.crop, gray=gray,
        temperature=choice.temperature, threshold=choice.threshold, trained_on=f"{Path(config.data).name}, train split",
        accuracy={}, licence=licence, parent_sha256=sha256_of(parent),
    )  # fmt: skip
    stages.stage("writing and scoring the ONNX file")
    info = with_accuracy(info, to_onnx(model, info), {"dev": split.dev, "test": split.test})
    paths = write_model(out, name, to_onnx(model, info), parent)
    record = {
        "name": run.folder.name, "run": recorded, "epochs": epochs, "config": _without_paths(config),
        "started_from": earlier, **({"restored_from": origin["file"]} if origin else {}),
        "temperature": choice.temperature, "dev_nll_before": choice.dev_nll_before,
        "dev_nll_after": choice.dev_nll_after, "threshold": choice.threshold,
        "template": {
            "points": framing.crop.template.round(4).tolist(), "margin": framing.crop.margin,
            "offset": framing.crop.offset,
            "found": framing.found, "looked_at": framing.looked_at, "spread": round(framing.spread, 4),
        },
        "accuracy": info.accuracy,
    }  # fmt: skip
    report = out / f"{name}.export.json"
    write_whole(report, (json.dumps(record, indent=2) + "\n").encode())
    return (*paths, report)


def moved_to(data: str | None, label_map: tuple[str, ...]) -> dict[str, object]:
    """Return the settings of a run whose data lies elsewhere now, or calls its classes otherwise."""
    return {**({"data": data} if data else {}), **({"label_map": label_map} if label_map else {})}


def _framing(config: FitConfig, train: FaceSet, count: int, stages: Stages) -> Framing:
    """Return the crop that a run's pictures are framed with: the one they were aligned with, or measured on them."""
    if config.aligned is not None and config.aligned_share == 1:
        described, aligned = read_aligned(Path(config.aligned))
        found, spread = int(aligned.found.sum()), float(described["spread"])
        return Framing(replace(crop_of(described), size=config.size), found, len(aligned.found), spread)
    sample = np.sort(np.random.default_rng(0).permutation(len(train))[:count])
    moved = stages.stage("measuring the crop template", len(sample))
    return measure_framing(train.images[sample], load_detector(), config.size, moved)


def with_accuracy(info: ModelInfo, graph: bytes, sets: dict[str, FaceSet]) -> ModelInfo:
    """Return the facts with the accuracy of the model file on each set, measured by the device's own runtime."""
    classifier = OnnxClassifier.from_bytes(graph, info.name, threads=2)
    accuracy = {}
    for name, faces in sets.items():
        if len(faces):
            figures = score_crops(classifier, as_crops(faces.images, info.crop.size), faces.targets)
            accuracy[name] = round(float(str(figures["accuracy"])), 4)
    return replace(info, accuracy=accuracy)


def _forebears(config: FitConfig) -> list[dict[str, object]]:
    """Return the configurations of the runs that this one began with or learned from, in the order to train them."""
    found: dict[str, dict[str, object]] = {}
    for name in (*config.teachers, *config.start):
        stored = Run(home() / "runs" / name).read_config()
        if stored is None:
            raise InputError(f"run {name}, which this one began with or learned from, is gone")
        earlier, origin = config_from(stored), restored_from(Run(home() / "runs" / name))
        before = origin["started_from"] if origin else _forebears(earlier)
        own = {"name": name, **_without_paths(earlier), **({"restored_from": origin["file"]} if origin else {})}
        for each in [*before, own]:
            found.setdefault(str(each["name"]), each)
    return list(found.values())


def _without_paths(config: FitConfig) -> dict[str, object]:
    """Return the configuration with files by their names alone: what a public file may say."""
    values = asdict(config)
    for key in ("data", "pretrained", "adopt", "votes", "aligned"):
        if values[key] is not None:
            values[key] = Path(values[key]).name
    return values
