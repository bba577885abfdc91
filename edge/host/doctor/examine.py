"""Looks at a device, one thing after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from edge.config import Config, load_config
from edge.config.check import check_whole
from edge.errors import EdgeError, first_line
from edge.host.doctor import broker, cameras, runtimes, system
from edge.host.doctor.check import Check
from edge.machine import ROOT


def examine(config_file: Path | None, root: Path = ROOT) -> Iterator[Check]:
    """Yield the checks of this device as they are made, cheap ones first.

    Args:
        config_file: the configuration whose model, cameras and broker are tried; None for the defaults.
        root: the folder under which /proc, /sys, /dev and /etc lie.
    """
    config = Config()
    if config_file is not None:
        found, read = configuration(config_file)
        yield found
        config = read or config
    looks: list[Callable[[], Check | list[Check]]] = [
        system.python,
        lambda: system.processor(root),
        lambda: system.memory(root),
        lambda: system.heat(root),
        lambda: system.clock(root),
        system.disk,
        system.state_folder,
        lambda: system.supervisor(root),
        lambda: runtimes.whole(config.model),
        lambda: runtimes.classifier(config.model),
        runtimes.tflite,
        lambda: runtimes.detector(config.detect),
        lambda: cameras.devices(root, config.camera),
        lambda: cameras.csi(root),
        lambda: [cameras.configured(camera, root) for camera in config.camera],
        lambda: passwords(config),
        lambda: broker.resolves(config.mqtt),
        lambda: broker.answers(config.mqtt),
        lambda: runtimes.metrics(config.health.metrics_port),
    ]
    for look in looks:
        made = look()
        yield from made if isinstance(made, list) else [made]


def passwords(config: Config) -> list[Check]:
    """Look at the broker's password file, and at each camera's that has one."""
    return [
        broker.password_file(config.mqtt.username, config.mqtt.password_file),
        *(
            broker.password_file(camera.username, camera.password_file, f"password of {camera.name}")
            for camera in config.camera
            if camera.password_file is not None
        ),
    ]


def configuration(path: Path) -> tuple[Check, Config | None]:
    """Read a configuration as the service does; also what was read, None where it cannot be used."""
    unknown: list[str] = []
    try:
        config = load_config(path, lenient=True, warn=unknown.append)
    except EdgeError as error:
        return Check("configuration", "fail", str(error), f'mend it, then "edge config check {path}"'), None
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        return Check("configuration", "warn", first_line(ValueError(unknown[0])) + more, "mend the key"), config
    try:
        check_whole(config)
    except EdgeError as error:
        return Check(
            "configuration", "fail", f"{path}: {error}", "keep one of what clashes, mend what is wrong"
        ), config
    many = "1 camera" if len(config.camera) == 1 else f"{len(config.camera)} cameras"
    if not config.camera:
        return Check("configuration", "warn", f"{path}: it names no camera", "add a [[camera]] with its source"), config
    return Check("configuration", "ok", f"{path}: {many}, broker {config.mqtt.broker or 'not set'}"), config
