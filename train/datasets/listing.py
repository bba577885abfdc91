"""What a collection's official files say of each picture, gathered before one is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np

from edge.errors import InputError
from edge.values import EMOTIONS
from train.datasets.faces import FaceSet
from train.datasets.files import Files
from train.datasets.pictures import Bring, decode_all

NO_LABEL_OF_OURS: Mapping[str, str] = {"contempt": "", "unknown": ""}
"""Classes of other collections that are left out, and counted, unless a label map says otherwise."""


class Listing:
    """Pictures of one collection: class, person and split of each, and how many are left out and why.

    Attributes:
        files: where they are.
        layout: name of the collection.
        left_out: why pictures are not taken, with counts.
    """

    def __init__(self, files: Files, layout: str, label_map: Mapping[str, str] | None) -> None:
        """Begin an empty list; `label_map` turns the collection's emotions into labels, `""` leaves one out."""
        self.files, self.layout = files, layout
        self.left_out: Counter[str] = Counter()
        self._map = {**NO_LABEL_OF_OURS, **{key.lower(): value for key, value in (label_map or {}).items()}}
        self._rows: dict[str, tuple[str, int, str, str]] = {}  # by base name: name, target, person, split

    def add(self, name: str, emotion: str, *, person: str = "", split: str = "train") -> None:
        """Take the picture `name`, or leave it out where its emotion is none of our labels.

        Raises:
            InputError: another picture of that name is there, or the label map names no label.
        """
        label = self._map.get(emotion, emotion)
        if label == "":
            self.leave_out(f"of class {emotion}")
            return
        if label not in EMOTIONS:
            raise InputError(f'--label-map "{emotion}={label}": the label is none of {", ".join(EMOTIONS)}')
        key = PurePosixPath(name).name.upper()
        if key in self._rows:
            raise InputError(
                f"{self.files.path}: {name} and {self._rows[key][0]} are one picture of {self.layout} by their name: "
                "keep one of them"
            )
        self._rows[key] = (name, EMOTIONS.index(label), person, split)

    def leave_out(self, why: str, count: int = 1) -> None:
        """Count pictures that are not taken."""
        if count:
            self.left_out[why] += count

    def load(self, size: int, bring: Bring) -> FaceSet:
        """Decode what was listed, pictures of mixed sizes brought to one.

        Raises:
            InputError: nothing was listed, or nothing can be decoded.
        """
        if not self._rows:
            reasons = ", ".join(f"{count} {why}" for why, count in self.left_out.items())
            raise InputError(
                f"{self.files.path}: no picture of {self.layout} to learn from ({reasons or 'none there'})"
            )
        names, targets, persons, splits = zip(*self._rows.values(), strict=True)
        images, kept, unreadable = decode_all(
            self.files.path, names, lambda index: self.files.picture(names[index]), size, bring
        )
        return FaceSet(
            images=images,
            targets=np.array(targets, np.int64)[kept],
            names=np.array(names)[kept],
            splits=np.array(splits)[kept],
            unreadable=unreadable,
            persons=np.array(persons)[kept] if all(persons) else None,
            left_out=dict(self.left_out),
            layout=self.layout,
        )
