"""Which of a model's files runs fastest on this device: what `edge bench --save` stores and `edge run` then takes.

It holds for the processor, the runtime's version and the very file that it was measured with; when one of them is
another, or what is stored is damaged, the run goes on with the model that ships, and says so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edge.errors import InputError
from edge.files import read_regular, write_whole
from edge.machine import processor
from edge.model import DEFAULT_MODEL, Classifier, load_model

NAME = "choice.json"
ANEW = 'measure anew with "edge bench --save"'

MOST_THREADS = 64


@dataclass(frozen=True)
class Choice:
    """What won.

    Attributes:
        file: path of the model file.
        sha256: of it, in hex.
        runtime: name and version, such as `ai-edge-litert 2.3.0`.
        threads: processor threads.
        processor: what it was measured on.
        p50_ms: median of one crop, milliseconds.
        measured: when, UTC.
    """

    file: str
    sha256: str
    runtime: str
    threads: int
    processor: str
    p50_ms: float
    measured: str


def choice_file() -> Path:
    """Return where the choice is kept: in `$EMOTION_EDGE_HOME`, or in `~/.local/share/emotion-edge`."""
    named = os.environ.get("EMOTION_EDGE_HOME")
    try:
        home = Path(named) if named else Path.home() / ".local" / "share" / "emotion-edge"
    except RuntimeError:
        raise InputError("there is no home folder to keep the choice in: set EMOTION_EDGE_HOME") from None
    return home / NAME


def write_choice(choice: Choice) -> Path:
    """Store a choice, whole or not at all; return the file.

    Raises:
        InputError: it cannot be written.
    """
    path = choice_file()
    write_whole(path, (json.dumps({"v": 1, **asdict(choice)}, indent=2) + "\n").encode())
    return path


def read_choice() -> Choice | None:
    """Return the stored choice; None where there is none.

    Raises:
        InputError: it is damaged, or of another version of the kit.
    """
    path = choice_file()
    try:
        stored = json.loads(read_regular(path, 2**16))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: it is damaged; {ANEW}") from None
    if not isinstance(stored, dict) or stored.get("v") != 1:
        raise InputError(f"{path}: it is no choice of this version of the kit; {ANEW}")
    values: dict[str, Any] = {key.name: stored.get(key.name) for key in fields(Choice)}
    texts = all(isinstance(values[key], str) for key in ("file", "sha256", "runtime", "processor", "measured"))
    threads, p50 = values["threads"], values["p50_ms"]
    if not texts or type(threads) is not int or not 1 <= threads <= MOST_THREADS or type(p50) not in (int, float):
        raise InputError(f"{path}: it is damaged; {ANEW}")
    return Choice(**values)


def names_own_model() -> bool:
    """Whether the stored choice names a model that does not ship: who made it wants it back, though it is not there."""
    try:
        choice = read_choice()
    except InputError:
        return False
    return choice is not None and Path(choice.file).parent != DEFAULT_MODEL.parent


def load_chosen(log: Callable[[str], None], threads: int | None = None) -> tuple[Classifier, int] | None:
    """Load what was chosen on this device; None where nothing was, or where it does not hold any more.

    Args:
        log: takes one line that says what was taken, or why the choice does not hold.
        threads: processor threads; None for those that were chosen.

    Returns:
        the model, and the threads that it has.
    """
    try:
        choice = read_choice()
        if choice is None:
            return None
        here = processor()
        if choice.processor != here:
            raise InputError(f"it was measured on {choice.processor}, this is {here}")
        package = choice.runtime.partition(" ")[0]
        model = load_model(choice.file, threads=threads or choice.threads, runtime=package)
        if model.info.sha256 != choice.sha256:
            raise InputError(f"{choice.file} is another file than the one that was measured")
        if model.runtime != choice.runtime:
            raise InputError(f"it was measured with {choice.runtime}, here is {model.runtime}")
    except InputError as error:
        log(f"what edge bench chose does not hold: {error}; taking the model that ships ({ANEW})")
        return None
    log(f"model {model.info.id} in {model.runtime}, threads {threads or choice.threads}: what edge bench chose")
    return model, threads or choice.threads
