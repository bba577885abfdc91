"""What is done beside the loop on a clock: a look at the heat, the health message. One thread for all of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from edge.errors import first_line
from edge.host.watchdog import Stage

HEAT_EVERY = 5.0
"""Seconds between two looks at the heat."""


@dataclass(frozen=True)
class Round:
    """Something to do again and again.

    Attributes:
        name: what stands for it in the log.
        every: seconds from one time to the next; the first is that long after the start.
        do: does it.
    """

    name: str
    every: float
    do: Callable[[], None]


class Rounds:
    """Does each round when it is due, one after the other.

    A round that fails is said, once for each kind of failure, and is done again all the same.

    Args:
        rounds: what to do.
        log: takes one line for a person.
        stage: what the watchdog looks at; a round that never comes back leaves it at work. None: nobody looks.
        clock: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        *rounds: Round,
        log: Callable[[str], None],
        stage: Stage | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._due = {each: clock() + each.every for each in rounds}
        self._log, self._stage, self._clock = log, stage or nullcontext(), clock
        self._said: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rounds", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, within: float = 2.0) -> None:
        """Stop, waiting for `within` seconds at most for the round under way."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(within)

    def turn(self, now: float) -> float:
        """Do what is due; return the seconds until the next is."""
        for each, due in self._due.items():
            if now >= due and not self._stop.is_set():
                self._due[each] = max(due + each.every, now)  # what was missed is not made up for
                with self._stage:
                    self._do(each)
        return max(0.0, min(self._due.values(), default=now + HEAT_EVERY) - self._clock())

    def _do(self, each: Round) -> None:
        try:
            each.do()
        except Exception as error:  # a device that stops to say how it is must not stop
            text = f"{each.name} failed: {type(error).__name__}: {first_line(error)}"
            if text not in self._said and len(self._said) < 100:
                self._said.add(text)
                self._log(text)

    def _run(self) -> None:
        while not self._stop.wait(self.turn(self._clock())):
            pass
