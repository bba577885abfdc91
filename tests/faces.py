"""Small labelled pictures that a network can learn, written by the tests that need them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from edge.values import EMOTIONS

EDGE = [sys.executable, "-m", "edge.cli"]


def picture(rng: np.random.Generator, target: int, side: int = 48) -> np.ndarray:
    """A picture that a network can learn: a bright bar whose angle is the class, on a background of its own."""
    image = cv2.resize(rng.integers(0, 200, (6, 6), np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    angle = np.pi * target / len(EMOTIONS)
    dx, dy = np.cos(angle) * side / 3, np.sin(angle) * side / 3
    middle = side / 2 + rng.uniform(-3, 3, 2)
    ends = [(round(middle[0] + s * dx), round(middle[1] + s * dy)) for s in (-1, 1)]
    return cv2.line(image, ends[0], ends[1], 255, 5)


def folder_of_pictures(path: Path, per_class: int, seed: int = 0) -> Path:
    """Write a folder per class."""
    rng = np.random.default_rng(seed)
    for target, label in enumerate(EMOTIONS):
        (path / label).mkdir(parents=True)
        for index in range(per_class):
            cv2.imwrite(str(path / label / f"{index}.png"), picture(rng, target))
    return path


def edge_train(home: Path, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run `edge …` (or `BEFORE edge …`) with runs in a folder of the test's own."""
    environment = {**os.environ, "EMOTION_EDGE_HOME": str(home)}
    return subprocess.run(
        [*(before or EDGE), *arguments], capture_output=True, text=True, timeout=300, check=False, env=environment
    )
