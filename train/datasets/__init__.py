"""Labelled faces for training, held in memory as ready crops. One door: `open_faces(source)`."""

from __future__ import annotations

from pathlib import Path

from edge.align import ready_crop
from train.datasets.faces import FaceSet, as_crops
from train.datasets.fer2013 import read_csv
from train.datasets.files import Files
from train.datasets.folders import read_folders
from train.datasets.layouts import recognise
from train.datasets.listing import Listing
from train.datasets.packed import SUFFIX, read_packed
from train.datasets.pictures import Bring

__all__ = ["FaceSet", "as_crops", "open_faces"]


def open_faces(
    source: str | Path, label_map: dict[str, str] | None = None, size: int = 96, bring: Bring = ready_crop
) -> FaceSet:
    """Read labelled faces: FER2013's csv, a folder or zip of KDEF, RAF-DB, JAFFE, CK+ or a folder per class.

    Or what `edge train pack` wrote of one of these.

    Which it is, is told from the names of the files. A folder per class may stand in `train` and `test` folders.

    Args:
        source: the csv, folder or zip.
        label_map: folder name to label, for folders of other names; in the other collections an emotion to a label.
            An empty label leaves it out, which is what happens to contempt and unknown unless they are named here.
        size: side in pixels that pictures of mixed sizes are brought to; pictures of one square size keep theirs.
        bring: how the others come to it; as the device takes a ready crop, unless said otherwise.

    Raises:
        InputError: nothing readable is there, a class is unknown, a file's name is wrong, a collection is half there,
            or there are two of them.
    """
    path = Path(source)
    if path.suffix.lower() == ".csv":
        return read_csv(path)
    if path.suffix.lower() == SUFFIX:
        return read_packed(path)
    with Files(path) as files:
        layout = recognise(files, label_map)
        if layout is None:
            return read_folders(files, label_map, size, bring)
        listing = Listing(files, layout.name, label_map)
        layout.list_pictures(files, listing)
        return listing.load(size, bring)
