"""A data set described before anybody trains on it: what is in it, what leaves it and why, and how it is split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from train.datasets.duplicates import Copies, find_copies
from train.datasets.faces import FaceSet
from train.datasets.ferplus import majority, read_votes
from train.datasets.split import NEAR_TEST, OTHER, assign_parts, take_parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from train.report.charts import Theme

PARTS = ("train", "dev", "test")


def describe(
    faces: FaceSet, *, source: str = "", votes: Path | None = None, folds: int = 5, fold: int = 0
) -> dict[str, Any]:
    """Return everything that there is to say of a data set and its split, ready for JSON.

    Args:
        faces: the whole set, as `open_faces` read it.
        source: where it is from.
        votes: FER+'s votes on it, a csv.
        folds: parts that people are dealt to where the source names them and has no test split.
        fold: which of them is test; see `train.datasets.split.assign_parts`.

    Raises:
        InputError: there are too few persons, or the votes cannot be read or are on other pictures.
    """
    copies = find_copies(faces.images)
    parts = assign_parts(faces, copies, folds=folds, fold=fold)
    split = take_parts(faces, parts)
    exact = _exact_groups(faces.images)
    sides = np.where(np.isin(parts, ("test", OTHER)), parts, "learning")
    if faces.persons is not None:
        sides = np.where(parts == "dev", "dev", sides)
    return {
        "source": source,
        "layout": faces.layout,
        "pictures": len(faces),
        "size": list(faces.images.shape[1:3]),
        "colour": "gray" if faces.gray else "RGB",
        "labels": list(faces.labels),
        "counts": {part: _count(faces.targets[mask], faces.labels) for part, mask in _masks(parts).items()},
        "split": split.describe(),
        "persons": None if faces.persons is None else _persons(faces.persons, parts),
        "copies": {
            "exact": _repeats(exact, ~copies.blank, sides),
            "near": _repeats(copies.groups, ~copies.blank, sides),
            "leave_training": int((parts == NEAR_TEST).sum()),
        },
        "two_labels": _two_labels(faces, exact, copies),
        "blank": {"pictures": int(copies.blank.sum()), "names": faces.names[copies.blank].tolist()},
        "unreadable": list(faces.unreadable),
        "not_taken": dict(faces.left_out),
        "votes": None if votes is None else _votes(faces, votes),
        "sha256": faces.fingerprint(),
    }


def _masks(parts: np.ndarray) -> dict[str, np.ndarray]:
    return {**{part: parts == part for part in PARTS}, "left out": ~np.isin(parts, PARTS)}


def _count(targets: np.ndarray, labels: tuple[str, ...]) -> dict[str, int]:
    return dict(zip(labels, np.bincount(targets, minlength=len(labels)).tolist(), strict=True))


def _exact_groups(images: np.ndarray) -> np.ndarray:
    """Number the groups of pictures with the same pixels: `(N,)` int."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(hashlib.sha256(image.tobytes()).digest(), len(numbers)) for image in images])


def _repeats(groups: np.ndarray, counted: np.ndarray, sides: np.ndarray) -> dict[str, int]:
    """Count groups of two or more pictures: all of one side, or with members on several.

    Args:
        groups: `(N,)` int.
        counted: `(N,)` bool: pictures to look at.
        sides: `(N,)` strings: where a picture would go if no copy were removed.
    """
    members = Counter(groups[counted].tolist())
    repeated = {group for group, count in members.items() if count > 1}
    on = {(group, side) for group, side in zip(groups[counted].tolist(), sides[counted].tolist(), strict=True)}
    reach = Counter(group for group, _ in on)
    across = sum(reach[group] > 1 for group in repeated)
    return {
        "groups": len(repeated),
        "pictures": sum(members[group] for group in repeated),
        "within_a_split": len(repeated) - across,
        "across_splits": across,
    }


def _two_labels(faces: FaceSet, exact: np.ndarray, copies: Copies) -> dict[str, Any]:
    """Find pictures with the same pixels and different labels. Blank ones, which are all alike, do not count."""
    labels: dict[int, set[int]] = {}
    for group, target in zip(exact[~copies.blank].tolist(), faces.targets[~copies.blank].tolist(), strict=True):
        labels.setdefault(group, set()).add(target)
    torn = [group for group, targets in labels.items() if len(targets) > 1]
    names = [faces.names[exact == group].tolist() for group in torn]
    return {"groups": len(torn), "pictures": sum(map(len, names)), "names": names}


def _persons(persons: np.ndarray, parts: np.ndarray) -> dict[str, int]:
    """Count who is in each part; where the source has a test split of its own somebody may be in two."""
    people = {part: set(persons[parts == part].tolist()) for part in PARTS}
    twice = {who for who, count in Counter(who for group in people.values() for who in group).items() if count > 1}
    return {
        "all": len(np.unique(persons)), **{part: len(group) for part, group in people.items()},
        "in_several": len(twice),
    }  # fmt: skip


def _votes(faces: FaceSet, path: Path) -> dict[str, Any]:
    """Compare the labels with what most voters chose."""
    cast = read_votes(path, faces)
    chosen = majority(cast, faces.labels)
    clear = chosen >= 0
    agree = {
        label: _share(chosen[of] == target)
        for target, label in enumerate(faces.labels)
        if (of := clear & (faces.targets == target)).any()
    }
    return {
        "voted_on": int((~np.isnan(cast).any(axis=1)).sum()),
        "with_a_majority": int(clear.sum()),
        "majority": _count(chosen[clear], faces.labels),
        "agreement": _share(chosen[clear] == faces.targets[clear]),
        "agreement_by_label": agree,
    }


def _share(hits: np.ndarray) -> float | None:
    return round(float(hits.mean()), 4) if len(hits) else None


def draw_labels(description: dict[str, Any]) -> bytes:
    """Draw how the labels are distributed in train, dev and test: a PNG with a panel a split, counts on the bars.

    Bars are shares, on one scale, so that splits of different sizes compare.
    """
    from train.report.charts import draw

    counts: Mapping[str, Mapping[str, int]] = description["counts"]
    panels = [part for part in PARTS if sum(counts[part].values())] or ["left out"]
    longest = max(max(counts[part].values()) / sum(counts[part].values()) for part in panels)

    def paint(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, part, colour in zip(axes, panels, theme.series, strict=False):
            _bars(axis, part, counts[part], colour)
            axis.set_xlim(0, longest * 1.62)  # room for the figures behind the longest bar
        axes[0].invert_yaxis()  # the first label on top
        figure.suptitle(f"{description['source']}: labels by split", fontweight="bold")

    height, width = 1.1 + 0.34 * len(description["labels"]), 1.2 + 3.0 * len(panels)
    return draw("Labels by split", "", paint, height=height, width=width).light


def _bars(axis: Axes, part: str, counts: Mapping[str, int], colour: str) -> None:
    total = sum(counts.values())
    bars = axis.barh(list(counts), [count / total for count in counts.values()], color=colour, height=0.72)
    axis.bar_label(bars, [f"{count:,}  ({count / total:.1%})" for count in counts.values()], padding=4, fontsize=9)
    axis.set_title(f"{part}: {total:,}")
    axis.grid(visible=False)
    axis.spines["bottom"].set_visible(False)
    axis.tick_params(bottom=False, labelbottom=False, left=False)
