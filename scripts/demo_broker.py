"""The demo's MQTT broker: pure Python, in this process, on loopback alone, so that the demo needs nothing installed."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker as Amqtt

PATIENCE = 30.0
"""Longest wait for clients to subscribe, seconds."""
MQTT_3_1_1 = 4
REFUSED = bytes([0x20, 2, 0, 1])
"""CONNACK of MQTT 3.1.1: unacceptable protocol version."""
LISTENER = "demo"


class Broker:
    """A small MQTT 3.1.1 broker: loopback only, anyone may come in, any free port, nothing kept on disk."""

    def __init__(self) -> None:
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._serve, name="broker", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise SystemExit(f"demo: the embedded broker did not start: {self._failure}; give one with --broker URL")

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"mqtt://127.0.0.1:{self._port}"

    def wait_for_subscribers(self, count: int, seconds: float = PATIENCE) -> bool:
        """Wait until `count` clients have subscribed to something; False when time is up."""
        return asyncio.run_coroutine_threadsafe(self._subscribers(count, seconds), self._loop).result()

    def close(self) -> None:
        """Stop it and wait until it has stopped."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _serve(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as failure:
            self._failure = failure
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # The listener is ours ("external" to amqtt), so that port 0 gives a free port without a race.
        self._broker = Amqtt(
            {
                "listeners": {"default": {"type": "external"}, LISTENER: {"type": "external"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await self._broker.start()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        await self._broker.shutdown()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand a client to amqtt, or refuse one that speaks another version than 3.1.1.

        amqtt reads a CONNECT of version 5 by the rules of 3.1.1, takes its properties for the length of the client's
        name, and waits for ever for the rest: the version is looked at here, before.
        """
        try:
            head = await _connect_head(reader)
            if head[-1] == MQTT_3_1_1:
                await self._broker.external_connected(_Ahead(reader, head), StreamWriterAdapter(writer), LISTENER)
                return
            writer.write(REFUSED)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone
        writer.close()

    async def _subscribers(self, count: int, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            clients = {s.client_id for sessions in self._broker.subscriptions.values() for s, _ in sessions}
            if len(clients) >= count:
                return True
            await asyncio.sleep(0.05)
        return False


async def _connect_head(reader: asyncio.StreamReader) -> bytes:
    """Read a CONNECT packet up to its protocol version: type, length, "MQTT" and the version."""
    head = await reader.readexactly(2)
    while head[-1] & 0x80 and len(head) < 5:
        head += await reader.readexactly(1)
    return head + await reader.readexactly(7)


class _Ahead(StreamReaderAdapter):
    """A reader that gives again what has been read ahead."""

    def __init__(self, reader: asyncio.StreamReader, head: bytes) -> None:
        super().__init__(reader)
        self._head = head

    async def read(self, n: int = -1) -> bytes:
        taken = self._head if n == -1 else self._head[:n]
        self._head = self._head[len(taken) :]
        return taken if len(taken) == n else taken + await super().read(n if n == -1 else n - len(taken))
