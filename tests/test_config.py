"""edge.toml: defaults, every kind of mistake, and that the command line wins."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from mosquitto import PATIENCE

from edge.broker import parse_broker, read_credentials
from edge.config import CameraConfig, Config, PublishConfig, QualityConfig, SmoothConfig, load_config, override
from edge.errors import InputError
from edge.publish.refusal import tls_context
from edge.sources import device_of
from edge.sources.camera import UsbCamera
from edge.sources.network import NetworkCamera
from edge.sources.picamera import CsiCamera


def load(tmp_path: Path, text: str) -> Config:
    """Read a configuration from text."""
    path = tmp_path / "edge.toml"
    path.write_text(text)
    return load_config(path)


def test_empty_is_all_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Config() == load_config(None)


def test_all_keys(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        device = "hall"
        model = "m.onnx"
        [[camera]]
        source = "/dev/video2"
        name = "front"
        width = 1280
        height = 720
        fps = 15
        format = "mjpg"
        frozen_after = 20
        [detect]
        detector = "mtcnn"
        min_face = 60
        threads = 2
        yunet_model = "yunet.onnx"
        budget_ms = 50
        [classify]
        threads = 2
        flip = true
        fit_after = 0
        [track]
        overlap = 0.4
        keep = 2
        [quality]
        min_side = 30
        sharpness = 0.2
        turn = 0.5
        [smooth]
        time_constant = 1
        margin = 0.2
        [publish]
        when = "interval"
        seconds = 2
        summary = true
        [mqtt]
        broker = "mqtt://localhost/emotion"
        username = "hall"
        password_file = "/secret"
        ca_file = "/ca.pem"
        """,
    )
    assert config.device == "hall"
    assert config.camera[0].name == "front"
    assert config.camera[0].source == "/dev/video2"
    assert (config.camera[0].width, config.camera[0].height, config.camera[0].fps) == (1280, 720, 15.0)
    assert (config.camera[0].format, config.camera[0].frozen_after) == ("mjpg", 20.0)
    assert config.detect.min_face == 60
    assert (config.detect.yunet_model, config.detect.budget_ms) == ("yunet.onnx", 50.0)
    assert config.track.keep == 2.0
    assert config.classify.flip
    assert config.classify.fit_after == 0
    assert config.quality == QualityConfig(30.0, 0.2, 0.5)
    assert config.smooth == SmoothConfig(1.0, 0.2)
    assert config.publish == PublishConfig("interval", 2.0, True)
    assert config.mqtt.ca_file == "/ca.pem"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('devise = "x"', 'unknown key "devise"; did you mean "device"?'),
        ("[detect]\nmin_fase = 3", 'unknown key "detect.min_fase"; did you mean "min_face"?'),
        ("[zzz]", 'unknown key "zzz"; known here: device'),
        ("device = 3", '"device" is 3: expected text in quotes'),
        ("[detect]\nmin_face = 40.5", "expected a whole number"),
        ("[detect]\nmin_face = true", "expected a whole number"),
        ("[detect]\nmin_face = 5", "detect.min_face is 5: it must lie from 12 to 10000"),
        ("[detect]\ndetector = 'mtcn'", 'detect.detector: no detector "mtcn": choose one of mtcnn, blazeface'),
        ("[detect]\ndetector = 'yunet'", "ships without a model: name its file"),
        ("[detect]\nbudget_ms = 0.5", "detect.budget_ms is 0.5: it must lie from 1 to 60000"),
        ("[track]\noverlap = 1.5", "track.overlap is 1.5"),
        ("[track]\nkeep = nan", "track.keep is nan"),
        ("[classify]\nfit_after = -1", "classify.fit_after is -1: it must lie from 0 to 86400"),
        ("[classify]\nflip = 1", '"classify.flip" is 1: expected true or false'),
        ("[quality]\nmin_side = -1", "quality.min_side is -1: it must lie from 0 to 10000"),
        ("[quality]\nsharpness = 2", "quality.sharpness is 2: it must lie from 0 to 1"),
        ("[quality]\nturn = nan", "quality.turn is nan: it must lie from 0 to 10"),
        ("[quality]\nzzz = 1", 'unknown key "quality.zzz"; known here: min_side, sharpness, turn'),
        ("[smooth]\ntime_constant = 61", "smooth.time_constant is 61: it must lie from 0 to 60"),
        ("[smooth]\ntime_constnat = 1", 'unknown key "smooth.time_constnat"; did you mean "time_constant"?'),
        ("[smooth]\nmargin = 1.5", "smooth.margin is 1.5: it must lie from 0 to 1"),
        ("[publish]\nwhen = 'often'", 'publish.when is "often": it must be one of change, interval, every'),
        ("[publish]\nwhen = 3", '"publish.when" is 3: expected text in quotes'),
        ("[publish]\nseconds = -1", "publish.seconds is -1: it must lie from 0 to 3600"),
        ("[publish]\nsummary = 'yes'", "\"publish.summary\" is 'yes': expected true or false"),
        ("detect = 3", '"detect" must be a table'),
        ('camera = "0"', '"camera" must be an array of tables, [[camera]]'),
        ("[[camera]]\nname = 'x'", 'no "source"'),
        ("[[camera]]\nsource=''", "give a camera, a file or a folder"),
        ("[[camera]]\nsource='ftp://h/x'", "ftp:// is not read"),
        ("[[camera]]\nsource='0'\nname='a/b'", "cannot stand in a topic level"),
        ("[[camera]]\nsource='0'\nwidth=640", "camera.width and camera.height are set together"),
        ("[[camera]]\nsource='0'\nwidth=8000\nheight=6000", "its frames have 48 megapixels, and at most 16 are taken"),
        ("[[camera]]\nsource='0'\nwidth=6\nheight=480", "camera.width is 6: it must lie from 16 to 8192"),
        ("[[camera]]\nsource='0'\nwidth=640\nheight=99999", "camera.height is 99999"),
        (
            "[[camera]]\nsource='x.mp4'\nwidth=640\nheight=480",
            "a file or folder: it is for a USB or CSI camera",
        ),
        ("[[camera]]\nsource='0'\nfps=0", "camera.fps is 0: it must lie from 0.1 to 500"),
        ("[[camera]]\nsource='0'\nformat='h264'", 'camera.format is "h264": expected one of auto, mjpg, yuyv'),
        ("[[camera]]\nsource='csi'\nformat='mjpg'", "camera.format is set for camera, which is a CSI camera"),
        ("[[camera]]\nsource='0'\nfrozen_after=0.5", "camera.frozen_after is 0.5: it must lie from 1 to 3600"),
        ("[[camera]]\nsource='0'\nusername='bob'", "camera.username is set for camera, which is a USB camera"),
        ("[[camera]]\nsource='0'\npassword_file='f'", "camera.password_file is set for camera"),
        ("[[camera]]\nsource='0'\n[[camera]]\nsource='1'", 'two [[camera]] tables have the name "camera"'),
        ("device = ", "not readable as TOML"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, text)
    assert says in str(caught.value)
    assert "edge.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "edge.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        load_config(tmp_path / "edge.toml")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Nobody writes to it; whoever reads it would wait for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    said = []
    for read in (
        lambda: load_config(pipe),
        lambda: read_credentials("bob", pipe),
        lambda: tls_context(parse_broker("mqtts://h"), pipe),
    ):
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(read)
            try:
                said.append(str(asked.exception(PATIENCE)))
            finally:
                if not asked.done():  # let it go
                    os.close(os.open(pipe, os.O_WRONLY))
    assert all("it is no regular file" in line for line in said), said


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text('device = "hall"\r\n')
    (tmp_path / "edge.toml").symlink_to("real.toml")
    assert load_config(tmp_path / "edge.toml").device == "hall"


def test_the_command_line_wins(tmp_path: Path) -> None:
    config = load(tmp_path, 'device = "hall"\n[[camera]]\nsource = "0"\nname = "front"\n[mqtt]\nbroker = "mqtt://a"')
    changed = override(config, source="1", broker="mqtt://b")
    assert (changed.camera[0].source, changed.camera[0].name, changed.mqtt.broker) == ("1", "front", "mqtt://b")
    assert changed.device == "hall"
    assert override(Config(), source="clip.mp4").camera[0].name == "camera"
    assert override(Config()).camera == ()


def test_another_source_keeps_the_name_alone() -> None:
    """The size, rate and password of one camera are not those of the next."""
    camera = CameraConfig("0", "front", width=640, height=480, fps=30, format="yuyv")
    assert override(Config(camera=(camera,)), source="clip.mp4").camera == (CameraConfig("clip.mp4", "front"),)
    assert override(Config(camera=(camera,)), source="0", camera="back").camera == (replace(camera, name="back"),)


def test_a_source_on_the_command_line_is_the_only_one() -> None:
    cameras = (CameraConfig("0", "front"), CameraConfig("1", "back", fps=5))
    assert override(Config(camera=cameras)).camera == cameras
    for index in (0, 1):
        assert override(Config(camera=cameras), source=str(index)).camera == (cameras[index],)
    assert override(Config(camera=cameras), source="2").camera == (CameraConfig("2", "front"),)


def test_a_camera_of_the_configuration_may_be_named_as_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cameras = (CameraConfig("0", "front"), CameraConfig("rtsp://h/1", "back", fps=5))
    assert override(Config(camera=cameras), source="back").camera == (cameras[1],)
    assert override(Config(camera=cameras), source="back", camera="b").camera == (replace(cameras[1], name="b"),)
    with pytest.raises(InputError, match="--source bakc: no such file or folder, and no camera of that name; they are"):
        override(Config(camera=cameras), source="bakc")
    # What is one in its own right is meant: a file that is there, another camera's number.
    (tmp_path / "back").write_bytes(b"")
    assert override(Config(camera=cameras), source="back").camera == (CameraConfig("back", "front"),)
    assert override(Config(camera=(CameraConfig("1", "0"), cameras[0])), source="0").camera == (cameras[0],)
    assert override(Config(camera=cameras), source="missing.mp4").camera == (CameraConfig("missing.mp4", "front"),)


def test_a_cameras_settings_reach_it(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    usb = device_of(CameraConfig("0", width=1280, height=720, fps=15))
    assert isinstance(usb, UsbCamera)
    assert (usb._width, usb._height, usb._fps, usb._form) == (1280, 720, 15, "mjpg")
    csi = device_of(CameraConfig("csi:1", width=1280, height=720, fps=15))
    assert isinstance(csi, CsiCamera)
    assert csi._command[-4:] == ["1", "1280", "720", "15"]
    url = CameraConfig("rtsp://h/1", username="bob", password_file=str(tmp_path / "password"), frozen_after=7)
    network = device_of(url)
    assert isinstance(network, NetworkCamera)
    assert (network._url, network.name, network._read_seconds) == ("rtsp://bob:s3cret@h/1", "rtsp://h/1", 7)
    with pytest.raises(InputError, match="make it readable"):
        device_of(replace(url, password_file=str(tmp_path / "none")))
    with pytest.raises(InputError, match="set username beside it"):
        device_of(replace(url, username=None))


def test_of_several_cameras_a_name_chooses_one(tmp_path: Path) -> None:
    config = load(tmp_path, "[[camera]]\nsource = '0'\nname = 'front'\n[[camera]]\nsource = '1'\nname = 'back'\n")
    assert override(config).camera == config.camera
    assert override(config, camera="back").camera == config.camera[1:]
    assert override(config, source="2").camera == (CameraConfig("2", "front"),)
    with pytest.raises(InputError, match=r"no .* table has this name; they are front, back"):
        override(config, camera="side")
