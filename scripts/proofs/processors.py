"""The shipped int8 files on PublicTest: the same labels on processors that are not here, emulated. Hours.

Which of them this machine is stands beside it. Needs ../shared/data and what `scripts/emulated.py` names.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

COVERS = [
    "edge/models/*-int8.*", "edge/model/*.py", "edge/session.py", "scripts/emulated.py",
]  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "fer2013.zip"
LEAST = 0.995


def prove() -> dict[str, Any]:
    """Return the figures; raise when a processor gives another label too often."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from edge.model import load_model
    from emulated import PROCESSORS, answers
    from train.datasets import as_crops, open_faces
    from train.datasets.split import split_faces

    if not DATA.is_file():
        raise SystemExit("prove processors: it needs FER2013 in ../shared/data, which is not here")
    test = split_faces(open_faces(str(DATA))).test
    vnni = "vnni" in Path("/proc/cpuinfo").read_text()
    files = sorted(path for path in (ROOT / "edge" / "models").glob("*-int8.*") if path.suffix in (".onnx", ".tflite"))
    here, crops = {}, {}
    for path in files:
        model = load_model(path, threads=1)
        crops[path] = as_crops(test.images, model.info.crop.size)
        here[path] = model.classify(crops[path])

    def one(job: tuple[Path, str]) -> dict[str, Any]:
        path, processor = job
        there, runtime = answers(processor, path, crops[path])
        same = here[path].argmax(axis=1) == there.argmax(axis=1)
        print(f"{path.name} on {processor}: {same.sum()} of {len(same)}", file=sys.stderr, flush=True)
        return {
            "file": path.name, "processor": processor, "runtime": runtime, "n": len(same), "same": int(same.sum()),
            "share": float(same.mean()), "furthest_probability": float(np.abs(there - here[path]).max()),
        }  # fmt: skip

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        # One processor at a time: the emulated system tells of one core.
        rows = [row for each in PROCESSORS for row in pool.map(one, [(path, each) for path in files])]
    short = [row for row in rows if row["share"] < LEAST]
    if short:
        raise SystemExit(f"prove processors: {short}: at least {LEAST} of the labels were to be the same")
    return {"here_has_vnni": vnni, "rows": rows}
