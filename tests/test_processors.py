"""The shipped model files on other processors, emulated: the same answers as here. The whole proof is `processors`."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.model import load_model

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from emulated import HERE, PROCESSORS, Missing, answers, events  # noqa: E402

COUNT = 20

FILES = sorted(path.name for path in (ROOT / "edge" / "models").glob("*int8.*") if path.suffix in (".onnx", ".tflite"))


@pytest.fixture(scope="module")
def crops(portrait: Path) -> np.ndarray:
    """`(COUNT, 96, 96, 3)` uint8 RGB: the bundled portrait's face, turned, scaled, dimmed, blurred and noisy."""
    face = cv2.cvtColor(cv2.imread(str(portrait)), cv2.COLOR_BGR2RGB)[20:220, 130:330]
    rng = np.random.default_rng(0)
    made = []
    for _ in range(COUNT):
        turn = cv2.getRotationMatrix2D((100, 100), rng.uniform(-60, 60), rng.uniform(0.6, 1.4))
        image = cv2.resize(cv2.warpAffine(face, turn, (200, 200)), (96, 96)).astype(np.float32)
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 2.5)) * rng.uniform(0.3, 1.4)
        made.append(image + rng.normal(0, rng.uniform(0, 25), image.shape))
    return np.clip(np.stack(made), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("file", FILES)
def test_the_same_answers(processor: str, file: str, crops: np.ndarray) -> None:
    path = ROOT / "edge" / "models" / file
    here = load_model(path, threads=1).classify(crops)
    try:
        there, _ = answers(processor, path, crops)
    except Missing as error:
        pytest.skip(str(error))
    assert (there.argmax(axis=1) == here.argmax(axis=1)).all()
    np.testing.assert_allclose(there, here, atol=0.05)  # a last bit that falls to the other side moves a few hundredths


def test_the_same_events_on_arm(portrait_clip: Path) -> None:
    """Twenty frames through the whole loop on a Raspberry Pi 4's core: searched, followed, read, steadied."""
    capture = cv2.VideoCapture(str(portrait_clip))
    frames = np.stack([capture.read()[1] for _ in range(COUNT)])
    try:
        there = events("cortex-a72", frames, 20.0)
    except Missing as error:
        pytest.skip(str(error))
    here = events(HERE, frames, 20.0)
    assert len(here) == COUNT
    assert [(e["type"], e["frame"], e["track"], e["emotion"]) for e in there] == [
        (e["type"], e["frame"], e["track"], e["emotion"]) for e in here
    ]
    for ours, theirs in zip(here, there, strict=True):
        assert ours["scores"] == pytest.approx(theirs["scores"], abs=0.02)
        assert ours["box"] == pytest.approx(theirs["box"], abs=1.0)
