"""The governor: real files of a small /sys, a real `vcgencmd`, simulated hours, and a real process that is busy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.config import Config, LimitsConfig, load_config
from edge.errors import InputError
from edge.host.governor import DOWN, DOWN_EVERY, SLOWEST, UP, UP_EVERY, Governor, Readings, read_heat
from edge.machine import processor_temperature

QUIET = Readings(None)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Device:
    """A camera of 30 frames a second in front of a governor, in simulated time."""

    def __init__(self, limits: LimitsConfig, fps: float = 30.0) -> None:
        self.clock, self.said = Clock(), list[str]()
        self.readings, self.fps = QUIET, fps
        self.cost, self.cpu = 0.0, 0.0
        self.governor = Governor(
            limits, read=lambda: self.readings, log=self.said.append, clock=self.clock, cpu=lambda: self.cpu
        )

    def run(self, seconds: float, camera: str = "camera") -> float:
        """Run for so long, with a look each five seconds; return the frames a second that were taken."""
        end, taken, look, frame = self.clock.now + seconds, 0, self.clock.now, self.clock.now
        while self.clock.now < end:
            if self.clock.now >= look:
                self.governor.look()
                look += 5
            pause = self.governor.pause(self.clock.now, camera)
            if pause > 0:
                self.clock.now += max(pause, 1e-6)  # a clock of floats has a smallest step
                continue
            frame = max(frame + 1 / self.fps, self.clock.now)  # the newest frame wins: none waits
            self.clock.now = frame
            self.governor.took(self.clock.now, camera)
            taken += 1
            self.cpu += self.cost
            self.clock.now += self.cost
        return taken / seconds


def limits(tmp_path: Path, text: str) -> LimitsConfig:
    """Read `[limits]` from a file, as a person writes it."""
    (tmp_path / "edge.toml").write_text(f"[limits]\n{text}\n")
    return load_config(tmp_path / "edge.toml").limits


# What is configured


def test_without_limits_every_frame_is_taken_at_once() -> None:
    device = Device(Config().limits)
    assert device.governor.fps is None
    assert device.governor.pause(0.0) == 0.0
    assert device.run(60) == pytest.approx(30, abs=0.1)
    assert device.said == []


@pytest.mark.parametrize(("text", "fps"), [("max_fps = 10", 10), ("max_fps = 12.5", 12.5), ("max_fps = 100", 30)])
def test_max_fps(tmp_path: Path, text: str, fps: float) -> None:
    assert Device(limits(tmp_path, text)).run(60) == pytest.approx(fps, abs=0.1)


def test_max_fps_is_each_cameras_own() -> None:
    governor = Governor(LimitsConfig(max_fps=10))
    governor.took(100.0, "front")
    assert governor.pause(100.04, "front") == pytest.approx(0.06)
    assert governor.pause(100.04, "back") == 0.0


def test_a_camera_that_was_away_gets_no_burst() -> None:
    governor, now, taken = Governor(LimitsConfig(max_fps=10)), 100.0, 0
    governor.took(now)
    now += 60
    while (pause := governor.pause(now)) == 0:
        governor.took(now)
        taken += 1
        assert taken < 5
    assert taken == 2  # the one that was due, and the next
    assert pause == pytest.approx(0.1)


@pytest.mark.parametrize(("text", "share"), [("max_cpu = 0.3", 0.3), ("max_cpu = 0.05", 0.05), ("max_cpu = 1", 0.6)])
def test_max_cpu(tmp_path: Path, text: str, share: float) -> None:
    device = Device(limits(tmp_path, text))
    device.cost = 0.02  # at 30 frames a second 0.6 of a core
    device.run(120)
    assert device.cpu / 120 == pytest.approx(share, rel=0.03)


def test_max_cpu_leaves_the_slowest_rate_to_a_process_that_is_busy_elsewhere() -> None:
    device = Device(LimitsConfig(max_cpu=0.05))
    device.cost = 0.4  # a frame costs 8 times what half a second may
    assert device.run(60) == pytest.approx(1 / (1 / SLOWEST + 0.4), rel=0.1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_fps = 0", "limits.max_fps is 0: it must lie from 0.1 to 1000"),
        ("max_fps = nan", "limits.max_fps is nan"),
        ("max_fps = '10'", "\"limits.max_fps\" is '10': expected a number"),
        ("max_cpu = 0", "limits.max_cpu is 0: it must lie from 0.05 to 64"),
        ("max_cpu = 65", "limits.max_cpu is 65"),
        ("hot = 20", "limits.hot is 20: it must lie from 30 to 120"),
        ("cool = 80", "limits.cool is 80: it must lie below limits.hot, 80"),
        ("hot = 60\ncool = -1", "limits.cool is -1: it must lie below limits.hot, 60"),
        ("cold = 3", 'unknown key "limits.cold"; did you mean "cool"?'),
    ],
)
def test_wrong_limits_are_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        limits(tmp_path, text)
    assert says in str(caught.value)


def test_limits_may_change_while_it_runs() -> None:
    device = Device(LimitsConfig(max_fps=5))
    assert device.run(20) == pytest.approx(5, abs=0.1)
    device.governor.limits = LimitsConfig(max_fps=15, hot=50.0)
    assert device.run(20) == pytest.approx(15, abs=0.2)
    device.readings = Readings(50.0)
    device.run(1)
    assert device.governor.fps == pytest.approx(15 * DOWN, rel=0.05)


# The heat


def test_heat_lowers_step_by_step_and_cold_raises_slowly(tmp_path: Path) -> None:
    device = Device(limits(tmp_path, "hot = 75\ncool = 60"))
    device.run(10)
    device.readings = Readings(75.0)
    device.run(1)
    assert device.governor.fps == pytest.approx(30 * DOWN, rel=0.02)
    device.run(DOWN_EVERY + 1)
    assert device.governor.fps == pytest.approx(30 * DOWN**2, rel=0.05)
    assert device.governor.why == "the processor has 75 °C"
    device.run(20 * DOWN_EVERY)
    assert device.governor.fps == SLOWEST
    device.readings = Readings(70.0)  # neither hot nor cool: as it is
    device.run(20 * UP_EVERY)
    assert device.governor.fps == SLOWEST
    device.readings = Readings(60.0)
    device.run(UP_EVERY - 5)
    assert device.governor.fps == SLOWEST
    device.run(10)
    assert device.governor.fps == pytest.approx(SLOWEST * UP)
    assert device.run(25 * UP_EVERY) > 10
    assert device.governor.fps is None
    assert device.run(10) == pytest.approx(30, abs=0.2)
    assert device.said == ["the frame rate is lowered: the processor has 75 °C", "the frame rate is free again"]


def test_ten_degrees_below_hot_is_cool_unless_set() -> None:
    for degrees, free in ((70.0, True), (70.5, False)):
        device = Device(LimitsConfig())
        device.run(10)
        device.readings = Readings(80.0)
        device.run(1)
        device.readings = Readings(degrees)
        device.run(10 * UP_EVERY)
        assert (device.governor.fps is None) is free


def test_throttling_counts_whatever_the_temperature_says() -> None:
    device = Device(LimitsConfig(max_fps=20))
    device.run(10)
    device.readings = Readings(50.0, ("throttled",))
    device.run(1)
    assert device.governor.fps == pytest.approx(20 * DOWN, rel=0.02)
    assert device.governor.why == "the processor slows down (throttled)"
    device.readings = Readings(50.0)
    device.run(10 * UP_EVERY)
    assert device.governor.fps == 20, "max_fps stays when the heat is gone"


def test_heat_while_no_frame_is_taken_is_not_ours() -> None:
    governor = Governor(LimitsConfig())
    for second in range(0, 600, 5):
        assert governor.target_fps(Readings(95.0), float(second)) is None


@pytest.mark.parametrize("outside", [25.0, 45.0])
def test_a_processor_that_its_own_work_heats_settles_below_the_limit(outside: float) -> None:
    """A body that 30 frames a second heat by 60 °C, half of the way in 35 seconds, as a Pi without a heat sink."""
    device, degrees = Device(LimitsConfig(hot=80.0)), outside
    late = []
    for step in range(720):  # an hour
        fps = device.run(5)
        degrees += (outside + 2 * fps - degrees) * 0.1
        device.readings = Readings(degrees)
        if step >= 360:
            late.append((degrees, fps))
    assert max(heat for heat, _ in late) < 83
    assert sum(fps for _, fps in late) / len(late) > 0.7 * (80 - outside) / 2, "slower than the heat asks for"


# What the device tells


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write files of /sys under a folder."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def zone(number: int, kind: str, millidegrees: int) -> dict[str, str]:
    """Return the files of one thermal zone."""
    folder = f"sys/class/thermal/thermal_zone{number}"
    return {f"{folder}/type": f"{kind}\n", f"{folder}/temp": f"{millidegrees}\n"}


def cooling(number: int, kind: str, state: int) -> dict[str, str]:
    """Return the files of one cooling device."""
    folder = f"sys/class/thermal/cooling_device{number}"
    return {f"{folder}/type": f"{kind}\n", f"{folder}/cur_state": f"{state}\n"}


@pytest.fixture
def no_vcgencmd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No firmware that could be asked."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("no_vcgencmd")
def test_a_device_that_tells_nothing(tmp_path: Path) -> None:
    assert read_heat(tmp_path) == QUIET


@pytest.mark.usefixtures("no_vcgencmd")
def test_a_jetson_is_read(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        zone(0, "AO-therm", 41000) | zone(1, "CPU-therm", 52500) | zone(2, "PMIC-Die", 100000)
        | cooling(0, "thermal-cpufreq-0", 0) | cooling(1, "pwm-fan", 3),
    )  # fmt: skip
    assert read_heat(root) == Readings(52.5)
    plant(root, cooling(0, "thermal-cpufreq-0", 2))
    assert read_heat(root).slowed == ("thermal-cpufreq-0",)


@pytest.mark.parametrize(
    ("zones", "degrees"),
    [
        ({}, None),
        ({"PMIC-Die": 100.0}, None),
        ({"acpitz": 40.0, "nvme": 50.0}, 50.0),
        ({"iwlwifi_1": 90.0, "x86_pkg_temp": 60.0}, 60.0),
        ({"cpu-thermal": 48.0, "cpu-thermal 1": 51.0}, 51.0),
    ],
)
def test_the_processors_temperature(zones: dict[str, float], degrees: float | None) -> None:
    assert processor_temperature(zones) == degrees


@pytest.mark.parametrize(
    ("said", "slowed"),
    [
        ("throttled=0x0", ()),
        ("throttled=0x50000", ()),
        ("throttled=0x1", ()),
        ("throttled=0x50005", ("throttled",)),
        ("throttled=0xe", ("frequency capped", "throttled", "soft temperature limit")),
        ("VCHI initialization failed", ()),
    ],
)
def test_a_raspberry_pis_firmware_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, slowed: tuple[str, ...]
) -> None:
    script = tmp_path / "vcgencmd"
    script.write_text(f'#!/bin/sh\n[ "$1" = get_throttled ] && echo "{said}"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert read_heat(plant(tmp_path, zone(0, "cpu-thermal", 61000))) == Readings(61.0, slowed)


@pytest.mark.usefixtures("no_vcgencmd")
def test_a_zone_that_heats_up_slows_the_run_down(tmp_path: Path) -> None:
    device = Device(LimitsConfig(hot=80.0))
    plant(tmp_path, zone(0, "cpu-thermal", 60000))
    device.governor = Governor(
        device.governor.limits, read=lambda: read_heat(tmp_path), log=device.said.append, clock=device.clock
    )
    assert device.run(30) == pytest.approx(30, abs=0.2)
    plant(tmp_path, zone(0, "cpu-thermal", 84200))
    assert device.run(60) < 20
    plant(tmp_path, zone(0, "cpu-thermal", 55000))
    device.run(600)
    assert device.run(30) == pytest.approx(30, abs=0.2)
    assert device.said == ["the frame rate is lowered: the processor has 84 °C", "the frame rate is free again"]


# A real process

BUSY = """
import json, sys, time
from edge.config import LimitsConfig
from edge.host.governor import Governor

most = json.loads(sys.argv[1])
governor = Governor(LimitsConfig(max_cpu=most))
began, used, frames, paused = time.monotonic(), time.process_time(), 0, 0.0
while time.monotonic() - began < 3:
    pause = governor.pause(time.monotonic())
    if pause > 0:
        paused += pause
        time.sleep(pause)
        continue
    governor.took(time.monotonic())
    frames += 1
    start = time.process_time()
    while time.process_time() - start < 0.01:
        pass
share = (time.process_time() - used) / (time.monotonic() - began)
print(json.dumps({"share": share, "frames": frames, "paused": paused}))
"""


def busy(most: float | None) -> dict[str, float]:
    """Run a process that would use a whole core, for three seconds."""
    command = [sys.executable, "-c", BUSY, json.dumps(most)]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    return found


def test_a_busy_process_keeps_to_its_share() -> None:
    found = busy(0.05)
    # Of three seconds, the credit of half a second is a sixth, and one frame of 10 ms a third of a hundredth.
    assert found["share"] <= 0.05 * (1 + 1 / 6) + 0.004
    assert found["frames"] >= 3
    assert found["paused"] > 0


def test_a_busy_process_without_a_share_never_waits() -> None:
    assert busy(None)["paused"] == 0
