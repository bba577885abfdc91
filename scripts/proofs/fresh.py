"""A fresh clone and an empty environment: `scripts/demo` sets itself up, plays, and says what was seen."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

COVERS = [
    "scripts/demo*", "scripts/environment.sh", "scripts/data/portrait.mp4", "pyproject.toml", "edge/**/*.py",
    "edge/models/**/*.onnx",
]  # fmt: skip


def prove() -> dict[str, Any]:
    """Return the figures; raise when one is out of its bounds."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
        start = time.monotonic()
        done = subprocess.run(["scripts/demo"], cwd=clone, capture_output=True, text=True, check=False, timeout=900)
        seconds = time.monotonic() - start
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        python = clone / ".venv-demo" / "bin" / "python"
        listed = subprocess.run([str(python), "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
        packages = sorted(entry["name"].lower() for entry in json.loads(listed.stdout))
        size = subprocess.run(
            ["du", "-sm", str(clone / ".venv-demo")], capture_output=True, text=True, check=True
        ).stdout
    emotions = Counter(event["emotion"] for event in events)
    happy = emotions["happy"] / len(events)
    assert seconds < 300
    assert len(events) >= 20
    assert happy >= 0.9
    assert not {"torch", "torchvision", "timm", "scipy", "scikit-learn", "lime"} & set(packages)
    return {
        "seconds_from_clone_to_end": round(seconds, 1), "events": len(events), "happy": round(happy, 4),
        "emotions": dict(emotions), "environment_mib": int(size.split()[0]), "packages": packages,
        "said": done.stdout.strip().splitlines()[-2:],
    }  # fmt: skip
