"""Health as Prometheus reads it: a page of text, behind `health.metrics_port`, on this machine alone unless told else.

prometheus_client writes the page (names, escapes, and the newer OpenMetrics where a scraper asks for it). A few are
served at once, so that no number of scrapers takes more of the device.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from edge.errors import InputError

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

LOOPBACK = "127.0.0.1"
ANSWER_WITHIN = 5.0
"""Seconds that a scraper may take to read."""

MOST_SCRAPERS = 4
"""At once; who comes on top gets the place of one that has not asked yet, or is hung up on."""

MIB = 2**20

MISSING = 'health.metrics_port needs the package prometheus_client: pip install "emotion-edge[metrics]"'


class Metrics:
    """Serves health at `http://address:port/metrics`.

    Args:
        message: returns a health message; called for each scrape, in a thread of the server's.
        port: TCP port; 0 takes a free one.
        address: IP address of this device to listen on.

    Attributes:
        port: the port that it listens on.

    Raises:
        InputError: prometheus_client is not installed, or the address or port cannot be listened on.
    """

    def __init__(self, message: Callable[[], Mapping[str, Any]], port: int, address: str = LOOPBACK) -> None:
        try:
            from prometheus_client import CollectorRegistry, MetricsHandler
        except ImportError:
            raise InputError(MISSING) from None
        from edge.host import visits

        class Source:
            def collect(self) -> Iterator[Metric]:
                return families(message())

        class Handler(visits.Handler, MetricsHandler):
            registry = CollectorRegistry(auto_describe=False)
            timeout = ANSWER_WITHIN

            def do_GET(self) -> None:  # noqa: N802 (its name is the base class's)
                self.server.welcome(self.connection)
                MetricsHandler.do_GET(self)

        Handler.registry.register(Source())
        try:
            self._server = visits.Server(address, port, Handler, MOST_SCRAPERS)
        except OSError as error:
            raise InputError(
                f"health.metrics_port: {address} port {port} cannot be listened on ({error.strerror})"
            ) from None
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.hang_up()


def missing() -> str | None:
    """Say what is not installed, and how to install it; None where nothing is missing."""
    try:
        return None if find_spec("prometheus_client") else MISSING
    except ValueError:  # it was set to None, as a test does
        return MISSING


def families(message: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield a health message as Prometheus' families of metrics, in its base units: seconds, bytes, °C."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

    def gauge(name: str, text: str, value: float | None) -> Iterator[Metric]:
        if value is not None:
            yield GaugeMetricFamily(f"emotion_edge_{name}", text, value=value)

    def by(name: str, text: str, label: str, values: Mapping[str, float], kind: Any = GaugeMetricFamily) -> Metric:
        family: Metric = kind(f"emotion_edge_{name}", text, labels=[label])
        for key, value in values.items():
            family.add_metric([key], value)  # type: ignore[attr-defined]
        return family

    detector, model, cameras = message["detector"], message["model"], message["cameras"]
    named = {
        "device": message["device"], "version": message["version"], "detector": detector["name"],
        "model": model["id"], "runtime": model["runtime"], "precision": model["precision"],
    }  # fmt: skip
    yield InfoMetricFamily("emotion_edge", "What runs.", value=named)
    yield from gauge("uptime_seconds", "Time since the start of the run.", message["uptime_s"])
    yield from gauge("restarts", "Starts of the service before this one since the device started.", message["restarts"])
    running = {name: float(camera["state"] == "running") for name, camera in cameras.items()}
    yield by("camera_running", "Whether pictures come from the camera.", "camera", running)
    for kind, text in FRAMES.items():
        counts = {name: camera["frames"][kind] for name, camera in cameras.items()}
        yield by(f"frames_{kind}", text, "camera", counts, CounterMetricFamily)
    steps = GaugeMetricFamily(
        "emotion_edge_step_seconds", "Time of one step for a frame, of late.", labels=["step", "quantile"]
    )
    for step, ms in message["ms"].items():
        steps.add_metric([step, "0.5"], ms["p50"] / 1000)
        steps.add_metric([step, "0.95"], ms["p95"] / 1000)
    yield steps
    yield CounterMetricFamily(
        "emotion_edge_detector_switches", "How often another detector took over.", value=detector["switches"]
    )
    if message["queue"] is not None:
        queue = message["queue"]
        yield from gauge("broker_connected", "Whether the broker is connected.", float(queue["connected"]))
        yield from gauge("queue_events", "Events that wait for the broker's confirmation.", queue["depth"])
        yield CounterMetricFamily(
            "emotion_edge_undelivered_events", "Events dropped or refused.", value=queue["undelivered"]
        )
    memory = {kind: value * MIB for kind, value in message["memory_mib"].items() if value is not None}
    yield from gauge("resident_memory_bytes", "Memory in RAM.", memory.get("rss"))
    yield from gauge("peak_memory_bytes", "Greatest memory in RAM so far.", memory.get("peak"))
    yield from gauge("cpu_cores_used", "Cores' worth of processor time, of late.", message["cpu"]["cores_used"])
    yield from gauge("frame_rate_limit", "Frames a second that a camera may have.", message["pace"]["fps"])
    yield by("temperature_celsius", "Temperature of a thermal zone.", "zone", message["temperatures"])
    slowed = dict.fromkeys([*(message["throttled"] or {"now": []})["now"], *message["cooling"]], 1.0)
    yield by("throttled", "1 for each reason that slows the processor down now.", "reason", slowed)
    yield from gauge("stuck_stages", "Stages that miss their deadline.", len(message["stuck"]))


FRAMES = {
    "captured": "Frames that came from the camera.",
    "processed": "Frames that were processed.",
    "dropped": "Frames that a newer one replaced before they were processed.",
    "broken": "Frames that could not be read.",
}
