"""What leaves the device: events and retained values, to an MQTT broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edge.broker import BrokerAddress, Credentials
from edge.publish.stage import NewStage, Unwatched


@dataclass(frozen=True)
class Queue:
    """What is on its way to the broker.

    Attributes:
        connected: whether the broker is.
        depth: events that wait for its confirmation.
        undelivered: events that were dropped or refused so far.
    """

    connected: bool
    depth: int
    undelivered: int


class Publisher(Protocol):
    """Takes what the loop has to say and never makes it wait."""

    def start(self) -> None:
        """Begin to connect."""

    def event(self, camera: str, payload: str) -> None:
        """Send one event, JSON as text. The seam at which a durable spool comes between loop and broker."""

    def summary(self, camera: str, payload: str) -> None:
        """Send one minute of a camera in figures, JSON as text; kept and confirmed like an event."""

    def health(self, message: Mapping[str, Any]) -> None:
        """Tell how the device is; what no broker takes now is out of date and dropped."""

    def state(self, camera: str, state: Mapping[str, Any]) -> None:
        """Tell a camera's state."""

    def faces(self, camera: str, count: int) -> None:
        """Tell how many faces a camera sees."""

    def emotion(self, camera: str, label: str) -> None:
        """Tell the label of a camera's largest face."""

    def info(self, info: Mapping[str, Any]) -> None:
        """Tell what the device is: version, models, cameras."""

    def queue(self) -> Queue:
        """Return what is on its way."""

    def close(self, timeout: float = 5.0) -> int:
        """Say offline and end; return how many events were not delivered."""


def open_publisher(
    address: BrokerAddress,
    device: str,
    *,
    credentials: Credentials | None = None,
    ca_file: str | Path | None = None,
    fail_fast: bool = False,
    log: Callable[[str], None] = lambda line: None,
    stage: NewStage = Unwatched,
) -> Publisher:
    """Return a publisher for a broker, not yet started; paho is imported only here. `stage`: what is watched of it.

    Raises:
        InputError: the device's name is no topic level, or the CA file cannot be used.
    """
    from edge.publish.mqtt import MqttPublisher

    return MqttPublisher(
        address, device, credentials=credentials, ca_file=ca_file, fail_fast=fail_fast, log=log, stage=stage
    )
