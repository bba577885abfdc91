"""How to show a tight crop to the detector: faces found over how far it is enlarged and how wide a frame it gets.

python -m scripts.bench.alignment DATA [--count N]

The pictures are dev's, so that what is chosen here is not chosen on the test split. Writes docs/bench/alignment.json.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from edge.detect import load_detector
from scripts.bench.machine import write
from scripts.extras import needs

SIDES, FRAMES = (48, 96, 160, 240), (0.0, 0.25, 0.5)


@needs("train")
def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--count", type=int, default=1000)
    given = parser.parse_args()
    from train.datasets import open_faces
    from train.datasets.split import split_faces
    from train.framing import FRAME, SIDE, enlarge

    dev = split_faces(open_faces(given.data)).dev
    chosen = np.linspace(0, len(dev) - 1, min(given.count, len(dev))).astype(int)
    rows = []
    for side in SIDES:
        for frame in FRAMES:
            # The smallest face looked for is the same share of the picture at every size.
            detector = load_detector(min_face=max(side // 4, 12))
            start = time.perf_counter()
            found = sum(bool(detector.detect(enlarge(dev.images[index], side, frame))) for index in chosen)
            seconds = time.perf_counter() - start
            rows.append({"side": side, "frame": frame, "found": round(found / len(chosen), 4), "seconds": seconds})
            print(rows[-1], flush=True)
    fastest = min(float(row["seconds"]) for row in rows)
    for row in rows:
        row["times_the_fastest"] = round(float(row.pop("seconds")) / fastest, 2)
    write("docs/bench/alignment.json", {"pictures": len(chosen), "used": {"side": SIDE, "frame": FRAME}, "rows": rows})


if __name__ == "__main__":
    main()
