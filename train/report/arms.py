"""Evaluated runs side by side: those that differ in the seed alone are one arm, with its range. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, takewhile
from typing import Any

import numpy as np

from edge.errors import InputError
from train.augment import PRESETS

OVERALL = (
    ("accuracy", "accuracy"), ("balanced accuracy", "balanced_accuracy"), ("macro F1", "macro_f1"),
    ("expected calibration error", "ece"),
)  # fmt: skip
"""The scorer's overall figures: titles and keys."""

SAME, ABOVE, BELOW, UNDECIDED = "not distinguishable", "above", "below", "undecided"


@dataclass(frozen=True)
class Evaluated:
    """A run and what was measured of it.

    Attributes:
        name: the run's.
        config: its configuration, as shown.
        identity: the same without the seed; for runs that it began with or learned from, theirs instead of their names.
        seed: its seed.
        metrics: its `metrics.json`.
        kept: whether those were kept in a file, and the run itself may be gone.
    """

    name: str
    config: dict[str, Any]
    identity: dict[str, Any]
    seed: int
    metrics: dict[str, Any]
    kept: bool = False

    def figures(self, view: str) -> dict[str, Any] | None:
        """Return the scorer's figures of `figures` or `after_alignment`; None where that was not measured."""
        found = self.metrics.get(view)
        return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class Range:
    """A figure over an arm's seeds: mean, least, most, and of how many seeds. With one seed the three are equal."""

    mean: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Arm:
    """Runs that differ in the seed alone, at least one."""

    name: str
    runs: tuple[Evaluated, ...]

    @property
    def seeds(self) -> list[int]:
        """The runs' seeds."""
        return [run.seed for run in self.runs]

    def over_seeds(self, view: str, key: str, label: str | None = None) -> Range | None:
        """Return a figure over the seeds; None where a run has no such figure.

        Args:
            view: as `Evaluated.figures`.
            key: a figure's name, such as `accuracy`, or with a label `f1`, `precision`, `recall`.
            label: for one class's figure.
        """
        values = []
        for run in self.runs:
            figures = run.figures(view)
            value = None if figures is None else (figures if label is None else figures["per_class"][label])[key]
            if value is None:
                return None
            values.append(float(value))
        return Range(float(np.mean(values)), min(values), max(values), len(values))


def make_arms(runs: Sequence[Evaluated]) -> list[Arm]:
    """Put runs that differ in the seed alone together, in the order in which they come.

    Raises:
        InputError: two runs have the same configuration and the same seed.
    """
    groups: list[list[Evaluated]] = []
    for run in runs:
        for group in groups:
            if group[0].identity == run.identity:
                twin = next((other for other in group if other.seed == run.seed), None)
                if twin is not None:
                    raise InputError(
                        f"runs {twin.name} and {run.name} are of one configuration and one seed: leave one out"
                    )
                group.append(run)
                break
        else:
            groups.append([run])
    names = [_name([run.name for run in group]) for group in groups]
    if len(set(names)) < len(names):
        names = ["+".join(run.name for run in group) for group in groups]
    return [Arm(name, tuple(group)) for name, group in zip(names, groups, strict=True)]


def _name(names: list[str]) -> str:
    """Return what the runs' names have in common, without what is left of a seed's number."""
    if len(names) == 1:
        return names[0]
    alike = "".join(each[0] for each in takewhile(lambda each: len(set(each)) == 1, zip(*names, strict=False)))
    return re.sub(r"[-_.]*(seed|(?<=[-_.])s)?[-_.]*$", "", alike) or "+".join(names)


@dataclass(frozen=True)
class Verdict:
    """Whether two arms can be told apart by a figure, and how that is known."""

    first: str
    second: str
    says: str
    why: str


def judge(arms: Sequence[Arm], view: str = "figures", key: str = "accuracy") -> list[Verdict]:
    """Compare arms pairwise: ranges over seeds that overlap are not distinguishable.

    An arm of one seed has no range: where its one value lies in the other's range the two are not distinguishable,
    else it stays undecided.
    """
    verdicts = []
    for first, second in combinations(arms, 2):
        one, other = first.over_seeds(view, key), second.over_seeds(view, key)
        if one is None or other is None:
            continue
        single = [arm.name for arm, reach in ((first, one), (second, other)) if reach.seeds == 1]
        if one.low <= other.high and other.low <= one.high:
            says, why = SAME, "ranges overlap" if not single else "equal, or one lies in the other's range"
        elif single:
            says, why = UNDECIDED, f"{' and '.join(single)}: one seed, no range"
        else:
            says, why = ABOVE if one.low > other.high else BELOW, "ranges do not overlap"
        verdicts.append(Verdict(first.name, second.name, says, why))
    return verdicts


def differing(arms: Sequence[Arm]) -> dict[str, list[str]]:
    """Return the configuration keys in which arms differ, with each arm's value in words; a preset has its name."""
    shown, identities = ([_flat(each) for each in kind] for kind in (
        [arm.runs[0].config for arm in arms], [arm.runs[0].identity for arm in arms],
    ))  # fmt: skip
    keys = dict.fromkeys(key for identity in identities for key in identity)
    return {
        key: [_words(config.get(key)) for config in shown]
        for key in keys if any(identity.get(key) != identities[0].get(key) for identity in identities)
    }  # fmt: skip


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the augmentation by its preset's name, or setting by setting."""
    inner = config.get("augmentation")
    if not isinstance(inner, dict):
        return config
    rest = {key: value for key, value in config.items() if key != "augmentation"}
    for name, settings in PRESETS.items():
        if _lists(asdict(settings)) == _lists(inner):
            return {**rest, "augmentation": name}
    return {**rest, "augmentation": "own", **{f"augmentation.{key}": value for key, value in inner.items()}}


def _lists(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table with pairs as lists, as TOML and JSON give them."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in table.items()}


def _words(value: Any) -> str:
    if value is None or value == []:
        return "–"
    return ", ".join(str(each) for each in value) if isinstance(value, list) else str(value)
