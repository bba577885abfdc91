"""The help of every command, at 80 columns: no line of a list of commands is cut off."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from edge.cli import EXTRA_HELP, cli

COLUMNS = 80


def contexts(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """The command and all below it."""
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from contexts(below, click.Context(below, info_name=name, parent=context, terminal_width=COLUMNS))


TREE = list(contexts(cli, click.Context(cli, info_name="edge", terminal_width=COLUMNS)))
GROUPS = [context for context in TREE if isinstance(context.command, click.Group)]


def test_the_tree_is_whole() -> None:
    paths = {context.command_path for context in TREE}
    assert {"edge run", "edge config check", "edge service install", "edge train fit", "edge calibrate run"} <= paths
    assert len(GROUPS) >= 6


def test_groups_of_other_packages_are_listed_with_their_own_line() -> None:
    from train.cli import group

    said = TREE[0].get_help()
    assert group.help is not None
    assert group.help.splitlines()[0] in said
    assert EXTRA_HELP not in said


@pytest.mark.parametrize("context", GROUPS, ids=lambda context: context.command_path)
def test_a_groups_list_of_commands_is_not_cut_off(context: click.Context) -> None:
    said = context.get_help().split("Commands:\n", 1)[1]
    cut = [line for line in said.splitlines() if line.rstrip().endswith(("...", "…"))]
    assert cut == []
    assert max(map(len, said.splitlines())) <= COLUMNS


@pytest.mark.parametrize("context", TREE, ids=lambda context: context.command_path)
def test_every_command_says_what_it_is_for(context: click.Context) -> None:
    assert context.command.get_short_help_str(COLUMNS).endswith(".")
    for parameter in context.command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{context.command_path} {parameter.opts[0]} has no help"
