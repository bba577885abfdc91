"""How a script ends where something is missing or wrong: one line, with the extra that brings a package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OURS = ("edge", "train", "calibrate", "deploy", "scripts")
BESIDE = {"facenet_pytorch": "pip install --no-deps facenet-pytorch==2.6.0"}
"""What stands in no extra, and how it is installed."""


@contextmanager
def needs(extra: str | None = None) -> Iterator[None]:
    """Turn a missing package, or what a person can mend, into one line and an exit code.

    As a decorator it stands around a `main` that imports what the extra brings after it has read its arguments, so
    that `--help` works without it.

    Args:
        extra: of pyproject.toml, what brings the packages; None for the kit without extras.
    """
    from edge.errors import EdgeError

    name = Path(sys.argv[0]).stem
    try:
        yield
    except EdgeError as error:
        print(f"{name}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in OURS:
            raise
        how = BESIDE.get(package, f'pip install ".[{extra}]"' if extra else "pip install .")
        print(f"{name}: needs the package {package}, which is not installed: {how}", file=sys.stderr)
        raise SystemExit(2) from None
