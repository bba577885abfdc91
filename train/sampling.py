"""Which faces an epoch shows, in which order: as they are, or with classes thinned out and repeated."""

from __future__ import annotations

import numpy as np


def resample(targets: np.ndarray, how: str, count: int, seed: int) -> np.ndarray:
    """Return `(M,)` indices of the faces to show once an epoch: the same draw in every epoch.

    Args:
        targets: `(N,)` int.
        how: `none` (all, once), `under` (each class thinned to the rarest), `over` (each class repeated up to the
            commonest), or `hybrid` (each class thinned or repeated to `count`).
        count: pictures a class for `hybrid`.
        seed: of the draw.

    A class is repeated as a whole as often as it goes in, and the rest is drawn without repeats. Classes without any
    face stay without.

    Source: He and Garcia 2009, Learning from Imbalanced Data (random under- and oversampling).
    """
    everything = np.arange(len(targets))
    if how == "none":
        return everything
    members = [np.flatnonzero(targets == target) for target in np.unique(targets)]
    sizes = [len(indices) for indices in members]
    wanted = {"under": min(sizes, default=0), "over": max(sizes, default=0), "hybrid": count}[how]
    rng = np.random.default_rng([seed, 1])
    parts = []
    for indices in members:
        whole, rest = divmod(wanted, len(indices))
        parts += [np.tile(indices, whole), rng.permutation(indices)[:rest]]
    return np.sort(np.concatenate(parts)) if parts else everything


def epoch_order(shown: np.ndarray, length: int, seed: int, epoch: int) -> np.ndarray:
    """Return `(length, 2)` int: which face comes at each place of an epoch, and which of its showings that is.

    The faces come shuffled, all before the next round begins. The number of the showing lets every repeat be varied
    in its own way.

    Args:
        shown: `(M,)` indices of the faces to show, repeats allowed.
        length: places to fill.
        seed, epoch: what the order depends on, and nothing else.
    """
    rng = np.random.default_rng([seed, epoch])
    rounds = [rng.permutation(len(shown)) for _ in range(-(-length // len(shown)))]
    faces = shown[np.concatenate(rounds)[:length]]
    by_face = np.argsort(faces, kind="stable")
    first = np.flatnonzero(np.diff(faces[by_face], prepend=-1))
    showing = np.empty(length, np.int64)
    showing[by_face] = np.arange(length) - np.repeat(first, np.diff(first, append=length))
    return np.stack([faces, showing], axis=1)


def stratified(targets: np.ndarray, count: int) -> np.ndarray:
    """Return `count` sorted indices (all, if there are fewer) in the classes' own shares: always the same ones.

    What rounding leaves over goes to the classes with the largest remainder.
    """
    if count >= len(targets):
        return np.arange(len(targets))
    present = np.unique(targets)
    shares = np.array([(targets == target).sum() for target in present]) * (count / len(targets))
    quotas = np.floor(shares).astype(int)
    quotas[np.argsort(quotas - shares, kind="stable")[: count - quotas.sum()]] += 1
    rng = np.random.default_rng(0)
    chosen = [
        rng.permutation(np.flatnonzero(targets == target))[:quota]
        for target, quota in zip(present, quotas, strict=True)
    ]
    return np.sort(np.concatenate(chosen))
