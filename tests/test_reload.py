"""What a changed configuration means for a run that goes on."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

from edge.config import CameraConfig, Config, DetectConfig, TrackConfig
from edge.reload import LIVE, Change, diff, take_over


def test_nothing_has_changed() -> None:
    assert diff(Config(), Config()) == []
    assert take_over(Config(), Config()) == Config()


def test_each_changed_key_says_whether_it_needs_a_restart() -> None:
    old = Config(track=TrackConfig(keep=0.5), detect=DetectConfig(min_face=40))
    new = Config(track=TrackConfig(keep=2.0), detect=DetectConfig(min_face=60), model="m.onnx")
    changes = diff(old, new, live={"track.keep"})
    assert changes == [
        Change("model", None, "m.onnx", False),
        Change("detect.min_face", 40, 60, False),
        Change("track.keep", 0.5, 2.0, True),
    ]
    assert [str(change) for change in changes] == [
        "model: not set → 'm.onnx', after a restart",
        "detect.min_face: 40 → 60, after a restart",
        "track.keep: 0.5 → 2.0",
    ]


def test_only_what_is_live_is_taken_over() -> None:
    old = Config()
    new = replace(old, track=TrackConfig(overlap=0.4, keep=2.0), detect=DetectConfig(min_face=60))
    taken = take_over(old, new, live={"track.keep"})
    assert taken == replace(old, track=TrackConfig(keep=2.0))
    left = diff(taken, new, live={"track.keep"})
    assert [(change.key, change.live) for change in left] == [("detect.min_face", False), ("track.overlap", False)]


def test_a_table_stands_for_all_of_its_keys_and_not_for_its_namesakes() -> None:
    new = Config(track=TrackConfig(overlap=0.4, keep=2.0))
    assert [change.live for change in diff(Config(), new, live={"track"})] == [True, True]
    assert [change.live for change in diff(Config(), new, live={"tra", "track.kee"})] == [False, False]


def test_cameras_are_compared_by_name() -> None:
    hall, door = CameraConfig("0", "hall"), CameraConfig("1", "door")
    assert diff(Config(camera=(hall,)), Config(camera=(CameraConfig("2", "hall"),))) == [
        Change("camera.hall.source", "0", "2", False)
    ]
    gone, added = diff(Config(camera=(hall,)), Config(camera=(door,)))
    assert (gone, added) == (Change("camera.hall", hall, None, False), Change("camera.door", None, door, False))
    assert "not set" in str(added)
    assert "'1'" not in str(added)  # an address may hold a password


def test_a_key_of_every_camera_can_be_live() -> None:
    old = Config(camera=(CameraConfig("0", "hall"),))
    new = Config(camera=(CameraConfig("2", "hall"),))
    assert diff(old, new, live={"camera.source"})[0].live
    assert take_over(old, new, live={"camera.source"}) == new
    assert take_over(old, new) == old
    assert take_over(old, Config()) == old  # a camera that is gone needs a restart


def test_every_live_key_is_a_key() -> None:
    def names(kind: object, path: str = "") -> set[str]:
        found: set[str] = set()
        for key in fields(kind):  # type: ignore[arg-type]
            value = getattr(kind, key.name)
            found.add(path + key.name)
            found |= names(value, f"{path}{key.name}.") if is_dataclass(value) else set()
        return found

    cameras = {f"camera.{key.name}" for key in fields(CameraConfig)}
    assert LIVE
    assert names(Config()) | cameras >= LIVE


WORDS = ("old1", "new1")


def test_a_password_in_a_url_is_not_told() -> None:
    old, new = (
        Config(camera=(CameraConfig(f"rtsp://u:{word}@h/x?token={word}", "front"),)) for word in ("old1", "new1")
    )
    (change,) = diff(old, new)
    assert "old1" not in str(change)
    assert "new1" not in str(change)
    assert "rtsp://" in str(change)
