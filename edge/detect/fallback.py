"""Detection that goes on: where the preferred detector is missing, fails or is too slow, the next one takes over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

import numpy as np

from edge.detect import Detector, in_pieces
from edge.detect.picture import check_picture
from edge.errors import EdgeError, InputError, first_line
from edge.values import Face

LADDER = ("mtcnn", "blazeface", "yunet", "haar")
"""What falls back to what. The best that this device can afford comes first."""

RECENT, FEWEST = 15, 5
"""Of how many calls the median is taken, and from how many on."""

LONGEST_WAIT = 3600.0
"""However often a detector let us down, it is tried again after so many seconds."""

REMEMBERED = 50
"""How many switches are kept."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Switch:
    """One change of detector.

    Attributes:
        when: seconds on the clock that `Fallback` was given.
        old, new: names of the detectors.
        why: what was wrong with the old one, or that a better one was due.
    """

    when: float
    old: str
    new: str
    why: str


@dataclass
class _Rung:
    """A detector of the ladder, what is known of it, and when it may be tried again."""

    name: str
    detector: Detector | None = None
    took: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))  # ms of the last calls
    ms: float | None = None  # their median
    wait: float = 0.0  # s; 0 before it first let us down
    not_before: float = float("-inf")


class Fallback:
    """A ladder of detectors that is itself a detector.

    Down: when the detector in use cannot be loaded, throws, or takes longer than the budget for long. Up: on a clock,
    to the best detector whose time to be tried again has come; each time that it lets us down again the wait doubles,
    and once it has held out for longer than its wait, that starts anew. Where every detector misses the budget the
    fastest one stays.
    """

    def __init__(
        self,
        names: Sequence[str],
        load: Callable[[str], Detector],
        *,
        clock: Callable[[], float],
        say: Callable[[str], None] = lambda line: None,
        budget_ms: float | None = None,
        slow_for: float = 10.0,
        retry_after: float = 60.0,
    ) -> None:
        """Load the first detector that can be loaded.

        Args:
            names: the detectors, best first.
            load: loads one by its name; may raise.
            clock: seconds; it never goes back.
            say: takes one line for a person at each switch.
            budget_ms: what one call may take, milliseconds, as the median of recent calls of any kind, a piece of a
                search being one; None never steps down for slowness.
            slow_for: how long the budget must be missed before the next detector takes over, seconds.
            retry_after: how long a better detector is left alone at first, seconds.

        Raises:
            InputError: none of them can be loaded, or a number is out of range.
        """
        if not names:
            raise InputError("no detector to fall back to: name one at least")
        if (budget_ms is not None and not budget_ms > 0) or not slow_for >= 0 or not retry_after > 0:
            raise InputError(
                f"budget_ms is {budget_ms}, slow_for {slow_for}, retry_after {retry_after}: expected numbers above 0"
            )
        self._rungs = [_Rung(name) for name in names]
        self._load, self._clock, self._say = load, clock, say
        self.budget_ms, self._slow_for, self._retry_after = budget_ms, slow_for, retry_after
        self._switches: deque[Switch] = deque(maxlen=REMEMBERED)
        self._at = 0
        self._since = clock()  # when the detector in use took over
        self._slow_since: float | None = None
        self._settled = False  # all are too slow, this is the fastest
        if why := self._open(0):
            try:
                self._go_on([0], why)
            except EdgeError as error:  # at the start it is what is installed or configured that is wrong
                raise InputError(str(error)) from None

    @property
    def name(self) -> str:
        """The detector in use."""
        return self._rungs[self._at].name

    @property
    def names(self) -> tuple[str, ...]:
        """All of its detectors, best first."""
        return tuple(rung.name for rung in self._rungs)

    @property
    def ms(self) -> float | None:
        """Median time of the recent calls of the detector in use, milliseconds; None while there are too few."""
        return self._rungs[self._at].ms

    @property
    def switches(self) -> list[Switch]:
        """The last switches, oldest first."""
        return list(self._switches)

    def detect(self, image: np.ndarray) -> list[Face]:
        """Return the faces in `(H, W, 3)` uint8 BGR, best score first; empty when there are none.

        Raises:
            InputError: the picture has another shape or dtype.
            EdgeError: every detector fails on it.
        """
        check_picture(image)
        return self._call(lambda detector: detector.detect(image))

    def refine(self, image: np.ndarray, boxes: np.ndarray) -> list[Face | None]:
        """Look again near each of `(N, 4)` boxes; return its face, or None when there is none any more.

        Raises:
            InputError: the picture has another shape or dtype.
            EdgeError: every detector fails on it.
        """
        check_picture(image)
        if not len(boxes):  # no work, and no measure of a detector's speed
            return []
        return self._call(lambda detector: detector.refine(image, boxes))

    def search(self, image: np.ndarray) -> Generator[None, None, list[Face]]:
        """Detect in pieces, as `edge.detect.in_pieces` does; each piece is a call that has the budget to itself.

        Where a detector fails after the first piece the next one looks at what is in the picture by then.

        Raises:
            InputError: the picture has another shape or dtype; with the first piece.
            EdgeError: every detector fails on it.
        """
        check_picture(image)
        self._step_up()
        rung = self._rungs[self._at]
        if rung.detector is None:
            return self.detect(image)
        pieces = in_pieces(rung.detector, image)
        while True:
            began = self._clock()
            try:
                next(pieces)
            except StopIteration as end:
                found: list[Face] = end.value
                self._note(rung, began)
                return found
            except Exception as error:  # whatever a runtime or driver throws
                if rung is self._rungs[self._at]:  # another call may have left it since
                    self._leave(rung, error, [])
                return self.detect(image)
            self._note(rung, began)
            yield

    def _call(self, look: Callable[[Detector], Answer]) -> Answer:
        """Ask the detector in use; where it fails, the next one, until one answers."""
        self._step_up()
        failed: list[int] = []
        while True:
            rung = self._rungs[self._at]
            if why := self._open(self._at):
                failed.append(self._at)
                self._go_on(failed, why)
                continue
            assert rung.detector is not None
            began = self._clock()
            try:
                answer = look(rung.detector)
            except Exception as error:  # whatever a runtime or driver throws
                self._leave(rung, error, failed)
                continue
            self._note(rung, began)
            return answer

    def _open(self, index: int) -> str | None:
        """Load a detector unless it is; return what was wrong."""
        rung = self._rungs[index]
        if rung.detector is None:
            try:
                rung.detector = self._load(rung.name)
            except Exception as error:  # a broken installation throws more than ImportError
                self._push_back(rung, 0.0)
                return f"{rung.name} cannot be loaded: {first_line(error)}"
        return None

    def _leave(self, rung: _Rung, error: Exception, failed: list[int]) -> None:
        """Give up the detector in use, which threw; it is loaded anew when it is tried again."""
        self._push_back(rung, self._clock() - self._since)
        rung.detector = None
        failed.append(self._at)
        self._go_on(failed, f"{rung.name} failed: {first_line(error)}")

    def _note(self, rung: _Rung, began: float) -> None:
        """Count a call that is done, unless its detector has been left since."""
        if rung is self._rungs[self._at]:
            self._judge(rung, (self._clock() - began) * 1000)

    def _push_back(self, rung: _Rung, held: float) -> None:
        """Set when a detector that let us down after `held` seconds may be tried again."""
        fresh = not rung.wait or held > rung.wait
        rung.wait = self._retry_after if fresh else min(2 * rung.wait, LONGEST_WAIT)
        rung.not_before = self._clock() + rung.wait

    def _go_on(self, failed: list[int], why: str) -> None:
        """Switch to the next detector that loads: one below first, one that has not let us down of late first."""
        now, rungs = self._clock(), self._rungs
        order = [index for index in [*range(self._at + 1, len(rungs)), *range(self._at)] if index not in failed]
        for index in sorted(order, key=lambda index: rungs[index].not_before > now):
            also = self._open(index)
            if also is None:
                self._switch(index, why)
                return
            failed.append(index)
            why = f"{why}; {also}"
        raise EdgeError(f"no detector works here: {why}")

    def _judge(self, rung: _Rung, ms: float) -> None:
        """Note what a call took; step down when the budget has been missed for long."""
        rung.took.append(ms)
        if len(rung.took) < FEWEST:
            return
        rung.ms = median(rung.took)
        if self.budget_ms is None or rung.ms <= self.budget_ms:
            self._slow_since = None
            return
        now = self._clock()
        if self._slow_since is None:
            self._slow_since = now
        if now - self._slow_since >= self._slow_for and not self._settled:
            self._step_down(rung, rung.ms, self.budget_ms)

    def _step_down(self, rung: _Rung, ms: float, budget: float) -> None:
        """Leave a detector that is too slow for the next one that may be faster, or for the fastest."""
        now = self._clock()
        why = f"{rung.name} takes {ms:.3g} ms, the budget is {budget:.3g} ms"
        for index in range(self._at + 1, len(self._rungs)):
            below = self._rungs[index]
            if below.not_before > now or (below.ms is not None and below.ms >= ms):
                continue
            if self._open(index) is None:
                self._push_back(rung, now - self._since)
                self._switch(index, why)
                return
        self._settled = True
        fastest = min(
            (index for index, other in enumerate(self._rungs) if other.detector is not None and other.ms is not None),
            key=lambda index: self._rungs[index].ms or 0.0,
        )
        if fastest != self._at:
            self._push_back(rung, now - self._since)
            self._switch(fastest, f"{why}, and no other is within it: {self._rungs[fastest].name} is the fastest")
            self._settled = True

    def _step_up(self) -> None:
        """Switch to the best detector whose time has come."""
        now = self._clock()
        for index in range(self._at):
            rung = self._rungs[index]
            if rung.not_before <= now and self._open(index) is None:
                self._switch(index, f"{rung.name} is tried again after {rung.wait:.3g} s")
                return

    def _switch(self, index: int, why: str) -> None:
        old, new = self._rungs[self._at], self._rungs[index]
        self._at, self._since = index, self._clock()
        self._slow_since, self._settled = None, False
        new.took.clear()
        self._switches.append(Switch(self._since, old.name, new.name, why))
        self._say(f"detector {old.name} -> {new.name}: {why}")
