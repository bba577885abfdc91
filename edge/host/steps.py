"""The steps by which a machine is changed: commands, files, folders. They can be shown before they are done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.errors import InputError, OutsideError
from edge.files import write_whole

COMMAND_SECONDS = 600.0
"""No command takes a part of it; doctor and a start of the service take minutes at most."""


@dataclass(frozen=True)
class Run:
    """Run a command. `must`: whether the plan ends where it fails."""

    words: tuple[str, ...]
    must: bool = True

    def __str__(self) -> str:
        return f"run {' '.join(self.words)}"


@dataclass(frozen=True)
class Write:
    """Write a file. `keep`: leave one that is there as it is. `group`: whose group may read it, None for root's."""

    path: Path
    text: str
    mode: int = 0o644
    keep: bool = False
    group: str | None = None

    def __str__(self) -> str:
        if self.keep and _there(self.path):
            return f"keep {self.path}"
        same = self.path.is_file() and self.path.read_bytes() == self.text.encode()
        return f"{'keep' if same else 'write'} {self.path}"


@dataclass(frozen=True)
class Folder:
    """Make a folder that belongs to a user."""

    path: Path
    owner: str

    def __str__(self) -> str:
        return f"{'keep' if self.path.is_dir() else 'make'} {self.path}"


@dataclass(frozen=True)
class Delete:
    """Delete a file or a folder, where it is."""

    path: Path

    def __str__(self) -> str:
        return f"delete {self.path}" if self.path.exists() else f"nothing to delete at {self.path}"


Step = Run | Write | Folder | Delete


def check_inside(root: Path, paths: Sequence[Path]) -> None:
    """Make sure that no link on the way to these paths leads out of a root folder.

    Inside an image an absolute link means a place of the image, but to whoever changes it from outside one of this
    machine.

    Args:
        root: the root folder, resolved.
        paths: what will be written, made, deleted, or read by a command; a path's own last part counts too.

    Raises:
        InputError: a link does.
    """
    for path in paths:
        try:
            real = path.resolve()
        except (OSError, RuntimeError):  # links in a circle
            real = None
        if real is None or not real.is_relative_to(root):
            raise InputError(
                f"{path}: a link on the way to it leads out of {root}: nothing is done; make it relative, or work on "
                "the machine itself"
            )


def carry_out(steps: Sequence[Step], root: Path, say: Callable[[str], None]) -> None:
    """Do the steps, and say each.

    Args:
        steps: what to do, in order.
        root: the root folder of the machine, whose users files are given to.
        say: takes a line for each step, and what a command says.

    Raises:
        InputError: something cannot be written.
        OutsideError: a command failed.
    """
    for step in steps:
        say(str(step))
        try:
            _do(step, root, say)
        except OSError as error:
            raise InputError(f"{error.filename or step}: {error.strerror or error}") from None


def _do(step: Step, root: Path, say: Callable[[str], None]) -> None:
    match step:
        case Run():
            _call(step, say)
        case Write() if not (step.keep and _there(step.path)):
            write_whole(step.path, step.text.encode())
            step.path.chmod(step.mode)
            if step.group is not None:
                _give(step.path, None, user_of(step.group, root))
        case Folder():
            step.path.mkdir(parents=True, exist_ok=True)
            step.path.chmod(0o750)
            ids = user_of(step.owner, root)
            _give(step.path, ids, ids)
        case Delete() if step.path.is_dir() and not step.path.is_symlink():
            shutil.rmtree(step.path)
        case Delete():
            step.path.unlink(missing_ok=True)


def _there(path: Path) -> bool:
    """Whether something has this name, be it a link to what is not there: in an image its target may come later."""
    return path.exists() or path.is_symlink()


def _call(step: Run, say: Callable[[str], None]) -> None:
    try:
        done = subprocess.run(
            step.words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", check=False, timeout=COMMAND_SECONDS,
        )  # fmt: skip
    except FileNotFoundError:
        raise InputError(
            f"{step.words[0]}: no such command here: install it (apt install systemd passwd util-linux)"
        ) from None
    except subprocess.TimeoutExpired:
        raise OutsideError(f"{step.words[0]} did not end within {COMMAND_SECONDS:.0f} s") from None
    for line in done.stdout.splitlines():
        say(f"  {line}")
    if done.returncode and step.must:
        raise OutsideError(f"{' '.join(step.words)} ended with code {done.returncode}")


def user_of(name: str, root: Path) -> tuple[int, int] | None:
    """Return a user's and his group's number on the machine under a root folder; None where it has no such user."""
    with suppress(OSError):
        for line in (root / "etc/passwd").read_text(errors="replace").splitlines():
            parts = line.split(":")
            if parts[0] == name and len(parts) >= 4 and parts[2].isdigit() and parts[3].isdigit():
                return int(parts[2]), int(parts[3])
    return None


def _give(path: Path, owner: tuple[int, int] | None, group: tuple[int, int] | None) -> None:
    """Give a file to a user and a group, where we may: in somebody's own image folder everything is his."""
    if sys.platform != "win32" and os.geteuid() == 0 and group is not None:
        os.chown(path, -1 if owner is None else owner[0], group[1])
