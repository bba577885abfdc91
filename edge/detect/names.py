"""What the detectors are called: a configuration is checked by it, and none of them has to be loaded."""

from __future__ import annotations

from edge.errors import InputError

DETECTORS: tuple[str, ...] = ("mtcnn", "blazeface", "mediapipe", "yunet", "haar")
"""The detectors that `edge.detect.load_detector` knows."""

AUTO = "auto"
"""The name for all of them: the best that works here, and steps down and up by itself."""


def check_name(name: str) -> None:
    """Refuse a name that `edge.detect.load_detector` does not know.

    Raises:
        InputError: it is neither one of `DETECTORS` nor `AUTO`.
    """
    if name not in (*DETECTORS, AUTO):
        raise InputError(f'no detector "{name}": choose one of {", ".join(DETECTORS)}, or {AUTO}')
