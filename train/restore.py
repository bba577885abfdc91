"""A run made again from the fp16 parent that ships beside a model: to teach with, to begin with, to calibrate anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge.errors import InputError
from train.config import FitConfig, config_from
from train.export import sha256_of
from train.networks import build
from train.runs import Run, load_tensors, save_tensors

RESTORED = "restored.json"
"""What tells such a run from one that was trained here: the parent's file name and sha256."""


def restore(parent: Path, run: Run, *, data: str | None = None) -> FitConfig:
    """Make a run's folder of a parent file; return its configuration.

    The file holds weights, configuration and what it was trained on, but neither epochs nor a checkpoint to go on from:
    such a run can teach and be begun with, be measured and calibrated, and cannot be resumed.

    Args:
        parent: `NAME.fp16.safetensors`, as `edge train export` and `edge calibrate ship` write it.
        run: a folder that is not there yet, or one that was restored from the same file.
        data: where the labelled faces are on this machine; None for the name that the file says.

    Raises:
        InputError: it is no such file, or the run is another one.
    """
    if not parent.is_file():
        raise InputError(f"{parent}: no such file; give a NAME.fp16.safetensors of edge train export")
    tensors, said = load_tensors(parent)
    try:
        config = {**json.loads(said["config"]), **({"data": data} if data else {})}
        described, labels = json.loads(said["data"]), json.loads(said["labels"])
        settings = config_from({key: value for key, value in config.items() if value is not None})
        described["dev_sha256"], described["train_sha256"]
        earlier = json.loads(said.get("started_from", "[]"))
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{parent}: it does not say how it was trained; give a NAME.fp16.safetensors of edge train export"
        ) from None
    origin = {"file": parent.name, "sha256": sha256_of(parent.read_bytes()), "started_from": earlier}
    if run.folder.exists() and restored_from(run) != origin:
        raise InputError(f"{run.folder}: there is another run of that name; choose another --name")
    weights = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    try:
        build(settings.network, len(labels)).load_state_dict(weights)
    except RuntimeError:
        raise InputError(f"{parent}: its weights are of another network than {settings.network}") from None
    run.lock()
    run.write_json(RESTORED, origin)
    run.write_config(settings)
    run.write_json("data.json", {**described, "labels": labels, "gray": json.loads(said.get("gray", "true"))})
    save_tensors(run.best, weights)
    return settings


def restored_from(run: Run) -> dict[str, Any] | None:
    """Return `file` and `sha256` that a run was restored from, and what that had `started_from`; None for a run that
    was trained here.

    Raises:
        InputError: what says so is damaged.
    """
    path = run.folder / RESTORED
    if not path.exists():
        return None
    try:
        said = json.loads(path.read_text())
        return {"file": str(said["file"]), "sha256": str(said["sha256"]), "started_from": list(said["started_from"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: it does not say what the run was restored from") from None
