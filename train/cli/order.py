"""Commands and options in the order in which a person needs them, which is not the alphabet's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click


class InOrder(click.Group):
    """Lists its commands in the order of the work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names as they were added."""
        return list(self.commands)


class InSections(click.Command):
    """Lists its options under titles; those under none come last, as `Options`.

    Args:
        sections: names of options, such as `--epochs`, by title.
    """

    def __init__(self, *arguments: Any, sections: Mapping[str, Sequence[str]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        titles = {name: title for title, names in self.sections.items() for name in names}
        listed: dict[str, list[tuple[str, str]]] = {title: [] for title in (*self.sections, "Options")}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                title = next((titles[name] for name in parameter.opts if name in titles), "Options")
                listed[title].append(record)
        for title, records in listed.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
