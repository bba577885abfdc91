"""Real clips through `edge run` and a real Mosquitto. Needs ../shared/data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jsonschema

from edge.events import schema

COVERS = ["edge/**/*.py", "edge/events/*.json", "edge/models/*.onnx", "edge/models/mtcnn/*.onnx"]
ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
EDGE = [sys.executable, "-m", "edge.cli"]


def prove() -> dict[str, Any]:
    """Return the figures; raise when one is out of its bounds."""
    sys.path.insert(0, str(ROOT))
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
    from scripts.bench.mosquitto import mosquitto

    with mosquitto(folder) as broker:
        # A session that outlives its connection: the broker keeps for it what comes while nobody listens.
        topic = f"{broker.prefix}/wall/front/events"
        listener = ["mosquitto_sub", "-p", str(broker.port), "-t", topic, "-q", "1", "-c", "-i", "proof"]
        subprocess.run([*listener, "-E"], check=True, timeout=20)
        done = run(
            "run", "--source", str(clip), "--stdout", "--publish", "every",
            "--broker", f"mqtt://127.0.0.1:{broker.port}/{broker.prefix}", "--device", "wall", "--camera", "front",
        )  # fmt: skip
        printed = done.stdout.splitlines()
        # One more than were printed is asked for, so that a message too many is seen.
        count = str(len(printed) + 1)
        heard = subprocess.run(
            [*listener, "-C", count, "-W", "3"], capture_output=True, text=True, check=False, timeout=60
        )
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
