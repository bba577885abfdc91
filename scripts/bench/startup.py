"""What starting costs: `edge --help` and its imports, side by side with a Python that does nothing.

python -m scripts.bench.startup
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time

from scripts.bench.machine import write

HEAVY = ("torch", "scipy", "sklearn", "lime", "timm", "matplotlib", "pandas")
ROUNDS = 15


def seconds(command: list[str]) -> float:
    """Time one command."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure, write docs/bench/startup.json, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "edge_help": [sys.executable, "-m", "edge.cli", "--help"],
        "edge_run_help": [sys.executable, "-m", "edge.cli", "run", "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):  # in turn, so that what else the machine does falls on all alike
        for name, command in commands.items():
            times[name].append(seconds(command))
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import edge.cli"], capture_output=True, text=True, check=True
    ).stderr
    modules = re.findall(r"\|\s+([\w.]+)$", traced, re.MULTILINE)
    figures = {
        "median_ms": {name: round(1000 * statistics.median(values), 1) for name, values in times.items()},
        "modules_imported_by_edge_cli": len(modules),
        "heavy_modules_among_them": [name for name in modules if name.split(".")[0] in HEAVY],
    }
    write("docs/bench/startup.json", figures)
    print(figures)


if __name__ == "__main__":
    main()
