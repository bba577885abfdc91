"""What is more than a type and a range: names that must fit a topic, settings that clash, and what is worth a word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge.config.settings import CameraConfig, Config, MqttConfig
from edge.errors import InputError


def check_whole(config: Config) -> None:
    """Check what `edge run` would refuse at its start, without looking at camera, broker or files.

    Raises:
        InputError: a name fits no topic, the broker's URL is wrong, or two settings clash.
    """
    from edge.broker import check_level

    check_level(config.device, "device name")
    for camera in config.camera:
        _check_camera(camera)
    _check_broker(config.mqtt)


def remarks(config: Config) -> Iterator[str]:
    """Yield what is not wrong but keeps something that the file asks for from happening."""
    from edge.host.metrics import missing

    if not config.camera:
        yield "it names no camera: add a [[camera]] table with its source, or name one with edge run --source"
    if config.health.metrics_port is not None and (text := missing()) is not None:
        yield f"{text}; edge run goes on without metrics"


def _check_camera(camera: CameraConfig) -> None:
    from edge.broker import Credentials, check_level
    from edge.sources.names import with_credentials

    check_level(camera.name, "camera name")
    _check_password("camera", camera.username, camera.password_file)
    if camera.username:
        with_credentials(camera.source, Credentials(camera.username))


def _check_broker(mqtt: MqttConfig) -> None:
    from edge.broker import parse_broker

    address = None if mqtt.broker is None else parse_broker(mqtt.broker)
    _check_password("mqtt", mqtt.username, mqtt.password_file)
    if mqtt.ca_file is not None and address is not None and not address.tls:
        raise InputError(
            f"mqtt.ca_file is set, but broker {address.server} is without TLS: write mqtts://, or leave it away"
        )


def _check_password(table: str, username: str | None, file: str | Path | None) -> None:
    if file is not None and not username:
        raise InputError(f"{table}.password_file is set without {table}.username: a password needs a user name")
