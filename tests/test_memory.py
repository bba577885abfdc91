"""What loading takes for a moment is given back, though small pieces that stay lie between the large ones."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
from contextlib import nullcontext
from pathlib import Path
import sys
from edge.host.memory import loading

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

learned = bytearray(8_000_000)
del learned  # from now on glibc takes such pieces from its heap
before, stay = resident(), []
with loading() if sys.argv[1] == "loading" else nullcontext():
    large = []
    for _ in range(100):
        large.append(bytearray(300_000))
        stay.append(bytearray(1000))
    del large
print(resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is asked")
def test_holes_are_given_back() -> None:
    grown = [
        int(subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True).stdout)
        for how in ("loading", "plain")
    ]
    assert grown[0] < 3_000_000
    assert grown[1] > 20_000_000, "glibc keeps no holes: there is nothing to do here any more"
