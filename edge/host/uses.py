"""What is in use, in the words of the health message: the detector, the queue to the broker, the cameras."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.detect import Detector
from edge.detect.fallback import Fallback
from edge.host.health import CameraStats, DetectorUse, QueueStats

if TYPE_CHECKING:
    from edge.publish import Publisher
    from edge.sources.cameras import Cameras


def detector_use(detector: Detector) -> DetectorUse:
    """Return which detector finds faces, and why where it is not the first choice."""
    switches = detector.switches if isinstance(detector, Fallback) else []
    return DetectorUse(detector.name, switches[-1].why if switches else None, len(switches))


def queue_stats(publisher: Publisher) -> QueueStats:
    """Return how many events wait for the broker."""
    state = publisher.queue()
    return QueueStats(state.connected, state.depth, state.undelivered)


def camera_stats(cameras: Cameras) -> dict[str, CameraStats]:
    """Return how each camera is, by its name."""
    return {
        name: CameraStats(stats.state, stats.reason, stats.captured, stats.dropped, stats.broken)
        for name, stats in cameras.stats().items()
    }
