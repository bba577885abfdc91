"""`edge run` while a network camera stops, freezes and comes back: it goes on, and says on MQTT how the camera is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mosquitto import PATIENCE, Listener, Mosquitto
from rtsp import RtspCamera

from edge.broker import BrokerAddress

CONFIG = """
device = "d"
[mqtt]
broker = "mqtt://127.0.0.1:{port}/p"
[[camera]]
source = "{url}"
name = "door"
frozen_after = 2
[[camera]]
source = "{clip}"
name = "clip"
fps = 10
"""


def test_a_camera_that_fails_is_said_and_comes_back_while_the_other_goes_on(
    broker: Mosquitto, listen: Callable[..., Listener], rtsp: RtspCamera, portrait_clip: Path, tmp_path: Path
) -> None:
    seen = listen(BrokerAddress("127.0.0.1", broker.port, "p"))
    (tmp_path / "edge.toml").write_text(CONFIG.format(port=broker.port, url=rtsp.url, clip=portrait_clip))
    command = [sys.executable, "-m", "edge.cli", "run", "--config", str(tmp_path / "edge.toml")]

    def states() -> list[str]:
        return [json.loads(payload)["state"] for payload in seen.of("/door/state")]

    def wait(name: str) -> None:
        with seen._changed:
            assert seen._changed.wait_for(lambda: states()[-1:] == [name], 2 * PATIENCE), states()

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait("running")
            rtsp.tell("freeze")
            wait("frozen")
            rtsp.tell("move")
            wait("running")
            rtsp.kill()
            wait("waiting")
            rtsp.start()
            wait("running")
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert f"camera {rtsp.url} is frozen: the very same picture for 2 s" in said
    wait("ended")
    events = [json.loads(payload) for payload in seen.of("/clip/events")]
    assert events, "the other camera's face was seen meanwhile"
    assert {event["camera"] for event in events} == {"clip"}
    assert seen.of("/door/events") == [], "nobody stands before this one"
