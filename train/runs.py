"""A run is a folder: its configuration, what it was trained on, metrics per epoch, and checkpoints that resume."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from edge.errors import InputError
from edge.files import write_whole

if os.name == "posix":
    import fcntl


def home() -> Path:
    """Return the folder for runs and caches: `$EMOTION_EDGE_HOME`, or `~/.local/share/emotion-edge`."""
    named = os.environ.get("EMOTION_EDGE_HOME")
    return Path(named) if named else Path.home() / ".local" / "share" / "emotion-edge"


class Run:
    """One training run's folder.

    Files: `config.toml`, `data.json`, `metrics.csv` (a row an epoch), `last.safetensors` (everything to go on with),
    `best.safetensors` (the averaged weights of the best epoch on dev).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: Any = None

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.folder / "last.safetensors"

    @property
    def best(self) -> Path:
        """The weights to export."""
        return self.folder / "best.safetensors"

    def lock(self) -> None:
        """Hold the run for this process until it ends; refuse a second one (not on Windows, which has no flock)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.name != "posix":
            return
        self._lock = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{self.folder}: another process is training in it; wait, or choose another --name"
            ) from None

    def read_config(self) -> dict[str, Any] | None:
        """Return the configuration written at the run's start, or None for a new run."""
        path = self.folder / "config.toml"
        return load_toml(path) if path.exists() else None

    def write_config(self, config: Any) -> None:
        """Write a configuration dataclass, complete; TOML has no null, so what is unset is left out."""
        import tomli_w

        values = {key: value for key, value in asdict(config).items() if value is not None}
        write_whole(self.folder / "config.toml", tomli_w.dumps(values).encode())

    def write_json(self, name: str, value: object) -> None:
        """Write `name` as indented JSON."""
        write_whole(self.folder / name, (json.dumps(value, indent=2) + "\n").encode())

    def write_metrics(self, rows: list[dict[str, object]]) -> None:
        """Write all epochs' metrics as csv."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.folder / "metrics.csv", text.getvalue().encode())

    def read_metrics(self) -> list[dict[str, str]]:
        """Return the epochs' metrics as text, oldest first; empty before the first epoch has ended."""
        path = self.folder / "metrics.csv"
        if not path.exists():
            return []
        with path.open(newline="") as file:
            return list(csv.DictReader(file))


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file (`tomllib`, or `tomli` on Python 3.10)."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as TOML ({error})") from None


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file({key: value.detach().contiguous() for key, value in tensors.items()}, partial, metadata)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a safetensors file.

    Raises:
        InputError: it is missing or no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not readable as safetensors ({error})") from None
