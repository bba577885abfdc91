"""A Debian 12 that systemd starts in a container: `edge service` from install to purge, killed and stuck in between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

COVERS = ["edge/host/*.py", "edge/host/doctor/*.py", "edge/cli.py", "edge/run*.py", "edge/config/*.py"]

ROOT = Path(__file__).resolve().parent.parent.parent

TOOLS = {"mmdebstrap": "mmdebstrap", "systemd-nspawn": "systemd-container"}

SYSTEM = "systemd,systemd-sysv,dbus,python3,python3-venv,passwd,libgomp1"

PYTHON = "3.11"
"""Debian 12's."""

BOOT_SECONDS = 600

COMMAND = """#!/opt/emotion-edge/bin/python
from edge.cli import main
main()
"""

UNIT = """[Unit]
After=multi-user.target
[Service]
ExecStart=/usr/bin/python3 /opt/drive.py
[Install]
WantedBy=default.target
"""

DRIVE = r"""
import json, os, signal, subprocess, time
from pathlib import Path

EDGE, UNIT, figures = "/opt/emotion-edge/bin/edge", "emotion-edge.service", {}


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def show(key):
    return run("systemctl", "show", "--property", key, "--value", UNIT)[1].strip()


def until(key, value, seconds=120):
    began = time.monotonic()
    while show(key) != value:
        if time.monotonic() - began > seconds:
            raise SystemExit(f"{key} is {show(key)}, not {value}; {run('journalctl', '-u', UNIT, '-n', '30')[1]}")
        time.sleep(0.1)
    return round(time.monotonic() - began, 1)


def note(name, *words):
    figures[name], said = run(EDGE, "service", *words)
    return said


try:
    note("status_before", "status")
    config = Path("/etc/emotion-edge/edge.toml")
    config.parent.mkdir()
    config.write_text('[[camera]]\nsource = "0"\nname = "wall"\n[later]\nkey = 1\n')
    config.parent.chmod(0o755)
    figures["said"] = note("install", "install").splitlines()
    until("ActiveState", "active")
    note("status", "status")
    pid = show("MainPID")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    figures["user"] = run("id", "--groups", "--name", "emotion-edge")[1].split()
    figures["fence"] = {key: status[key].strip() for key in ("CapEff", "NoNewPrivs", "Seccomp")}
    figures["config_kept"] = "later" in config.read_text()

    os.kill(int(pid), signal.SIGKILL)
    figures["seconds_to_run_after_kill"] = round(until("NRestarts", "1") + until("ActiveState", "active"), 1)

    os.kill(int(show("MainPID")), signal.SIGSTOP)
    figures["seconds_to_restart_when_stuck"] = until("NRestarts", "2")
    figures["watchdog_said"] = "Watchdog timeout" in run("journalctl", "-u", UNIT)[1]
    until("ActiveState", "active")

    note("install_again", "install")
    until("ActiveState", "active")
    note("remove", "remove")
    note("status_after", "status")
    figures["config_after_remove"] = config.exists()
    note("purge", "remove", "--purge")
    figures["left"] = [str(path) for folder in ("/etc", "/var/lib") for path in Path(folder).rglob("*emotion-edge*")]
    figures["user_after_purge"] = run("id", "emotion-edge")[0]
except BaseException as error:
    figures["error"] = f"{type(error).__name__}: {error}"
Path("/opt/figures.json").write_text(json.dumps(figures))
run("systemctl", "poweroff")
"""


def prove() -> dict[str, Any]:
    """Return the figures; raise when one is out of its bounds."""
    for tool, package in TOOLS.items():
        assert shutil.which(tool), f"no {tool}: apt-get install -y --no-install-recommends {package}"
    assert os.geteuid() == 0, "a container is started by root"
    with tempfile.TemporaryDirectory() as folder:
        system = Path(folder) / "system"
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=apt", f"--include={SYSTEM}", "bookworm", system], check=True
        )
        install(system, Path(folder) / "wheels")
        words = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "-D", system]
        booted = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=BOOT_SECONDS
        )
        written = system / "opt" / "figures.json"
        assert written.is_file(), booted.stdout[-2000:] + booted.stderr[-2000:]
        figures: dict[str, Any] = json.loads(written.read_text())
    assert "error" not in figures, figures
    codes = {
        "status_before": 3,
        "install": 0,
        "status": 0,
        "install_again": 0,
        "remove": 0,
        "status_after": 3,
        "purge": 0,
    }
    assert {name: figures[name] for name in codes} == codes, figures
    assert figures["user"] == ["emotion-edge", "video"]
    assert figures["fence"] == {"CapEff": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
    assert figures["config_kept"]
    assert figures["config_after_remove"]
    assert figures["watchdog_said"]
    assert figures["left"] == []
    assert figures["user_after_purge"] != 0
    assert any("unknown key" in line for line in figures["said"])
    figures["checks_of_doctor"] = sum(line.startswith("edge:   ok") for line in figures.pop("said"))
    assert figures["checks_of_doctor"] > 5
    return figures


def install(system: Path, wheels: Path) -> None:
    """Put the kit and what it needs into the system, in an environment under /opt, and what drives it at boot."""
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ROOT], check=True)
    (wheel,) = wheels.glob("*.whl")
    kinds = [
        option
        for kind in ("manylinux_2_28", "manylinux_2_27", "manylinux2014")
        for option in ("--platform", f"{kind}_x86_64")
    ]
    choose = ["--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON, *kinds]
    subprocess.run([*pip, "install", "--target", system / "opt" / "site", *choose, wheel], check=True)
    subprocess.run(["chroot", system, "python3", "-m", "venv", "--without-pip", "/opt/emotion-edge"], check=True)
    environment = system / "opt" / "emotion-edge"
    (environment / "lib" / f"python{PYTHON}" / "site-packages" / "kit.pth").write_text("/opt/site\n")
    command = environment / "bin" / "edge"
    command.write_text(COMMAND)
    command.chmod(0o755)
    (system / "opt" / "drive.py").write_text(DRIVE)
    (system / "etc/systemd/system/drive.service").write_text(UNIT)
    subprocess.run(["systemctl", "--quiet", f"--root={system}", "enable", "drive.service"], check=True)
