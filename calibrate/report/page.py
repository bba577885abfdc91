"""One HTML file: templates of this side, filled as those of training are, and figures as they are said here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from calibrate.gate import figure
from edge.machine import in_words, is_busy, state_in_words
from train.report.page import fill, number

__all__ = ["megabytes", "number", "p_value", "percent", "points", "render", "span"]


def render(template: str, **values: Any) -> str:
    """Fill a template of `calibrate/report/templates`; every text is escaped."""
    filters: dict[str, Callable[..., object]] = {
        "pct": percent, "points": points, "span": span, "mb": megabytes, "count": "{:,}".format, "p": p_value,
        "machine": in_words, "state": state_in_words, "busy": lambda machine: is_busy(machine, own=1),
    }  # fmt: skip
    return fill(Path(__file__).resolve().parent / "templates", template, filters, values)


def percent(value: float | None, digits: int = 2) -> str:
    """Return a share of 1 in percent; a dash for None."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def points(value: float | None) -> str:
    """Return percentage points; a dash for None."""
    return "–" if value is None else figure(value)


def span(interval: dict[str, float] | None) -> str:
    """Return an interval in points; a dash for None."""
    return "–" if interval is None else f"{figure(interval['low'])} … {figure(interval['high'])}"


def p_value(value: float) -> str:
    """Return a p-value with three digits behind the point, or that it is less than they can say."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def megabytes(size: int) -> str:
    """Return bytes in megabytes, a million bytes each."""
    return f"{size / 1e6:.2f}"
