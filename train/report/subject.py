"""What is evaluated: a model file as it is, or a run's best weights as the float ONNX that `export` would make."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from edge.align import Crop
from edge.detect import load_detector
from edge.errors import InputError
from edge.files import write_whole
from edge.model import Classifier, load_model
from edge.model.contract import ModelInfo
from train.alignment import crop_of, read_aligned
from train.config import FitConfig, config_from
from train.datasets.split import Split
from train.export import choose_on_dev, deployable, sha256_of, to_onnx
from train.fit import logits
from train.framing import measure_framing
from train.networks import build
from train.report.command import without_paths
from train.report.sources import Sources
from train.runs import Run
from train.stages import Stages

FACES = 300
"""Training pictures that the crop template is measured on: enough for a mean within 0.003 of the side."""


@dataclass(frozen=True)
class Subject:
    """A model under the device's runtime, and where it comes from.

    Attributes:
        file: the ONNX file.
        classifier: the file, loaded.
        template: where its crop template comes from, in words; None where that is not known.
        run: the run's facts for the report (`name`, `config`, `data`, `epochs`, `weights_sha256`), None for a file.
    """

    file: Path
    classifier: Classifier
    template: str | None = None
    run: dict[str, Any] | None = None


def open_file(path: Path, threads: int) -> Subject:
    """Take a model file as it is.

    Raises:
        InputError: it is missing or breaks the contract.
    """
    return Subject(path, load_model(path, threads=threads))


def open_run(run: Run, moved_to: str | None, sources: Sources, stages: Stages, threads: int) -> Subject:
    """Make the run's best weights a float ONNX, or take the one that was made of the same weights before.

    Temperature and threshold are chosen on the run's own dev split. The file lies in the run's folder, named by the
    weights' hash; those of earlier weights go.

    Args:
        run: a run with a finished epoch.
        moved_to: where its data may be, when it is not where the run found it.
        sources: read its data.
        stages: shows what is being done.
        threads: processor threads for the file.

    Raises:
        InputError: no finished epoch, damaged weights, or its data is not where it was and not `moved_to` either.
    """
    weights, config, recorded = read_run(run)
    about_config = without_paths(asdict(config))
    name, sha = run.folder.name, sha256_of(weights)
    file = cached_file(run, sha)
    facts = _read_facts(file)
    if facts is None:
        if moved_to is not None and not Path(config.data).exists():
            config = replace(config, data=moved_to)
        stages.stage(f"{name}: reading the data it was trained on")
        split = sources.split(config)
        if recorded["dev_sha256"] != split.dev.fingerprint():
            raise InputError(f"{config.data}: it is not what {name} was trained on (its dev split differs)")
        graph, facts = _export(name, config, weights, split, stages)
        for old in [*run.folder.glob("best-*.onnx"), *run.folder.glob("best-*.onnx.json")]:
            with suppress(OSError):
                old.unlink()
        write_whole(file, graph)
        write_whole(_beside(file), (json.dumps(facts, indent=2) + "\n").encode())
    about = {
        "name": name, "config": about_config, "data": recorded, "weights_sha256": sha,
        "epochs": run.read_metrics(run.epochs_done()) if run.last.exists() else [],
    }  # fmt: skip
    return Subject(file, load_model(file, threads=threads), facts["template"], about)


def read_run(run: Run) -> tuple[bytes, FitConfig, dict[str, Any]]:
    """Return a run's best weights as they lie in their file, its configuration, and what it was begun with.

    Raises:
        InputError: there is no such run, or no epoch of it is finished.
    """
    stored = run.read_config()
    if stored is None or not run.best.exists():
        raise run.missing()
    return run.best.read_bytes(), config_from(stored), run.read_data()


def cached_file(run: Run, sha: str) -> Path:
    """Return where the float ONNX of weights with this hash lies, or would."""
    return run.folder / f"best-{sha[:16]}.onnx"


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _read_facts(file: Path) -> dict[str, Any] | None:
    """Return what was written beside a cached file, or None where file or facts are missing or damaged."""
    try:
        facts = json.loads(_beside(file).read_text())
        same = file.is_file() and sha256_of(file.read_bytes()) == facts["sha256"] and isinstance(facts["template"], str)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts if same else None


def _export(name: str, config: FitConfig, weights: bytes, split: Split, stages: Stages) -> tuple[bytes, dict[str, Any]]:
    """Return the float ONNX and what is kept beside it; weights are rounded to fp16 first, as `export` ships them."""
    labels, gray = split.dev.labels, split.dev.gray
    network = build(config.network, len(labels))
    try:
        state = load(weights)
        network.load_state_dict({key: v.half().float() if v.is_floating_point() else v for key, v in state.items()})
    except (RuntimeError, SafetensorError):
        raise InputError(f"{name}: its best weights are damaged, or those of another network") from None
    stages.stage(f"{name}: choosing temperature and threshold on dev")
    choice = choose_on_dev(logits(network, split.dev, config.size, torch.device("cpu")), split.dev.targets)
    crop, template = _framing(config, split, stages)
    info = ModelInfo(
        name=name, network=config.network, precision="fp32", labels=labels, crop=crop, gray=gray,
        temperature=choice.temperature, threshold=choice.threshold, trained_on=f"{Path(config.data).name}, train split",
        accuracy={}, licence="not released: made for a report", parent_sha256=sha256_of(weights),
    )  # fmt: skip
    stages.stage(f"{name}: writing the ONNX file")
    graph = to_onnx(deployable(network, size=config.size, gray=gray, temperature=choice.temperature), info)
    facts = {
        "sha256": sha256_of(graph), "template": template,
        "dev_nll_before": choice.dev_nll_before, "dev_nll_after": choice.dev_nll_after,
    }  # fmt: skip
    return graph, facts


def _framing(config: FitConfig, split: Split, stages: Stages) -> tuple[Crop, str]:
    """Return how the run's pictures frame faces, and how that is known: they were aligned so, it is measured, or,
    where the detector knows too few of them as faces, it is borrowed.
    """
    if config.aligned is not None and config.aligned_share == 1:
        return replace(
            crop_of(read_aligned(Path(config.aligned))[0]), size=config.size
        ), "what its faces were aligned to"
    sample = np.sort(np.random.default_rng(0).permutation(len(split.train))[:FACES])
    moved = stages.stage("measuring the crop template", len(sample))
    try:
        framing = measure_framing(split.train.images[sample], load_detector(), config.size, moved)
    except InputError as error:
        return replace(load_model().info.crop, size=config.size), f"the shipped model's ({error})"
    return framing.crop, f"measured: a face found in {framing.found} of {framing.looked_at} training pictures"
