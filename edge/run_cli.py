"""The command `edge run`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

import click

from edge.detect.names import AUTO, DETECTORS
from edge.errors import InputError, OutsideError
from edge.terminal import STOP, stop_on_signals

if TYPE_CHECKING:
    from edge.config import Config
    from edge.host.aim import Aim
    from edge.host.logs import Log


@click.command()
@click.option(
    "--source",
    metavar="S",
    help="Camera index or /dev/videoN, csi, rtsp:// or http:// URL, video file, image, or folder of images; "
    "or the name of a camera of edge.toml.",
)
@click.option("--model", metavar="FILE", help="Model file; without it what edge bench --save chose, or what ships.")
@click.option("--broker", metavar="URL", help="Publish to mqtt://host:port/prefix (mqtts:// for TLS).")
@click.option("--config", "config_file", metavar="FILE", help="edge.toml; options given here win over it.")
@click.option("--device", metavar="NAME", help="The device's name in topics and events; default: the host's name.")
@click.option(
    "--camera",
    metavar="NAME",
    help='The camera\'s name in topics and events; default: "camera". Of several it chooses one.',
)
@click.option(
    "--detector", type=click.Choice([AUTO, *DETECTORS]), help="What finds faces; auto takes the best that works here."
)
@click.option("--stdout", is_flag=True, help="Print one JSON event a line.")
@click.option(
    "--publish",
    type=click.Choice(["change", "interval", "every"]),
    help="Which updates go out: when a face's emotion changes (default), once a second, or with every frame.",
)
@click.option(
    "--draw", metavar="FILE", help="Write the picture with boxes and emotions: OUT.mp4, or OUT.png of the last frame."
)
@click.option("--max-frames", type=click.IntRange(min=1), metavar="N", help="End after N frames.")
@click.option(
    "--fail-fast", is_flag=True, help="End with exit code 3 when camera or broker do not answer, instead of waiting."
)
@click.option("--aim", metavar="TIME", help="Serve a page with the live picture for so long (10m), to aim the camera.")
@click.option("--aim-address", metavar="HOST:PORT", help="Where that page listens; default: this device alone.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Lines for a person, or JSON for a program.")
@click.option("--service", is_flag=True, help="As systemd runs it: an unknown key in edge.toml is a warning.")
def command(
    config_file: str | None,
    stdout: bool,
    draw: str | None,
    max_frames: int | None,
    fail_fast: bool,
    aim: str | None,
    aim_address: str | None,
    service: bool,
    **given: str | None,
) -> int:
    """Read a camera or file, find faces, read their emotions.

    They go where --stdout, --broker or --draw say. Ends when the file ends, after --max-frames, or with Ctrl-C or
    SIGTERM; a camera or a broker that does not answer is waited for. Of several cameras, a file that cannot be read
    ends alone. SIGHUP reads edge.toml anew. No picture leaves the device: events hold boxes and scores.

    Exit codes: 0 well ended, every event delivered; 2 wrong usage or input, or one of several cameras that failed;
    3 camera or broker did not answer (--fail-fast), or the broker had not confirmed every event at the end.

    \b
    Examples:
      edge run --source 0 --stdout
      edge run --source rtsp://camera.local/stream --broker mqtt://127.0.0.1:1883/emotion
      edge run --source party.mp4 --draw party-drawn.mp4
      edge run --config edge.toml --aim 10m

    \b
    The password of a broker's user comes from a file or from EDGE_MQTT_PASSWORD:
      [mqtt]
      broker = "mqtts://broker.example:8883/emotion"
      username = "hall"
      password_file = "/etc/emotion-edge/mqtt-password"
    """
    from edge.config import load_config, override
    from edge.host.logs import Log
    from edge.run import Runner

    stop_on_signals()
    if aim_address is not None and aim is None:
        raise InputError("--aim-address says where the page for aiming listens: give --aim TIME as well")
    warnings: list[str] = []

    def read(warn: Callable[[str], None]) -> Config:
        return override(load_config(config_file, lenient=service, warn=warn), **given)

    config = read(warnings.append)
    with Log(config.log.format, config.log.level) as log:
        for warning in warnings:
            log(warning, level="warning")
        runner = Runner(
            config, stop=STOP, log=log, stdout=_standard_output() if stdout else None, draw=draw,
            max_frames=max_frames, fail_fast=fail_fast,
            aim=_aim(config, aim, aim_address, log) if aim is not None else None,
            reload=(lambda: read(lambda text: log(text, level="warning"))) if config_file is not None else None,
        )  # fmt: skip
        if config_file is not None and hasattr(signal, "SIGHUP") and (service or not _at_terminal()):
            signal.signal(signal.SIGHUP, lambda number, frame: runner.reread())
        summary = runner.run()
        log(str(summary))
    # Whoever tells a run to stop has heard of a failed camera; where the run ends by itself its code says it.
    if summary.failed and not STOP.is_set():
        return InputError.exit_code
    return OutsideError.exit_code if summary.undelivered else 0


def _at_terminal() -> bool:
    """Whether a hang-up means that a person's terminal has gone, or is to be ignored, as nohup has it."""
    ignored = hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return ignored or (sys.stdin is not None and sys.stdin.isatty())


def _aim(config: Config, duration: str, address: str | None, log: Log) -> Callable[[list[str]], Aim]:
    from edge.host.aim import open_aim

    return lambda cameras: open_aim(duration, address, allowed=config.privacy.aim, cameras=cameras, say=log)


def _standard_output() -> TextIO:
    if sys.stdout is None:
        raise InputError("--stdout: standard output is closed")
    return sys.stdout
