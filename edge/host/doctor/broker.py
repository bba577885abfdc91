"""The broker: does its name resolve, does it answer, does it take us? With the means by which events are sent."""

from __future__ import annotations

import secrets
import socket
import stat
import sys
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from edge.broker import parse_broker, read_credentials
from edge.config import MqttConfig
from edge.errors import EdgeError
from edge.host.doctor.check import Check
from edge.publish.connection import Connection

NONE = "no broker is configured: events go nowhere but to standard output"

OTHERS = stat.S_IRWXO | stat.S_IWGRP
"""Rights that a password file should not give: any to everyone, writing to its group."""


def password_file(username: str | None, file: str | None, name: str = "password file") -> Check:
    """Whether a password can be read, by us and by nobody else."""
    if file is None:
        return Check(name, "skipped", "none is configured")
    path = Path(file)
    try:
        read_credentials(username, path)
    except EdgeError as error:
        return Check(name, "fail", str(error), "sudo chown root:emotion-edge FILE; sudo chmod 640 FILE")
    mode = stat.S_IMODE(path.stat().st_mode)
    if sys.platform != "win32" and mode & OTHERS:
        return Check(name, "warn", f"{path}: others may read it (mode {mode:o})", f"sudo chmod 640 {path}")
    return Check(name, "ok", f"{path}, mode {mode:o}")


def resolves(settings: MqttConfig) -> Check:
    """Whether the broker's name has an address."""
    if settings.broker is None:
        return Check("broker's name", "skipped", NONE)
    try:
        address = parse_broker(settings.broker)
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except EdgeError as error:
        return Check("broker's name", "fail", str(error), "mend broker under [mqtt]")
    except OSError as error:
        todo = "check the name, and the network: is the cable in, is Wi-Fi up, does it find other names?"
        return Check("broker's name", "fail", f"{address.host}: {error.strerror or error}", todo)
    return Check("broker's name", "ok", f"{address.host} is {found[0][4][0]}")


def answers(settings: MqttConfig) -> Check:
    """Whether the broker takes us, with TLS and password as configured. Sends nothing."""
    if settings.broker is None:
        return Check("broker", "skipped", NONE)
    handler = _Silent()
    try:
        address = parse_broker(settings.broker)
        connection = Connection(
            address, f"edge-doctor-{secrets.token_hex(4)}", handler,
            credentials=read_credentials(settings.username, settings.password_file), ca_file=settings.ca_file,
            fail_fast=True, log=lambda line: None,
        )  # fmt: skip
    except EdgeError as error:
        return Check("broker", "fail", str(error), "mend [mqtt] in the configuration")
    try:
        connection.start()
    except EdgeError as error:
        return Check("broker", "fail", str(error), "start it, or mend [mqtt] in the configuration")
    finally:
        connection.stop(clean=True, within=5)
    how = "without a user name" if settings.username is None else f"as {settings.username}"
    return Check("broker", "ok", f"{address.server} takes us {how}")


class _Silent:
    """Does nothing with a connection."""

    def connected(self, client: Client, window: int) -> None:
        pass

    def turn(self, client: Client) -> None:
        pass

    def acknowledged(self, message_id: int, reason: ReasonCode) -> None:
        pass

    def subscribed(self, reasons: list[ReasonCode]) -> None:
        pass

    def received(self, message: MQTTMessage) -> None:
        pass

    def disconnected(self) -> None:
        pass

    def ended(self) -> None:
        pass
