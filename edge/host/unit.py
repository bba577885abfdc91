"""The texts that make `edge run` a system service: systemd's unit, and the user that it runs as. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath

NAME = "emotion-edge"
"""Of the unit, its user and group, and its folders."""

CONFIG = PurePosixPath("/etc/emotion-edge/edge.toml")
STATE = PurePosixPath("/var/lib/emotion-edge")

STEPS_FROM = 254
"""The systemd version that can lengthen the wait between two restarts."""

WATCHDOG_SECONDS = 30
FIRST_WAIT, LONGEST_WAIT, STEPS = 2, 300, 8
"""Seconds between two restarts: the first, what they grow to, and in how many steps."""
EVEN_WAIT = 10
"""Seconds between two restarts where they cannot grow."""


def unit(executable: PurePosixPath, systemd: int) -> str:
    """Return the unit.

    Args:
        executable: the command `edge` as the device sees it.
        systemd: its version there; from 254 on it can wait longer from restart to restart.

    Source of the settings: systemd.service(5), systemd.exec(5), systemd.resource-control(5).
    """
    waits = (
        (f"RestartSec={FIRST_WAIT}", f"RestartSteps={STEPS}", f"RestartMaxDelaySec={LONGEST_WAIT}")
        if systemd >= STEPS_FROM
        else (f"RestartSec={EVEN_WAIT}",)
    )
    # An environment in somebody's home must stay readable; nothing else there is needed.
    home = "read-only" if executable.parts[1:2] in (("home",), ("root",)) else "yes"
    return UNIT.format(
        executable=_quoted(executable), config=CONFIG, name=NAME, state=STATE, waits="\n".join(waits), home=home,
        watchdog=WATCHDOG_SECONDS,
    )  # fmt: skip


def sysusers() -> str:
    """Return what systemd-sysusers makes the user from: no login, and in the one group that may open cameras."""
    return f'u {NAME} - "Emotion Edge" {STATE}\nm {NAME} video\n'


def _quoted(path: PurePosixPath) -> str:
    """Return a path as a unit's command line takes it."""
    text = str(path).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if any(letter.isspace() or letter in "\"'\\" for letter in text) else text


UNIT = """\
# Written by "edge service install": changes go into a drop-in, "systemctl edit {name}".
[Unit]
Description=Emotion Edge: facial emotion recognition
After=network.target time-sync.target
# For ever: a device on a wall has nobody who starts it again.
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={executable} run --service --config {config}
ExecReload=/bin/sh -c "kill -HUP $MAINPID"
User={name}
Group={name}
Environment=EMOTION_EDGE_HOME={state}
StateDirectory={name}
StateDirectoryMode=0750
UMask=0027
Restart=always
{waits}
WatchdogSec={watchdog}
# Stopped while the broker is away: the log tells how many events were lost, the unit has not failed.
SuccessExitStatus=3
TimeoutStartSec=180
TimeoutStopSec=30
# A memory image of a run that was ended would hold pictures.
LimitCORE=0

# Cameras, their memory and media graph, and the firmware's word on heat and power; no other device.
DevicePolicy=closed
DeviceAllow=char-video4linux rw
DeviceAllow=char-media rw
DeviceAllow=char-dma_heap rw
DeviceAllow=char-vcio rw

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""
