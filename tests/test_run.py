"""`edge run` as a person starts it: real clips, the shipped model, a real Mosquitto, and all that can be mistyped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from mosquitto import PATIENCE, Listener, Mosquitto

import edge
from edge.broker import BrokerAddress
from edge.events import schema

EDGE = [sys.executable, "-m", "edge.cli"]


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run([*EDGE, *arguments], capture_output=True, text=True, timeout=120, check=False, **options)


def events_of(text: str) -> list[dict[str, Any]]:
    """Parse what --stdout printed, each line held against the schema."""
    events = [json.loads(line) for line in text.splitlines()]
    validator = jsonschema.Draft202012Validator(schema(), format_checker=jsonschema.FormatChecker())
    for event in events:
        validator.validate(event)
    return events


def test_no_face_gives_no_event(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((240, 320, 3), np.uint8))
    done = run("run", "--source", str(tmp_path / "black.png"), "--stdout")
    assert (done.returncode, done.stdout) == (0, "")
    assert "1 frame" in done.stderr


def test_the_portrait_is_one_happy_face_and_is_drawn(portrait: Path, tmp_path: Path) -> None:
    done = run("run", "--source", str(portrait), "--stdout", "--draw", str(tmp_path / "out.png"), "--device", "hall")
    assert done.returncode == 0, done.stderr
    enter, leave = events_of(done.stdout)
    assert (enter["type"], leave["type"], enter["emotion"], enter["device"]) == ("enter", "leave", "happy", "hall")
    drawn, plain = cv2.imread(str(tmp_path / "out.png")), cv2.imread(str(portrait))
    changed = np.argwhere((drawn != plain).any(axis=2))
    x1, y1, x2, y2 = enter["box"]
    # What is drawn lies in and around the face's box: its frame, and a caption above it that may be wider.
    assert len(changed)
    assert changed[:, 0].max() <= y2 + 4
    assert changed[:, 1].min() >= x1 - 4
    assert changed[:, 0].min() >= y1 - 40
    assert changed[:, 1].max() <= max(x2 + 4, x1 + 250)


def test_the_bundled_clip_enters_leaves_and_comes_back(portrait_clip: Path, tmp_path: Path) -> None:
    done = run("run", "--source", str(portrait_clip), "--stdout", "--draw", str(tmp_path / "out.mp4"))
    assert done.returncode == 0, done.stderr
    events = events_of(done.stdout)
    assert [e["type"] for e in events if e["type"] != "update"] == ["enter", "leave", "enter", "leave"]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert len({e["stream"] for e in events}) == 1
    happy = sum(e["emotion"] == "happy" for e in events) / len(events)
    assert happy >= 0.9, f"the portrait smiles: {happy:.0%} happy"
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 240


def test_a_program_gets_the_same_in_a_few_lines(portrait: Path) -> None:
    (step,) = edge.watch(str(portrait))
    assert [emotion.label for emotion in step.emotions] == ["happy"]
    assert step.faces[0].track == 1


def test_every_exported_name_stays_what_it_is() -> None:
    """A module of the same name would take a function's place after the first import."""
    for name in edge.__all__:
        first, second = getattr(edge, name), getattr(edge, name)
        assert first is second
        assert not isinstance(first, type(sys)), name


def test_max_frames(portrait_clip: Path) -> None:
    done = run("run", "--source", str(portrait_clip), "--stdout", "--publish", "every", "--max-frames", "5")
    assert [e["frame"] for e in events_of(done.stdout)] == [0, 1, 2, 3, 4, 4]


def test_broken_frames_are_counted_and_skipped(portrait: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(portrait.read_bytes())
    (tmp_path / "b.png").write_bytes(b"broken")
    done = run("run", "--source", str(tmp_path), "--stdout")
    assert done.returncode == 0
    assert "1 broken frame skipped" in done.stderr
    assert len(events_of(done.stdout)) == 2


def test_mosquitto_gets_exactly_what_stdout_printed(broker: Mosquitto, portrait_clip: Path) -> None:
    # A session that outlives its connection: the broker keeps for it what comes while nobody listens.
    listener = [
        "mosquitto_sub",
        "-p",
        str(broker.port),
        "-t",
        "home/emotion/hall/front/events",
        "-q",
        "1",
        "-c",
        "-i",
        "me",
    ]
    subprocess.run([*listener, "-E"], check=True, timeout=PATIENCE)
    url = f"mqtt://127.0.0.1:{broker.port}/home/emotion"
    done = run(
        "run",
        "--source",
        str(portrait_clip),
        "--stdout",
        "--publish",
        "every",
        "--broker",
        url,
        "--device",
        "hall",
        "--camera",
        "front",
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    # One more than were printed is asked for, so that a message too many is seen; none comes within two seconds.
    heard = subprocess.run(
        [*listener, "-C", str(len(printed) + 1), "-W", "2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert len(printed) > 150
    assert heard.stdout.splitlines() == printed
    events_of(done.stdout)


def test_retained_values_and_offline_at_the_end(
    broker: Mosquitto, portrait: Path, listen: Callable[..., Listener]
) -> None:
    done = run(
        "run",
        "--source",
        str(portrait),
        "--broker",
        f"mqtt://127.0.0.1:{broker.port}/p",
        "--device",
        "d",
        "--camera",
        "c",
    )
    assert done.returncode == 0, done.stderr
    seen = listen(BrokerAddress("127.0.0.1", broker.port, "p"))
    seen.wait_last("/available", "offline")
    seen.wait_last("/faces", "0")
    seen.wait_last("/emotion", "none")
    values = {topic: seen.of(topic)[-1] for topic in ("p/d/info", "p/d/c/state")}
    info, state = json.loads(values["p/d/info"]), json.loads(values["p/d/c/state"])
    jsonschema.validate(info, schema("info"))
    jsonschema.validate(state, schema("state"))
    assert state["state"] == "ended"
    assert info["cameras"] == ["c"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_cleanly(number: signal.Signals, broker: Mosquitto, listen: Callable[..., Listener]) -> None:
    """A camera that is not there is waited for; a signal ends the wait, the device says offline, exit code 0."""
    seen = listen(BrokerAddress("127.0.0.1", broker.port, "p"))
    command = [
        *EDGE,
        "run",
        "--source",
        "/dev/video63",
        "--device",
        "d",
        "--broker",
        f"mqtt://127.0.0.1:{broker.port}/p",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        seen.wait_last("/available", "online")
        assert process.stderr is not None
        assert "does not answer" in process.stderr.readline()
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert "does not answer" not in said, "it is said once"
    seen.wait_last("/available", "offline")


def test_a_broker_that_is_away_does_not_stop_the_loop(portrait: Path) -> None:
    done = run("run", "--source", str(portrait), "--stdout", "--broker", "mqtt://127.0.0.1:9")
    assert done.returncode == 3, "what was seen has not arrived"
    assert len(events_of(done.stdout)) == 2
    assert "2 events NOT confirmed by the broker" in done.stderr


GARBAGE = {
    "no MQTT at all": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a yes, then garbage": b"\x20\x03\x00\x00\x00" + b"\xff" * 1000,
    "a yes, then silence": b"\x20\x03\x00\x00\x00",
}


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that gives every client the same answer, whatever it asks; yields its URL."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                threading.Thread(target=talk, args=(client,), daemon=True).start()

    def talk(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.recv(4096)
            client.sendall(answer)
            while client.recv(4096):
                pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def test_a_broker_that_answers_garbage_is_no_good_end(portrait: Path) -> None:
    with contextlib.ExitStack() as stack:
        runs = []
        for name, answer in GARBAGE.items():  # all at once: each waits for as long as a broker may take
            for options in (["--fail-fast"], []):
                url = stack.enter_context(answering(answer))
                command = [*EDGE, "run", "--source", str(portrait), "--broker", url, *options]
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                stack.callback(process.kill)
                runs.append((name, options, url, process))
        for name, answer in GARBAGE.items():
            url = stack.enter_context(answering(answer))
            command = [*EDGE, "feed", "--broker", url, "--fail-fast"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            stack.callback(process.kill)
            runs.append((name, ["feed"], url, process))
        for name, options, url, process in runs:
            _, said = process.communicate(timeout=120)
            assert process.returncode == 3, (name, options, said)
            assert url in said or "NOT confirmed" in said
            assert "Traceback" not in said


def test_a_real_broker_that_takes_everything_or_refuses_it(
    new_broker: Callable[..., Mosquitto], portrait: Path, tmp_path: Path
) -> None:
    open_to_all = new_broker().start()
    done = run("run", "--source", str(portrait), "--broker", str(open_to_all.address), "--fail-fast")
    assert (done.returncode, "NOT confirmed" in done.stderr) == (0, False), done.stderr
    (tmp_path / "acl").write_text("topic read #\n")
    refusing = new_broker(f"allow_anonymous true\nacl_file {tmp_path / 'acl'}").start()
    done = run("run", "--source", str(portrait), "--broker", str(refusing.address), "--fail-fast")
    assert done.returncode == 3, done.stderr
    assert "refuses events on" in done.stderr
    assert "2 events NOT confirmed by the broker" in done.stderr


def test_a_run_whose_events_go_nowhere_says_so_and_how_to_get_them(portrait: Path, tmp_path: Path) -> None:
    def said(*more: str) -> bool:
        done = run("run", "--source", str(portrait), *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return "events go nowhere: print them with --stdout, or send them with --broker" in done.stderr

    assert said()
    assert not said("--stdout")
    assert not said("--draw", "drawn.png")


def test_a_camera_of_edge_toml_may_be_the_source(portrait: Path, tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text(
        f"[[camera]]\nsource = '/dev/video63'\nname = 'hall'\n[[camera]]\nsource = '{portrait}'\nname = 'door'\n"
    )
    done = run("run", "--config", "edge.toml", "--source", "door", "--stdout", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {event["camera"] for event in events_of(done.stdout)} == {"door"}
    done = run("run", "--config", "edge.toml", "--source", "dor", cwd=tmp_path)
    assert done.returncode == 2
    assert "no camera of that name; they are hall, door" in done.stderr


MISTAKES: list[tuple[list[str], int, str]] = [
    ([], 2, "no source"),
    (["--source", "missing.mp4"], 2, "missing.mp4: no such file"),
    (["--source", "ftp://x/1"], 2, "ftp:// is not read"),
    (["--source", "/dev/video63", "--fail-fast"], 3, "camera /dev/video63 does not answer"),
    (["--source", "PORTRAIT", "--model", "missing.onnx"], 2, "missing.onnx: no such model file"),
    (["--source", "PORTRAIT", "--model", "TEXT.onnx"], 2, "no ONNX file"),
    (["--source", "PORTRAIT", "--broker", "http://x"], 2, "expected mqtt://"),
    (["--source", "PORTRAIT", "--broker", "mqtt://bob:secret@x"], 2, "must not hold a user or password"),
    (["--source", "PORTRAIT", "--broker", "mqtt://127.0.0.1:9", "--fail-fast"], 3, "127.0.0.1:9"),
    (["--source", "PORTRAIT", "--config", "none.toml"], 2, "none.toml: cannot be read"),
    (["--source", "PORTRAIT", "--config", "TYPO.toml"], 2, 'did you mean "detector"?'),
    (["--source", "PORTRAIT", "--draw", "x.gif"], 2, "ends in .mp4, .png or .jpg"),
    (["--source", "PORTRAIT", "--draw", "no/such/folder/x.png"], 2, "no such folder"),
    (["--source", "PORTRAIT", "--device", "a/b"], 2, "device name"),
    (["--source", "PORTRAIT", "--camera", "+"], 2, "camera name"),
    (["--source", "PORTRAIT", "--max-frames", "0"], 2, "--max-frames"),
    (["--sauce", "x"], 2, "--sauce"),
    (["--source", "COPY.png", "--draw", "COPY.png"], 2, "would write over the source"),
    (["--source", ".", "--draw", "out.png"], 2, "would write over the source"),
    (["--source", "", "--stdout"], 2, "give a camera, a file or a folder"),
    (["--source", "99999999999999999999"], 2, "no such file"),
    (["--source", "x" * 300 + ".mp4"], 2, "File name too long"),
    (["--source", "rtsp:/bob:secret@h"], 2, "***@h: a stream is written rtsp://HOST"),
    (["--source", "rtsp//bob:secret@h"], 2, "***@h: a stream is written rtsp://HOST"),
    (["--source", " RTSP://bob:secret@h"], 2, "a stream is written rtsp://HOST"),
    (["--source", "bob:secret@h"], 2, "***@h: no such file"),
    (["--source", "bob:secret@h.png"], 2, "***@h.png: no such file"),
    (["--source", "bob:secret@" + "h" * 300], 2, "File name too long"),
    (["--source", "PORTRAIT", "--config", "/dev/zero"], 2, "/dev/zero: cannot be read (it is no regular file)"),
    (["--source", "PORTRAIT", "--config", "BROKEN"], 2, "BROKEN: cannot be read"),
    (["--source", "PORTRAIT", "--config", "BIG"], 2, "BIG: cannot be read (it has more than 1024 KiB)"),
    (["--source", "PORTRAIT", "--model", "BIG.onnx"], 2, "BIG.onnx: cannot be read (it has more than"),
    (["--source", "BROKEN"], 2, "not one of its 2 images can be read"),
    (["--source", "PORTRAIT", "--config", "DEEP.toml"], 2, "not readable as TOML"),
]


@pytest.mark.parametrize(("arguments", "code", "says"), MISTAKES, ids=[" ".join(m[0]) or "nothing" for m in MISTAKES])
def test_mistakes_are_one_line(arguments: list[str], code: int, says: str, portrait: Path, tmp_path: Path) -> None:
    (tmp_path / "TEXT.onnx").write_text("no model")
    (tmp_path / "COPY.png").write_bytes(portrait.read_bytes())
    (tmp_path / "DEEP.toml").write_text("x = " + "[" * 50_000)
    for name in ("BIG", "BIG.onnx"):
        with (tmp_path / name).open("wb") as big:
            big.truncate(2**30)  # a hole: it takes no place on the disk
    (tmp_path / "BROKEN").mkdir()
    for name in ("a.png", "b.jpg"):
        (tmp_path / "BROKEN" / name).write_bytes(b"broken")
    (tmp_path / "TYPO.toml").write_text("[detect]\ndetecter = 'mtcnn'\n")
    done = run("run", *(str(portrait) if a == "PORTRAIT" else a for a in arguments), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert (tmp_path / "COPY.png").read_bytes() == portrait.read_bytes()


def test_a_reader_that_goes_away_ends_the_run_quietly(portrait_clip: Path) -> None:
    command = f'"{sys.executable}" -m edge.cli run --source "{portrait_clip}" --stdout | head -n 1'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_device_without_the_workstations_packages_says_what_to_install() -> None:
    """As on a device, where torch is not installed: an import of it fails for real."""
    hide = "import sys; sys.modules['torch'] = None; from edge.cli import main; main()"
    command = [sys.executable, "-c", hide, "train", "fit", "x.zip", "--name", "y"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert (
        'edge train needs the package torch, which is not installed: pip install "emotion-edge[train]"' in done.stderr
    )
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_an_output_that_takes_nothing(portrait: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*EDGE, "run", "--source", str(portrait), "--stdout"], stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 3
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    done = run("run", "--source", "\x1b[31mred\nline.mp4", cwd=tmp_path)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_folder_with_a_users_own_train_py(tmp_path: Path) -> None:
    """The package names are plain words: a file of that name in the user's folder gives one clear line."""
    (tmp_path / "train.py").write_text("print('mine')\n")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)])
    done = run("train", "--help", cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 2
    assert 'the module "train" that Python finds is not the kit\'s' in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "command", [[], ["run"], ["feed"], ["evaluate"], ["model", "show"], ["train", "fit"], ["calibrate", "quantize"]]
)
def test_help_teaches(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "Usage: edge" in done.stdout


class TestRealClips:
    """The clips with real people."""

    def test_a_walking_man_is_seen_in_every_frame(self, clips: Path, broker: Mosquitto) -> None:
        done = run("run", "--source", str(clips / "WolfgangLanger_Pexels.mp4"), "--stdout", "--publish", "every")
        frames = {e["frame"] for e in events_of(done.stdout) if e["type"] != "leave"}
        assert len(frames) >= 0.99 * 472

    def test_no_face(self, clips: Path) -> None:
        done = run("run", "--source", str(clips / "no_face.mp4"), "--stdout")
        assert (done.returncode, done.stdout) == (0, "")
        assert "95 frames" in done.stderr, "its container says 98, three too many"

    def test_five_faces(self, clips: Path) -> None:
        done = run("run", "--source", str(clips / "multi_face.jpg"), "--stdout")
        assert sum(e["type"] == "enter" for e in events_of(done.stdout)) == 5
