"""Plays the bundled clip through `edge run`, over MQTT, into `edge feed`, and says what was seen."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from extras import needs

if TYPE_CHECKING:
    from demo_broker import Broker

CLIP = Path(__file__).resolve().parent / "data" / "portrait.mp4"
EDGE = str(Path(sys.executable).parent / "edge")
DEVICE = "demo"
FEWEST_EVENTS = 20
"""With fewer the demo has failed."""
PATIENCE = 20.0
"""Longest wait for the last events to arrive, seconds."""


class Lines:
    """The JSON lines of a process, read as they come; `echo` passes them on to our own output."""

    def __init__(self, stream: IO[str], echo: bool) -> None:
        self.events: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._read, args=(stream, echo), daemon=True)
        self._more = threading.Condition()
        self._thread.start()

    def wait_for(self, count: int, seconds: float) -> bool:
        """Wait until `count` events have come; False when time is up."""
        with self._more:
            return self._more.wait_for(lambda: len(self.events) >= count, seconds)

    def join(self) -> None:
        """Wait until the process has closed its output."""
        self._thread.join()

    def _read(self, stream: IO[str], echo: bool) -> None:
        for line in stream:
            if echo:
                print(line, end="", flush=True)
            event = json.loads(line)
            if event.get("device") == DEVICE and "seq" in event:
                with self._more:
                    self.events.append(event)
                    self._more.notify_all()


@contextmanager
def running(*arguments: str, **streams: Any) -> Iterator[subprocess.Popen[str]]:
    """Run `edge` with these arguments; at the end it is asked to stop, as `service stop` asks."""
    process = subprocess.Popen([EDGE, *arguments], text=True, **streams)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def play(url: str, broker: Broker | None) -> int:
    """Play the clip to the broker at `url`, show the feed, say what was seen; return the exit code."""
    print("demo: edge run plays the bundled clip to a broker, edge feed shows what arrives there", file=sys.stderr)
    terminal = sys.stdout.isatty()
    with ExitStack() as stack:
        notes = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
        # On a terminal one feed is there to be looked at, a second one to be counted.
        looks = [stack.enter_context(running("feed", "--broker", url))] if terminal else []
        quiet = subprocess.DEVNULL if terminal else None
        feed = stack.enter_context(running("feed", "--broker", url, "--json", stdout=subprocess.PIPE, stderr=quiet))
        assert feed.stdout is not None
        received = Lines(feed.stdout, echo=not terminal)
        if broker is None:
            time.sleep(3)  # a foreign broker does not say who has subscribed
        elif not broker.wait_for_subscribers(1 + len(looks)):
            print("demo: `edge feed` did not subscribe to the broker", file=sys.stderr)
            return 1
        start = time.monotonic()
        run = stack.enter_context(
            running(
                *("run", "--source", str(CLIP), "--broker", url, "--device", DEVICE, "--stdout", "--publish", "every"),
                stdout=subprocess.PIPE,
                stderr=notes,
            )
        )
        assert run.stdout is not None
        sent = Lines(run.stdout, echo=False)
        code = run.wait()
        seconds = time.monotonic() - start
        sent.join()
        received.wait_for(len(sent.events), PATIENCE)
        notes.seek(0)
        said = notes.read()
    if code == 0:
        code = report(sent.events, received.events, seconds)
    else:
        print(f"demo: `edge run` ended with exit code {code}", file=sys.stderr)
    if code:
        print(said, end="", file=sys.stderr)
    return code


def report(sent: list[dict[str, Any]], received: list[dict[str, Any]], seconds: float) -> int:
    """Say what was seen; return the exit code."""
    import cv2

    video = cv2.VideoCapture(str(CLIP))
    frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    emotions = Counter(str(event["emotion"] or f"not classified ({event.get('skipped')})") for event in received)
    shares = ", ".join(f"{name} {count / len(received):.0%}" for name, count in emotions.most_common())
    faces = len({event["frame"] for event in received if event["type"] != "leave"})
    tracks = len({event["track"] for event in received})
    print(f"\nSeen: {len(received)} events of {len(sent)} sent; {tracks} tracks; {seconds:.1f} s;", end=" ")
    print(f"a face in {faces} of the clip's {frames} frames.")
    print(f"Emotions: {shares or 'none'}.")
    if len(received) < FEWEST_EVENTS:
        print(f"demo: {len(received)} events came over MQTT, expected at least {FEWEST_EVENTS}", file=sys.stderr)
        return 1
    return 0


@needs("demo")
def main() -> int:
    """Start a broker if none is given, and play."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Plays the bundled clip and shows the feed.")
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST[:PORT]; without it a small one is started here")
    url = parser.parse_args().broker
    from demo_broker import Broker

    broker = None if url else Broker()
    try:
        return play(url or broker.url, broker)
    except KeyboardInterrupt:
        return 130
    finally:
        if broker is not None:
            broker.close()


if __name__ == "__main__":
    sys.exit(main())
