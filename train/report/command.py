"""What a report says of the command that wrote it and of a configuration: file names, never a machine's paths. Pure."""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import Any

import click
from click.core import ParameterSource


def typed_command(context: click.Context) -> str:
    """Return the command line as typed, defaults left out, paths by their names."""
    words = [context.command_path]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if context.get_parameter_source(parameter.name or "") is not ParameterSource.COMMANDLINE:
            continue
        given = list(value) if isinstance(value, (list, tuple)) else [value]
        if isinstance(parameter, click.Argument):
            words += [shlex.quote(str(without_paths(each))) for each in given]
        elif isinstance(value, bool):
            words.append(parameter.opts[0] if value else parameter.secondary_opts[0])
        else:
            words += [f"{parameter.opts[0]} {shlex.quote(str(without_paths(each)))}" for each in given]
    return " ".join(words)


def without_paths(value: Any) -> Any:
    """Return a configuration or a text with every path in it shortened to its file's name."""
    if isinstance(value, dict):
        return {key: without_paths(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(inner) for inner in value]
    if isinstance(value, str) and ("/" in value or "\\" in value) and "://" not in value:
        return PurePath(value.rstrip("/\\")).name or value
    return value
