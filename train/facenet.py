"""facenet-pytorch's own MTCNN as a detector, for those who want the original on their workstation."""

from __future__ import annotations

import cv2
import numpy as np
import torch

import train.torchvision_cpu  # noqa: F401  (before facenet-pytorch, which imports torchvision)
from edge.errors import InputError
from edge.values import Face


class FacenetDetector:
    """`edge.detect.Finder` on facenet-pytorch: about a quarter as fast as the device's, the same faces."""

    name = "facenet"

    def __init__(self, *, min_face: int = 40) -> None:
        """Load it.

        Raises:
            InputError: it is not installed.
        """
        try:
            from facenet_pytorch import MTCNN
        except ImportError:
            raise InputError(
                "--detector facenet: facenet-pytorch is not here: pip install --no-deps facenet-pytorch==2.6.0"
            ) from None
        self._mtcnn = MTCNN(keep_all=True, min_face_size=min_face, device=torch.device("cpu"))

    def detect(self, image: np.ndarray) -> list[Face]:
        """Return the faces in `(H, W, 3)` uint8 BGR, best score first; empty when there are none."""
        boxes, scores, landmarks = self._mtcnn.detect(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), landmarks=True)
        if boxes is None:
            return []
        order = np.argsort(-scores.astype(np.float64), kind="stable")
        return [
            Face(boxes[i].astype(np.float32), float(scores[i]), landmarks[i].astype(np.float32), self.name)
            for i in order
        ]
