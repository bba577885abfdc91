"""`edge doctor`: each check on a real part, or on a folder that tells what another machine would."""

from __future__ import annotations

import base64
import grp
import hashlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from mosquitto import Mosquitto, free_port

from edge.cli import call
from edge.config import CameraConfig, Config, DetectConfig, MqttConfig
from edge.host.doctor import broker as brokers
from edge.host.doctor import cameras, runtimes, system
from edge.host.doctor.check import Check
from edge.host.doctor.examine import configuration, examine, passwords
from edge.host.doctor.trial import attempt
from edge.model import DEFAULT_MODEL

HOLD = "import sys; f = open(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
NO_PI = "this is no Raspberry Pi"


def put(root: Path, path: str, text: str) -> Path:
    """Write a file of another machine."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


# The whole


def test_a_device_without_a_configuration(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.host.doctor.cli.SERVICE_CONFIG", Path("/nowhere/edge.toml"))
    code = call(["doctor", "--json"])
    out, err = capfd.readouterr()
    checks = [Check(**check) for check in json.loads(out)]
    failed = [check.name for check in checks if check.state == "fail"]
    assert code == (3 if failed else 0), err
    by_name = {check.name: check for check in checks}
    assert len(by_name) == len(checks) > 10
    assert by_name["Python"].state == by_name["model"].state == by_name["detector"].state == "ok"
    assert by_name["broker"].state == "skipped"
    assert all(check.todo for check in checks if check.state in ("warn", "fail"))
    assert not any(check.todo for check in checks if check.state == "ok")


def test_what_a_configuration_names_is_tried(
    tmp_path: Path, portrait_clip: Path, broker: Mosquitto, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(f'[[camera]]\nsource = "{portrait_clip}"\nname = "hall"\n[mqtt]\nbroker = "{broker.address}"\n')
    found = {check.name: check for check in examine(path)}
    assert found["configuration"].state == found["camera hall"].state == found["broker"].state == "ok"
    assert "a picture of" in found["camera hall"].found
    path.write_text(path.read_text() + 'ca_file = "/no/ca.pem"\n')
    assert call(["doctor", "--config", str(path)]) == 3
    out, err = capfd.readouterr()
    assert re.search(r"(?m)^fail +broker +CA file .*\n +-> mend \[mqtt\]", out)
    assert re.search(r"edge: \d of \d+ checks failed: .*broker", err)


def test_metrics_without_their_package_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtimes.metrics(None).state == "skipped"
    assert runtimes.metrics(9105).state == "ok"
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    found = runtimes.metrics(9105)
    assert (found.state, found.todo) == ("warn", 'pip install "emotion-edge[metrics]"')
    path = put(tmp_path, "edge.toml", "[health]\nmetrics_port = 9105\n")
    assert found in list(examine(path))


def test_settings_that_clash_are_said(tmp_path: Path) -> None:
    found, config = configuration(
        put(tmp_path, "edge.toml", "[[camera]]\nsource = 'rtsp://a:secret@h/1'\nusername = 'a'\n")
    )
    assert (found.state, config is not None) == ("fail", True)
    assert "it holds a user, and username is set beside it" in found.found
    assert "secret" not in found.found


def test_a_configuration_that_is_wrong_does_not_end_the_examination(tmp_path: Path) -> None:
    found, config = configuration(tmp_path / "none.toml")
    assert (found.state, config) == ("fail", None)
    path = put(tmp_path, "edge.toml", "devise = 'x'\nextra = 1\n[[camera]]\nsource = '0'\n")
    found, config = configuration(path)
    assert found.state == "warn"
    assert 'did you mean "device"' in found.found
    assert "1 more" in found.found
    assert config is not None
    found, _ = configuration(put(tmp_path, "empty.toml", ""))
    assert (found.state, "no camera" in found.found) == ("warn", True)


# The machine


def test_processor_memory_and_heat_of_a_pi(tmp_path: Path) -> None:
    put(tmp_path, "proc/cpuinfo", "processor : 0\nFeatures : fp asimd crc32\nCPU part : 0xd08\n")
    put(tmp_path, "proc/device-tree/model", "Raspberry Pi 4 Model B\0")
    assert "Cortex-A72" in system.processor(tmp_path).found
    assert "no dot product" in system.processor(tmp_path).found
    put(tmp_path, "proc/cpuinfo", "processor : 0\nFeatures : fp asimd asimddp\nCPU part : 0xd0b\n")
    assert "Cortex-A76" in system.processor(tmp_path).found
    assert "no dot product" not in system.processor(tmp_path).found
    put(tmp_path, "proc/meminfo", "MemTotal:  948304 kB\nMemFree:  1 kB\nMemAvailable:  204800 kB\n")
    found = system.memory(tmp_path)
    assert (found.state, found.found) == ("warn", "200 of 926 MB free")
    zone = put(tmp_path, "sys/class/thermal/thermal_zone0/temp", "85000")
    assert system.heat(tmp_path).state == "warn"
    assert "85 °C" in system.heat(tmp_path).found
    zone.write_text("45000")
    assert system.heat(tmp_path).state == "ok"
    assert system.heat(tmp_path / "other").state == "skipped"
    assert system.memory(tmp_path / "other").state == system.processor(tmp_path / "other").state == "skipped"


@pytest.mark.parametrize(
    ("bits", "state", "says"),
    [("0x0", "ok", "not throttled"), ("0x50005", "warn", "under-voltage"), ("0x80008", "warn", "soft temperature")],
)
def test_throttling_and_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: str, state: str, says: str
) -> None:
    command = put(tmp_path, "bin/vcgencmd", f"#!/bin/sh\necho throttled={bits}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    found = system.heat(tmp_path)
    assert (found.state, says in found.found) == (state, True)
    assert ("power supply" in found.todo) == ("under-voltage" in found.found)


def test_the_clock(tmp_path: Path) -> None:
    now = system.BUILT + 1
    assert system.clock(tmp_path, now=0.0).state == "fail"
    assert system.clock(tmp_path, now=now).state == "skipped"
    (tmp_path / "run/systemd/timesync").mkdir(parents=True)
    assert system.clock(tmp_path, now=now).state == "warn"
    put(tmp_path, "run/systemd/timesync/synchronized", "")
    assert system.clock(tmp_path, now=now).state == "ok"
    assert system.clock().state in ("ok", "warn", "skipped")  # the kernel's own word


def test_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    assert system.state_folder(tmp_path).state == "ok"
    assert "can be made" in system.state_folder(tmp_path / "a" / "b").found
    assert list(tmp_path.iterdir()) == []  # nothing is made
    proc = Path("/proc/self")
    if not proc.is_dir():
        pytest.skip("no /proc, the one folder in which even root makes no file")
    found = system.state_folder(proc / "emotion-edge")
    assert (found.state, "EMOTION_EDGE_HOME" in found.todo) == ("fail", True)


def test_the_disk(tmp_path: Path) -> None:
    assert system.disk(tmp_path / "not yet").state in ("ok", "warn")
    assert "MB free" in system.disk(tmp_path).found
    mounts = Path("/proc/self/mounts").read_text().splitlines() if Path("/proc/self/mounts").is_file() else []
    read_only = [line.split()[1] for line in mounts if "ro" in line.split()[3].split(",")]
    folders = [Path(mount) for mount in read_only if Path(mount).is_dir()]
    if not folders:
        pytest.skip("nothing is mounted read-only on this machine")
    assert system.disk(folders[0]).state == "fail"
    assert "read-only" in system.disk(folders[0]).found


def test_systemd_is_looked_for(tmp_path: Path) -> None:
    assert system.supervisor(tmp_path).state == "skipped"


# Model and runtimes


def test_the_model_file_is_held_against_what_was_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtimes.whole(None).state == "ok"
    assert runtimes.whole(str(tmp_path / "none.onnx")).state == "fail"
    # As pip installs a package: the file, and its sha256 in RECORD.
    info = tmp_path / "emotion_edge_test-1.dist-info"
    shutil.copyfile(DEFAULT_MODEL, tmp_path / "m.onnx")
    digest = base64.urlsafe_b64encode(hashlib.sha256(DEFAULT_MODEL.read_bytes()).digest()).decode().rstrip("=")
    put(info, "METADATA", "Metadata-Version: 2.1\nName: emotion-edge-test\nVersion: 1\n")
    put(info, "RECORD", f"m.onnx,sha256={digest},{DEFAULT_MODEL.stat().st_size}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    recorded = runtimes.recorded_sha256(tmp_path / "m.onnx", "emotion-edge-test")
    assert recorded is not None
    monkeypatch.setattr(runtimes, "recorded_sha256", lambda path: recorded)
    assert "as installed" in runtimes.whole(str(tmp_path / "m.onnx")).found
    data = bytearray((tmp_path / "m.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "m.onnx").write_bytes(data)
    assert runtimes.whole(str(tmp_path / "m.onnx")).state == "fail"


def test_the_model_and_the_detector_run() -> None:
    found = runtimes.classifier(None)
    assert (found.state, "onnxruntime" in found.found) == ("ok", True)
    assert runtimes.detector(DetectConfig()).state == "ok"
    assert runtimes.detector(DetectConfig("auto")).found.startswith("mtcnn")
    assert runtimes.detector(DetectConfig("yunet", yunet_model="/no/yunet.onnx")).state == "fail"
    assert runtimes.tflite().state in ("ok", "skipped")


def test_a_broken_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    found = runtimes.classifier(str(tmp_path / "m.onnx"))
    assert (found.state, "\n" in found.found) == ("fail", False)
    assert "m.onnx" in found.found


def test_a_part_that_dies_or_hangs_takes_nobody_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "dies/interpreter.py", "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    put(tmp_path, "hangs/interpreter.py", "import sys, time\ntime.sleep(600)\n")
    put(tmp_path, "leaves/interpreter.py", "import os\nos._exit(5)\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    assert attempt("interpreter", module="dies").error == "died of SIGILL"
    assert "hangs" in attempt("interpreter", 3.0, module="hangs").error
    assert attempt("interpreter", module="leaves").error == "ended with code 5"
    assert "No module named" in attempt("interpreter", module="absent").error


# Cameras


def test_no_camera_at_all(tmp_path: Path) -> None:
    found = cameras.devices(tmp_path)
    assert (found.state, "/dev/video" in found.found) == ("warn", True)
    assert cameras.devices(tmp_path, [CameraConfig("clip.mp4"), CameraConfig("0")]).state == "warn"
    assert cameras.devices(tmp_path, [CameraConfig("clip.mp4")]).state == "ok"


def test_cameras_are_named_in_order(tmp_path: Path) -> None:
    for number in (10, 2):
        put(tmp_path, f"dev/video{number}", "")
        put(tmp_path, f"sys/class/video4linux/video{number}/name", f"Cam {number}\n")
    found = cameras.devices(tmp_path)
    assert (found.state, found.found) == ("ok", "video2 Cam 2; video10 Cam 10")


def test_who_holds_a_camera_is_named(tmp_path: Path) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc on this system")
    device = put(tmp_path, "dev/video0", "")
    assert cameras.holders(device) == ()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, device],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        (name,) = cameras.holders(device)
        assert name.endswith(f"({holder.pid})")
        (tmp_path / "proc").symlink_to("/proc")
        held = cameras.configured(CameraConfig("0", "hall"), tmp_path)
        assert (held.state, str(holder.pid) in held.found) == ("fail", True)
    finally:
        holder.communicate("")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_nobody(work: Callable[[], Check]) -> Check:
    """Do something as a user without rights, in a process of its own."""
    nobody = pwd.getpwnam("nobody")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            os.write(writing, json.dumps(asdict(work())).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return Check(**json.loads(said))


def test_a_user_outside_the_group_is_told_how_to_join(open_folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    device = put(open_folder, "dev/video0", "")
    os.chown(device, 0, grp.getgrnam("video").gr_gid)
    device.chmod(0o660)
    found = as_nobody(lambda: cameras.devices(open_folder))
    assert (found.state, found.todo) == ("fail", "sudo usermod -aG video nobody, then log in anew")
    found = as_nobody(lambda: cameras.configured(CameraConfig("0", "hall"), open_folder))
    assert (found.state, "usermod" in found.todo) == ("fail", True)
    assert cameras.devices(open_folder).state == "ok"  # root may


def test_configured_cameras_are_opened(portrait_clip: Path, tmp_path: Path) -> None:
    found = cameras.configured(CameraConfig(str(portrait_clip), "clip"))
    assert (found.name, found.state) == ("camera clip", "ok")
    found = cameras.configured(CameraConfig("97", "hall"))
    assert (found.state, "97" in found.found) == ("fail", True)
    found = cameras.configured(CameraConfig(str(tmp_path / "none.mp4"), "x"))
    assert (found.state, "no such file" in found.found) == ("fail", True)


def test_the_password_of_a_network_camera_is_not_shown() -> None:
    source = f"rtsp://bob:secret@127.0.0.1:{free_port()}/live?key=secret"
    found = cameras.configured(CameraConfig(source, "door"))
    assert found.state == "fail"
    assert "secret" not in str(found)
    assert "127.0.0.1" in found.found


def test_the_systems_python_is_asked_for_csi_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cameras.csi(tmp_path).found == NO_PI
    put(tmp_path, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    # This Python stands for the system's, and a file for the package, which needs a Pi's libcamera.
    found = cameras.csi(tmp_path, Path(sys.executable))
    assert (found.state, "No module named 'picamera2'" in found.found) == ("warn", True)
    assert "python3-picamera2" in found.todo
    assert cameras.csi(tmp_path, tmp_path / "no-python").state == "warn"
    module = put(
        tmp_path, "site/picamera2.py", "class Picamera2:\n    global_camera_info = lambda: [{'Model': 'imx708'}]\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(module.parent))
    found = cameras.csi(tmp_path, Path(sys.executable))
    assert (found.state, found.found) == ("ok", "picamera2 finds imx708")


# The broker


def test_a_broker_that_takes_us_hears_nothing_from_us(broker: Mosquitto, listen: Callable[..., Any]) -> None:
    listener = listen(broker.address)
    settings = MqttConfig(broker=str(broker.address))
    assert brokers.resolves(settings).found == "127.0.0.1 is 127.0.0.1"
    assert brokers.answers(settings).state == "ok"
    broker.wait_for_log("edge-doctor-")
    assert listener.messages == []


def test_a_broker_that_refuses_says_why(new_broker: Callable[..., Mosquitto], tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    made = subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "hall", "right"], check=False)
    assert made.returncode == 0
    strict = new_broker(f"allow_anonymous false\npassword_file {passwords}").start()
    file = put(tmp_path, "password", "right\n")
    file.chmod(0o600)
    settings = MqttConfig(broker=str(strict.address), username="hall", password_file=str(file))
    assert brokers.answers(settings).found.endswith("takes us as hall")
    file.write_text("wrong\n")
    found = brokers.answers(settings)
    assert (found.state, 'refused user "hall"' in found.found) == ("fail", True)
    assert "wrong" not in found.found
    assert brokers.answers(MqttConfig(broker=str(strict.address))).state == "fail"


def test_a_broker_that_is_not_there_or_is_no_tls_one(broker: Mosquitto) -> None:
    found = brokers.answers(MqttConfig(broker=f"mqtt://127.0.0.1:{free_port()}"))
    assert (found.state, "is it running" in found.found) == ("fail", True)
    found = brokers.answers(MqttConfig(broker=f"mqtts://127.0.0.1:{broker.address.port}"))
    assert (found.state, "TLS port" in found.found) == ("fail", True)
    assert brokers.resolves(MqttConfig(broker="mqtt://no-such-host.invalid")).state == "fail"
    assert brokers.resolves(MqttConfig(broker="http://x")).state == "fail"


def test_each_cameras_password_file_is_looked_at(tmp_path: Path) -> None:
    file = put(tmp_path, "password", "x\n")
    file.chmod(0o644)
    door = CameraConfig("rtsp://127.0.0.1/live", "door", username="me", password_file=str(file))
    mqtt, camera = passwords(Config(camera=(door,)))
    assert (mqtt.state, camera.state, camera.name) == ("skipped", "warn", "password of door")


def test_a_password_file_that_everyone_reads(tmp_path: Path) -> None:
    assert brokers.password_file(None, None).state == "skipped"
    file = put(tmp_path, "password", "x\n")
    for mode, state in ((0o600, "ok"), (0o640, "ok"), (0o644, "warn"), (0o660, "warn")):
        file.chmod(mode)
        assert brokers.password_file("hall", str(file)).state == state, oct(mode)
    file.write_text("")
    assert brokers.password_file("hall", str(file)).state == "fail"
    assert brokers.password_file("hall", "/no/file").state == "fail"
