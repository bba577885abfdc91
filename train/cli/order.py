"""Commands in the order in which a person needs them, which is not the alphabet's."""

from __future__ import annotations

import click


class InOrder(click.Group):
    """Lists its commands in the order of the work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names as they were added."""
        return list(self.commands)
