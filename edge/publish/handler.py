"""What is done with an MQTT connection, and what paho's callbacks tell: noted first, handled when its call is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode


class Handler(Protocol):
    """What is done with a connection. Every method is called in the connection's thread."""

    def connected(self, client: Client, window: int) -> None:
        """The broker took us; at most `window` messages may be under way."""

    def turn(self, client: Client) -> None:
        """The connection is up and has time: send what waits."""

    def acknowledged(self, message_id: int, reason: ReasonCode) -> None:
        """The broker answered a message of QoS 1; the reason may be a refusal."""

    def subscribed(self, reasons: list[ReasonCode]) -> None:
        """The broker answered a subscription, one reason a filter."""

    def received(self, message: MQTTMessage) -> None:
        """A message came in."""

    def disconnected(self) -> None:
        """The connection is gone; what was not acknowledged is open again."""

    def ended(self) -> None:
        """The thread ends: there will be no further connection."""


class Heard:
    """What paho's callbacks tell, kept until its call returns: our own code never runs inside paho's locks."""

    def __init__(self) -> None:
        self.answer: tuple[ReasonCode, Properties | None] | None = None
        self.goodbye: ReasonCode | None = None
        self.calls: list[Callable[[Handler], None]] = []

    def on_connect(self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, more: Any) -> None:
        self.answer = (reason, more)

    def on_disconnect(self, client: Client, data: Any, flags: DisconnectFlags, reason: ReasonCode, more: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self.goodbye = reason

    def on_publish(self, client: Client, data: Any, mid: int, reason: ReasonCode, more: Any) -> None:
        self.calls.append(lambda handler: handler.acknowledged(mid, reason))

    def on_subscribe(self, client: Client, data: Any, mid: int, reasons: list[ReasonCode], more: Any) -> None:
        self.calls.append(lambda handler: handler.subscribed(reasons))

    def on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        self.calls.append(lambda handler: handler.received(message))
