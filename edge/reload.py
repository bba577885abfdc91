"""Taking over a changed configuration without a restart: what has changed, and which of it can be had at once. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from edge.config import Config
from edge.sources.names import shown

LIVE: frozenset[str] = frozenset(
    {"track", "classify.rate", "quality", "smooth", "publish", "limits", "log.level", "privacy.aim"}
)
"""Keys that a run takes over while it runs; a table's name stands for all of its keys, `camera.KEY` for that key of
every camera. Whoever makes a key live names it here and applies it; every other key needs a restart."""


@dataclass(frozen=True)
class Change:
    """One key whose value is another.

    Attributes:
        key: `track.keep`, or `camera.front.source` of the camera called front.
        old: the value so far; None for a camera that is new.
        new: the value from now on; None for a camera that is gone.
        live: whether it can be taken over while running.
    """

    key: str
    old: Any
    new: Any
    live: bool

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.old)} → {_shown(self.new)}{'' if self.live else ', after a restart'}"


def diff(old: Config, new: Config, live: Collection[str] = LIVE) -> list[Change]:
    """Return what differs between two configurations, key by key, in the file's order."""
    return list(_differences(old, new, "", "", live))


def take_over(old: Config, new: Config, live: Collection[str] = LIVE) -> Config:
    """Return the old configuration with those of the new one's values that need no restart."""
    taken: Config = _taken(old, new, "", live)
    return taken


def _differences(old: Any, new: Any, shown: str, path: str, live: Collection[str]) -> Iterator[Change]:
    """Compare two tables. `shown` and `path` are their names for a person and for `live`, with a dot at the end."""
    for name in (found.name for found in fields(old)):
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        if is_dataclass(before) and is_dataclass(after):
            yield from _differences(before, after, f"{shown}{name}.", f"{path}{name}.", live)
        elif _named(before) is not None and _named(after) is not None:
            yield from _items(name, before, after, live)
        else:
            yield Change(shown + name, before, after, _is_live(path + name, live))


def _items(name: str, old: Any, new: Any, live: Collection[str]) -> Iterator[Change]:
    """Compare an array of tables by the tables' names: one that is new, gone, or changed."""
    before, after = _named(old) or {}, _named(new) or {}
    for item in [*before, *(added for added in after if added not in before)]:
        if item in before and item in after:
            yield from _differences(before[item], after[item], f"{name}.{item}.", f"{name}.", live)
        else:
            yield Change(f"{name}.{item}", before.get(item), after.get(item), False)


def _taken(old: Any, new: Any, path: str, live: Collection[str]) -> Any:
    values: dict[str, Any] = {}
    for name in (found.name for found in fields(old)):
        before, after = getattr(old, name), getattr(new, name)
        named = _named(after)
        if is_dataclass(before) and is_dataclass(after):
            values[name] = _taken(before, after, f"{path}{name}.", live)
        elif _named(before) is not None and named is not None:
            values[name] = tuple(
                _taken(item, named[item.name], f"{name}.", live) if item.name in named else item for item in before
            )
        elif _is_live(path + name, live):
            values[name] = after
    return replace(old, **values)


def _named(value: Any) -> dict[str, Any] | None:
    """Return an array of tables by name; None for what is none, or where two have one name."""
    if not isinstance(value, tuple) or not all(is_dataclass(item) and hasattr(item, "name") for item in value):
        return None
    found = {item.name: item for item in value}
    return found if len(found) == len(value) else None


def _is_live(path: str, live: Collection[str]) -> bool:
    return path in live or any(path.startswith(f"{table}.") for table in live)


def _shown(value: Any) -> str:
    """Return a value for a log line; a camera by its source alone, without what may be secret in it."""
    if value is None:
        return "not set"
    if is_dataclass(value):
        return "a camera"
    return repr(shown(value) if isinstance(value, str) else value)
