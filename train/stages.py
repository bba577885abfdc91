"""What long work says of itself while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Stages(Protocol):
    """Shows a long job's stages."""

    def stage(self, text: str, total: int | None = None) -> Callable[[int], None]:
        """Begin a stage; return what takes the number done."""
