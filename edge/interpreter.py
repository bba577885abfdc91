"""One way to start a TFLite interpreter, for detectors and classifiers alike: ai-edge-litert, else tflite-runtime."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np

from edge.errors import InputError, first_line

RUNTIMES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
"""Packages that run TFLite files, preferred first, and the module of each."""

IDENTIFIER = b"TFL3"
"""Bytes 4 to 8 of every TFLite file."""

LAST_FOR_NUMPY_1 = (2, 14)
"""tflite-runtime up to this version is compiled for numpy 1; with numpy 2 its interpreter cannot be made."""


def open_interpreter(
    data: bytes, name: str, threads: int, runtime: str | None = None, *, instead: str = ""
) -> tuple[Any, str]:
    """Start an interpreter with its tensors allocated.

    Both runtimes write one line of information on standard error when the first file is loaded; neither has a switch
    for it.

    Args:
        data: the TFLite file's bytes.
        name: what stands for it in errors.
        threads: processor threads for one run.
        runtime: one of `RUNTIMES`, or None for the first that is installed.
        instead: what a person may do where no runtime is installed, besides installing one.

    Returns:
        the interpreter, and the runtime's name and version.

    Raises:
        InputError: no runtime is installed, or the bytes are no TFLite model that it can run.
    """
    make, running = _interpreter(name, runtime, instead)
    try:
        interpreter = make(model_content=data, num_threads=threads)
        interpreter.allocate_tensors()
    except Exception as error:  # ValueError, RuntimeError, MemoryError: as it comes
        raise InputError(f"model {name} is no TFLite file that {running} can run: {first_line(error)}") from None
    return interpreter, running


def installed() -> list[str]:
    """Return which of `RUNTIMES` are installed, preferred first."""
    return [package for package, module in RUNTIMES.items() if find_spec(module) is not None]


def _interpreter(file: str, runtime: str | None, instead: str) -> tuple[Any, str]:
    """Return the interpreter's class, and the runtime's name and version."""
    if runtime is not None and runtime not in RUNTIMES:
        raise InputError(f"model {file}: {runtime} runs no TFLite file: choose {' or '.join(RUNTIMES)}")
    reasons = []
    for package in [runtime] if runtime else RUNTIMES:
        try:
            return import_module(f"{RUNTIMES[package]}.interpreter").Interpreter, _versioned(package)
        except ImportError as error:
            if package in installed():
                reasons.append(f"{package} is installed, but: {first_line(error)}")
    said = f" ({'; '.join(reasons)})" if reasons else ""
    wanted = runtime or next(iter(RUNTIMES))
    raise InputError(f"model {file}: nothing here runs a TFLite file{said}: pip install {wanted}{instead}")


def _versioned(package: str) -> str:
    """Return name and version of an installed runtime; refuse what cannot work before it says so in twelve lines."""
    try:
        found = version(package)
    except PackageNotFoundError:  # a build of one's own
        return package
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if package == "tflite-runtime" and numbers <= LAST_FOR_NUMPY_1 and int(np.__version__.split(".")[0]) >= 2:
        raise InputError(
            f"tflite-runtime {found} needs numpy 1, here is {np.__version__}: "
            'pip install ai-edge-litert, or "numpy<2" beside it'
        )
    return f"{package} {found}"
