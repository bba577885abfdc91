"""Events and retained values of one device to an MQTT broker, without ever making the caller wait."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from edge.broker import BrokerAddress, Credentials
from edge.publish import Queue
from edge.publish.connection import FIRST_DELAY, WINDOW, Connection
from edge.publish.stage import NewStage, Unwatched
from edge.publish.topics import OFFLINE, ONLINE, Topics

MAX_QUEUED_MESSAGES = 10_000
"""Events held in memory until the broker has acknowledged them, about 5 MB."""


MOST_TOLD = 200
"""When so many messages wait, of retained values and health only the newest of each topic are kept."""


@dataclass(frozen=True)
class _Message:
    topic: str
    payload: str
    retain: bool
    kept: bool = False
    """Whether it is an event: held until the broker has it."""


class MqttPublisher:
    """Publishes under `<prefix>/<device>/`; see `edge.publish.topics` for what goes where.

    Events are kept until the broker acknowledges them and sent again after a new connection (QoS 1: a consumer may see
    one twice). Retained values are sent when they change and all again at every connection, for a broker that was
    restarted forgot them. The last will marks the device offline.

    Args:
        address: the broker and the prefix.
        device: the device's name, one topic level.
        credentials: user name and password, or None.
        ca_file: PEM file of the certificate authority, for `mqtts`.
        fail_fast: let `start` raise when the first try fails.
        log: takes one line for a person; called from another thread.
        max_queued_messages: events held at most; what comes while it is full is dropped and counted.
        first_delay: seconds before the second try to connect; doubled up to 120.
        stage: makes what a watchdog looks at.

    Raises:
        InputError: the device's name is no topic level, or the CA file cannot be used.
    """

    def __init__(
        self,
        address: BrokerAddress,
        device: str,
        *,
        credentials: Credentials | None = None,
        ca_file: str | Path | None = None,
        fail_fast: bool = False,
        log: Callable[[str], None] = lambda line: None,
        max_queued_messages: int = MAX_QUEUED_MESSAGES,
        first_delay: float = FIRST_DELAY,
        stage: NewStage = Unwatched,
    ) -> None:
        self.topics = Topics(address.prefix, device)
        self._server = address.server
        self._log = log
        self._limit = max_queued_messages
        self._changed = threading.Condition()
        self._waiting: deque[_Message] = deque()
        self._under_way: dict[int, _Message] = {}
        self._retained: dict[str, str] = {}
        self._told: dict[str, object] = {}
        self._held = 0
        self._dropped = 0
        self._refused = 0
        self._window = WINDOW
        self._connected = False
        self._closing = False
        self._over = False
        self._connection = Connection(
            address,
            client_id(address.prefix, device),
            self,
            credentials=credentials,
            ca_file=ca_file,
            will=(self.topics.available, OFFLINE),
            fail_fast=fail_fast,
            log=log,
            first_delay=first_delay,
            stage=stage,
        )

    @property
    def dropped(self) -> int:
        """Events dropped so far because the queue was full."""
        return self._dropped

    def start(self) -> None:
        """Begin to connect in the background; with `fail_fast`, wait for the first try's end.

        Raises:
            OutsideError: with `fail_fast`, the broker did not answer or refused.
        """
        self._connection.start()

    def event(self, camera: str, payload: str) -> None:
        """Queue one event of a camera: JSON as text, QoS 1, not retained. Never blocks."""
        self._hold(_Message(self.topics.events(camera), payload, retain=False, kept=True))

    def summary(self, camera: str, payload: str) -> None:
        """Queue one minute of a camera (`summary.schema.json`), like an event."""
        self._hold(_Message(self.topics.summary(camera), payload, retain=False, kept=True))

    def health(self, message: Mapping[str, Any]) -> None:
        """Tell how the device is (`health.schema.json`), not retained; only while the broker is connected."""
        with self._changed:
            if not self._connected or self._closing:
                return
            self._tell(_Message(self.topics.health, _json(message), retain=False))
        self._connection.wake()

    def queue(self) -> Queue:
        """Return what is on its way."""
        with self._changed:
            return Queue(self._connected, self._held, self._dropped + self._refused)

    def _hold(self, message: _Message) -> None:
        with self._changed:
            full = self._held >= self._limit
            first = full and self._dropped == 0
            if full or self._closing:
                self._dropped += 1
            else:
                self._held += 1
                self._waiting.append(message)
        if first:
            self._log(f"broker {self._server}: {self._limit} events wait for it: those that come now are dropped")
        self._connection.wake()

    def state(self, camera: str, state: Mapping[str, Any]) -> None:
        """Tell a camera's state (`state.schema.json`); sent when anything but its `ts` has changed."""
        same = {key: value for key, value in state.items() if key != "ts"}
        self._retain(self.topics.state(camera), _json(state), same)

    def faces(self, camera: str, count: int) -> None:
        """Tell how many faces a camera sees; sent when it has changed."""
        self._retain(self.topics.faces(camera), str(count), count)

    def emotion(self, camera: str, label: str) -> None:
        """Tell the label of a camera's largest face; sent when it has changed."""
        self._retain(self.topics.emotion(camera), label, label)

    def info(self, info: Mapping[str, Any]) -> None:
        """Tell what the device is (`info.schema.json`)."""
        self._retain(self.topics.info, _json(info), dict(info))

    def close(self, timeout: float = 5.0) -> int:
        """Send what waits, say offline, and disconnect.

        A broker that is away gets one more try. Where `offline` is not acknowledged in time the connection is shut
        without a goodbye, so that the last will says it.

        Args:
            timeout: seconds to wait for the broker's acknowledgements.

        Returns:
            How many events were not delivered: not acknowledged, refused by the broker, or dropped from a full queue.
        """
        with self._changed:
            if not self._closing:
                self._closing = True
                if self._connected:
                    self._waiting.append(_Message(self.topics.available, OFFLINE, retain=True))
        self._connection.hurry()
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._all_sent(), timeout)
            clean = self._all_sent()
        self._connection.stop(clean=clean, within=1.0)
        with self._changed:
            return self._held + self._dropped + self._refused

    def _all_sent(self) -> bool:
        return self._connected and not self._waiting and not self._under_way

    def _retain(self, topic: str, payload: str, same: object) -> None:
        """Keep a retained value and send it when it differs; what changes while offline is sent as it is at last."""
        with self._changed:
            if self._told.get(topic) == same:
                return
            self._told[topic] = same
            self._retained[topic] = payload
            if self._connected and not self._closing:
                self._tell(_Message(topic, payload, retain=True))
        self._connection.wake()

    def _tell(self, message: _Message) -> None:
        """Queue a value; when many wait it takes its topic's older ones' place, but for the first, which may be going.

        A broker that confirms nothing must not fill the memory.
        """
        if len(self._waiting) >= MOST_TOLD:
            first, *rest = self._waiting
            self._waiting = deque([first, *(other for other in rest if other.kept or other.topic != message.topic)])
        self._waiting.append(message)

    # What the connection's thread calls.

    def connected(self, client: Client, window: int) -> None:
        """Put `online` and every retained value before the events that wait."""
        with self._changed:
            self._connected, self._window = True, window
            known = [_Message(topic, payload, retain=True) for topic, payload in self._retained.items()]
            self._waiting.extendleft(reversed([_Message(self.topics.available, ONLINE, retain=True), *known]))
            if self._closing:
                self._waiting.append(_Message(self.topics.available, OFFLINE, retain=True))

    def turn(self, client: Client) -> None:
        """Hand paho as many messages as may be under way."""
        while True:
            with self._changed:
                if not self._waiting or len(self._under_way) >= self._window:
                    return
                message = self._waiting[0]
            payload = message.payload.encode("utf-8", "backslashreplace")  # a foreign file's name may be no text
            info = client.publish(message.topic, payload, qos=1, retain=message.retain)
            with self._changed:
                # Only now, so that `close` never finds it in neither place; acknowledgements come in this thread too.
                self._under_way[info.mid] = self._waiting.popleft()

    def acknowledged(self, message_id: int, reason: ReasonCode) -> None:
        """Let go of a message; say once when the broker refuses to take them."""
        first = False
        with self._changed:
            message = self._under_way.pop(message_id, None)
            if message is None:
                return
            if message.kept:
                self._held -= 1
                if reason.is_failure:
                    first = self._refused == 0
                    self._refused += 1
            self._changed.notify_all()
        if first:
            self._log(
                f"broker {self._server}: refuses events on {message.topic}: {str(reason).lower()}: check its rules"
            )

    def subscribed(self, reasons: list[ReasonCode]) -> None:
        """Nothing: a publisher listens to nothing yet."""

    def received(self, message: MQTTMessage) -> None:
        """Nothing: a publisher listens to nothing yet."""

    def disconnected(self) -> None:
        """Put events that were under way back in front; retained values are sent anew by the next connection."""
        with self._changed:
            self._connected = False
            again = [message for message in (*self._under_way.values(), *self._waiting) if message.kept]
            self._waiting = deque(again)
            self._under_way.clear()
            self._changed.notify_all()

    def ended(self) -> None:
        """No further connection will come."""
        with self._changed:
            self._over = True
            self._changed.notify_all()


def client_id(prefix: str, device: str) -> str:
    """The name that a device has at the broker: the same after a restart, in the 23 characters that any broker takes.

    A device that comes back takes over its old, half-dead connection, so that the old one's last will cannot mark it
    offline later.
    """
    name = re.sub(r"[^0-9A-Za-z]", "", device)[:8]
    return f"edge-{name}-{hashlib.sha256(f'{prefix}/{device}'.encode()).hexdigest()[:9]}"


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
