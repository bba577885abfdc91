"""One paho client on one socket, driven by hand through its external-loop calls, in the thread of its owner alone."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.broker import BrokerAddress, Credentials
from edge.publish.handler import Heard

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311

KEEPALIVE = 30
"""Seconds; a broker misses a dead peer after one and a half of it."""
SESSION_KEPT = 300
"""Seconds for which a broker keeps what it could not deliver to a listener (version 5)."""


class Wire:
    """A single connection, from its CONNECT to its end.

    Args:
        address: the broker.
        client_id: our name there.
        version: MQTT 5 or 3.1.1.
        credentials: user name and password, or None.
        tls: context for `mqtts`, or None.
        will: topic and payload that the broker publishes, retained, when we vanish.
        keep_session: ask the broker to keep what it cannot deliver (version 5 only).
        window: messages under way at once.
        turn: seconds that one turn sleeps at most.
        waker: socket whose bytes end a turn's sleep.

    Attributes:
        client: the paho client.
        heard: what its callbacks told.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        version: MQTTProtocolVersion,
        *,
        credentials: Credentials | None,
        tls: ssl.SSLContext | None,
        will: tuple[str, str] | None,
        keep_session: bool,
        window: int,
        turn: float,
        waker: socket.socket,
    ) -> None:
        self._address, self._version, self._keep_session = address, version, keep_session
        self._turn, self._waker = turn, waker
        self.heard = heard = Heard()
        self.client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if version == V5 else True,
            protocol=version,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(window)
        client.on_connect, client.on_disconnect = heard.on_connect, heard.on_disconnect
        client.on_publish, client.on_subscribe = heard.on_publish, heard.on_subscribe
        client.on_message = heard.on_message
        if credentials is not None:
            client.username_pw_set(credentials.username, credentials.password)
        if tls is not None:
            client.tls_set_context(tls)
        if will is not None:
            client.will_set(will[0], will[1], qos=1, retain=True)

    def connect(self, *, fresh: bool) -> None:
        """Open the socket and send CONNECT; `fresh` forgets a session that the broker keeps.

        Raises:
            OSError, ValueError: the broker cannot be reached, or TLS fails.
        """
        host, port = self._address.host, self._address.port
        if self._version != V5:
            self.client.connect(host, port, KEEPALIVE)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        if self._keep_session:
            properties.SessionExpiryInterval = SESSION_KEPT
        self.client.connect(
            host, port, KEEPALIVE, clean_start=fresh or not self._keep_session, properties=properties
        )  # fmt: skip

    def turn(self) -> str | None:
        """Wait for the socket or a wake-up and let paho read and write; a text when the connection is gone."""
        client = self.client
        connection = client.socket()
        if connection is None:
            return "the connection was lost"
        buffered = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
        try:
            writing: list[Any] = [connection] if client.want_write() else []
            readable, _, _ = select.select([connection, self._waker], writing, [], 0 if buffered else self._turn)
            if self._waker in readable:
                with contextlib.suppress(BlockingIOError):
                    self._waker.recv(4096)
            if connection in readable or buffered:
                client.loop_read()
            if client.want_write():
                client.loop_write()
            client.loop_misc()
        except Exception as error:
            # A parser that trips over what a broker sent raises whatever it likes; the connection is of no use then.
            return f"the connection broke ({type(error).__name__}: {error})"
        return None

    def say_goodbye(self) -> None:
        """Disconnect in good order: no last will, and no session kept."""
        properties = None
        if self._keep_session and self._version == V5:
            properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0
        self.client.disconnect(properties=properties)
        deadline = time.monotonic() + self._turn
        while self.client.socket() is not None and time.monotonic() < deadline and self.turn() is None:
            pass

    def shut(self) -> None:
        """Close the socket without a goodbye; nothing is left to do after a clean end."""
        connection = self.client.socket()
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()
