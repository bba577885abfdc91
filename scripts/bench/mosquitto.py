"""A real Mosquitto on a free loopback port, for as long as a benchmark runs."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.broker import BrokerAddress, parse_broker
from edge.errors import InputError


@contextmanager
def mosquitto(folder: Path) -> Iterator[BrokerAddress]:
    """Start the broker; yield its address.

    Raises:
        InputError: Mosquitto is not installed.
    """
    # Debian keeps it where only root looks.
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise InputError("it needs Mosquitto, which is not installed: apt install mosquitto")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "mosquitto.conf").write_text(f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n")
    server = subprocess.Popen([binary, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        while "running" not in (line := server.stderr.readline()):
            if not line:
                raise SystemExit("mosquitto ended before it listened")
        yield parse_broker(f"mqtt://127.0.0.1:{port}/emotion")
    finally:
        server.terminate()
        server.communicate()
