"""Augmentation: one face crop at a time, in uint8 with OpenCV, from a random generator of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edge.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """How strongly training pictures are varied.

    Attributes:
        rotate: largest turn either way, degrees.
        scale: smallest and largest zoom.
        shift: largest shift either way, share of the side.
        flip: chance of a mirror image.
        brightness, contrast: largest change either way, share of the full range and factor.
        sharpen: chance of an unsharp mask, so that a camera's crisp crop is not news to the model.
        blur: chance of a Gaussian blur.
        erase: chance that a rectangle is filled with a flat gray.
        soften: chance that the picture is reduced to a third at least and enlarged again: a face far from the camera.
        light: chance of a light from one side, up to half of the range.
        gamma: chance of a wrong exposure, a gamma from 0.5 to 2.
        noise: chance of sensor noise, a standard deviation of up to 12 of 255.
        compress: chance of JPEG artefacts, quality 20 to 80.
        tint: chance of a wrong white balance, each channel up to a fifth off; gray pictures have none.
    """

    rotate: float = 15.0
    scale: tuple[float, float] = (0.78, 1.05)
    shift: float = 0.12
    flip: float = 0.5
    brightness: float = 0.2
    contrast: float = 0.3
    sharpen: float = 0.15
    blur: float = 0.1
    erase: float = 0.4
    soften: float = 0.0
    light: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    compress: float = 0.0
    tint: float = 0.0

    def __post_init__(self) -> None:
        values: dict[str, Any] = vars(self)
        pair = values["scale"]
        if (
            not isinstance(pair, tuple)
            or len(pair) != 2
            or not all(_lies(v, 0.1, 10) for v in pair)
            or pair[0] > pair[1]
        ):
            raise InputError(
                f"augmentation: scale is {pair!r:.60}: it must be two numbers from 0.1 to 10, smaller first"
            )
        for name in set(values) - {"scale"}:
            most = 180 if name == "rotate" else 1
            if not _lies(values[name], 0, most):
                raise InputError(f"augmentation: {name} is {values[name]!r:.60}: it must be a number from 0 to {most}")


def _lies(value: Any, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


PRESETS = {
    "strong": Augmentation(),
    "light": Augmentation(rotate=10.0, scale=(0.92, 1.08), shift=0.06, erase=0.15),
    "camera": Augmentation(
        sharpen=0.3, soften=0.3, light=0.3, gamma=0.3, noise=0.3, compress=0.3, tint=0.3,
    ),
}  # fmt: skip
"""By name: `strong` to learn from, `light` to finish with, `camera`: strong, and what a camera does to a picture."""


def sample_generator(seed: int, epoch: int, index: int, showing: int = 0) -> np.random.Generator:
    """Return the generator of one sample in one epoch: the same whatever the batch, the order or the process.

    Args:
        seed: the run's.
        epoch: below 2^20.
        index: the sample's number, below 2^26.
        showing: which of its showings in that epoch it is, below 2^16.
    """
    return np.random.Generator(np.random.Philox(key=[seed, (epoch << 44) | (showing << 28) | index]))


def augment(image: np.ndarray, size: int, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Vary one crop: `(S, S[, 3])` uint8 to `(size, size[, 3])` uint8, same channels."""
    out = cv2.warpAffine(
        image, _matrix(image.shape[0], size, settings, rng), (size, size), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0)
    )
    if rng.random() < settings.sharpen:
        out = cv2.addWeighted(out, 2.0, cv2.GaussianBlur(out, (0, 0), size / 64), -1.0, 0)
    elif rng.random() < settings.blur:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.5, 1.5)) * size / 96)
    out = cv2.LUT(out, _tone_curve(settings, rng))
    out = _as_a_camera(out, settings, rng)
    if rng.random() < settings.erase:
        _erase(out, rng)
    return out


def _matrix(source: int, size: int, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Random flip, turn, zoom and shift about the centre, as `(2, 3)` from source pixels to output pixels."""
    angle = np.deg2rad(rng.uniform(-settings.rotate, settings.rotate))
    zoom = rng.uniform(*settings.scale) * size / source
    mirror = -1.0 if rng.random() < settings.flip else 1.0
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[mirror * cos, -sin], [mirror * sin, cos]])
    centre = (size - 1) / 2 + rng.uniform(-settings.shift, settings.shift, 2) * size
    return np.hstack([linear, (centre - linear @ np.full(2, (source - 1) / 2))[:, None]])


def _tone_curve(settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Random brightness and contrast as a table of 256 values."""
    contrast = 1.0 + rng.uniform(-settings.contrast, settings.contrast)
    brightness = 255.0 * rng.uniform(-settings.brightness, settings.brightness)
    values = (np.arange(256) - 128.0) * contrast + 128.0 + brightness
    return np.clip(values, 0, 255).astype(np.uint8)


def _as_a_camera(image: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Light, exposure and white balance, then distance, then noise, then compression, as they come upon a picture.

    A chance of 0 draws nothing, so that what is not asked for does not change what is.
    """

    def happens(chance: float) -> bool:
        return bool(chance) and rng.random() < chance

    side = image.shape[0]
    if happens(settings.light):
        angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 127)
        ramp = np.linspace(-1, 1, side)
        slope = strength * (np.cos(angle) * ramp[None] + np.sin(angle) * ramp[:, None]) / np.sqrt(2)
        image = _clipped(image + (slope if image.ndim == 2 else slope[..., None]))
    if happens(settings.gamma):
        gamma = 2.0 ** rng.uniform(-1, 1)
        image = cv2.LUT(image, _clipped(255 * (np.arange(256) / 255) ** gamma))
    if image.ndim == 3 and happens(settings.tint):
        image = _clipped(image * rng.uniform(0.8, 1.2, 3))
    if happens(settings.soften):
        small = max(round(side * rng.uniform(1 / 3, 1)), 4)
        reduced = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(reduced, (side, side), interpolation=cv2.INTER_LINEAR)
    if happens(settings.noise):
        image = _clipped(image + rng.normal(0, rng.uniform(0, 12), image.shape))
    if happens(settings.compress):
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 81))]
        image = np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_UNCHANGED))
    return image


def _clipped(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _erase(image: np.ndarray, rng: np.random.Generator) -> None:
    """Fill a rectangle of 3 to 25 % of the picture, in place (random erasing, Zhong et al. 2017)."""
    side = image.shape[0]
    area, ratio = rng.uniform(0.03, 0.25) * side * side, np.exp(rng.uniform(-0.9, 0.9))
    height, width = (min(int(np.sqrt(area * r)) + 1, side) for r in (ratio, 1 / ratio))
    y, x = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
    image[y : y + height, x : x + width] = rng.integers(0, 256)
