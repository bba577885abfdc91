"""What keeps a run well, around a real loop on the real clip: heard by systemd's socket and by a scraper."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

import edge
from edge.config import Config, HealthConfig, LimitsConfig
from edge.events import schema
from edge.host.health import CameraStats, DetectorUse, ModelUse
from edge.host.keeper import Keeper
from edge.host.logs import Log

PATIENCE = 60.0
"""Seconds that a test waits for what must happen."""

MODEL = ModelUse("lite2-int8@3fa9", "onnxruntime", "int8", 1)


@pytest.fixture
def port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(port: int) -> str:
    """Return the page of metrics."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        return str(answer.read().decode())


def test_a_run_on_the_clip(portrait_clip: object, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, said, captured = threading.active_count(), list[str](), 0
    messages, limits, came = list[Mapping[str, Any]](), list[float | None](), threading.Event()
    config = Config(device="hall", health=HealthConfig(1.0, port), limits=LimitsConfig(max_fps=500.0))

    def tell(message: Mapping[str, Any]) -> None:
        messages.append(message)
        came.set()

    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,  # a socket's path has room for 107 characters
        closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd,
        Log(write=said.append) as log,
    ):
        systemd.bind(f"{folder}/notify")
        systemd.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{folder}/notify")
        monkeypatch.setenv("WATCHDOG_USEC", "600000000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        monkeypatch.setenv("STATE_DIRECTORY", folder)
        keeper = Keeper(
            config, log, cameras=lambda: {"front": CameraStats("running", None, captured)},
            detector=lambda: DetectorUse("mtcnn"), model=lambda: MODEL, queue=None, tell=tell, limit=limits.append,
        )  # fmt: skip
        with keeper:
            for step in edge.watch(str(portrait_clip)):
                with keeper.loop:
                    captured += 1
                    keeper.health.step(step.ms, "front")
                    keeper.governor.took(step.frame.mono, "front")
                if captured == 60:
                    break
            assert came.wait(PATIENCE)
            page = fetch(port)
            assert [systemd.recv(4096) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]
            message = json.loads(json.dumps(keeper.message()))
            keeper.reloading(lambda: replace(config, limits=LimitsConfig(max_fps=5.0)))
            assert systemd.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert systemd.recv(4096) == b"READY=1"
        assert systemd.recv(4096) == b"STOPPING=1"
    assert (limits[0], limits[-1]) == (500.0, 5.0)
    for each in (*messages, message):
        jsonschema.Draft202012Validator(schema("health")).validate(each)
    assert message["cameras"]["front"]["frames"]["processed"] == 60
    assert message["ms"]["total"]["p95"] >= message["ms"]["detect"]["p50"] > 0
    assert (message["pace"]["fps"], message["restarts"]) == (500.0, 0)
    assert 'emotion_edge_frames_processed_total{camera="front"} 60.0' in page
    assert said == [f"edge: metrics at http://127.0.0.1:{port}/metrics\n"]
    assert threading.active_count() == threads


def test_without_systemd_or_a_port_it_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    said: list[str] = []
    with Log(write=said.append) as log:
        keeper = Keeper(
            Config(), log, cameras=dict, detector=lambda: DetectorUse("mtcnn"), model=lambda: MODEL, queue=None,
            tell=lambda message: None, limit=lambda fps: None,
        )  # fmt: skip
        with keeper:
            assert keeper.governor.rest(0.0) == keeper.governor.pause(0.0) == 0.0
            assert keeper.message()["stuck"] == {}
    assert said == []
