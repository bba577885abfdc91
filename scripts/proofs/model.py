"""The shipped model on PublicTest, whole pictures as ready crops, through `edge evaluate`. Needs ../shared/data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

COVERS = ["edge/models/lite2*", "edge/measure/*.py", "edge/model/*.py", "edge/align.py"]
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "fer2013.zip"
LEAST, MOST_LOST = 0.68, 0.01


def prove() -> dict[str, Any]:
    """Return the figures; raise when one is out of its bounds."""
    if not DATA.is_file():
        raise SystemExit("prove model: it needs FER2013 in ../shared/data, which is not here")
    command = ["evaluate", "edge/models/lite2-int8.onnx", str(DATA), "--split", "test", "--json"]
    done = subprocess.run([sys.executable, "-m", "edge.cli", *command], capture_output=True, text=True, check=True)
    scored = json.loads(done.stdout)
    parent = json.loads(Path("edge/models/lite2.json").read_text())["figures"]["fp32"]["accuracy"]
    figures = {key: scored[key] for key in ("n", "accuracy", "balanced_accuracy", "macro_f1", "ece", "per_class")}
    if scored["accuracy"] < LEAST or parent - scored["accuracy"] > MOST_LOST:
        raise SystemExit(
            f"prove model: accuracy {scored['accuracy']:.4f}, its float parent {parent:.4f}: "
            f"at least {LEAST} and at most {MOST_LOST} lost were to be shown"
        )
    return {**figures, "accuracy_of_the_float_parent": parent}
