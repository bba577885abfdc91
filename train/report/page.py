"""One HTML file a report: Jinja2 templates, everything inline, no scripts."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """Fill a template of `train/report/templates`; every text is escaped."""
    return fill(Path(__file__).resolve().parent / "templates", template, {"pct": percent}, values)


def fill(
    folder: Path, template: str, filters: Mapping[str, Callable[..., object]], values: Mapping[str, object]
) -> str:
    """Fill a template of a folder; every text is escaped.

    Args:
        folder: with the template and those that it draws in.
        template: its file name.
        filters: beside `picture`, `png` and `num`, which every report has.
        values: what the template speaks of; a name that is missing is an error.
    """
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"picture": picture_uri, "png": png_uri, "num": number, **filters}
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
