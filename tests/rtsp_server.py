"""An RTSP camera on loopback, run by the system's Python with Debian's GStreamer: `python3 rtsp_server.py PORT`.

It serves rtsp://127.0.0.1:PORT/live (H.264, 320×240, 25 frames/s): a bright square that moves by 4 pixels a frame on
dim noise. Lines on standard input steer it: `freeze` sends the same picture from now on, `stall` sends none and keeps
the connection, `garbage` sends noise in the place of H.264, `move` goes on. `show FILE` puts a picture in the square's
place, 320×240 gray bytes, and `flash N` makes the next N pictures brighter. It says `ready` when it can be asked, and
`spoilt` when two seconds of garbage are on their way. Where a user and a password follow the port, they are asked for.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

WIDTH, HEIGHT, FPS = 320, 240, 25
# Each picture is coded by itself and by one thread: only so does the same one decode to the very same pixels.
PIPELINE = (
    f"( appsrc name=pictures is-live=true format=time do-timestamp=true caps=video/x-raw,format=GRAY8,width={WIDTH},"
    f"height={HEIGHT},framerate={FPS}/1 ! videoconvert ! video/x-raw,format=I420 ! "
    "x264enc tune=zerolatency speed-preset=ultrafast pass=quant quantizer=24 key-int-max=1 threads=1 ! "
    "identity name=coded ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)
NOISE = os.urandom(WIDTH * HEIGHT * 2)
STRIP = 8 * WIDTH  # of a picture that is shown so much stays noise: the very same picture would be a frozen camera
BRIGHTER = bytes(min(255, value + 80) for value in range(256))


class Camera:
    """Draws the pictures and does to them what it is told."""

    def __init__(self) -> None:
        self.mode = "move"
        self.number = 0
        self.shown = b""
        self.flashes = 0
        self.spoilt = 0

    def picture(self) -> bytes:
        """One gray picture."""
        start = (self.number * 977) % (WIDTH * HEIGHT)
        rows = bytearray(byte >> 3 for byte in NOISE[start : start + (STRIP if self.shown else WIDTH * HEIGHT)])
        if self.shown:
            shown = self.shown.translate(BRIGHTER) if self.flashes > 0 else self.shown
            self.flashes -= 1
            return bytes(rows) + shown[STRIP:]
        left = (self.number * 4) % (WIDTH - 64)
        for row in range(88, 152):
            rows[row * WIDTH + left : row * WIDTH + left + 64] = b"\xe0" * 64
        return bytes(rows)

    def serve(self, factory: object, media: GstRtspServer.RTSPMedia) -> None:
        """A client came: push pictures into its pipeline until it goes."""
        element = media.get_element()
        source, coded = element.get_by_name_recurse_up("pictures"), element.get_by_name_recurse_up("coded")
        coded.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, self.spoil)

        def push() -> bool:
            if self.mode == "stall":
                return True
            if self.mode != "freeze":
                self.number += 1
            flow = source.emit("push-buffer", Gst.Buffer.new_wrapped(self.picture()))
            return bool(flow == Gst.FlowReturn.OK)

        GLib.timeout_add(1000 // FPS, push)

    def spoil(self, pad: Gst.Pad, info: Gst.PadProbeInfo) -> Gst.PadProbeReturn:
        """Put noise in the place of what was encoded; the start code stays, so that it is sent."""
        if self.mode == "garbage":
            buffer = info.get_buffer()
            size = buffer.get_size()
            if size > 8:
                buffer.fill(5, os.urandom(size - 5))
            self.spoilt += 1
            if self.spoilt == 2 * FPS:
                print("spoilt", flush=True)
        return Gst.PadProbeReturn.OK


def main() -> None:
    """Serve until standard input closes."""
    Gst.init(None)
    elements = ("appsrc", "videoconvert", "x264enc", "rtph264pay", "rtpbin")
    lacking = [name for name in elements if not Gst.ElementFactory.find(name)]
    if lacking:
        sys.exit(f"no GStreamer element {', '.join(lacking)}")
    port, *login = sys.argv[1:]
    if port == "--check":
        return
    camera = Camera()
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE)
    factory.set_shared(True)
    factory.connect("media-configure", camera.serve)
    if login:
        user, password = login
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        role = "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
        permissions.add_role_from_structure(Gst.Structure.from_string(role)[0])
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/live", factory)
    if not server.attach(None):
        sys.exit("no port")
    loop = GLib.MainLoop()

    def obey() -> None:
        for line in sys.stdin:
            order, _, value = line.strip().partition(" ")
            if order == "show":
                camera.shown = Path(value).read_bytes()
            elif order == "flash":
                camera.flashes = int(value)
            else:
                camera.mode = order
        loop.quit()

    threading.Thread(target=obey, daemon=True).start()
    print("ready", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
