"""One HTML file: a Jinja2 template, everything inline, no scripts."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from calibrate.gate import figure
from edge.machine import in_words, is_busy, state_in_words


def render(template: str, **values: Any) -> str:
    """Fill a template of `calibrate/report/templates`; every text is escaped."""
    folder = Path(__file__).resolve().parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "pct": percent, "num": number, "points": points, "span": span, "mb": megabytes, "count": "{:,}".format,
        "p": p_value, "machine": in_words, "state": state_in_words, "busy": lambda machine: is_busy(machine, own=1),
        "png": png_uri, "picture": picture_uri,
    }  # fmt: skip
    return environment.get_template(template).render(**values)


def percent(value: float | None, digits: int = 2) -> str:
    """Return a share of 1 in percent; a dash for None."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits behind the point; a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


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


def png_uri(data: bytes) -> str:
    """Return PNG bytes as a `data:` address."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def picture_uri(image: np.ndarray) -> str:
    """Return a `(H, W, 3)` uint8 RGB picture as a PNG's `data:` address; gray ones are stored as gray."""
    is_gray = (image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all()
    stored = image[..., 0] if is_gray else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return png_uri(cv2.imencode(".png", stored)[1].tobytes())
