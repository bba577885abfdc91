"""Labelled faces for training, held in memory as ready crops. One door: `open_faces(source)`."""

from __future__ import annotations

from pathlib import Path

from train.datasets.faces import FaceSet, as_crops
from train.datasets.fer2013 import read_csv
from train.datasets.folders import read_folders

__all__ = ["FaceSet", "as_crops", "open_faces"]


def open_faces(source: str | Path, label_map: dict[str, str] | None = None, size: int = 96) -> FaceSet:
    """Read labelled faces from `fer2013.csv`, a folder per class, or a zip of it, with or without `train`/`test`.

    Args:
        source: the file or folder.
        label_map: folder name to label, for folders of other names.
        size: side in pixels that pictures of mixed sizes are brought to; pictures of one square size keep theirs.

    Raises:
        InputError: nothing readable is there, or a class is unknown.
    """
    path = Path(source)
    return read_csv(path) if path.suffix.lower() == ".csv" else read_folders(path, label_map, size)
