"""The configuration as text: what each key is for, read from the dataclasses and the docstrings under their fields.

Nothing about a key is written here a second time, so that a new key shows up by itself.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import edge
from edge.config import Config
from edge.config.settings import EXAMPLE
from edge.sources.names import shown

WIDTH = 100
"""Comments are wrapped at so many characters."""

REQUIRED = object()
"""The default of a key that has none."""


@dataclass(frozen=True)
class Key:
    """One key, or one table of keys.

    Attributes:
        name: as it stands in the file.
        about: what it is for.
        kind: its type, without None; of a table its dataclass.
        default: its default; None where it is not set, `REQUIRED` where it must be given.
        example: what a value may look like, where the default is none.
        table: None for a value, `[]` for a table, `[[]]` for an array of tables.
    """

    name: str
    about: str
    kind: Any
    default: Any
    example: Any = None
    table: str | None = None


def keys_of(kind: Any) -> tuple[Key, ...]:
    """Return the keys of a dataclass of the configuration, in its order."""
    hints, abouts = get_type_hints(kind), _docstrings(kind)
    return tuple(_key(found, hints[found.name], abouts.get(found.name, "")) for found in fields(kind))


def template(settings: Mapping[str, Any] | None = None) -> str:
    """Return a whole edge.toml: every key with its default, commented out.

    Args:
        settings: what stands there uncommented, nested as in the file: `{"camera": [{"source": "0"}]}`.
    """
    head = (
        f"# The configuration of Emotion Edge {edge.__version__}.",
        "# A line that begins with #key shows the key's default, or an example where it says so: take the #",
        "# away to set another value.",
        '# Check it with "edge config check FILE"; see what is in force with "edge config check FILE --show".',
        "",
    )
    return "\n".join([*head, *_table(Config, "", settings or {}, commented=False)]).rstrip("\n") + "\n"


def listing(config: Any, given: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield every value that is in force as `key = value`, marked where it is the default.

    Args:
        config: a configuration, or a table of it.
        given: what the file says, as `edge.config.file.read_tables` returns it.
        above: the table's name with a dot, for inner calls.
    """
    for key in keys_of(type(config)):
        value, stated = getattr(config, key.name), given.get(key.name)
        name = above + key.name
        if key.table == "[]":
            yield from listing(value, stated if isinstance(stated, Mapping) else {}, f"{name}.")
        elif key.table == "[[]]":
            tables = stated if isinstance(stated, list) else [{}] * len(value)
            for index, (item, table) in enumerate(zip(value, tables, strict=True)):
                yield from listing(item, table, f"{name}[{index}].")
        elif value is None:
            yield f"# {name}: not set"
        else:
            safe = shown(value) if isinstance(value, str) else value
            yield f"{name} = {toml(safe)}" + ("" if key.name in given else "  # default")


def toml(value: Any) -> str:
    """Return a value as TOML writes it: text, number, true or false, or a list of these."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{toml(str(key))} = {toml(part)}" for key, part in value.items()) + " }"
    if isinstance(value, float):
        return repr(value)  # inf and nan are TOML's own words
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _table(kind: type, path: str, settings: Mapping[str, Any], *, commented: bool) -> Iterator[str]:
    """Yield a table's lines: its values first, then the tables in it, as TOML wants them."""
    keys = keys_of(kind)
    for key in keys:
        if key.table is None:
            yield from _comment(key)
            if key.name in settings:
                yield f"{key.name} = {toml(settings[key.name])}"
            else:
                yield f"#{key.name} = {_example(key)}"
            yield ""
    for key in keys:
        inner = f"{path}{key.name}"
        if key.table == "[]":
            yield from _comment(key)
            yield f"{'#' if commented else ''}[{inner}]"
            yield from _table(key.kind, f"{inner}.", settings.get(key.name, {}), commented=commented)
        elif key.table == "[[]]":
            yield from _comment(key)
            given = settings.get(key.name)
            for item in given or [{}]:
                yield f"{'' if given else '#'}[[{inner}]]"
                yield from _table(key.kind, f"{inner}.", item, commented=not given)


def _comment(key: Key) -> list[str]:
    """Return what a key is for, as comment lines, with what its line cannot say."""
    more = ""
    if key.table is None:
        more = " Must be given." if key.default is REQUIRED else " Not set; an example:" if key.default is None else ""
    text = " ".join(key.about.split()) + more
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH - 2, break_long_words=False, break_on_hyphens=False)]


def _example(key: Key) -> str:
    return toml(key.example if key.default is None or key.default is REQUIRED else key.default)


def _key(found: Field[Any], hint: Any, about: str) -> Key:
    kind = next((part for part in get_args(hint) if part is not type(None)), hint) if _may_be_none(hint) else hint
    if is_dataclass(kind):
        return Key(found.name, about, kind, None, table="[]")
    if get_origin(kind) is tuple and is_dataclass(get_args(kind)[0]):
        return Key(found.name, about, get_args(kind)[0], None, table="[[]]")
    if found.default_factory is not MISSING:
        return Key(found.name, about, kind, found.default_factory())
    default = REQUIRED if found.default is MISSING else found.default
    return Key(found.name, about, kind, default, found.metadata.get(EXAMPLE))


def _may_be_none(hint: Any) -> bool:
    return type(None) in get_args(hint)


def _docstrings(kind: type) -> dict[str, str]:
    """Return the text under each field of a dataclass, which Python itself does not keep."""
    try:
        (parsed,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError):  # installed without its source
        return {}
    assert isinstance(parsed, ast.ClassDef)
    found: dict[str, str] = {}
    for named, text in zip(parsed.body, parsed.body[1:], strict=False):
        match named, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(about))):
                found[name] = about
    return found
