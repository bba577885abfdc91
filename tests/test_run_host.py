"""`edge run` as a service runs it: several cameras, health, minutes, a reload, systemd's notify, the aiming page."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mosquitto import PATIENCE, Listener, Mosquitto

from edge.events import schema

EDGE = [sys.executable, "-m", "edge.cli"]

unix = pytest.mark.skipif(sys.platform == "win32", reason="Unix signals and sockets")


@contextmanager
def running(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start `edge run`; end it for certain."""
    with subprocess.Popen([*EDGE, "run", *arguments], stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def line_with(process: subprocess.Popen[str], part: str) -> str:
    """Read what it says until a line holds `part`."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if part in line:
            return line
    raise AssertionError(f"it ended without saying {part!r}: {said}")


def first(listener: Listener, topic: str) -> dict[str, Any]:
    """Wait for the first message on a topic that ends so."""
    with listener._changed:
        assert listener._changed.wait_for(lambda: listener.of(topic), PATIENCE), f"nothing came on {topic}"
    message: dict[str, Any] = json.loads(listener.of(topic)[0])
    return message


@pytest.fixture
def write(tmp_path: Path, portrait_clip: Path, broker: Mosquitto) -> Callable[[str], str]:
    """Writes an edge.toml of the bundled clip, played at a camera's pace, and the test's broker."""

    def written(more: str = "", fps: float = 20.0) -> str:
        path = tmp_path / "edge.toml"
        path.write_text(
            f'device = "wall"\n{more}\n[[camera]]\nsource = "{portrait_clip}"\nname = "front"\nfps = {fps}\n'
            f'[mqtt]\nbroker = "mqtt://127.0.0.1:{broker.port}/test/emotion"\n'
        )
        return str(path)

    return written


def test_two_cameras_have_topics_and_tracks_of_their_own(
    tmp_path: Path, portrait_clip: Path, portrait: Path, broker: Mosquitto
) -> None:
    (tmp_path / "edge.toml").write_text(
        f'device = "wall"\n[[camera]]\nsource = "{portrait_clip}"\nname = "front"\n'
        f'[[camera]]\nsource = "{portrait}"\nname = "back"\n[publish]\nwhen = "every"\n'
        f'[mqtt]\nbroker = "mqtt://127.0.0.1:{broker.port}/test/emotion"\n'
    )
    listener = Listener(broker.address)
    done = subprocess.run(
        [*EDGE, "run", "--config", str(tmp_path / "edge.toml"), "--stdout"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    tracks = {camera: {e["track"] for e in events if e["camera"] == camera} for camera in ("front", "back")}
    assert tracks["back"]
    assert tracks["front"]
    assert not tracks["back"] & tracks["front"]
    assert len({e["frame"] for e in events if e["camera"] == "front" and e["type"] != "leave"}) > 150
    for camera in ("front", "back"):
        listener.wait(f"{camera}/events", [line for line in done.stdout.splitlines() if f'"camera":"{camera}"' in line])


def bad_and_good(tmp_path: Path, good: Path, port: int) -> str:
    """Write an edge.toml of a clip that plays, a file that is missing, one that is no video, and one cut off."""
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"broken")
    (tmp_path / "edge.toml").write_text(
        f'device = "wall"\n[[camera]]\nsource = "missing.mp4"\nname = "missing"\n'
        f'[[camera]]\nsource = "{good}"\nname = "front"\nfps = 100\n'
        f'[[camera]]\nsource = "{tmp_path}/text.mp4"\nname = "text"\n'
        f'[[camera]]\nsource = "{tmp_path}/pictures"\nname = "pictures"\n'
        f'[mqtt]\nbroker = "mqtt://127.0.0.1:{port}/test/emotion"\n'
    )
    return str(tmp_path / "edge.toml")


def test_a_bad_file_of_several_cameras_ends_alone_and_is_said(
    tmp_path: Path, portrait_clip: Path, broker: Mosquitto
) -> None:
    config = bad_and_good(tmp_path, portrait_clip, broker.port)
    listener = Listener(broker.address)
    done = subprocess.run(
        [*EDGE, "run", "--config", config, "--stdout"],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "FAILED: missing, text, pictures" in done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in events if event["type"] != "update"] == ["enter", "leave"] * 2
    assert {event["camera"] for event in events} == {"front"}
    reasons = {
        "missing": "no such file",
        "text": "no video that OpenCV can read",
        "pictures": "not one of its 1 images",
    }
    for name, why in reasons.items():
        assert done.stderr.count(f"camera {name} has failed") == 1
        listener.wait_last(f"{name}/faces", "0")
        state = json.loads(listener.of(f"{name}/state")[-1])
        assert state["state"] == "ended"
        assert why in state["reason"]
        jsonschema.validate(state, schema("state"))


def test_a_failed_camera_does_not_make_a_failure_of_a_run_that_is_told_to_end(
    tmp_path: Path, portrait_clip: Path, broker: Mosquitto
) -> None:
    config = bad_and_good(tmp_path, portrait_clip, broker.port)
    listener = Listener(broker.address)
    with running("--config", config) as process:
        first(listener, "pictures/state")
        first(listener, "front/events")
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said


def test_several_cameras_of_which_none_can_be_opened_end_at_once(tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text(
        '[[camera]]\nsource = "a.mp4"\nname = "a"\n[[camera]]\nsource = "b.mp4"\nname = "b"\n'
    )
    done = subprocess.run(
        [*EDGE, "run", "--config", "edge.toml"], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "a.mp4: no such file" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_draw_wants_one_camera(tmp_path: Path, portrait: Path) -> None:
    (tmp_path / "edge.toml").write_text(
        f'[[camera]]\nsource = "{portrait}"\n[[camera]]\nsource = "{portrait}"\nname = "back"\n'
    )
    done = subprocess.run(
        [*EDGE, "run", "--config", str(tmp_path / "edge.toml"), "--draw", str(tmp_path / "out.png")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--draw draws one camera" in done.stderr


def test_health_and_minutes_reach_the_broker(write: Callable[..., str], broker: Mosquitto) -> None:
    listener = Listener(broker.address)
    with running("--config", write("[health]\nevery = 1\n[publish]\nsummary = true")) as process:
        health = first(listener, "wall/health")
        assert process.wait(PATIENCE * 3) == 0
    jsonschema.validate(health, schema("health"))
    assert health["cameras"]["front"]["state"] == "running"
    assert health["model"]["id"].startswith("lite2-int8@")
    assert health["detector"]["name"] == "mtcnn"
    assert health["queue"]["connected"]
    assert health["ms"]["detect"]["frames"] > 0
    minutes = [json.loads(payload) for payload in listener.of("front/summary")]
    assert minutes
    for minute in minutes:
        jsonschema.validate(minute, schema("summary"))
    assert sum(minute["frames"] for minute in minutes) == 240
    assert sum(minute["emotions"]["happy"] for minute in minutes) > 8


@unix
def test_a_reload_takes_over_what_it_can(write: Callable[..., str]) -> None:
    with running("--service", "--config", write(), "--stdout", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "enter"
        path = Path(write('[publish]\nwhen = "every"\n[detect]\nmin_face = 60'))
        process.send_signal(signal.SIGHUP)
        assert "publish.when: 'change' → 'every'" in line_with(process, "publish.when")
        assert [json.loads(process.stdout.readline())["type"] for _ in range(5)] == ["update"] * 5
        path.write_text("[detect]\nmin_face = 'x'\n")
        process.send_signal(signal.SIGHUP)
        assert "min_face" in line_with(process, "the run goes on as it was")
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(PATIENCE) == 0


@unix
def test_a_reload_says_what_needs_a_restart(write: Callable[..., str]) -> None:
    with running("--service", "--config", write(), "--stdout", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        write("[detect]\nmin_face = 60")
        process.send_signal(signal.SIGHUP)
        assert "after a restart" in line_with(process, "detect.min_face")


@unix
def test_systemd_hears_that_it_is_ready_and_well(write: Callable[..., str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        with running("--service", "--config", write("nonsense = 1"), env=environment) as process:
            assert "unknown key" in line_with(process, "nonsense")
            heard = [systemd.recv(4096).decode()]
            while "WATCHDOG=1" not in heard[-1] or "READY=1" not in "".join(heard):
                heard.append(systemd.recv(4096).decode())
            process.send_signal(signal.SIGTERM)
            while "STOPPING=1" not in heard[-1]:
                heard.append(systemd.recv(4096).decode())
            assert process.wait(PATIENCE) == 0


def test_prometheus_may_read_it(write: Callable[..., str]) -> None:
    pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running("--config", write(f"[health]\nmetrics_port = {port}")) as process:
        line_with(process, f"metrics at http://127.0.0.1:{port}/metrics")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
            assert b'emotion_edge_camera_running{camera="front"}' in answer.read()


@pytest.mark.parametrize("hindrance", ["package", "port"])
def test_metrics_that_cannot_be_served_are_said_and_missed(
    write: Callable[..., str], tmp_path: Path, hindrance: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (tmp_path / "sitecustomize.py").write_text(
            "import sys\nsys.modules['prometheus_client'] = None\n" if hindrance == "package" else ""
        )
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        config = write(f"[health]\nmetrics_port = {taken.getsockname()[1]}")
        with running("--config", config, "--max-frames", "5", env={**os.environ, "PYTHONPATH": path}) as process:
            line = line_with(process, "the run goes on without metrics")
            assert "5 frames" in line_with(process, "frames")
            assert process.wait(PATIENCE) == 0
    says = {"package": 'pip install "emotion-edge[metrics]"', "port": "cannot be listened on"}
    assert says[hindrance] in line


def test_the_page_for_aiming_shows_the_live_picture(write: Callable[..., str]) -> None:
    with running("--config", write(), "--aim", "1m", "--aim-address", "127.0.0.1:0") as process:
        url = re.findall(r"http://\S+/", line_with(process, "aim: the live picture is at"))[0]
        with urllib.request.urlopen(url, timeout=PATIENCE) as page:
            assert b"<img" in page.read()
    with running("--config", write("[privacy]\naim = false"), "--aim", "1m") as process:
        line_with(process, "locked off")
        assert process.wait(PATIENCE) == 2


def test_the_log_for_a_program(write: Callable[..., str]) -> None:
    with running("--config", write(), "--max-frames", "3", "--log-format", "json") as process:
        assert process.stderr is not None
        lines = [json.loads(line) for line in process.stderr]
        assert process.wait(PATIENCE) == 0
    assert all({"ts", "level", "msg"} <= line.keys() for line in lines)
    assert lines[-1]["msg"].startswith("3 frames")


def test_a_camera_that_has_ended_leaves_nobody_behind(tmp_path: Path, portrait_clip: Path, portrait: Path) -> None:
    """Who was seen in the picture has left when it has been read, not when the clip beside it ends."""
    (tmp_path / "edge.toml").write_text(
        f'[[camera]]\nsource = "{portrait_clip}"\nname = "front"\n[[camera]]\nsource = "{portrait}"\nname = "back"\n'
        '[publish]\nwhen = "every"\n'
    )
    done = subprocess.run(
        [*EDGE, "run", "--config", str(tmp_path / "edge.toml"), "--stdout"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [(event["camera"], event["type"]) for event in map(json.loads, done.stdout.splitlines())]
    assert [kind for camera, kind in said if camera == "back"] == ["enter", "leave"]
    assert said[-1] == ("front", "leave")
    assert len(said) - said.index(("back", "leave")) > 100


@pytest.mark.parametrize(("name", "ghosts"), [("haar", 1), ("blazeface", 0)])
def test_another_detector_is_forced(portrait_clip: Path, name: str, ghosts: int) -> None:
    """Haar takes a piece of the background for a face for a third of a second, in OpenCV 4.14 and not before."""
    if name == "blazeface":
        pytest.importorskip("ai_edge_litert", reason="no TFLite runtime is installed")
    done = subprocess.run(
        [*EDGE, "run", "--source", str(portrait_clip), "--detector", name, "--stdout"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["detector"] for event in events} == {name}
    happy = {event["track"] for event in events if event["emotion"] == "happy"}
    others = {event["track"] for event in events if event["emotion"] != "happy"}
    assert happy - others
    assert len(others) <= ghosts
