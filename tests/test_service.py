"""`edge service`: the unit as systemd's own tools judge it, and installing into a machine's root folder."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from edge.cli import call
from edge.config import load_config
from edge.errors import InputError
from edge.host import service
from edge.host.steps import Delete, Folder, Run, Write, carry_out, user_of
from edge.host.unit import NAME, sysusers, unit

EDGE = PurePosixPath("/opt/emotion-edge/bin/edge")

EXPOSED = 20
"""Tenths of a point of systemd's exposure, 100 without any fence; what is left are network and cameras."""


def needs(*commands: str) -> None:
    """Skip where systemd's tools are not installed."""
    for command in commands:
        if shutil.which(command) is None:
            pytest.skip(f"no {command}: apt-get install -y --no-install-recommends systemd")


def settings(text: str) -> dict[str, list[str]]:
    """The lines of a unit by key."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"(?m)^(\w+)=(.*)$", text):
        found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The root folder of a machine with a camera group of its own number and one user."""
    root = tmp_path / "image"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc/group").write_text("root:x:0:\nvideo:x:44:\n")
    return root


# The unit


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    needs("systemd-analyze")
    edge = tmp_path / "bin" / "edge"
    edge.parent.mkdir()
    edge.write_text("#!/bin/sh\n")
    edge.chmod(0o755)
    version = service.this_machine(tmp_path).systemd
    path = tmp_path / f"{NAME}.service"
    path.write_text(unit(PurePosixPath(edge), version))
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")  # it may warn and return 0
    path.write_text(unit(PurePosixPath(edge), version).replace("WatchdogSec=", "WatchdogSecs="))
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert "WatchdogSecs" in done.stderr  # so the silence above means something


def test_the_unit_is_fenced_in(tmp_path: Path) -> None:
    needs("systemd-analyze")
    path = tmp_path / f"{NAME}.service"
    path.write_text(unit(EDGE, 252))
    judge = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSED}"]
    done = subprocess.run([*judge, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]
    path.write_text(re.sub(r"(?m)^(System|Capability|Protect|Restrict).*\n", "", unit(EDGE, 252)))
    assert subprocess.run([*judge, path], capture_output=True, check=False).returncode != 0


def test_the_unit_restarts_for_ever_with_back_off_where_systemd_can() -> None:
    old, new = settings(unit(EDGE, 252)), settings(unit(EDGE, 254))
    assert old["Restart"] == new["Restart"] == ["always"]
    assert old["StartLimitIntervalSec"] == ["0"]
    assert "RestartSteps" not in old
    assert int(new["RestartSec"][0]) < int(old["RestartSec"][0]) < int(new["RestartMaxDelaySec"][0])
    assert "RestartSteps" in new
    assert (new["Type"], new["WatchdogSec"], new["StateDirectory"]) == (["notify"], ["30"], [NAME])
    assert new["ExecStart"] == [f"{EDGE} run --service --config /etc/emotion-edge/edge.toml"]
    assert any("video4linux" in device for device in new["DeviceAllow"])
    assert new["LimitCORE"] == ["0"]


def test_an_environment_in_a_home_stays_readable_and_a_name_with_spaces_whole() -> None:
    assert settings(unit(EDGE, 252))["ProtectHome"] == ["yes"]
    at_home = settings(unit(PurePosixPath("/home/pi/my env/bin/edge"), 252))
    assert at_home["ProtectHome"] == ["read-only"]
    assert at_home["ExecStart"][0].startswith('"/home/pi/my env/bin/edge" run')


# Installing into a root folder


def test_a_dry_run_says_everything_and_does_nothing(image: Path, capfd: pytest.CaptureFixture[str]) -> None:
    needs("systemctl")
    before = sorted(image.rglob("*"))
    assert call(["service", "install", "--root", str(image), "--dry-run", "--executable", str(EDGE)]) == 0
    said = capfd.readouterr().out
    for part in (service.UNIT_FILE, service.USER_FILE, "etc/emotion-edge/edge.toml", "systemd-sysusers", "enable"):
        assert part in said
    assert sorted(image.rglob("*")) == before


@pytest.mark.parametrize(
    "link",
    ["etc/systemd", "etc/systemd/system", "etc/sysusers.d", "etc/emotion-edge", "var", "var/lib/emotion-edge",
     "etc/systemd/system/multi-user.target.wants", "etc/group"],
)  # fmt: skip
@pytest.mark.parametrize("command", [["install", "--executable", str(EDGE)], ["remove", "--purge"], ["status"]])
def test_a_link_out_of_the_image_is_refused_and_nothing_is_done(
    image: Path, tmp_path: Path, link: str, command: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    needs("systemctl")
    outside = tmp_path / "outside"
    (outside / "emotion-edge").mkdir(parents=True)
    (outside / "emotion-edge/edge.toml").write_text("mine")
    (image / link).parent.mkdir(parents=True, exist_ok=True)
    (image / link).unlink(missing_ok=True)
    (image / link).symlink_to(outside)
    before = sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*"))
    assert call(["service", *command, "--root", str(image)]) == 2
    said = capfd.readouterr().err
    assert len(said.splitlines()) == 1
    assert f"leads out of {image}" in said
    assert sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_links_in_a_circle_are_refused(image: Path, capfd: pytest.CaptureFixture[str]) -> None:
    needs("systemctl")
    (image / "etc/systemd").symlink_to("systemd")
    assert call(["service", "install", "--root", str(image), "--executable", str(EDGE)]) == 2
    assert "Traceback" not in capfd.readouterr().err


def test_a_link_inside_the_image_is_followed_and_a_configuration_that_is_one_is_kept(
    image: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    needs("systemctl", "systemd-sysusers")
    (image / "usr/etc/systemd").mkdir(parents=True)
    (image / "etc/systemd").symlink_to("../usr/etc/systemd")
    (image / "etc/emotion-edge").mkdir()
    (image / "etc/emotion-edge/edge.toml").symlink_to("/data/edge.toml")  # on the device's own disk
    assert call(["service", "install", "--root", str(image), "--executable", str(EDGE)]) == 0
    assert (image / "usr/etc/systemd/system" / service.SERVICE).is_file()
    assert (image / "etc/emotion-edge/edge.toml").is_symlink()
    assert "keep" in capfd.readouterr().err


def test_install_again_and_remove(image: Path, capfd: pytest.CaptureFixture[str]) -> None:
    needs("systemctl", "systemd-sysusers")
    install = ["service", "install", "--root", str(image), "--executable", str(EDGE)]
    assert call(["service", "status", "--root", str(image)]) == 3
    assert call(install) == 0
    assert (image / service.UNIT_FILE).read_text() == unit(EDGE, service.this_machine(image).systemd)
    wanted = image / "etc/systemd/system/multi-user.target.wants" / service.SERVICE
    assert wanted.is_symlink()
    ids = user_of(NAME, image)
    assert ids is not None
    assert re.search(rf"(?m)^video:x:44:{NAME}$", (image / "etc/group").read_text())
    config = image / "etc/emotion-edge/edge.toml"
    assert load_config(config).camera[0].source == "0"
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    if os.geteuid() == 0:
        assert (config.stat().st_uid, config.stat().st_gid) == (0, ids[1])
        state = (image / "var/lib/emotion-edge").stat()
        assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)) == (*ids, 0o750)
    capfd.readouterr()
    assert call(["service", "status", "--root", str(image)]) == 0
    assert "enabled" in capfd.readouterr().out

    config.write_text('device = "mine"\n[[camera]]\nsource = "1"\n')
    (image / service.UNIT_FILE).write_text("old\n")
    assert call(install) == 0  # what it wrote is brought up to date, what the owner wrote stays
    assert load_config(config).device == "mine"
    assert "ExecStart" in (image / service.UNIT_FILE).read_text()
    assert user_of(NAME, image) == ids
    assert (image / "etc/group").read_text().count(NAME) == 2

    assert call(["service", "remove", "--root", str(image)]) == 0
    assert not (image / service.UNIT_FILE).exists()
    assert not wanted.is_symlink()
    assert config.exists()
    assert (image / "var/lib/emotion-edge").is_dir()
    assert user_of(NAME, image) == ids
    assert call(["service", "status", "--root", str(image)]) == 3
    assert call(["service", "remove", "--root", str(image)]) == 0  # there is nothing left to do


def test_purge_leaves_nothing(image: Path) -> None:
    needs("systemctl", "systemd-sysusers", "userdel")
    if os.geteuid() != 0:
        pytest.skip("only root can delete a user")
    assert call(["service", "install", "--root", str(image), "--executable", str(EDGE)]) == 0
    assert call(["service", "remove", "--purge", "--root", str(image)]) == 0
    assert user_of(NAME, image) is None
    assert NAME not in (image / "etc/group").read_text()
    assert [path for path in image.rglob("*") if NAME in path.name] == []


def test_an_environment_inside_the_image_is_named_as_the_device_sees_it(
    image: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    needs("systemctl", "systemd-sysusers")
    monkeypatch.setattr(sys, "executable", str(image / "opt/env/bin/python"))
    assert call(["service", "install", "--root", str(image)]) == 0
    assert "ExecStart=/opt/env/bin/edge run" in (image / service.UNIT_FILE).read_text()
    assert call(["service", "install", "--root", str(image), "--executable", "edge"]) == 2
    assert "the whole path" in capfd.readouterr().err


def test_an_images_systemd_is_asked_not_this_machines(image: Path) -> None:
    needs("systemctl")
    library = image / "usr/lib/aarch64-linux-gnu/systemd/libsystemd-shared-257.so"
    library.parent.mkdir(parents=True)
    library.touch()
    assert service.this_machine(image).systemd == 257


def test_the_user_has_no_login_and_one_group() -> None:
    assert sysusers().splitlines() == [
        f'u {NAME} - "Emotion Edge" /var/lib/emotion-edge',
        f"m {NAME} video",
    ]


# This machine


def test_on_a_running_machine_doctor_comes_before_the_start(tmp_path: Path) -> None:
    machine = service.Machine(Path("/"), 252)
    commands = [step.words for step in service.plan_install(machine, EDGE) if isinstance(step, Run)]
    verbs = [words[1] if words[0] == "systemctl" else words[0] for words in commands]
    assert verbs == ["systemd-sysusers", "daemon-reload", "stop", "runuser", "enable", "start"]
    doctor = commands[3]
    assert doctor[:3] == ("runuser", "-u", NAME)
    assert doctor[-3:] == ("doctor", "--config", "/etc/emotion-edge/edge.toml")
    assert not any("--root" in word for words in commands for word in words)
    removed = [step for step in service.plan_remove(machine, purge=False) if isinstance(step, Delete)]
    assert [str(step.path) for step in removed] == [f"/{service.UNIT_FILE}"]


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs here")
def test_without_systemd_it_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    for verb in ("install", "remove", "status"):
        assert call(["service", verb]) == 2
        assert "systemd" in capfd.readouterr().err


@pytest.mark.parametrize("found", [True, False], ids=["with systemctl", "without"])
def test_a_dry_run_shows_its_steps_anywhere(
    found: bool, image: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if found:
        needs("systemctl")
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    for options in ([], ["--root", str(image), "--executable", str(EDGE)]):
        assert call(["service", "install", "--dry-run", *options]) == 0
        out, err = capfd.readouterr()
        for part in (service.UNIT_FILE, service.USER_FILE, "etc/emotion-edge/edge.toml", "enable"):
            assert part in out
        here = service.without_systemd(Path("/") if not options else image)
        assert (f"edge: not here: {here}" in err) == (here is not None)
        assert here is not None or found
    assert call(["service", "remove", "--dry-run", "--purge"]) == 0
    assert "would nothing" not in capfd.readouterr().out


def test_a_dry_run_says_what_would_be_refused(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(["service", "install", "--dry-run", "--executable", str(tmp_path / "none")]) == 0
    assert f"edge: not as it is: {tmp_path / 'none'}: no such command" in capfd.readouterr().err


def test_only_root_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InputError, match=r"sudo .*edge service install"):
        service.check_root("install")


def test_an_environment_that_the_services_user_cannot_enter_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "home"
    command = closed / "env" / "bin" / "edge"
    command.parent.mkdir(parents=True)
    with pytest.raises(InputError, match="no such command"):
        service.check_reach(command)
    command.touch()
    closed.chmod(0o700)
    with pytest.raises(InputError, match=r"cannot enter .*make the environment in /opt"):
        service.check_reach(command)


# Steps


def test_steps_say_what_they_would_change(tmp_path: Path) -> None:
    file = tmp_path / "a"
    assert str(Write(file, "x")) == f"write {file}"
    file.write_text("x")
    assert str(Write(file, "x")) == str(Write(file, "y", keep=True)) == f"keep {file}"
    assert str(Write(file, "y")) == f"write {file}"
    assert str(Folder(tmp_path, "x")) == f"keep {tmp_path}"
    assert str(Folder(tmp_path / "b", "x")) == f"make {tmp_path / 'b'}"
    assert "nothing to delete" in str(Delete(tmp_path / "b"))


def test_a_command_that_fails_ends_the_plan_unless_it_may(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    fails = (sys.executable, "-c", "print('no'); raise SystemExit(3)")
    carry_out([Run(fails, must=False), Write(tmp_path / "a", "x")], tmp_path, said.append)
    assert "  no" in said
    assert (tmp_path / "a").read_text() == "x"
    with pytest.raises(Exception, match="ended with code 3"):
        carry_out([Run(fails), Write(tmp_path / "b", "x")], tmp_path, said.append)
    assert not (tmp_path / "b").exists()
    with pytest.raises(InputError, match="no such command"):
        carry_out([Run(("no-such-command-here",))], tmp_path, said.append)
    with pytest.raises(InputError, match="/proc"):
        carry_out([Write(Path("/proc/self/x"), "x")], tmp_path, said.append)


def test_files_are_given_to_the_machines_own_user(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(f"root:x:0:0::/:/bin/sh\n{NAME}:x:4711:4712::/:/bin/sh\n")
    carry_out(
        [Write(tmp_path / "a", "x", 0o640, group=NAME), Folder(tmp_path / "b", NAME)], tmp_path, lambda line: None
    )
    assert ((tmp_path / "a").stat().st_uid, (tmp_path / "a").stat().st_gid) == (0, 4712)
    assert ((tmp_path / "b").stat().st_uid, (tmp_path / "b").stat().st_gid) == (4711, 4712)
    assert user_of("nobody-here", tmp_path) is None
