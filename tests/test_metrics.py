"""The metrics page: fetched by real requests, read by Prometheus' own parsers."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser
from test_aim import drip

from edge.config import load_config
from edge.errors import InputError
from edge.host import metrics, visits
from edge.host.health import CameraStats, DetectorUse, Health, ModelUse, QueueStats
from edge.host.metrics import Metrics

PATIENCE = 30.0
"""Seconds that a test waits for what must happen."""

ODD = 'front "door"\\\n'


@pytest.fixture
def health() -> Health:
    """A run with two cameras, one of an odd name, and some frames."""
    found = Health(
        "hall",
        cameras=lambda: {
            "front": CameraStats("running", None, 30, 20, 1),
            ODD: CameraStats("waiting", "camera 0 does not answer"),
        },
        detector=lambda: DetectorUse("blazeface", "mtcnn is missing", 1),
        model=lambda: ModelUse("lite2-int8@3fa9", "onnxruntime 1.31.1", "int8", 1),
        queue=lambda: QueueStats(connected=True, depth=4, undelivered=2),
        pace=lambda: (7.5, "the processor has 82 °C"),
        restarts=3,
        machine=lambda: {
            "load": 1.0, "mhz": 600, "temperatures": {"cpu-thermal": 82.3}, "cooling": ["cpufreq-cpu0"],
            "throttled": {"now": ["throttled"], "since_start": ["throttled", "under-voltage"]},
        },
    )  # fmt: skip
    for ms in range(1, 101):
        found.step({"detect": float(ms), "total": ms + 2.0}, "front")
    return found


@pytest.fixture
def served(health: Health) -> Iterator[Metrics]:
    """That run's page, on a free port."""
    page = Metrics(lambda: health.message(health._clock()), 0)
    yield page
    page.close()


def get(page: Metrics, accept: str = "*/*", address: str = "127.0.0.1") -> tuple[str, str]:
    """Fetch the page; return its content type and text."""
    request = urllib.request.Request(f"http://{address}:{page.port}/metrics", headers={"Accept": accept})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=PATIENCE) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def samples(families: Any) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return each sample's value by its name and the values of its labels."""
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


def test_what_prometheus_reads(served: Metrics) -> None:
    kind, text = get(served)
    assert kind.startswith("text/plain; version=")
    found = samples(parser.text_string_to_metric_families(text))
    named = {name.removeprefix("emotion_edge_"): value for (name, labels), value in found.items() if not labels}
    by = {(name.removeprefix("emotion_edge_"), *labels): value for (name, labels), value in found.items() if labels}
    assert named["restarts"] == 3
    assert named["uptime_seconds"] >= 0
    assert named["detector_switches_total"] == 1
    assert (named["broker_connected"], named["queue_events"], named["undelivered_events_total"]) == (1, 4, 2)
    assert named["resident_memory_bytes"] > 10_000_000
    assert named["peak_memory_bytes"] > 10_000_000
    assert named["frame_rate_limit"] == 7.5
    assert named["stuck_stages"] == 0
    assert by["camera_running", "front"] == 1
    assert by["camera_running", ODD] == 0
    counted = [by[f"frames_{kind}_total", "front"] for kind in ("captured", "processed", "dropped", "broken")]
    assert counted == [30, 100, 20, 1]
    assert by["step_seconds", "0.5", "detect"] == pytest.approx(0.0505)
    assert by["step_seconds", "0.95", "detect"] == pytest.approx(0.09505)
    assert by["step_seconds", "0.5", "total"] == pytest.approx(0.0525)
    assert by["temperature_celsius", "cpu-thermal"] == 82.3
    assert by["throttled", "throttled"] == by["throttled", "cpufreq-cpu0"] == 1
    (info,) = [s.labels for f in parser.text_string_to_metric_families(text) for s in f.samples if "_info" in s.name]
    assert (info["device"], info["detector"], info["precision"]) == ("hall", "blazeface", "int8")


def test_what_a_newer_scraper_reads(served: Metrics) -> None:
    kind, text = get(served, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    families = list(openmetrics_parser.text_string_to_metric_families(text))
    assert samples(families)["emotion_edge_frames_captured_total", ("front",)] == 30


def test_a_run_of_which_little_is_known() -> None:
    """No camera yet, no broker, a system that tells neither heat nor memory: the page is short, and whole."""
    bare = Health(
        "hall", cameras=dict, detector=lambda: DetectorUse("mtcnn"), model=lambda: ModelUse("m", "r", "fp32", 1),
        machine=lambda: {"load": None, "mhz": None, "temperatures": {}, "throttled": None, "cooling": []},
    )  # fmt: skip
    message = bare.message(bare._clock())
    message |= {"memory_mib": {"rss": None, "peak": None}, "cpu": {"cores_used": None}}
    page = Metrics(lambda: message, 0)
    try:
        found = {name for name, _ in samples(parser.text_string_to_metric_families(get(page)[1]))}
    finally:
        page.close()
    assert found == {
        "emotion_edge_info", "emotion_edge_uptime_seconds", "emotion_edge_detector_switches_total",
        "emotion_edge_stuck_stages",
    }  # fmt: skip


def test_the_configured_address_and_port(tmp_path: Path, health: Health) -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.2", 0))
        port = probe.getsockname()[1]
    (tmp_path / "edge.toml").write_text(f'[health]\nmetrics_port = {port}\nmetrics_address = "127.0.0.2"\n')
    config = load_config(tmp_path / "edge.toml").health
    assert config.metrics_port is not None
    page = Metrics(lambda: health.message(health._clock()), config.metrics_port, config.metrics_address)
    try:
        assert page.port == port
        assert "emotion_edge_uptime_seconds" in get(page, address="127.0.0.2")[1]
        with closing(socket.socket()) as other:
            assert other.connect_ex(("127.0.0.1", port)) != 0, "it listens where it was told to and nowhere else"
    finally:
        page.close()


def test_a_port_that_is_taken_is_one_clear_line(served: Metrics) -> None:
    with pytest.raises(InputError, match=rf"metrics_port: 127\.0\.0\.1 port {served.port} cannot be listened on \("):
        Metrics(dict, served.port)


def test_a_package_that_is_missing_is_one_clear_line() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from edge.host.metrics import Metrics\nfrom edge.errors import InputError\n"
        "try:\n    Metrics(dict, 0)\nexcept InputError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        'health.metrics_port needs the package prometheus_client: pip install "emotion-edge[metrics]"'
    )


def test_nobody_pays_for_it_unless_asked() -> None:
    code = "import sys, edge.host.metrics; print([m for m in sys.modules if 'prometheus' in m or m == 'http.server'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scrapers_that_say_nothing_or_drip_hold_up_nobody(health: Health) -> None:
    before = threading.active_count()
    page = Metrics(lambda: health.message(health._clock()), 0)
    silent = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(16)]
    try:
        for _ in range(5):
            for each in silent:
                with suppress(OSError):  # it has made room
                    each.sendall(b"G")
            assert "emotion_edge_uptime_seconds" in get(page)[1]
        assert threading.active_count() <= before + 1 + metrics.MOST_SCRAPERS + 1  # one may be about to end
    finally:
        page.close()
        for each in silent:
            each.close()
    assert threading.active_count() == before


def test_a_request_that_drips_ends_in_its_time(served: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "ASK_WITHIN", 0.5)
    request = (bytes([byte]) for byte in b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 1000)
    with (
        closing(socket.create_connection(("127.0.0.1", served.port))) as slow,
        pytest.raises(OSError, match=r"(?i)pipe|reset"),
    ):
        drip(slow, request, 0.05)


def test_head_is_answered(served: Metrics) -> None:
    connection = HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
    connection.request("HEAD", "/metrics")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    connection.close()
