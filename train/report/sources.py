"""The pictures that a report is about: which part of which source, each source read once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge.errors import InputError
from edge.measure.cli import parse_label_map
from train.config import FitConfig
from train.datasets import FaceSet, open_faces
from train.datasets.split import Split
from train.fit import read_split


class Sources:
    """Labelled faces as runs' configurations name and split them; what was split once is kept."""

    def __init__(self) -> None:
        self._splits: dict[FitConfig, Split] = {}

    def split(self, config: FitConfig) -> Split:
        """Return the faces that a run is trained with, all of them where it is limited to some.

        Raises:
            InputError: nothing readable is there, or a class is unknown.
        """
        key = _what_is_read(config)
        if key not in self._splits:
            self._splits[key] = read_split(key)
        return self._splits[key]

    def choose(self, config: FitConfig, part: str | None) -> tuple[str, FaceSet]:
        """Return the name and the whole pictures of `test` or `dev`; of None: `test` where there is one, else `dev`.

        Args:
            config: names the data, what its folders mean and how it is split; aligned crops are not looked at.
            part: which faces.

        Raises:
            InputError: the source cannot be read or has no such faces.
        """
        config = replace(_what_is_read(config), aligned=None, aligned_share=1.0)
        if part != "dev" and config not in self._splits:
            faces = open_faces(config.data, parse_label_map(config.label_map))
            test = faces.take(faces.splits == "test")
            if len(test):  # as the source says: no need to look for persons and near-duplicates
                return "test", test
        split = self.split(config)
        chosen = part or ("test" if len(split.test) else "dev")
        faces = split.test if chosen == "test" else split.dev
        if not len(faces):
            other = "dev" if chosen == "test" else "test"
            raise InputError(f"{config.data}: it has no {chosen} pictures; choose --split {other}")
        return chosen, faces


def _what_is_read(config: FitConfig) -> FitConfig:
    """Return a configuration that says no more than which faces are read and how they are split."""
    return FitConfig(
        data=config.data,
        label_map=config.label_map,
        aligned=config.aligned,
        aligned_share=config.aligned_share,
        folds=config.folds,
        fold=config.fold,
    )


def targets_for(faces: FaceSet, labels: tuple[str, ...], model: str) -> np.ndarray:
    """Return `(N,)` int64 targets as indices into a model's labels, whatever order it has them in.

    Raises:
        InputError: a class that occurs is none of the model's.
    """
    unknown = sorted({faces.labels[target] for target in faces.targets} - set(labels))
    if unknown:
        raise InputError(f"model {model} does not know {', '.join(unknown)}; it knows {', '.join(labels)}")
    order = np.array([labels.index(label) if label in labels else -1 for label in faces.labels], np.int64)
    return order[faces.targets]
