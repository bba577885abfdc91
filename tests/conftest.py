"""Fixtures that several tests share: where the real data lies, and the bundled parts."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["mosquitto", "rtsp"]

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data sets and weights; a test that needs it skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the real data (../shared/data) is not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def clips(shared_data: Path) -> Path:
    """Folder with real pictures and videos of faces."""
    return shared_data / "clips"


@pytest.fixture(scope="session")
def portrait_clip() -> Path:
    """The bundled clip: the portrait that moves, turns, leaves and comes back."""
    return ROOT / "scripts" / "data" / "portrait.mp4"


@pytest.fixture(scope="session")
def portrait() -> Path:
    """The bundled portrait, one smiling face."""
    return ROOT / "scripts" / "data" / "astronaut.png"
