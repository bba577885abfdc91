"""One MQTT connection, kept up for ever by one thread of its own: who sends and who listens both stand on it.

Only this thread ever touches paho's client: no lock is shared with a caller, and whatever a broker sends ends at most
the connection, never the thread.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paho.mqtt.enums import MQTTProtocolVersion

from edge.broker import BrokerAddress, Credentials
from edge.errors import OutsideError
from edge.publish.handler import Handler
from edge.publish.refusal import (
    TAKEN_OVER,
    UNSUPPORTED_VERSION,
    tls_context,
    why_ended,
    why_not_reached,
    why_refused,
    why_thrown_out,
)
from edge.publish.stage import REACH_SECONDS, TURN_SECONDS, NewStage, Unwatched
from edge.publish.wire import V5, V311, Wire

FIRST_DELAY, LONGEST_DELAY = 1.0, 120.0
"""Back-off between two tries, seconds: doubled by each failure."""
STEADY = 5.0
"""Seconds that a connection must last to reset the back-off: two clients of one name throw each other out."""
FLAPS = 2
"""Connections in a row that did not last after which it is said once, and no longer each time."""
ANSWER_WITHIN: dict[MQTTProtocolVersion, float] = {V5: 3.0, V311: 10.0}
"""Seconds for the broker's first answer. Version 5 gets few: amqtt 0.12.1 neither answers nor hangs up on a version 5
client with a last will, and would not be asked again with 3.1.1 before they are over."""
WINDOW = 100
"""Messages under way at once, unless the broker allows fewer."""
TURN = 1.0
"""Seconds that the thread sleeps at most while connected; paho's keepalive wants to be looked at."""


@dataclass(frozen=True)
class _End:
    """Why a try or a connection ended. `kind` is what is said once an outage; `other_version`: worth another try."""

    kind: str
    text: str
    other_version: bool = False
    lasted: float | None = None


class Connection:
    """Connects, and connects again, with back-off, until it is told to stop.

    Args:
        address: the broker.
        client_id: our name at the broker.
        handler: what is done with the connection.
        credentials: user name and password, or None.
        ca_file: PEM file of the certificate authority, for `mqtts` with a certificate of one's own.
        will: topic and payload that the broker publishes, retained, when we vanish.
        keep_session: ask the broker to keep for some minutes what it cannot deliver to us (version 5 only).
        fail_fast: give up when the first try fails.
        log: takes one line for a person; called in the connection's thread.
        first_delay: seconds before the second try; doubled up to `LONGEST_DELAY`.
        stage: makes what a watchdog looks at: a thread that is dead or stuck is missed, one that waits is not.

    Raises:
        InputError: the CA file cannot be used, or is given for a connection without TLS.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        handler: Handler,
        *,
        credentials: Credentials | None = None,
        ca_file: str | Path | None = None,
        will: tuple[str, str] | None = None,
        keep_session: bool = False,
        fail_fast: bool = False,
        log: Callable[[str], None],
        first_delay: float = FIRST_DELAY,
        stage: NewStage = Unwatched,
    ) -> None:
        self.address = address
        self._client_id = client_id
        self._handler = handler
        self._credentials = credentials
        self._tls = tls_context(address, ca_file)
        self._will = will
        self._keep_session = keep_session
        self._fail_fast = fail_fast
        self._log = log
        self._first_delay = first_delay
        self._turning, self._reaching = stage("mqtt", TURN_SECONDS), stage("reaching the broker", REACH_SECONDS)
        self._version = V5
        self._was_connected = False
        self._short_lived = 0
        self._said: set[str] = set()
        self._first_try = threading.Event()
        self._first_failure: str | None = None
        self._hurry = threading.Event()
        self._stop = threading.Event()
        self._clean = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        """Begin to connect; returns at once unless `fail_fast`, which waits for the first try's end.

        Raises:
            OutsideError: with `fail_fast`, the broker did not answer or refused.
        """
        self._thread.start()
        if not self._fail_fast:
            return
        self._first_try.wait()
        if self._first_failure is not None:
            raise OutsideError(self._first_failure)

    def wake(self) -> None:
        """Make the thread take a turn now. Safe from any thread; never blocks."""
        # A full pair has woken it already; a closed one has no thread to wake.
        with contextlib.suppress(OSError):
            self._wake_writer.send(b"\0")

    def hurry(self) -> None:
        """End the wait for the next try: there is this one, and it is the last."""
        self._hurry.set()
        self.wake()

    def stop(self, *, clean: bool, within: float) -> None:
        """End the connection and wait up to `within` seconds for its thread.

        Args:
            clean: say goodbye; otherwise the socket is shut and the broker publishes the last will.
            within: seconds; a thread that still waits for a name or a far host is left behind as a daemon.
        """
        self._clean = clean
        self._stop.set()
        self.hurry()
        if self._thread.ident is not None:
            self._thread.join(within)
        else:
            self._wake_reader.close()
            self._wake_writer.close()

    def _run(self) -> None:
        self._turning.working()
        try:
            self._keep_up()
        finally:
            self._first_try.set()
            self._handler.ended()
            self._wake_reader.close()
            self._wake_writer.close()
        self._turning.waiting()  # not where an error ends the thread: a watchdog shall miss it

    def _keep_up(self) -> None:
        """Be connected, again and again, until there is no need any more."""
        delay = self._first_delay
        while not self._stop.is_set():
            last = self._hurry.is_set()
            end = self._try_versions()
            if not self._first_try.is_set():
                self._first_failure = end.text
                self._first_try.set()
            if self._stop.is_set() or last or (self._fail_fast and not self._was_connected):
                return
            if end.lasted is not None and end.lasted >= STEADY:
                delay, self._short_lived = self._first_delay, 0
                self._said.clear()
            elif end.lasted is not None:
                self._short_lived += 1
                if self._short_lived == FLAPS:
                    end = _End("taken", f"{end.text} {FLAPS} times at once: {why_thrown_out(self._client_id)}")
            self._say(end.kind, f"{end.text}; trying again, and waiting up to {LONGEST_DELAY:.0f} s between tries")
            self._turning.waiting()
            self._hurry.wait(delay)
            self._turning.working()
            delay = min(delay * 2, LONGEST_DELAY)

    def _try_versions(self) -> _End:
        """One try: with the version that worked last, and at once with the other when the broker wants that."""
        end = self._talk(self._version, because=None)
        if end.other_version and not self._stop.is_set():
            end = self._talk(V311 if self._version == V5 else V5, because=end)
        return end

    def _talk(self, version: MQTTProtocolVersion, because: _End | None) -> _End:
        """Connect and stay until the connection ends. `because`: the end of the try with the other version."""
        wire = Wire(
            self.address, self._client_id, version, credentials=self._credentials, tls=self._tls, will=self._will,
            keep_session=self._keep_session, window=WINDOW, turn=TURN, waker=self._wake_reader,
        )  # fmt: skip
        self._turning.waiting()
        self._reaching.working()
        try:
            wire.connect(fresh=not self._was_connected)
        except (OSError, ValueError) as error:
            return _End("away", f"broker {self.address.server}: {why_not_reached(error)}")
        except Exception as error:
            return _End("broke", f"broker {self.address.server}: could not be asked ({type(error).__name__}: {error})")
        finally:
            self._reaching.waiting()
            self._turning.working()
        try:
            refused = self._wait_for_answer(wire, version)
            if refused is not None:
                return refused
            if because is not None and because.kind == "version":
                # Refused in so many words, it stays refused; a mere hang-up may have been a broker that was starting.
                self._version = version
            self._say_connected(version)
            since = time.monotonic()
            try:
                text = self._stay(wire)
            finally:
                self._handler.disconnected()
            goodbye = wire.heard.goodbye
            kind = "taken" if goodbye is not None and goodbye.value == TAKEN_OVER else "away"
            return _End(kind, f"broker {self.address.server}: {text}", lasted=time.monotonic() - since)
        finally:
            wire.shut()

    def _wait_for_answer(self, wire: Wire, version: MQTTProtocolVersion) -> _End | None:
        """Wait for the broker's CONNACK; None when it took us."""
        server, heard = self.address.server, wire.heard
        patience = ANSWER_WITHIN[version]
        deadline = time.monotonic() + patience
        trouble = None
        while heard.answer is None and trouble is None:
            if self._stop.is_set():
                return _End("away", f"broker {server}: stopped before it answered")
            if time.monotonic() > deadline:
                text = f"took the connection but did not answer within {patience:.0f} s: is it an MQTT broker?"
                return _End("away", f"broker {server}: {text}", other_version=version == V5)
            self._turning.working()
            trouble = wire.turn()
        if heard.answer is None:
            text = f"broker {server}: hung up on MQTT {_spoken(version)}: is it an MQTT broker, with TLS or without?"
            return _End("away", text, other_version=True)
        reason = heard.answer[0]
        if not reason.is_failure:
            return None
        if reason.value == UNSUPPORTED_VERSION:
            return _End("version", f"broker {server}: refused MQTT {_spoken(version)}", other_version=True)
        text = f"broker {server}: {why_refused(reason, self._credentials)}"
        return _End(f"refused {reason.value}", text)

    def _stay(self, wire: Wire) -> str:
        """Be connected until something ends it; return what did."""
        client, heard = wire.client, wire.heard
        self._was_connected = True
        self._first_try.set()
        answer = heard.answer[1] if heard.answer else None
        self._handler.connected(client, min(WINDOW, getattr(answer, "ReceiveMaximum", WINDOW)))
        self._handler.turn(client)
        while True:
            self._turning.working()
            trouble = wire.turn()
            calls, heard.calls = heard.calls, []
            for call in calls:
                call(self._handler)
            if trouble is not None:
                return trouble if heard.goodbye is None else why_ended(heard.goodbye, self._client_id)
            if self._stop.is_set():
                if self._clean:
                    wire.say_goodbye()
                return "closed"
            if client.socket() is not None:
                self._handler.turn(client)

    def _say_connected(self, version: MQTTProtocolVersion) -> None:
        if self._short_lived >= FLAPS:
            return
        if self._said:
            self._tell(f"broker {self.address.server}: connected again")
        elif not self._was_connected and version != V5:
            self._tell(f"broker {self.address.server}: connected, with MQTT {_spoken(version)} as this broker wants it")
        self._said.clear()

    def _say(self, kind: str, text: str) -> None:
        """Say each kind of trouble once an outage."""
        if kind not in self._said:
            self._said.add(kind)
            self._tell(text)

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._log(line)


def _spoken(version: MQTTProtocolVersion) -> str:
    return "5" if version == V5 else "3.1.1"
