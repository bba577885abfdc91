"""Listen to the events of all devices under a prefix; come back after whatever a broker or a network does."""

from __future__ import annotations

import json
import os
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from edge.broker import BrokerAddress, Credentials
from edge.errors import OutsideError
from edge.publish.connection import FIRST_DELAY, Connection
from edge.publish.topics import all_available, all_events, device_of

QUEUED = 10_000
"""Messages held for a reader that is slower than the feed."""
GRANTED_WITHIN = 10.0
"""Seconds for the broker's answer to the subscription, with `fail_fast`."""
LOOK_EVERY = 0.2
"""Seconds between two looks at `until` while nothing comes."""

Event = dict[str, Any]


@dataclass
class Received:
    """What a `receive` has seen.

    Attributes:
        events: events handed on.
        unreadable: messages that were no JSON object.
        dropped: messages that came while the reader's queue was full.
    """

    events: int = 0
    unreadable: int = 0
    dropped: int = 0


def receive(
    address: BrokerAddress,
    credentials: Credentials | None,
    on_event: Callable[[Event], None],
    on_status: Callable[[str, str], None] = lambda device, status: None,
    *,
    ca_file: str | Path | None = None,
    fail_fast: bool = False,
    log: Callable[[str], None] = lambda line: None,
    until: Callable[[], bool] = lambda: False,
    on_ready: Callable[[], None] = lambda: None,
    first_delay: float = FIRST_DELAY,
) -> Received:
    """Hand on every event under the address's prefix until `until` says so; reconnects for ever.

    What is sent while our connection is away the broker keeps for some minutes (MQTT 5); a broker that is itself
    restarted may forget us, and what devices send before we are back is then a gap in `seq`. An event may come twice
    after a lost connection (QoS 1): `(device, stream, seq)` tells doubles.

    Args:
        address: the broker and the prefix.
        credentials: user name and password, or None.
        on_event: gets each event as it was decoded, in the caller's thread; nothing in it is checked beyond being a
            JSON object.
        on_status: gets a device's name and `online` or `offline`, in the caller's thread.
        ca_file: PEM file of the certificate authority, for `mqtts`.
        fail_fast: raise when the first try to connect fails.
        log: takes one line for a person; may be called from another thread.
        until: asked after each message and at least every 0.2 s; True ends it.
        on_ready: called whenever the broker has granted the subscription, in the connection's thread.
        first_delay: seconds before the second try to connect; doubled up to 120.

    Raises:
        OutsideError: with `fail_fast`, the broker did not answer, or refused us or the subscription, or said nothing to
            it for ten seconds.
        InputError: the CA file cannot be used.
    """
    listener = _Listener(address, log, on_ready)
    connection = Connection(
        address,
        f"feed-{os.urandom(9).hex()}",
        listener,
        credentials=credentials,
        ca_file=ca_file,
        keep_session=True,
        fail_fast=fail_fast,
        log=log,
        first_delay=first_delay,
    )
    connection.start()
    patience = time.monotonic() + GRANTED_WITHIN
    try:
        while not until():
            if fail_fast and listener.denied:
                raise OutsideError(listener.denied)
            if fail_fast and not listener.granted and time.monotonic() > patience:
                raise OutsideError(
                    f"broker {address.server}: took the connection but did not let us listen within "
                    f"{GRANTED_WITHIN:.0f} s: is it an MQTT broker?"
                )
            try:
                topic, payload = listener.inbox.get(timeout=LOOK_EVERY)
            except queue.Empty:
                continue
            _hand_on(topic, payload, address, listener, on_event, on_status)
    finally:
        connection.stop(clean=True, within=1.0)
    return listener.seen


def _hand_on(
    topic: str,
    payload: bytes,
    address: BrokerAddress,
    listener: _Listener,
    on_event: Callable[[Event], None],
    on_status: Callable[[str, str], None],
) -> None:
    device = device_of(topic, address.prefix)
    if device is None:
        return
    if not topic.endswith("/events"):
        on_status(device, payload[:40].decode("utf-8", "replace"))
        return
    event = decode(payload)
    if event is None:
        listener.seen.unreadable += 1
        if listener.seen.unreadable == 1:
            listener.log(f"{topic!a}: a message that is no JSON object was left out; others like it are only counted")
        return
    listener.seen.events += 1
    on_event(event)


def decode(payload: bytes) -> Event | None:
    """Return an event's JSON object, or None for anything else, `NaN` and endless nesting included."""
    try:
        value = json.loads(payload, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


@dataclass
class _Listener:
    """Subscribes at each connection and passes messages to the reader's thread."""

    address: BrokerAddress
    log: Callable[[str], None]
    on_ready: Callable[[], None]
    seen: Received = field(default_factory=Received)
    inbox: queue.Queue[tuple[str, bytes]] = field(default_factory=lambda: queue.Queue(QUEUED))
    denied: str = ""
    granted: bool = False

    def connected(self, client: Client, window: int) -> None:
        client.subscribe([(all_events(self.address.prefix), 1), (all_available(self.address.prefix), 1)])

    def turn(self, client: Client) -> None:
        """Nothing to send."""

    def acknowledged(self, message_id: int, reason: ReasonCode) -> None:
        """Nothing was sent."""

    def subscribed(self, reasons: list[ReasonCode]) -> None:
        refused = [reason for reason in reasons if reason.is_failure]
        if not refused:
            self.denied, self.granted = "", True
            self.on_ready()
            return
        first = not self.denied
        self.denied = (
            f"broker {self.address.server}: does not let us listen to {all_events(self.address.prefix)} "
            f"({str(refused[0]).lower()}): check its rules for this user"
        )
        if first:
            self.log(self.denied)

    def received(self, message: MQTTMessage) -> None:
        try:
            self.inbox.put_nowait((message.topic, bytes(message.payload)))
        except UnicodeDecodeError:
            return
        except queue.Full:
            self.seen.dropped += 1
            if self.seen.dropped == 1:
                self.log(f"{QUEUED} messages wait to be shown: those that come now are dropped")

    def disconnected(self) -> None:
        """The connection comes back by itself."""

    def ended(self) -> None:
        """Nothing is held."""
