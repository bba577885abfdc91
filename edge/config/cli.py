"""The commands `edge config …`."""

from __future__ import annotations

from pathlib import Path

import click

from edge.config import load_config
from edge.config.file import LEFT_OUT, read_tables
from edge.errors import InputError
from edge.terminal import printable, say

DEFAULT_FILE = "edge.toml"


@click.group("config")
def group() -> None:
    """Write a commented edge.toml, or check one."""


@group.command("init")
@click.argument("file", default=DEFAULT_FILE, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def init(file: Path, force: bool) -> None:
    """Write FILE with every key, explained and commented out.

    FILE is edge.toml unless named. Each key stands there with its default, or with an example where it has none; the
    file changes nothing until a # is taken away.

    \b
    Examples:
      edge config init
      edge config init /etc/emotion-edge/edge.toml
    """
    from edge.config.text import template
    from edge.files import write_whole

    if file.is_dir():
        raise InputError(f"{file}: a folder: name the file to write")
    if file.exists() and not force:
        raise InputError(f"{file}: it is there already: name another file, or write over it with --force")
    write_whole(file, template().encode())
    say(f'{file}: written; take the # away at what you change, then "edge config check {file}"')


@group.command("check")
@click.argument("file", default=DEFAULT_FILE, type=click.Path(path_type=Path))
@click.option("--show", is_flag=True, help="Print every value in force, and which of them are defaults.")
def check(file: Path, show: bool) -> None:
    """Find unknown keys and the first wrong value in FILE.

    FILE is edge.toml unless named. Says also what is not wrong but missing: a camera, a package that a key needs. Ends
    with 0 when nothing is wrong, else with 2. What it names (cameras, broker, files) is looked at by
    "edge doctor --config FILE".

    \b
    Examples:
      edge config check
      edge config check /etc/emotion-edge/edge.toml --show
    """
    from edge.config.check import check_whole, remarks
    from edge.config.text import listing

    unknown: list[str] = []
    try:
        config = load_config(file, lenient=True, warn=unknown.append)
        try:
            check_whole(config)
        except InputError as error:
            raise InputError(f"configuration {file}: {error}") from None
    finally:
        for line in unknown:
            say(line.removesuffix(LEFT_OUT))
    given = read_tables(file)
    if show:
        for line in listing(config, given):
            click.echo(printable(line))
    if unknown:
        raise InputError(f"configuration {file}: {len(unknown)} unknown key{'s' * (len(unknown) > 1)}")
    found = list(remarks(config))
    for line in found:
        say(f"configuration {file}: {line}")
    if not found:
        say(f"configuration {file}: nothing is wrong with it")
