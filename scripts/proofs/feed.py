"""Real clips through `edge run` and a real Mosquitto. Needs ../shared/data."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jsonschema

from edge.events import schema

COVERS = ["edge/**/*.py", "edge/events/*.json", "edge/models/*.onnx", "edge/models/mtcnn/*.onnx"]
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
EDGE = [sys.executable, "-m", "edge.cli"]


def prove() -> dict[str, Any]:
    """Return the figures; raise when one is out of its bounds."""
    if not DATA.is_dir():
        raise SystemExit("prove feed: it needs the real clips in ../shared/data, which is not here")
    clips = DATA / "clips"
    with tempfile.TemporaryDirectory() as folder:
        walking = through_mosquitto(clips / "WolfgangLanger_Pexels.mp4", Path(folder))
    nobody = run("run", "--source", str(clips / "no_face.mp4"), "--stdout")
    several = events(run("run", "--source", str(clips / "multi_face.jpg"), "--stdout").stdout)
    figures = {
        "WolfgangLanger_Pexels.mp4": walking,
        "no_face.mp4": {
            "exit_code": nobody.returncode,
            "events": len(events(nobody.stdout)),
            "said": nobody.stderr.strip(),
        },
        "multi_face.jpg": {"faces": sum(event["type"] == "enter" for event in several)},
    }
    assert walking["frames_with_a_face"] >= 0.99 * 472
    assert figures["no_face.mp4"]["events"] == 0
    assert figures["multi_face.jpg"]["faces"] == 5
    return figures


def through_mosquitto(clip: Path, folder: Path) -> dict[str, Any]:
    """Publish a clip's events; hold what mosquitto_sub gets against what --stdout printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "mosquitto.conf").write_text(f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n")
    server = subprocess.Popen(["mosquitto", "-c", str(folder / "mosquitto.conf")], stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        while "running" not in server.stderr.readline():
            assert server.poll() is None, "mosquitto ended"
        # A session that outlives its connection: the broker keeps for it what comes while nobody listens.
        listener = ["mosquitto_sub", "-p", str(port), "-t", "emotion/wall/front/events", "-q", "1", "-c", "-i", "proof"]
        subprocess.run([*listener, "-E"], check=True, timeout=20)
        broker = f"mqtt://127.0.0.1:{port}/emotion"
        done = run(
            "run",
            "--source",
            str(clip),
            "--stdout",
            "--publish",
            "every",
            "--broker",
            broker,
            "--device",
            "wall",
            "--camera",
            "front",
        )
        printed = done.stdout.splitlines()
        # One more than were printed is asked for, so that a message too many is seen.
        count = str(len(printed) + 1)
        heard = subprocess.run(
            [*listener, "-C", count, "-W", "3"], capture_output=True, text=True, check=False, timeout=60
        )
    finally:
        server.terminate()
        server.communicate()
    received = heard.stdout.splitlines()
    assert received == printed, f"{len(received)} received, {len(printed)} printed"
    seen = events(done.stdout)
    return {
        "events_printed": len(printed),
        "events_received_equal_and_in_order": len(received),
        "valid_against_the_schema": len(seen),
        "frames": int(re.findall(r"(\d+) frames", done.stderr)[0]),
        "frames_with_a_face": len({event["frame"] for event in seen if event["type"] != "leave"}),
        "said": done.stderr.strip(),
    }


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `edge` to its good end."""
    done = subprocess.run([*EDGE, *arguments], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return done


def events(text: str) -> list[dict[str, Any]]:
    """Parse events, each held against the schema."""
    validator = jsonschema.Draft202012Validator(schema(), format_checker=jsonschema.FormatChecker())
    parsed = [json.loads(line) for line in text.splitlines()]
    for event in parsed:
        validator.validate(event)
    return parsed
