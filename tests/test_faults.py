"""`edge run` while a network camera stops, freezes, stalls, sends garbage and comes back, with somebody before it.

It goes on, says on MQTT how the camera is, keeps every track id that it can keep, and feeds systemd's watchdog all
through; where a stage is truly stuck, the watchdog starves.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import pytest
from mosquitto import PATIENCE, Lines, Listener, Mosquitto
from notify import Systemd, systemd
from onnx import NodeProto, TensorProto, helper, save
from rtsp import RtspCamera

from edge.broker import BrokerAddress
from edge.model import load_model

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix signals and sockets")

FED_WITHIN = 4.0
"""systemd's patience with the watchdog, seconds; 30 in the unit that the kit writes."""

CONFIG = """
device = "d"
[mqtt]
broker = "mqtt://127.0.0.1:{port}/p"
[publish]
when = "interval"
seconds = 0.2
[[camera]]
source = "{url}"
name = "door"
frozen_after = 2
"""


class Run:
    """`edge run` on a camera, a broker and systemd's socket."""

    def __init__(self, process: subprocess.Popen[str], seen: Listener, notify: Systemd) -> None:
        self.process, self.seen, self.notify = process, seen, notify
        self.said = Lines()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said(line)

    def until(self, holds: Callable[[], Any]) -> Any:
        """Wait until a message makes something true; return it."""
        with self.seen._changed:
            assert self.seen._changed.wait_for(holds, 2 * PATIENCE), (self.states(), self.said.lines)
            return holds()

    def states(self) -> list[str]:
        return [json.loads(payload)["state"] for payload in self.seen.of("/door/state")]

    def until_state(self, *names: str) -> None:
        """Wait until the camera's state is one of these."""
        self.until(lambda: self.states()[-1:] and self.states()[-1] in names)

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """The door's events of these kinds, of all without any."""
        events = [json.loads(payload) for payload in self.seen.of("/door/events")]
        return [event for event in events if not kinds or event["type"] in kinds]

    def until_event(self, kind: str, count: int | None = None) -> dict[str, Any]:
        """Wait for one more event of a kind, or for so many; return the last."""
        wanted = len(self.events(kind)) + 1 if count is None else count
        last: dict[str, Any] = self.until(lambda: len(self.events(kind)) >= wanted and self.events(kind)[-1])
        return last

    def end(self) -> None:
        """End it as a person does, and look at how it was fed."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(2 * PATIENCE) == 0, self.said.lines
        self._reader.join()
        assert self.notify.longest_hunger() <= self.notify.patience, self.notify.heard


@pytest.fixture
def start(
    broker: Mosquitto, listen: Callable[..., Listener], rtsp: RtspCamera, face: Path, tmp_path: Path
) -> Callable[..., Any]:
    """Starts `edge run` on the RTSP camera, with somebody before it; it is ended for certain."""

    @contextmanager
    def started(more: str = "", *arguments: str, ends: bool = True) -> Iterator[Run]:
        seen = listen(BrokerAddress("127.0.0.1", broker.port, "p"))
        path = tmp_path / "edge.toml"
        path.write_text(CONFIG.format(port=broker.port, url=rtsp.url) + more)
        rtsp.tell(f"show {face}")
        command = [sys.executable, "-m", "edge.cli", "run", "--config", str(path), *arguments]
        with systemd(FED_WITHIN) as notify:
            environment = {**os.environ, **notify.environ}
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
                run = Run(process, seen, notify)
                try:
                    run.until_event("enter", 1)
                    yield run
                    if ends:
                        run.end()
                finally:
                    process.kill()

    return started


@pytest.fixture
def face(portrait: Path, tmp_path: Path) -> Path:
    """The portrait's face as the camera's picture: 320×240 gray bytes."""
    picture = cv2.cvtColor(cv2.imread(str(portrait)), cv2.COLOR_BGR2GRAY)[20:260, 60:380]
    path = tmp_path / "face.gray"
    path.write_bytes(picture.tobytes())
    return path


def come_back(run: Run) -> None:
    """Wait until the camera gives pictures again and a face is seen in them."""
    run.until_state("running")
    run.until_event("update")


def test_through_every_fault_the_face_keeps_its_id_and_the_watchdog_is_fed(
    start: Callable[..., Any], rtsp: RtspCamera, face: Path, portrait_clip: Path
) -> None:
    """Each fault is shorter than `[track] keep`; another camera goes on meanwhile."""
    other = f'[[camera]]\nsource = "{portrait_clip}"\nname = "clip"\nfps = 10\n'
    with start(f"{other}[track]\nkeep = 300\n") as run:
        for fault in ("freeze", "stall"):
            rtsp.tell(fault)
            run.until_state("frozen")
            rtsp.tell("move")
            come_back(run)
        rtsp.tell("garbage")
        rtsp.wait("spoilt")
        rtsp.tell("move")
        come_back(run)
        rtsp.kill()
        run.until_state("waiting")
        rtsp.start()
        rtsp.tell(f"show {face}")
        come_back(run)
        assert run.events("leave") == []
    assert f"camera {rtsp.url} is frozen: the very same picture for 2 s" in "".join(run.said.lines)
    assert f"camera {rtsp.url} is frozen: no picture for" in "".join(run.said.lines)
    run.until_state("ended")
    run.until_event("leave", 1)
    events = run.events()
    assert [event["type"] for event in events if event["type"] != "update"] == ["enter", "leave"]
    assert len({event["track"] for event in events}) == 1
    clip = [json.loads(payload) for payload in run.seen.of("/clip/events")]
    assert clip, "the other camera's face was seen meanwhile"
    assert events[0]["track"] not in {event["track"] for event in clip}


def test_who_is_away_for_longer_leaves_while_the_camera_is_away(
    start: Callable[..., Any], rtsp: RtspCamera, face: Path
) -> None:
    """Nobody is said to stand there for as long as a camera is gone, and who is there then is somebody new."""
    with start() as run:
        first = run.events("enter")[0]["track"]
        rtsp.kill()
        run.until_state("waiting")
        assert run.until_event("leave", 1)["track"] == first
        run.until(lambda: run.seen.of("/door/faces")[-1:] == ["0"])
        rtsp.start()
        rtsp.tell(f"show {face}")
        assert run.until_event("enter", 2)["track"] != first


def test_a_frame_that_throws_is_said_once_and_skipped(start: Callable[..., Any], rtsp: RtspCamera, trap: Path) -> None:
    """The model cannot read a picture in which a light is on; the face is the same before and behind it."""
    settings = "[classify]\nrate = 0\n[health]\nevery = 1\n"

    def lost() -> int:
        """Frames that were neither processed nor dropped; one may be at work and one wait."""
        frames = json.loads(run.seen.of("d/health")[-1])["cameras"]["door"]["frames"]
        return int(frames["captured"] - frames["processed"] - frames["dropped"]) - 2

    with start(settings, "--model", str(trap)) as run:
        rtsp.tell("flash 25")
        run.until(lambda: run.seen.of("d/health") and lost() >= 2)
        run.until_event("update")
        assert run.events("leave") == []
        assert len({event["track"] for event in run.events()}) == 1
    (said,) = [line for line in run.said.lines if "a frame is lost" in line]
    assert "InputError: model" in said
    assert "trap.onnx gives no probabilities" in said


def test_a_stage_that_is_truly_stuck_starves_the_watchdog(
    start: Callable[..., Any], rtsp: RtspCamera, quicksand: Path
) -> None:
    """The model does not come back from a bright picture. systemd would end the run now; here the test does."""
    with start("[classify]\nrate = 0\n", "--model", str(quicksand), ends=False) as run:
        rtsp.tell("flash 100")
        stuck = run.notify.wait("STATUS=loop is stuck for")
        assert stuck is not None, run.notify.heard
        assert run.notify.wait("WATCHDOG=1", stuck, within=2 * FED_WITHIN) is None
        assert "loop is stuck for" in run.said.wait("; systemd will start the service anew")
        assert run.process.poll() is None


BRIGHT = 195.0
"""Mean of a crop that is brighter than the portrait and darker than the portrait with a light on."""


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A model that is right about everything but bright crops, for which it answers what is no number."""
    return written(tmp_path / "trap.onnx", [helper.make_node("Sqrt", ["below"], ["odd"])])


@pytest.fixture
def quicksand(tmp_path: Path) -> Path:
    """A model that is right about everything but bright crops, from which it does not come back for years."""
    scalar, flag = helper.make_tensor_value_info, TensorProto.BOOL
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["grain"], ["grains"])],
        "body",
        [scalar("turn", TensorProto.INT64, []), scalar("go", flag, []), scalar("grain", TensorProto.FLOAT, ["N"])],
        [scalar("on", flag, []), scalar("grains", TensorProto.FLOAT, ["N"])],
    )
    nodes = [
        helper.make_node("Neg", ["below"], ["above"]),
        helper.make_node("Relu", ["above"], ["turns_each"]),
        helper.make_node("ReduceMax", ["turns_each"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "years"], ["long"]),
        helper.make_node("Cast", ["long"], ["turns"], to=TensorProto.INT64),
        helper.make_node("Loop", ["turns", "", "turns_each"], ["odd"], body=body),
    ]
    return written(tmp_path / "quicksand.onnx", nodes)


def written(path: Path, nodes: list[NodeProto]) -> Path:
    """Write a model that calls every face happy, once it has `odd`, which the nodes make of `below`.

    `below` is by how much each crop's mean lies below `BRIGHT`, `(N,)`.
    """
    crops = helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", 96, 96, 3])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 7])
    around = [
        helper.make_node("Cast", ["crops"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["bright", "mean"], ["below"]),
        *nodes,
        helper.make_node("Mul", ["odd", "zero"], ["zeros"]),
        helper.make_node("Unsqueeze", ["zeros", "axis"], ["column"]),
        helper.make_node("Add", ["column", "row"], ["out"]),
    ]
    constants = [
        helper.make_tensor("bright", TensorProto.FLOAT, [], [BRIGHT]),
        helper.make_tensor("years", TensorProto.FLOAT, [], [1e15]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("row", TensorProto.FLOAT, [1, 7], [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]),
    ]
    graph = helper.make_graph(around, "g", [crops], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, load_model().info.to_metadata())
    save(model, path)
    return path
