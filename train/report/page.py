"""One HTML file a report: Jinja2 templates, everything inline, no scripts."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """Fill a template of `train/report/templates`; every text is escaped."""
    folder = Path(__file__).resolve().parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"pct": percent, "picture": picture_uri, "png": png_uri, "num": number}
    return environment.get_template(template).render(**values)


def percent(value: float | None) -> str:
    """Return a share of 1 in percent with a digit behind the point; a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits behind the point; a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def png_uri(data: bytes) -> str:
    """Return PNG bytes as a `data:` address."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def picture_uri(image: np.ndarray) -> str:
    """Return a `(H, W, 3)` uint8 RGB picture as a PNG's `data:` address; gray ones are stored as gray."""
    is_gray = (image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all()
    stored = image[..., 0] if is_gray else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return png_uri(cv2.imencode(".png", stored)[1].tobytes())
