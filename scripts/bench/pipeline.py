"""What the data pipeline costs in training: images/s of real steps against the same step on one cached batch.

python -m scripts.bench.pipeline DATA [NETWORK SIZE]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from scripts.bench.machine import write
from scripts.extras import needs

if TYPE_CHECKING:
    import torch

    from train.config import FitConfig
    from train.trainer import Trainer

STEPS, ROUNDS = 6, 8


@needs("train")
def main() -> None:
    """Measure in turn, write docs/bench/pipeline.json, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument(
        "networks", nargs="*", default=["tf_efficientnet_lite0@96", "tf_efficientnet_lite0@64", "cnn@64"]
    )
    given = parser.parse_args()
    import torch

    from train.config import FitConfig
    from train.datasets import open_faces
    from train.datasets.split import split_faces
    from train.losses import target_distributions
    from train.parallel import Team
    from train.trainer import Trainer

    split = split_faces(open_faces(given.data))
    targets = target_distributions(split.train, smoothing=0.1)
    figures = {}
    for name in given.networks:
        network, _, size = name.partition("@")
        config = FitConfig(data=given.data, network=network, size=int(size))
        trainer = Trainer(config, split.train, targets, Team(0, 1, torch.device("cpu")))
        figures[name] = measure(trainer, config)
        print(name, figures[name], flush=True)
    write("docs/bench/pipeline.json", {"batch": 96, "threads": torch.get_num_threads(), "images_per_second": figures})


def measure(trainer: Trainer, config: FitConfig) -> dict[str, float]:
    """Time blocks of real and cached steps in turn; return images/s of each (medians) and their ratio."""
    from train.batches import batches
    from train.sampling import epoch_order

    trainer.network.train()
    order = epoch_order(trainer.shown, (ROUNDS + 2) * STEPS * config.batch, 0, 0)
    real = iter(batches(trainer.faces, order, config, 0))
    cached = next(real)
    seconds: dict[str, list[float]] = {"real": [], "cached": []}
    for turn in range(ROUNDS + 1):
        for kind, source in (("real", real), ("cached", _again(cached))):
            start = time.perf_counter()
            for _ in range(STEPS):
                step(trainer, next(source))
            if turn:  # the first round warms up
                seconds[kind].append(time.perf_counter() - start)
    rate = {kind: STEPS * config.batch / statistics.median(times) for kind, times in seconds.items()}
    return {**{kind: round(value, 1) for kind, value in rate.items()}, "ratio": round(rate["real"] / rate["cached"], 3)}


def step(trainer: Trainer, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    """One optimizer step, as the trainer makes it."""
    trainer.take_step(trainer.network, [batch], epoch=0, step=0)


def _again(batch: tuple[torch.Tensor, torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    while True:
        yield batch


if __name__ == "__main__":
    main()
