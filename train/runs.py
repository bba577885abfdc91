"""A run is a folder: its configuration, what it was trained on, metrics per epoch, and checkpoints that resume."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import math
import os
import platform
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from edge.errors import InputError
from edge.files import check_writable, umask, write_whole

if os.name == "posix":
    import fcntl


def home() -> Path:
    """Return the folder for runs and caches: `$EMOTION_EDGE_HOME`, or `~/.local/share/emotion-edge`."""
    named = os.environ.get("EMOTION_EDGE_HOME")
    return Path(named) if named else Path.home() / ".local" / "share" / "emotion-edge"


class Run:
    """One training run's folder.

    Files: `config.toml`, `data.json`, `metrics.csv` (a row an epoch), `last.safetensors` (everything to go on with),
    `best.safetensors` (the averaged weights of the best epoch on dev), `environment.json` (versions, git revision).
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

    def missing(self) -> InputError:
        """Return the error of a run that has no weights yet; of one that is not there, with those that are."""
        if self.folder.is_dir():
            return InputError(f'{self.folder}: no finished epoch in it; train it with "edge train fit"')
        there = sorted(each.parent.name for each in self.folder.parent.glob("*/best.safetensors"))
        named = f"those that are: {', '.join(there[-8:])}" if there else "there is none yet"
        return InputError(f'{self.folder}: no such run ({named}); train one with "edge train fit"')

    def lock(self) -> None:
        """Hold the run for this process until it ends; refuse a second one (not on Windows, which has no flock)."""
        if self._lock is not None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / ".lock").open("w")
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be written ({error.strerror}); set EMOTION_EDGE_HOME") from None
        if os.name != "posix":
            return
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

        values = {key: value for key, value in asdict(config).items() if value is not None}  # tuples are arrays to TOML
        write_whole(self.folder / "config.toml", tomli_w.dumps(values).encode())

    def write_json(self, name: str, value: object) -> None:
        """Write `name` as indented JSON."""
        write_whole(self.folder / name, (json.dumps(value, indent=2) + "\n").encode())

    def write_environment(self) -> None:
        """Write `environment.json`: the versions and the git revision that this run was trained with, last."""
        write_whole(self.folder / "environment.json", (json.dumps(environment(), indent=2) + "\n").encode())

    def write_metrics(self, rows: list[dict[str, object]]) -> None:
        """Write all epochs' metrics as csv."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(rows[-1]))
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.folder / "metrics.csv", text.getvalue().encode())

    def read_metrics(self, epochs: int) -> list[dict[str, str]]:
        """Return the metrics of the first so many epochs as text, oldest first.

        Raises:
            InputError: they are not all there, or not readable.
        """
        path = self.folder / "metrics.csv"
        try:
            rows = list(csv.DictReader(path.read_text().splitlines()))[:epochs] if epochs else []
            known = ("epoch", "loss", "dev_accuracy", "dev_balanced_accuracy", "dev_macro_f1", "seconds")
            if len(rows) == epochs and all(math.isfinite(float(row[key])) for row in rows for key in known):
                return rows
        except (OSError, ValueError, KeyError, TypeError, csv.Error):
            pass
        raise InputError(f"{path}: it does not hold the metrics of {epochs} epochs; choose another --name")

    def epochs_done(self) -> int:
        """Return how many epochs the last checkpoint has behind it."""
        epoch = load_tensors(self.last)[1].get("epoch", "")
        if not epoch.isdecimal():
            raise InputError(f"{self.last}: it is no checkpoint of a run; choose another --name")
        return int(epoch)

    def best_accuracy(self, but: int) -> float:
        """Return the dev accuracy that the kept weights say of themselves, -1 where none are kept or from epoch `but`.

        It guards them when the checkpoint or the metrics are lost; an epoch done again may write its own again.
        """
        said = load_tensors(self.best)[1] if self.best.exists() else {}
        if said.get("epoch") == str(but) or "dev_accuracy" not in said:
            return -1.0
        try:
            return float(said["dev_accuracy"])
        except ValueError:
            raise InputError(f"{self.best}: its dev_accuracy is no number; choose another --name") from None

    def read_data(self) -> dict[str, Any]:
        """Return what the run was begun with.

        Raises:
            InputError: `data.json` is missing or damaged.
        """
        path = self.folder / "data.json"
        try:
            value = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not readable ({error})") from None
        if not isinstance(value, dict) or not {"dev_sha256", "train_sha256", "train", "dev", "left_out"} <= set(value):
            raise InputError(f"{path}: it does not say what the run was begun with")
        return value


def environment() -> dict[str, str | None]:
    """Return what a run is trained with: versions of Python and of the packages that matter, and the git revision."""
    versions = {name: importlib.metadata.version(name) for name in ("emotion-edge", "torch", "timm", "numpy")}
    checkout = Path(__file__).resolve().parent.parent
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    revision = None
    if (checkout / ".git").exists():  # not some other repository that an environment happens to lie in
        with suppress(OSError):
            revision = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
    return {"python": platform.python_version(), **versions, "revision": revision}


def check_creatable(folder: Path) -> None:
    """Make sure that a new folder can be made and written; it is not there afterwards.

    Raises:
        InputError: it cannot.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        check_writable(folder)
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


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
        partial.chmod(0o666 & ~umask())
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be written ({reason}); what was there is as it was") from None
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
