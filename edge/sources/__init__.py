"""Where frames come from: cameras, streams, video files, pictures. Two doors: `open_source` and `open_cameras`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edge.errors import InputError

if TYPE_CHECKING:
    from edge.config import CameraConfig
    from edge.sources.cameras import Cameras, Opened
    from edge.sources.capture import Capture
    from edge.sources.state import CameraState
    from edge.sources.stream import Device
    from edge.values import Frame

__all__ = ["PICTURE_SUFFIXES", "Source", "open_cameras", "open_source"]

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".pgm"})
"""What counts as a picture by its name."""


class Source(Protocol):
    """A stream of frames of one camera.

    Attributes:
        camera: the camera's name, which its frames carry.
        live: whether it is a camera: time goes on while nobody reads.
        fps: frames a second as the source states them, or None.
        broken: how many frames could not be read so far.
    """

    camera: str
    live: bool
    fps: float | None

    @property
    def broken(self) -> int:
        """How many frames could not be read so far."""

    def read(self) -> Frame | None:
        """Return the next frame, or None at the end (a camera has none, except when told to stop)."""

    def close(self) -> None:
        """Let go of the device or file."""


def open_source(
    source: str,
    camera: str = "camera",
    *,
    wait: Callable[[float], bool] | None = None,
    say: Callable[[str], None] = lambda text: None,
    on_state: Callable[[CameraState], None] = lambda state: None,
    fail_fast: bool = False,
) -> Source:
    """Open what a person named, for one who reads frame after frame.

    Args:
        source: a camera index (`0`) or device (`/dev/video0`), `csi` for a Raspberry Pi's own camera, a URL
            (`rtsp://…`, `http://…`), a video file, an image, or a folder of images.
        camera: name of the camera, for frames and topics.
        wait: sleeps for so many seconds and returns True when it is time to stop; for a camera that does not answer.
        say: takes one line when a camera goes away or comes back.
        on_state: takes a camera's state whenever it changes.
        fail_fast: raise instead of waiting for a camera.

    Raises:
        InputError: the file is missing or unreadable, or the name is of no known kind.
        OutsideError: the camera does not answer, with `fail_fast`.
    """
    from edge.config import CameraConfig

    config = CameraConfig(source, camera)
    if not config.live:
        return _open_file(source, camera)
    return _open_live(config, wait=wait, say=say, on_state=on_state, fail_fast=fail_fast)


def open_cameras(
    cameras: Sequence[CameraConfig],
    *,
    say: Callable[[str], None] = lambda text: None,
    on_state: Callable[[CameraState], None] = lambda state: None,
    fail_fast: bool = False,
) -> Cameras:
    """Open all cameras of a configuration, each with a thread of its own.

    Of several, one that cannot be opened keeps the others from nothing: it has ended, and says why.

    Args:
        cameras: as in `[[camera]]`.
        say: takes one line when a camera goes away or comes back; may be called from any thread.
        on_state: takes a camera's state whenever it changes; may be called from any thread.
        fail_fast: raise instead of waiting for a camera, or of going on without one.

    Raises:
        InputError: no file is there and readable, or a setting does not fit its source.
        OutsideError: a camera does not answer, with `fail_fast`.
    """
    from edge.sources.cameras import Cameras
    from edge.sources.failed import Failed
    from edge.sources.names import shown
    from edge.sources.reading import Reading

    opened: list[Opened] = []
    failed: list[InputError] = []
    try:
        for config in cameras:
            try:
                if config.live:
                    opened.append(_open_live(config, say=say, on_state=on_state, fail_fast=fail_fast))
                else:
                    opened.append(Reading(_open_file(config.source, config.name), fps=config.fps, on_state=on_state))
            except (InputError, OSError) as error:  # a folder on the way may not be entered, a name is too long
                why = (
                    InputError(f"source {shown(config.source)}: {error.strerror}")
                    if isinstance(error, OSError)
                    else error
                )
                if fail_fast:
                    raise why from None
                failed.append(why)
                opened.append(Failed(config.name, str(why), say, on_state))
        if failed and len(failed) == len(opened):
            raise failed[0]
        return Cameras(opened, say=say, fail_fast=fail_fast)
    except BaseException:
        for one in opened:
            one.close()
        raise


def _open_live(
    config: CameraConfig,
    *,
    wait: Callable[[float], bool] | None = None,
    say: Callable[[str], None],
    on_state: Callable[[CameraState], None],
    fail_fast: bool,
) -> Capture:
    from edge.sources.capture import Capture

    capture = Capture(
        device_of(config), config.name, frozen_after=config.frozen_after, wait=wait, say=say, on_state=on_state,
        fail_fast=fail_fast,
    )  # fmt: skip
    if config.kind == "network":  # a stream is not asked for a rate: what is too much is left out
        capture.max_fps = config.fps
    return capture


def device_of(config: CameraConfig) -> Device:
    """Return the live camera that a configuration names, not yet opened.

    Raises:
        InputError: the password file cannot be read, or the URL holds a user as well.
    """
    width, height, fps = config.width, config.height, config.fps
    if config.kind == "usb":
        from edge.sources.camera import UsbCamera

        return UsbCamera(config.source, width=width, height=height, fps=fps, form=config.format)
    if config.kind == "csi":
        from edge.sources.picamera import CsiCamera

        return CsiCamera(config.source, width=width, height=height, fps=fps)
    from edge.broker import read_credentials
    from edge.sources.network import OPEN_SECONDS, NetworkCamera

    credentials = read_credentials(config.username, config.password_file, environ={})
    return NetworkCamera(config.source, credentials=credentials, read_seconds=config.frozen_after or OPEN_SECONDS)


def _open_file(source: str, camera: str) -> Source:
    path = Path(source)
    if path.is_dir() or path.suffix.lower() in PICTURE_SUFFIXES:
        from edge.sources.images import Images

        return Images(path, camera)
    from edge.sources.names import shown

    if not path.exists():
        raise InputError(
            f"source {shown(source)}: no such file or folder (a camera is named by its number, or as /dev/video0)"
        )
    if not path.is_file():
        raise InputError(f"source {shown(source)}: no file, folder or camera")
    from edge.sources.video import Video

    return Video(path, camera)
