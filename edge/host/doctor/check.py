"""What one look at a device gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail", "skipped"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what it is, in a word or two.
        state: `ok`; `warn` for what works but not well; `fail` for what keeps `edge run` from working; `skipped` for
            what does not concern this device.
        found: what was found, in one line.
        todo: what to do about it; empty where there is nothing to do.
    """

    name: str
    state: State
    found: str
    todo: str = ""
