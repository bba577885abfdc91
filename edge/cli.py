"""The command `edge`: its own verbs, and the groups that other packages register. Loads each one when it is called."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import edge
from edge.errors import EdgeError, InputError
from edge.terminal import say, stop_on_signals

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

OWN = {
    "run": ("edge.run_cli:command", "Read a camera or file, find faces, read their emotions, publish them."),
    "feed": ("edge.feed.cli:command", "Receive the events of devices from a broker and show them."),
    "evaluate": ("edge.measure.cli:command", "Score a model file on labelled pictures."),
    "bench": ("edge.measure.bench_cli:command", "Measure what model files cost on this device."),
    "model": ("edge.model.cli:group", "Look into a model file."),
    "config": ("edge.config.cli:group", "Write a commented edge.toml, or check one."),
    "doctor": ("edge.host.doctor.cli:command", "Check this device, and say what to do."),
    "service": ("edge.host.service_cli:group", "Install edge run as a system service."),
}
"""The runtime's verbs: where each lives, and its line in the help."""

EXTRA_HELP = "Another package's command; see its own --help."
"""The line of a group whose own first line cannot be read without importing it."""


class EdgeGroup(click.Group):
    """A group that imports a command when it is called, and takes further ones from the installed packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [*OWN, *sorted(_registered())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in OWN:
            module, _, attribute = OWN[cmd_name][0].partition(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command
        point = _registered().get(cmd_name)
        return None if point is None else _load(point)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; say in one line which extra to install when a package that it needs is missing."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if ctx.invoked_subcommand not in _registered():
                raise
            raise _missing(_registered()[ctx.invoked_subcommand], error) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing one."""
        told = {name: about for name, (_, about) in OWN.items()}
        told |= {name: _first_line(point) for name, point in sorted(_registered().items()) if name not in OWN}
        with formatter.section("Commands"):
            formatter.write_dl(list(told.items()))


def _registered() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # 3 MB, for those who call such a command

    return {point.name: point for point in entry_points(group="emotion_edge.commands")}


def _first_line(point: EntryPoint) -> str:
    """Return the first line of a registered group's docstring, read from its source beside this package."""
    import ast

    place = Path(__file__).resolve().parent.parent.joinpath(*point.module.split("."))
    for file in (place / "__init__.py", place.with_suffix(".py")):
        with contextlib.suppress(OSError, ValueError, SyntaxError):
            for node in ast.parse(file.read_bytes()).body:
                if isinstance(node, ast.FunctionDef) and node.name == point.attr:
                    return (ast.get_docstring(node) or EXTRA_HELP).splitlines()[0]
    return EXTRA_HELP


def _load(point: EntryPoint) -> click.Command:
    """Import a registered group; say in one line what is missing when that fails."""
    try:
        loaded = point.load()
    except ModuleNotFoundError as error:
        raise _missing(point, error) from None
    if not isinstance(loaded, click.Command):
        raise InputError(f"edge {point.name}: what is registered as {point.value} is no command")
    return loaded


def _missing(point: EntryPoint, error: ModuleNotFoundError) -> InputError:
    package, missing = point.module.partition(".")[0], error.name or str(error)
    if missing.partition(".")[0] == package:
        return InputError(
            f'edge {point.name}: the module "{package}" that Python finds is not the kit\'s (another {package}.py '
            f"or folder {package} comes first): start edge from elsewhere, or take that one off PYTHONPATH"
        )
    return InputError(
        f"edge {point.name} needs the package {missing}, which is not installed: "
        f'pip install "emotion-edge[{point.name}]"'
    )


@click.group(cls=EdgeGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(edge.__version__, prog_name="edge")
def cli() -> None:
    """Facial emotion recognition at the edge.

    \b
    Try:  edge run --source 0 --stdout
          edge run --source clip.mp4 --broker mqtt://127.0.0.1:1883/emotion
          edge feed --broker mqtt://127.0.0.1:1883/emotion

    Exit codes: 0 well ended, 2 wrong usage or input, 3 the world outside (camera, broker) did not answer or did not
    take every event, 4 the gate of a calibration failed, 130 stopped half-way by Ctrl-C.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command and end the process with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] in (["run"], ["feed"]):
        # Before the imports that take time.
        stop_on_signals()
    sys.exit(call(arguments))


def call(arguments: list[str] | None = None) -> int:
    """Run the command; turn what a person can mend into one line and an exit code."""
    _hush_opencv()
    try:
        result: Any = cli.main(arguments, prog_name="edge", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except EdgeError as error:
        say(str(error))
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        return 2
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "edge"
        say(f'{error.format_message()} (see "{command} --help")')
        return 2
    except (click.Abort, KeyboardInterrupt):
        say("stopped")
        return 130
    except OSError as error:
        # A name that is too long, a disk that is full, a standard output that takes nothing.
        from edge.sources.names import shown

        named = f"{shown(str(error.filename))}: " if error.filename else "output: "
        say(f"{named}{error.strerror or error}")
        _forget_output()
        return 3 if error.errno in (errno.ENOSPC, errno.EIO) else 2


def _forget_output() -> None:
    """Send what standard output did not take to nowhere, else Python complains of it at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _hush_opencv() -> None:
    """Keep OpenCV and FFmpeg from writing into the terminal, and from pictures that fill the memory."""
    from edge.sources.size import MOST_DECODED_PIXELS

    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_DECODED_PIXELS))
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


if __name__ == "__main__":
    main()
