"""What docs/messages.md says of each message against what `edge run` and a real Mosquitto really send, both ways."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mosquitto import Listener, Mosquitto

from edge.events import schema
from edge.host.health import CameraStats, DetectorUse, Health, ModelUse, QueueStats
from edge.machine import describe_state

PAGE = (Path(__file__).parent.parent / "docs" / "messages.md").read_text(encoding="utf-8")

NAMED = {
    "Event": {"scores": "LABEL"},
    "Summary": {"emotions": "LABEL"},
    "Health": {"cameras": "NAME", "ms": "STEP", "temperatures": "ZONE", "stuck": "STAGE"},
    "State": {},
    "Info": {},
}
"""Objects whose keys are names that a message brings along, and what stands for them on the page."""

TYPES: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) in (int, float),
    "true or false": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def documented(kind: str) -> dict[str, str]:
    """The fields of one chapter of the page, each with its type."""
    chapter = re.split(r"(?m)^## ", PAGE.split(f"\n## {kind}\n", 1)[1])[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in chapter.splitlines() if line.startswith("| `")]
    assert len(rows) > 3
    assert all(len(row) == 4 and row[1] and row[3] for row in rows)
    return {field.strip("`"): kind for field, kind, _unit, _meaning in rows}


def leaves(value: Any, named: dict[str, str], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a message that holds a value, by its path as the page writes it."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, part in value.items():
        step = named.get(path, key)
        yield from leaves(part, named, f"{path}.{step}" if path else step)


def is_of(value: Any, kind: str) -> bool:
    """Whether a value has a documented type."""
    if kind.startswith("list of "):
        return isinstance(value, list) and all(is_of(item, kind.removeprefix("list of ")) for item in value)
    alternatives = [kind] if kind in TYPES else kind.split(" or ")
    return any(TYPES[each](value) for each in alternatives)


@pytest.fixture(scope="module")
def hot_pi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder that tells of heat, and a firmware that answers."""
    root = tmp_path_factory.mktemp("pi")
    for name, text in {
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "82345\n",
        "sys/class/thermal/cooling_device0/type": "cpufreq-cpu0\n",
        "sys/class/thermal/cooling_device0/cur_state": "1\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "vcgencmd").write_text("#!/bin/sh\necho throttled=0x50004\n")
    (root / "vcgencmd").chmod(0o755)
    return root


def sent_by_a_run(tmp_path: Path, clip: Path, broker: Mosquitto, listener: Listener) -> dict[str, list[dict[str, Any]]]:
    """Play the clip to a real broker, then a face too small to be read; return what came, by kind."""
    seen: dict[str, list[dict[str, Any]]] = {}
    for more in ("[health]\nevery = 1\n", "[quality]\nmin_side = 9999\n"):
        path = tmp_path / "edge.toml"
        path.write_text(
            f'device = "wall"\n[[camera]]\nsource = "{clip}"\nname = "front"\nfps = 60\n{more}'
            "[publish]\nsummary = true\n"
            f'[mqtt]\nbroker = "mqtt://127.0.0.1:{broker.port}/test/emotion"\n'
        )
        command = [sys.executable, "-m", "edge.cli", "run", "--config", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    listener.wait_last("wall/available", "offline")
    for kind, ending in {
        "Event": "front/events", "Summary": "front/summary", "Health": "wall/health", "State": "front/state",
        "Info": "wall/info",
    }.items():  # fmt: skip
        seen[kind] = [json.loads(payload) for payload in listener.of(ending)]
        assert seen[kind], f"nothing came on {ending}"
    return seen


def test_the_page_names_every_field_that_is_sent_and_no_other(
    tmp_path: Path,
    portrait_clip: Path,
    broker: Mosquitto,
    listen: Callable[..., Listener],
    hot_pi: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = sent_by_a_run(tmp_path, portrait_clip, broker, listen(broker.address))
    # What this machine may not have: heat, a Raspberry Pi's firmware, a stage that is stuck.
    monkeypatch.setenv("PATH", f"{hot_pi}:/usr/bin:/bin")
    health = Health(
        "hall", cameras=lambda: {"front": CameraStats("running")}, detector=lambda: DetectorUse("mtcnn"),
        model=lambda: ModelUse("lite2-int8@3fa9", "onnxruntime", "int8", 1), queue=lambda: QueueStats(True, 0),
        stuck=lambda now: {"loop": "for 12 s: loop.py:88"}, machine=partial(describe_state, hot_pi),
    )  # fmt: skip
    seen["Health"].append(health.message(0.0))
    for kind, messages in seen.items():
        page = documented(kind)
        found: dict[str, list[Any]] = {}
        for message in messages:
            for field, value in leaves(message, NAMED[kind]):
                found.setdefault(field, []).append(value)
        # An object of which there is none: `throttled` off a Raspberry Pi.
        absent = {field for field, values in found.items() if field not in page and set(map(str, values)) == {"None"}}
        assert all(any(other.startswith(f"{field}.") for other in page) for field in absent), absent
        assert found.keys() - absent == page.keys(), kind
        wrong = {f: v for f in page for v in found[f] if not is_of(v, page[f])}
        assert not wrong, (kind, wrong)


@pytest.mark.parametrize("kind", NAMED)
def test_the_page_and_the_schema_name_the_same_fields(kind: str) -> None:
    assert {field.partition(".")[0] for field in documented(kind)} == schema(kind.lower())["properties"].keys()
