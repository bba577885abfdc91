"""What a training step costs in float32, in bfloat16, and in bfloat16 with depthwise convolutions in float32.

python -m scripts.bench.precision [NETWORK@SIZE ...]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from scripts.bench.machine import write
from scripts.extras import needs

BATCH, ROUNDS = 96, 7
NETWORKS = [
    "mobilenetv3_large_100@64", "efficientnet_b0@64", "tf_efficientnet_lite0@64", "tf_efficientnet_lite2@96",
    "xception@64", "resnet18@64", "cnn@64",
]  # fmt: skip


@needs("train")
def main() -> None:
    """Measure the three in turn, write docs/bench/precision.json, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    import torch

    from train.allocator import keep_freed_memory

    torch.set_num_threads(given.threads)
    keep_freed_memory()
    figures = {}
    for name in given.networks:
        network, _, size = name.partition("@")
        figures[name] = measure(network, int(size))
        print(name, figures[name], flush=True)
    write("docs/bench/precision.json", {"batch": BATCH, "threads": given.threads, "seconds_a_step": figures})


def measure(network: str, size: int) -> dict[str, float]:
    """Time one step of each kind after the other, round by round; return medians, and each one's share of float32's."""
    steps = {kind: step_of(network, size, kind) for kind in ("float32", "bfloat16", "depthwise float32")}
    seconds: dict[str, list[float]] = {kind: [] for kind in steps}
    for turn in range(ROUNDS + 1):
        for kind, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:  # the first round warms up
                seconds[kind].append(time.perf_counter() - start)
    medians = {kind: statistics.median(times) for kind, times in seconds.items()}
    shares = {}
    for kind in ("bfloat16", "depthwise float32"):
        ratios = [a / b for a, b in zip(seconds[kind], seconds["float32"], strict=True)]
        shares[f"{kind}, to float32"] = round(statistics.median(ratios), 3)
    return {**{kind: round(value, 4) for kind, value in medians.items()}, **shares}


def step_of(name: str, size: int, kind: str) -> Callable[[], None]:
    """Return a function that takes one optimizer step of a new network on random pictures."""
    import torch
    import torch.nn.functional as F

    from train.depthwise import keep_depthwise_float
    from train.networks import build

    torch.manual_seed(0)
    network = build(name, 7, drop=0.3, drop_path=0.1).train()
    if kind == "depthwise float32":
        keep_depthwise_float(network)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters())
    pictures = torch.randn(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, 7, (BATCH,))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=kind != "float32"):
            answers = network(pictures)
        F.cross_entropy(answers.float(), targets).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
