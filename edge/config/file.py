"""Reading the configuration: one TOML file into the tree of dataclasses, and the command line over it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from edge.config.settings import CameraConfig, Config
from edge.errors import InputError
from edge.files import read_regular

LONGEST = 2**20
"""Bytes of a configuration; a long one has some thousands."""

LEFT_OUT = "; it is left out"
"""What a warning of an unknown key ends with."""


def override(
    config: Config,
    *,
    model: str | None = None,
    broker: str | None = None,
    device: str | None = None,
    source: str | None = None,
    camera: str | None = None,
    publish: str | None = None,
    detector: str | None = None,
    log_format: str | None = None,
) -> Config:
    """Return the configuration with what the command line says instead; None leaves a value as it is.

    A source is the only one that is read. One that the configuration has keeps its settings, and may be given by its
    camera's name as well, where no file has that name; another has the first one's name alone: size, rate and password
    are not its own. Of several cameras a name chooses one.

    Raises:
        InputError: no camera has the name that is given, or the source is of no known kind.
    """
    cameras = config.camera
    if source is not None:
        chosen = _chosen(source, cameras)
        cameras = (replace(chosen, name=camera or chosen.name),)
    elif camera is not None and len(cameras) == 1:
        cameras = (replace(cameras[0], name=camera),)
    elif camera is not None and cameras:
        cameras = tuple(one for one in cameras if one.name == camera)
        if not cameras:
            known = ", ".join(one.name for one in config.camera)
            raise InputError(f"--camera {camera}: no [[camera]] table has this name; they are {known}")
    return replace(
        config,
        camera=cameras,
        model=config.model if model is None else model,
        device=config.device if device is None else device,
        mqtt=config.mqtt if broker is None else replace(config.mqtt, broker=broker),
        publish=config.publish if publish is None else replace(config.publish, when=publish),
        detect=config.detect if detector is None else replace(config.detect, detector=detector),
        log=config.log if log_format is None else replace(config.log, format=log_format),
    )


def _chosen(source: str, cameras: tuple[CameraConfig, ...]) -> CameraConfig:
    """Return the camera that a person means by a source: one of the configuration, or another one."""
    for one in cameras:
        if one.source == source:
            return one
    other = CameraConfig(source, cameras[0].name if cameras else "camera")
    if other.kind == "file" and not _exists(source):
        for one in cameras:
            if one.name == source:
                return one
        if cameras and not Path(source).suffix and "/" not in source:
            known = ", ".join(one.name for one in cameras)
            raise InputError(f"--source {source}: no such file or folder, and no camera of that name; they are {known}")
    return other


def _exists(source: str) -> bool:
    try:
        return Path(source).exists()
    except (OSError, ValueError):  # too long a name, or one with a NUL: told where it is opened
        return False


def load_config(
    path: str | Path | None, *, lenient: bool = False, warn: Callable[[str], None] = lambda line: None
) -> Config:
    """Read and check a configuration file; None gives the defaults.

    Args:
        path: the file.
        lenient: leave unknown keys out instead of refusing the file, as the service does: a release that is gone back
            to must not stop at a key that the newer one knew.
        warn: takes one line for each key that was left out.

    Raises:
        InputError: the file is missing or no TOML, a key is unknown (the nearest known one is named), or a value has
            the wrong type or is out of range.
    """
    if path is None:
        return Config()
    values = read_tables(path)

    def unknown(text: str) -> None:
        if not lenient:
            raise InputError(text)
        warn(f"configuration {path}: {text}{LEFT_OUT}")

    try:
        loaded: Config = _build(Config, values, "", unknown)
    except InputError as error:
        raise InputError(f"configuration {path}: {error}") from None
    return loaded


def read_tables(path: str | Path) -> dict[str, Any]:
    """Return a TOML file's tables as they stand there, keys and values unchecked.

    Raises:
        InputError: the file is missing, no regular file, too long, or no TOML.
    """
    try:
        text = read_regular(path, LONGEST).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"configuration {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"configuration {path}: it is not UTF-8 text") from None
    return _parse(text, path)


def _parse(text: str, path: str | Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError, and so is a number of 5,000 digits
        raise InputError(f"configuration {path}: not readable as TOML: {str(error)[:160]}") from None


def _build(kind: Any, values: dict[str, Any], above: str, unknown: Callable[[str], None]) -> Any:
    """Make a dataclass of a TOML table, key by key."""
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.5)
            hint = f' did you mean "{near[0]}"?' if near else f" known here: {', '.join(known)}"
            unknown(f'unknown key "{above}{key}";{hint}')
    if kind is CameraConfig and "source" not in values:
        raise InputError(f'{above.rstrip(".")} has no "source": a camera index, a URL, a file or a folder')
    return kind(**{k: _value(hints[k], value, above + k, unknown) for k, value in values.items() if k in known})


def _value(kind: Any, value: Any, key: str, unknown: Callable[[str], None]) -> Any:
    """Check one value against its type; tables become dataclasses, arrays of tables tuples of them."""
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise InputError(f'"{key}" must be a table, [{key}]')
        return _build(kind, value, f"{key}.", unknown)
    if get_origin(kind) is tuple:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise InputError(f'"{key}" must be an array of tables, [[{key}]]')
        return tuple(_build(get_args(kind)[0], item, f"{key}.", unknown) for item in value)
    allowed = tuple(part for part in (get_args(kind) or (kind,)) if part is not type(None))
    if float in allowed and type(value) is int and abs(value) < 1e9:
        return float(value)
    if type(value) not in allowed:
        shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        raise InputError(f'"{key}" is {shown}: expected {" or ".join(_NAMES[part] for part in allowed)}')
    return value


_NAMES = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}
