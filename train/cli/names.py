"""Names that become folders."""

from __future__ import annotations

from pathlib import Path

from edge.errors import InputError


def plain_name(name: str) -> str:
    """Return the name, or refuse one that is no plain folder name."""
    if not name or name.startswith(".") or Path(name).name != name or not name.isprintable() or len(name) > 100:
        raise InputError(f"name {name[:60]!a}: use a plain name, without folders")
    return name
