"""Events: their JSON form against the schema, their numbers, and what leave repeats."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest

from edge.events import EventMaker, new_stream, schema
from edge.values import Emotion, Face, Frame

FRAME = Frame(np.zeros((480, 640, 3), np.uint8), 4711, 1772352787.4129, 81.2736, "front")
FACE = Face(np.array([415.04, 120.5, 528, 262], np.float32), 0.99, detector="mtcnn", track=17)
HAPPY = Emotion("happy", 0.81, {"happy": 0.81, "sad": 0.19})
MS = {"detect": 6.2, "classify": 1.9, "total": 9.4}


def maker() -> EventMaker:
    """A device named hall."""
    return EventMaker("hall", new_stream(), "lite0-int8@3fa9", "synced")


def check(event: dict[str, Any]) -> None:
    """Hold an event against the schema, formats too."""
    jsonschema.validate(event, schema(), format_checker=jsonschema.FormatChecker())


@pytest.mark.parametrize("name", ["event", "state", "info"])
def test_schemas_are_schemas(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))


def test_an_event_says_what_the_design_shows() -> None:
    event = maker().seen(FRAME, FACE, HAPPY, MS, entered=True).to_dict()
    check(event)
    assert len(event.pop("stream")) == 16
    assert event == {
        "v": 1, "device": "hall", "seq": 1, "ts": "2026-03-01T08:13:07.412Z", "clock": "synced", "mono_ms": 81273,
        "camera": "front", "frame": 4711, "type": "enter", "track": 17, "box": [415.0, 120.5, 528.0, 262.0],
        "size": [640, 480], "emotion": "happy", "confidence": 0.81, "scores": {"happy": 0.81, "sad": 0.19},
        "detector": "mtcnn", "model": "lite0-int8@3fa9", "ms": MS,
    }  # fmt: skip


def test_numbers_count_up_and_leave_repeats_the_last_values() -> None:
    device = maker()
    first = device.seen(FRAME, FACE, HAPPY, MS, entered=True)
    second = device.seen(FRAME, FACE, Emotion("sad", 0.6, {"happy": 0.4, "sad": 0.6}), MS, entered=False)
    last = device.left(FRAME, 17)
    assert [e.seq for e in (first, second, last)] == [1, 2, 3]
    assert [e.type for e in (first, second, last)] == ["enter", "update", "leave"]
    assert last.emotion == second.emotion
    assert last.face.track == 17
    for event in (first, second, last):
        check(json.loads(event.to_json()))
    with pytest.raises(KeyError):
        device.left(FRAME, 17)


def test_a_face_that_was_not_classified_says_why() -> None:
    event = maker().seen(FRAME, FACE, Emotion(None, None, {}, skipped="small"), MS, entered=True).to_dict()
    check(event)
    assert event["emotion"] is None
    assert event["skipped"] == "small"


@pytest.mark.parametrize(
    ("key", "value"),
    [("v", 2), ("seq", 0), ("type", "gone"), ("box", [1, 2, 3]), ("confidence", 1.2), ("ts", "yesterday"),
     ("stream", "xyz"),
     ("clock", "wrong"), ("size", [640]), ("emotion", 3), ("device", None)],
)  # fmt: skip
def test_the_schema_refuses_what_is_wrong(key: str, value: object) -> None:
    event = maker().seen(FRAME, FACE, HAPPY, MS, entered=True).to_dict()
    with pytest.raises(jsonschema.ValidationError):
        check(event | {key: value})
    with pytest.raises(jsonschema.ValidationError):
        check({k: v for k, v in event.items() if k != key})
