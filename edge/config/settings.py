"""The configuration, `edge.toml`, as a tree of dataclasses, each checked when it is made."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field
from typing import Any

from edge.broker import check_level
from edge.errors import InputError
from edge.sources.names import Kind, kind_of
from edge.sources.size import why_too_large

MOST_THREADS = 64

CAMERA_FORMATS = ("auto", "mjpg", "yuyv")
_KINDS: dict[Kind, str] = {
    "usb": "a USB camera", "csi": "a CSI camera", "network": "a stream", "file": "a file or folder",
}  # fmt: skip


EXAMPLE = "example"
"""In a field's metadata: what a value may look like, for keys that have no default or are not set by default."""


def _unset(example: Any) -> Any:
    """Return a field that is not set unless the file sets it."""
    return field(default=None, metadata={EXAMPLE: example})


def _host() -> str:
    return socket.gethostname().split(".")[0] or "edge"


@dataclass(frozen=True)
class CameraConfig:
    """A camera, `[[camera]]`."""

    source: str = field(metadata={EXAMPLE: "0"})
    """Camera index or device, `csi`, a URL (`rtsp://…`, `http://…`), a video file, an image, or a folder of images."""
    name: str = "camera"
    """Its name in topics and events."""
    width: int | None = _unset(1280)
    """Width asked of a USB or CSI camera, pixels; its own choice unless set."""
    height: int | None = _unset(720)
    """Height asked of it, pixels."""
    fps: float | None = _unset(15.0)
    """Frames a second: asked of a USB or CSI camera, at most taken of a stream, and the speed at which a file plays."""
    format: str = "auto"
    """What a USB camera sends: "mjpg", "yuyv", or "auto": MJPG where uncoded pictures would not fit through USB 2."""
    frozen_after: float = 10.0
    """Seconds without a new picture, or with the very same one, after which a live camera is opened anew; 0 lets a
    picture be the same for ever."""
    username: str | None = _unset("edge")
    """User name at a camera on the network, whose URL then holds none."""
    password_file: str | None = _unset("/etc/emotion-edge/door.password")
    """File whose first line is the password for it."""

    def __post_init__(self) -> None:
        check_level(self.name, "camera name")
        kind, what = self.kind, f"camera.{{}} is set for {self.name}, which is {_KINDS[self.kind]}: it is for {{}}"
        if (self.width is None) != (self.height is None):
            raise InputError("camera.width and camera.height are set together or not at all")
        if self.width is not None and self.height is not None:
            if kind not in ("usb", "csi"):
                raise InputError(what.format("width", "a USB or CSI camera"))
            _within("camera.width", self.width, 16, 8192)
            _within("camera.height", self.height, 16, 8192)
            if why := why_too_large(self.width, self.height):
                raise InputError(f"camera.width and camera.height of {self.name}: {why}")
        if self.fps is not None:
            _within("camera.fps", self.fps, 0.1, 500)
        if self.format not in CAMERA_FORMATS:
            raise InputError(f'camera.format is "{self.format}": expected one of {", ".join(CAMERA_FORMATS)}')
        if self.format != "auto" and kind != "usb":
            raise InputError(what.format("format", "a USB camera"))
        if self.frozen_after != 0:
            _within("camera.frozen_after", self.frozen_after, 1, 3600)
        if kind != "network" and (self.username is not None or self.password_file is not None):
            raise InputError(what.format("username" if self.username is not None else "password_file", "a URL"))

    @property
    def kind(self) -> Kind:
        """What the source is by its name."""
        return kind_of(self.source)

    @property
    def live(self) -> bool:
        """Whether it is a camera: time goes on while nobody reads."""
        return self.kind != "file"


@dataclass(frozen=True)
class DetectConfig:
    """How faces are found, `[detect]`."""

    detector: str = "auto"
    """`mtcnn`, `blazeface`, `mediapipe`, `yunet` or `haar`; `auto` takes the best that works here and fast enough."""
    min_face: int = 40
    """Side of the smallest face looked for, pixels; larger is faster."""
    threads: int = 1
    """Processor threads."""
    yunet_model: str | None = _unset("/etc/emotion-edge/yunet.onnx")
    """YuNet's ONNX file; without one `auto` leaves YuNet out."""
    budget_ms: float = 250.0
    """What one look at a live camera may take with `auto`, milliseconds, before a faster detector takes over; 0 for no
    limit."""

    def __post_init__(self) -> None:
        from edge.detect.names import check_name

        try:
            check_name(self.detector)
        except InputError as error:
            raise InputError(f"detect.detector: {error}") from None
        if self.detector == "yunet" and self.yunet_model is None:
            raise InputError(
                'detect.detector is "yunet", which ships without a model: name its file, yunet_model = "…"'
            )
        if self.budget_ms:
            _within("detect.budget_ms", self.budget_ms, 1, 60_000)
        _within("detect.min_face", self.min_face, 12, 10_000)
        _within("detect.threads", self.threads, 1, MOST_THREADS)


@dataclass(frozen=True)
class ClassifyConfig:
    """How emotions are read, `[classify]`."""

    threads: int | None = _unset(2)
    """Processor threads; what `edge bench --save` chose unless set, and 1 where it chose nothing."""
    rate: float = 6.0
    """How often each face is read, times a second at most; 0 reads it in every frame."""
    flip: bool = False
    """Whether each face is read twice, as it is and mirrored: twice the time."""
    fit_after: float = 60.0
    """Seconds of steady pictures after which a run of live cameras on a device that was never measured finds out, once
    and beside the loop, which runtime, precision and threads are fastest; the next start takes them. 0 never does."""

    def __post_init__(self) -> None:
        if self.threads is not None:
            _within("classify.threads", self.threads, 1, MOST_THREADS)
        _within("classify.rate", self.rate, 0, 1000)
        _within("classify.fit_after", self.fit_after, 0, 86_400)


@dataclass(frozen=True)
class TrackConfig:
    """How faces are followed, `[track]`."""

    overlap: float = 0.3
    """Smallest intersection over union of two boxes that counts as the same face."""
    keep: float = 0.4
    """How long a face that is not found is waited for before it has left, seconds."""
    search_every: float = 1.0
    """Seconds between two searches of the whole picture while faces are followed; 0 searches every frame."""

    def __post_init__(self) -> None:
        if not 0 < self.overlap < 1:
            raise InputError(f"track.overlap is {self.overlap}: it must lie between 0 and 1")
        _within("track.keep", self.keep, 0, 3600)
        _within("track.search_every", self.search_every, 0, 60)


@dataclass(frozen=True)
class QualityConfig:
    """Which faces are not classified because nothing can be read in them, `[quality]`."""

    min_side: float = 24.0
    """Longer side of the smallest face that is classified, pixels; 0 for all."""
    sharpness: float = 0.12
    """Sharpness of the most blurred face that is classified, 0 to 1; 0 for all."""
    turn: float = 1.0
    """How far a face that is classified may be turned away, 1 when the nose is over an eye; 0 for all."""

    def __post_init__(self) -> None:
        _within("quality.min_side", self.min_side, 0, 10_000)
        _within("quality.sharpness", self.sharpness, 0, 1)
        _within("quality.turn", self.turn, 0, 10)


@dataclass(frozen=True)
class SmoothConfig:
    """How emotions are steadied over time, `[smooth]`."""

    time_constant: float = 0.6
    """Seconds after which a change is told at the latest; 0 for every frame as it is."""
    margin: float = 0.1
    """How far ahead of the present emotion another must be, 0 to 1."""

    def __post_init__(self) -> None:
        _within("smooth.time_constant", self.time_constant, 0, 60)
        _within("smooth.margin", self.margin, 0, 1)


@dataclass(frozen=True)
class PublishConfig:
    """What goes out, `[publish]`."""

    when: str = "change"
    """`change`: when a face's emotion changes; `interval`: at most every `seconds`; `every`: with each frame."""
    seconds: float = 1.0
    """Seconds between two updates of a face, with `interval`."""
    summary: bool = False
    """Whether each minute goes out in figures: how long each emotion was seen."""

    def __post_init__(self) -> None:
        from edge.events.policy import check_when

        check_when(self.when)
        _within("publish.seconds", self.seconds, 0, 3600)


@dataclass(frozen=True)
class MqttConfig:
    """Where events go, `[mqtt]`."""

    broker: str | None = _unset("mqtts://broker.example:8883/emotion")
    """`mqtt://host:port/prefix` or `mqtts://…`; without it nothing is sent."""
    username: str | None = _unset("hall")
    """User name at the broker."""
    password_file: str | None = _unset("/etc/emotion-edge/mqtt-password")
    """File whose first line is the password; `EDGE_MQTT_PASSWORD` in the environment does as well."""
    ca_file: str | None = _unset("/etc/emotion-edge/ca.pem")
    """Certificate of the authority that signed the broker's, for `mqtts://`."""


@dataclass(frozen=True)
class HealthConfig:
    """How the run says how it is, `[health]`."""

    every: float = 30.0
    """Seconds between two health messages."""
    metrics_port: int | None = _unset(9105)
    """TCP port at which Prometheus may ask; without it there is none."""
    metrics_address: str = "127.0.0.1"
    """IP address of this device at which it may ask; 127.0.0.1 is reached from this device alone."""

    def __post_init__(self) -> None:
        _within("health.every", self.every, 1, 3600)
        if self.metrics_port is not None:
            _within("health.metrics_port", self.metrics_port, 1, 65535)
        try:
            ipaddress.ip_address(self.metrics_address)
        except ValueError:
            raise InputError(
                f'health.metrics_address is "{self.metrics_address}": expected an IP address of this device'
            ) from None


@dataclass(frozen=True)
class LimitsConfig:
    """How fast the run may go, `[limits]`."""

    max_fps: float | None = _unset(10.0)
    """Frames a second of each camera at most; all that come unless set."""
    max_cpu: float | None = _unset(0.5)
    """Processor time at most, in cores: 0.5 is half of one core, 2 are two."""
    hot: float = 80.0
    """From so many °C of the processor on the frame rate is lowered."""
    cool: float | None = _unset(70.0)
    """It is raised again when the processor is down to so many °C; 10 below `hot` unless set."""

    def __post_init__(self) -> None:
        if self.max_fps is not None:
            _within("limits.max_fps", self.max_fps, 0.1, 1000)
        if self.max_cpu is not None:
            _within("limits.max_cpu", self.max_cpu, 0.05, MOST_THREADS)
        _within("limits.hot", self.hot, 30, 120)
        if self.cool is not None and not 0 <= self.cool < self.hot:
            raise InputError(f"limits.cool is {self.cool:.6g}: it must lie below limits.hot, {self.hot:.6g}")


@dataclass(frozen=True)
class LogConfig:
    """What is said on standard error, `[log]`."""

    format: str = "text"
    """`text` for a person, `json` for a program: one object a line."""
    level: str = "info"
    """The least serious that is said: `debug`, `info`, `warning` or `error`."""

    def __post_init__(self) -> None:
        _one_of("log.format", self.format, ("text", "json"))
        _one_of("log.level", self.level, ("debug", "info", "warning", "error"))


@dataclass(frozen=True)
class PrivacyConfig:
    """What may be seen of a picture, `[privacy]`."""

    aim: bool = True
    """Whether `edge run --aim` may show the live picture; false locks it off."""


@dataclass(frozen=True)
class Config:
    """All of `edge.toml`."""

    device: str = field(default_factory=_host)
    """The device's name in topics and events; the host's name unless set."""
    model: str | None = _unset("/etc/emotion-edge/mine-int8.onnx")
    """Model file; the one that ships with the kit unless set."""
    camera: tuple[CameraConfig, ...] = ()
    """The cameras."""
    detect: DetectConfig = field(default_factory=DetectConfig)
    """How faces are found."""
    classify: ClassifyConfig = field(default_factory=ClassifyConfig)
    """How emotions are read."""
    track: TrackConfig = field(default_factory=TrackConfig)
    """How faces are followed."""
    quality: QualityConfig = field(default_factory=QualityConfig)
    """Which faces are not classified."""
    smooth: SmoothConfig = field(default_factory=SmoothConfig)
    """How emotions are steadied over time."""
    publish: PublishConfig = field(default_factory=PublishConfig)
    """What goes out."""
    mqtt: MqttConfig = field(default_factory=MqttConfig)
    """Where events go."""
    health: HealthConfig = field(default_factory=HealthConfig)
    """How the run says how it is."""
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    """How fast the run may go."""
    log: LogConfig = field(default_factory=LogConfig)
    """What is said on standard error."""
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    """What may be seen of a picture."""

    def __post_init__(self) -> None:
        names = [camera.name for camera in self.camera]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f'two [[camera]] tables have the name "{name}": give each a name of its own')


def _within(key: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InputError(f"{key} is {value:.6g}: it must lie from {least} to {most}")


def _one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f'{key} is "{value[:60]}": expected one of {", ".join(known)}')
