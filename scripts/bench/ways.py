"""The ways of `scripts.bench.runtime` to find and read faces: as the seeds do it, and as the frame loop does."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge.align import align
from edge.config import Config
from edge.detect import load_detector
from edge.events import EventMaker, new_stream
from edge.loop import Loop
from edge.model import load_model
from edge.publish import Publisher
from edge.session import open_session
from edge.values import Face, Frame

MIN_FACE = 40


@dataclass
class Seen:
    """What a row said of one frame: faces, labels and the tracks that left."""

    faces: list[Face]
    labels: list[str | None]
    left: int = 0


Way = Callable[[Frame, Publisher], Seen]


def seeds(classify: Callable[[np.ndarray], np.ndarray]) -> Way:
    """Detection by facenet-pytorch on every frame, each face cut out and classified."""
    import torch

    from scripts.bench.mtcnn import Facenet

    torch.set_num_threads(1)
    detector, info, seq = Facenet(MIN_FACE), load_model(None).info, iter(range(10**9))

    def way(frame: Frame, publisher: Publisher) -> Seen:
        faces = detector.detect(cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB))
        crops = [align(frame.image, face.box, np.full((5, 2), np.nan), info.crop) for face in faces]
        scores = classify(np.stack(crops)) if crops else np.zeros((0, len(info.labels)))
        for face, row in zip(faces, scores, strict=True):
            said = {"seq": next(seq), "box": face.box.round(1).tolist(), "emotion": info.labels[int(row.argmax())]}
            publisher.event(frame.camera, json.dumps(said | {"scores": row.round(4).tolist()}))
        return Seen(faces, [info.labels[int(row.argmax())] for row in scores])

    return way


def xception() -> Callable[[np.ndarray], np.ndarray]:
    """Xception in float at 96x96 on ONNX Runtime, untrained: only its time is used."""
    import torch

    from train.networks import build

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "xception.onnx"
        network = build("xception", 7).eval()
        torch.onnx.export(network, (torch.zeros(1, 3, 96, 96),), str(path), dynamo=False, opset_version=17,
                          input_names=["input"], dynamic_axes={"input": {0: "n"}})  # fmt: skip
        session = open_session(path.read_bytes(), "xception", 1)

    def classify(crops: np.ndarray) -> np.ndarray:
        scores = session.run(None, {"input": crops.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1})[0]
        exponents: np.ndarray = np.exp(scores - scores.max(axis=1, keepdims=True))
        return exponents / exponents.sum(axis=1, keepdims=True)

    return classify


def loop(name: str, config: Config) -> Way:
    """The frame loop of `edge run`."""
    model = load_model(None)
    steps = Loop(
        load_detector(name, min_face=MIN_FACE), model, EventMaker("bench", new_stream(), model.info.id), config
    )

    def way(frame: Frame, publisher: Publisher) -> Seen:
        step = steps.step(frame)
        for event in step.events:
            publisher.event(frame.camera, event.to_json())
        return Seen(
            step.faces, [emotion.label for emotion in step.emotions], sum(e.type == "leave" for e in step.events)
        )

    return way
