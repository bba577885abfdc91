"""What a calibration has reached, on disk, so that one that was stopped goes on where it stood."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx

from calibrate.dev import Figures
from calibrate.evidence import Layer, Rung, Trial
from calibrate.ladder import Climb, Stand
from calibrate.onnx_int8 import Settings
from edge.files import check_writable, write_whole

PLAN, SWEEP, CLIMB, GRAPH, AIM = "plan.json", "sweep.json", "climb.json", "graph.onnx", "aim.onnx"


class Work:
    """The folder in which a calibration keeps what it has reached.

    What lies there belongs to one plan: the parent's weights, the data, and every option. Another plan begins anew.
    """

    def __init__(self, folder: Path, plan: dict[str, Any]) -> None:
        """Open the folder, and empty it where it holds the work of another plan.

        Raises:
            InputError: it cannot be written.
        """
        self.folder = folder
        check_writable(folder)
        text = json.dumps(plan, indent=2, sort_keys=True) + "\n"
        path = folder / PLAN
        self.resumed = path.exists() and path.read_text() == text
        if not self.resumed:
            for name in (SWEEP, CLIMB, GRAPH, AIM):
                (folder / name).unlink(missing_ok=True)
            for kind in ("onnx", "tflite"):
                (folder / f"int8.{kind}").unlink(missing_ok=True)
            write_whole(path, text.encode())

    def write_sweep(self, sweep: list[Trial], curve: list[Trial]) -> None:
        """Keep what was tried."""
        self._write(SWEEP, {"sweep": [asdict(t) for t in sweep], "curve": [asdict(t) for t in curve]})

    def read_sweep(self) -> tuple[list[Trial], list[Trial]] | None:
        """Return what was tried, or None where nothing was yet."""
        stored = self._read(SWEEP)
        return None if stored is None else tuple([Trial(**row) for row in stored[key]] for key in ("sweep", "curve"))  # type: ignore[return-value]

    def write_climb(self, climb: Climb) -> None:
        """Keep how far the ladder was climbed; the models first, the word that they are whole last."""
        held = {
            GRAPH: climb.stand.graph.SerializeToString(), AIM: climb.stand.aim.SerializeToString(),
            **{f"int8.{kind}": data for kind, data in climb.files.items()},
        }  # fmt: skip
        for name, data in held.items():
            write_whole(self.folder / name, data)
        self._write(CLIMB, {
            "ranges": climb.stand.ranges, "settings": asdict(climb.stand.settings),
            "rungs": [asdict(rung) for rung in climb.rungs], "layers": [asdict(layer) for layer in climb.layers],
            "figures": {kind: asdict(figures) for kind, figures in climb.figures.items()},
            "notes": climb.notes, "tried": climb.tried,
            "sha256": {name: _sha256(data) for name, data in held.items()},
        })  # fmt: skip

    def read_climb(self) -> Climb | None:
        """Return how far the ladder was climbed, or None where there is nothing whole."""
        stored = self._read(CLIMB)
        if stored is None:
            return None
        files = {}
        for name, digest in stored["sha256"].items():
            path = self.folder / name
            if not path.exists() or _sha256(path.read_bytes()) != digest:
                return None
            files[name] = path.read_bytes()
        if not {GRAPH, AIM} <= files.keys():
            return None
        settings = stored["settings"]
        ranges = {name: (low, high) for name, (low, high) in stored["ranges"].items()}
        graph, aim = (onnx.load_from_string(files.pop(name)) for name in (GRAPH, AIM))
        return Climb(
            Stand(graph, aim, ranges, Settings(**{**settings, "keep_float": tuple(settings["keep_float"])})),
            [Rung(**row) for row in stored["rungs"]],
            [Layer(**row | {"edges": tuple(row["edges"]), "counts": tuple(row["counts"])}) for row in stored["layers"]],
            {name.removeprefix("int8."): data for name, data in files.items()},
            {kind: Figures(**row) for kind, row in stored["figures"].items()},
            stored["notes"], stored["tried"],
        )  # fmt: skip

    def clear(self) -> None:
        """Take the folder away: its work is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, value: object) -> None:
        write_whole(self.folder / name, (json.dumps(value, indent=1) + "\n").encode())

    def _read(self, name: str) -> Any:
        path = self.folder / name
        try:
            return json.loads(path.read_bytes()) if path.exists() else None
        except ValueError:
            return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
