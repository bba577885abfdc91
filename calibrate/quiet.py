"""Keeps what converters and quantizers chatter off the terminal; their errors are raised, not printed."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what is printed and logged below an error while it lasts."""
    logger, noise = logging.getLogger(), io.StringIO()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(noise), contextlib.redirect_stdout(noise):
            yield
    finally:
        logger.setLevel(level)
