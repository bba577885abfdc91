"""A data set's faces aligned as the device aligns them: found, turned upright, framed alike, in one folder."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.align import Crop, align, ready_crop
from edge.detect import Finder
from edge.errors import InputError
from edge.files import check_writable, write_whole
from edge.measure.evaluate import largest
from edge.measure.folders import UNREADABLE
from train.datasets import FaceSet
from train.datasets.split import Split
from train.framing import FRAME, SIDE, Framing, enlarge

SHARD = 512
"""Faces a file of the folder: what a kill can cost."""

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Aligned:
    """Aligned crops.

    Attributes:
        images: `(N, S, S, 3)` uint8 RGB; where no face was found, the whole picture.
        found: `(N,)` bool: whether the detector found a face.
    """

    images: np.ndarray
    found: np.ndarray


def align_images(images: np.ndarray, detector: Finder, crop: Crop, progress: Progress = lambda done: None) -> Aligned:
    """Find the face in each picture and make the crop of it that the device would make.

    The detector sees the picture enlarged, in a frame of its border's mean, for a tight crop has too few pixels and
    leaves a box no room. The crop is cut from the picture itself, whose edge is repeated outwards: a face that is
    turned upright leaves no black corners behind to learn from.

    Args:
        images: `(N, H, W)` gray or `(N, H, W, 3)` RGB uint8.
        detector: the device's, or one like it.
        crop: how a model frames its faces.
        progress: called with the number of pictures done.
    """
    out = np.empty((len(images), crop.size, crop.size, 3), np.uint8)
    found = np.zeros(len(images), bool)
    for index, image in enumerate(images):
        bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
        faces = detector.detect(enlarge(image))
        if faces:
            face = largest(faces)
            found[index] = True
            out[index] = _cut(bgr, face.box, face.landmarks, crop)
        else:
            out[index] = ready_crop(bgr, crop.size)
        progress(index + 1)
    return Aligned(out, found)


def _cut(bgr: np.ndarray, box: np.ndarray, landmarks: np.ndarray, crop: Crop) -> np.ndarray:
    """Align by what was found in the enlarged and framed picture, on the picture itself with its edge repeated."""
    height, width = bgr.shape[:2]
    margin = round(max(height, width) / 2)
    wide = cv2.copyMakeBorder(bgr, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    scale = np.array([width, height]) / SIDE
    inset = round(SIDE * FRAME)
    points = (landmarks - inset) * scale + margin
    corners = (box.reshape(2, 2) - inset) * scale + margin
    return align(wide, corners.reshape(4), points, crop)


def align_set(
    faces: FaceSet,
    folder: Path,
    detector: Finder,
    framing: Framing,
    progress: Progress = lambda done: None,
    *,
    pictures: np.ndarray | None = None,
) -> Aligned:
    """Align all faces into `folder` by the crop of `framing`, going on where an earlier call stopped; return all crops.

    The crops are cut from `pictures`, the same faces undistorted, where a data set of mixed sizes was made square.

    Files: `align.json` (crop, detector, fingerprint of the faces) and `00000.npz` and so on, `SHARD` faces each.

    Raises:
        InputError: the folder holds crops of other faces, of another detector or framing, or cannot be written.
    """
    crop = framing.crop
    described = _describe(faces, detector.name, framing)
    path = folder / "align.json"
    check_folder(folder)
    if path.exists() and _read_json(path) != described:
        raise InputError(f"{folder}: it holds crops of other faces or another framing; choose another --out")
    write_whole(path, (json.dumps(described, indent=2) + "\n").encode())
    parts = []
    for number, start in enumerate(range(0, len(faces), SHARD)):
        wanted = (faces.images if pictures is None else pictures)[start : start + SHARD]
        shard = folder / f"{number:05d}.npz"
        part = _read_shard(shard, len(wanted), crop.size, missing_ok=True)
        if part is None:
            part = align_images(wanted, detector, crop, partial(_after, progress, start))
            write_whole(shard, _packed(part))
        progress(start + len(wanted))
        parts.append(part)
    return _joined(parts, crop.size)


def _after(progress: Progress, start: int, done: int) -> None:
    progress(start + done)


def check_folder(folder: Path) -> None:
    """Make sure that crops can be written there.

    Raises:
        InputError: it cannot be written, or holds something else.
    """
    if folder.is_dir() and not (folder / "align.json").exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: it is not empty and holds no align.json; choose another --out")
    check_writable(folder)


def read_aligned(folder: Path) -> tuple[dict[str, Any], Aligned]:
    """Return what `align_set` wrote: its description and all crops.

    Raises:
        InputError: it is no such folder, or not finished.
    """
    described = _read_json(folder / "align.json")
    try:
        count, size = int(described["faces"]), int(described["crop"]["size"])
        crop_of(described)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{folder / 'align.json'}: it does not say what was aligned") from None
    parts = []
    for number, start in enumerate(range(0, count, SHARD)):
        part = _read_shard(folder / f"{number:05d}.npz", min(SHARD, count - start), size)
        assert part is not None
        parts.append(part)
    return described, _joined(parts, size)


def crop_of(described: dict[str, Any]) -> Crop:
    """Return the crop that a folder of aligned faces was made with."""
    crop = described["crop"]
    template, (x, y) = np.array(crop["template"], np.float32), crop["offset"]
    if template.shape != (5, 2):
        raise ValueError("the template is none")
    return Crop(int(crop["size"]), template, float(crop["margin"]), (float(x), float(y)))


def use_aligned(faces: FaceSet, split: Split, folder: Path) -> Split:
    """Return the split with aligned crops in the place of its pictures; gray stays gray.

    Args:
        faces: all faces of the source.
        split: how they are split.
        folder: what `align_set` wrote of them.

    Raises:
        InputError: the folder is not finished, or holds crops of other faces.
    """
    described, aligned = read_aligned(folder)
    if described.get("sha256") != _pixels_sha256(faces):
        raise InputError(f"{folder}: it holds crops of other pictures; align this data into another folder")
    place = {str(name): index for index, name in enumerate(faces.names)}

    def swap(part: FaceSet) -> FaceSet:
        images = aligned.images[[place[str(name)] for name in part.names]]
        return replace(part, images=images[..., 0] if faces.gray else images)

    return replace(split, train=swap(split.train), dev=swap(split.dev), test=swap(split.test))


def _pixels_sha256(faces: FaceSet) -> str:
    return hashlib.sha256(np.ascontiguousarray(faces.images).tobytes()).hexdigest()


def _describe(faces: FaceSet, detector: str, framing: Framing) -> dict[str, Any]:
    crop = framing.crop
    return {
        "faces": len(faces), "gray": faces.gray, "detector": detector, "spread": round(framing.spread, 5),
        "sha256": _pixels_sha256(faces),
        "crop": {
            "size": crop.size, "template": [[round(float(v), 5) for v in point] for point in crop.template],
            "margin": crop.margin, "offset": list(crop.offset),
        },
    }  # fmt: skip


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({error}); is it a folder that edge train align made?") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: it does not say what was aligned")
    return value


def _packed(part: Aligned) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=part.images, found=part.found)
    return buffer.getvalue()


def _read_shard(path: Path, count: int, size: int, *, missing_ok: bool = False) -> Aligned | None:
    """Return a shard's crops, or None where it may be missing; one that is damaged is made again then."""
    try:
        with zipfile.ZipFile(path) as archive:  # it may say that it is larger than any memory
            fits = all(entry.file_size <= count * size * size * 3 + 4096 for entry in archive.infolist())
        with np.load(path if fits else io.BytesIO(), allow_pickle=False) as file:
            part = Aligned(file["images"], file["found"])
        if part.images.shape == (count, size, size, 3) and part.images.dtype == np.uint8 and len(part.found) == count:
            return part
    except (*UNREADABLE, KeyError, ValueError, MemoryError):
        pass
    if missing_ok:
        return None
    raise InputError(f"{path}: missing or damaged; edge train align with the same --out makes it again")


def _joined(parts: list[Aligned], size: int) -> Aligned:
    if not parts:
        return Aligned(np.zeros((0, size, size, 3), np.uint8), np.zeros(0, bool))
    return Aligned(np.concatenate([part.images for part in parts]), np.concatenate([part.found for part in parts]))
