"""Emotion Edge: facial emotion recognition at the edge. The names below are what a program that embeds it needs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.detect import load_detector
    from edge.errors import EdgeError, InputError, OutsideError
    from edge.events import Event
    from edge.model import load_model
    from edge.program import watch
    from edge.sources import open_source
    from edge.values import EMOTIONS, Emotion, Face, Frame

__version__ = "0.1.0"

_HOMES = {
     "load_detector": "edge.detect", "load_model": "edge.model", "open_source": "edge.sources",
    "watch": "edge.program", "EdgeError": "edge.errors", "InputError": "edge.errors", "OutsideError": "edge.errors",
    "Event": "edge.events", "EMOTIONS": "edge.values", "Emotion": "edge.values", "Face": "edge.values",
    "Frame": "edge.values",
}  # fmt: skip

__all__ = [
    "EMOTIONS", "EdgeError", "Emotion", "Event", "Face", "Frame", "InputError", "OutsideError",
    "load_detector", "load_model", "open_source", "watch",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a name's module when the name is first asked for, so that `import edge` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'edge' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
