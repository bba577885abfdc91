"""What keeping freed memory is worth in training: the same step in two processes that take turns, with and without.

python -m scripts.bench.allocator [NETWORK@SIZE ...]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from scripts.bench.machine import write
from scripts.extras import needs

STEPS, ROUNDS, BATCH = 4, 6, 96


@needs("train")
def main() -> None:
    """Measure in turn, write docs/bench/allocator.json, print; or, as a child, answer each line with seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=["tf_efficientnet_lite0@96", "tf_efficientnet_lite2@96"])
    parser.add_argument("--child", choices=["kept", "plain"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        serve(given.networks[0], keep=given.child == "kept")
        return
    import torch  # noqa: F401  (missing, it is said here and not by each child)

    figures = {}
    for name in given.networks:
        figures[name] = measure(name)
        print(name, figures[name], flush=True)
    write("docs/bench/allocator.json", {"batch": BATCH, "threads": 2, "images_per_second": figures})


def measure(name: str) -> dict[str, float]:
    """Return images/s (medians) of each process, and their ratio."""
    children = {
        kind: subprocess.Popen(
            [sys.executable, "-m", "scripts.bench.allocator", name, "--child", kind],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for kind in ("plain", "kept")
    }  # fmt: skip
    seconds: dict[str, list[float]] = {kind: [] for kind in children}
    for turn in range(ROUNDS + 1):
        for kind, child in children.items():
            assert child.stdin
            assert child.stdout
            child.stdin.write("go\n")
            child.stdin.flush()
            took = float(child.stdout.readline())
            if turn:  # the first round warms up
                seconds[kind].append(took)
    for child in children.values():
        child.communicate()
    rate = {kind: STEPS * BATCH / statistics.median(times) for kind, times in seconds.items()}
    return {**{kind: round(value, 1) for kind, value in rate.items()}, "ratio": round(rate["kept"] / rate["plain"], 3)}


def serve(name: str, *, keep: bool) -> None:
    """Train a network on random pictures, `STEPS` steps for each line read; print the seconds they took."""
    import torch
    import torch.nn.functional as F

    from train.allocator import keep_freed_memory
    from train.networks import build

    if keep:
        keep_freed_memory()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    kind, _, size = name.partition("@")
    network = build(kind, 7).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    images = torch.randn(BATCH, 3, int(size), int(size)).to(memory_format=torch.channels_last)
    targets = torch.arange(BATCH) % 7
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(STEPS):
            loss = F.cross_entropy(network(images), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
