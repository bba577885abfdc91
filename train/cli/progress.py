"""Progress of long work on a terminal."""

from __future__ import annotations

import sys
from typing import Any

from edge.errors import EdgeError


class Stopped(EdgeError):
    """A person pressed Ctrl-C; nothing is lost."""

    exit_code = 130


def progress_bar() -> Any:
    """Return rich's bar, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    off = not console.is_terminal
    return Progress(*columns, console=console, transient=True, disable=off, redirect_stdout=False)


class Report:
    """Shows a run's state as a bar a stage, and one line an epoch, of `epochs`, that stays."""

    def __init__(self, bar: Any, epochs: int | None = None) -> None:
        self.bar, self._of = bar, "" if epochs is None else f"/{epochs}"
        self.task = bar.add_task("reading the data", total=None)

    def __call__(self, state: dict[str, float]) -> None:
        """Take a state of `train.fit.Progress`."""
        if "step" in state:
            text = f"epoch {state['epoch']:.0f}{self._of}  loss {state['loss']:.4f}"
            self.bar.update(self.task, description=text, completed=state["step"], total=state["steps"])
        else:
            figures = "  ".join(f"{key} {value:.4f}" for key, value in state.items() if key not in ("epoch", "seconds"))
            line = f"epoch {state['epoch']:.0f}{self._of}: {figures}  ({state['seconds']:.0f} s)"
            self.bar.console.print(line, soft_wrap=True)

    def say(self, line: str) -> None:
        """Print a line that stays: above the bar where both are on one terminal, else on standard output."""
        if self.bar.console.is_terminal and sys.stdout.isatty():
            self.bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, flush=True)

    def stage(self, text: str, total: int | None = None) -> Any:
        """Begin a stage with a bar of its own; return what takes the number done."""
        self.bar.remove_task(self.task)  # a total of None would leave the last stage's standing
        self.task = self.bar.add_task(text, total=total)
        return lambda done: self.bar.update(self.task, completed=done)
