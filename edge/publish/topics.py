"""The topics of one device, `<prefix>/<device>/…`, in one place for who sends and who listens."""

from __future__ import annotations

from dataclasses import dataclass

from edge.broker import check_level

ONLINE = "online"
OFFLINE = "offline"


@dataclass(frozen=True)
class Topics:
    """Topic names of one device.

    Attributes:
        prefix: levels above the device, `emotion`.
        device: the device's name, one level.

    Raises:
        InputError: the device's name is no topic level.
    """

    prefix: str
    device: str

    def __post_init__(self) -> None:
        check_level(self.device, "device")

    @property
    def base(self) -> str:
        """`<prefix>/<device>`."""
        return f"{self.prefix}/{self.device}"

    @property
    def available(self) -> str:
        """`online` or `offline`, retained; the last will."""
        return f"{self.base}/available"

    @property
    def info(self) -> str:
        """Version, models and cameras as JSON (`edge/events/info.schema.json`), retained."""
        return f"{self.base}/info"

    @property
    def health(self) -> str:
        """How the device is, as JSON (`edge/events/health.schema.json`), every half minute."""
        return f"{self.base}/health"

    def events(self, camera: str) -> str:
        """The events of a camera, one JSON object a message (`edge/events/event.schema.json`)."""
        return self._of(camera, "events")

    def summary(self, camera: str) -> str:
        """A minute of a camera in figures, as JSON (`edge/events/summary.schema.json`)."""
        return self._of(camera, "summary")

    def state(self, camera: str) -> str:
        """A camera's state as JSON (`edge/events/state.schema.json`), retained."""
        return self._of(camera, "state")

    def faces(self, camera: str) -> str:
        """Number of faces in a camera's picture, 0 too, retained."""
        return self._of(camera, "faces")

    def emotion(self, camera: str) -> str:
        """Label of the largest face of a camera, retained."""
        return self._of(camera, "emotion")

    def _of(self, camera: str, leaf: str) -> str:
        check_level(camera, "camera")
        return f"{self.base}/{camera}/{leaf}"


def all_events(prefix: str) -> str:
    """Filter for the events of every camera of every device under a prefix."""
    return f"{prefix}/+/+/events"


def all_available(prefix: str) -> str:
    """Filter for `available` of every device under a prefix."""
    return f"{prefix}/+/available"


def device_of(topic: str, prefix: str) -> str | None:
    """The device that a topic under `prefix` belongs to, or None for a foreign topic."""
    if not topic.startswith(prefix + "/"):
        return None
    return topic[len(prefix) + 1 :].split("/", 1)[0] or None
