"""What machine this is, and how it is doing: processor, clock, heat, throttling. Reads what Linux tells.

Everything that a system does not tell is None: a figure without its circumstances is still a figure.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path("/")

PACKAGES = ("emotion-edge", "onnxruntime", "ai-edge-litert", "tflite-runtime", "numpy", "opencv-python-headless")
"""What a figure may depend on."""

BUSY = 0.5
"""A load of more than this a core is somebody else's."""

ARM_CORES = {
    0xC07: "Cortex-A7", 0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55", 0xD07: "Cortex-A57",
    0xD08: "Cortex-A72", 0xD09: "Cortex-A73", 0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77", 0xD40: "Neoverse-V1", 0xD41: "Cortex-A78", 0xD42: "Cortex-A78AE", 0xD46: "Cortex-A510",
    0xD47: "Cortex-A710", 0xD49: "Neoverse-N2", 0xD4F: "Neoverse-V2",
}  # fmt: skip
"""Part numbers of Arm's own cores, as /proc/cpuinfo states them. Source: Arm, MIDR_EL1 of each core's manual."""

THROTTLED = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits of a Raspberry Pi's `vcgencmd get_throttled` for now; the same 16 higher for since it started."""

VCGENCMD_SECONDS = 5.0

PROCESSOR_ZONE = re.compile("cpu|soc|pkg|core|tj", re.IGNORECASE)
"""Thermal zones that are the processor's: Raspberry Pi `cpu-thermal`, Jetson `CPU-therm` and `tj-thermal`, Intel
`x86_pkg_temp`. A Jetson's `PMIC-Die` is 100 °C whatever happens."""
PROCESSOR_COOLING = re.compile("cpu|processor", re.IGNORECASE)
"""Cooling devices that cool by slowing the processor down, not a fan's."""


def describe_machine(root: Path = ROOT) -> dict[str, Any]:
    """Return what a figure that was measured here depends on; no name of the host.

    Args:
        root: the folder under which /proc, /sys and /etc lie.

    Returns:
        `cpu`, `cores` (that this process may use), `memory_gib`, `os`, `kernel`, `python`, `versions` (by package), and
        what `describe_state` returns.
    """
    return {
        "cpu": processor(root),
        "cores": cores(),
        "memory_gib": _memory_gib(),
        "os": _system(root),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: found for package in PACKAGES if (found := _version(package))},
        **describe_state(root),
    }


def in_words(machine: Mapping[str, Any]) -> str:
    """Return processor, memory, system and Python of what `describe_machine` returned, in one line."""
    cores = machine.get("cores")
    parts = [
        machine.get("cpu"),
        None if not cores else "1 core" if cores == 1 else f"{cores} cores",
        f"{machine['memory_gib']:g} GiB" if machine.get("memory_gib") else None,
    ]
    rest = [machine.get("os"), machine.get("kernel"), f"Python {machine['python']}" if "python" in machine else None]
    return "; ".join(filter(None, (", ".join(filter(None, parts)), ", ".join(filter(None, rest)))))


def state_in_words(state: Mapping[str, Any]) -> str:
    """Return what a machine was doing, as `describe_state` returned it, in a few words."""
    limit = f" of {state['max_mhz']}" if state.get("max_mhz") else ""
    parts = [
        f"load {state['load']:.1f}" if state.get("load") is not None else None,
        f"governor {state['governor']}" if state.get("governor") else None,
        f"{state['mhz']}{limit} MHz" if state.get("mhz") else None,
        ", ".join(f"{zone} {degrees:.0f} °C" for zone, degrees in state.get("temperatures", {}).items()),
    ]
    throttled = state.get("throttled")
    if throttled:
        parts += [
            f"NOW {', '.join(throttled['now'])}" if throttled["now"] else "not throttled",
            f"since it started: {', '.join(throttled['since_start'])}" if throttled["since_start"] else None,
        ]
    return ", ".join(part for part in parts if part) or "the system tells nothing"


def is_busy(machine: Mapping[str, Any], own: float = 0.0) -> bool:
    """Return whether somebody else kept the processor busy.

    Args:
        machine: as `describe_machine` returned it.
        own: load that was the measuring program's own.
    """
    load = machine.get("load")
    return load is not None and load - own > BUSY * machine.get("cores", 1)


def describe_state(root: Path = ROOT) -> dict[str, Any]:
    """Return what changes while one measures.

    Returns:
        `load` (mean number of programs that wanted a core in the last minute); `governor`; `mhz` (of the fastest core
        at this moment); `max_mhz`; and what `describe_heat` returns.
    """
    frequencies = [mhz / 1000 for path in _cpu_files(root, "scaling_cur_freq") if (mhz := _number(path)) is not None]
    governor = next((text for path in _cpu_files(root, "scaling_governor") if (text := _text(path))), None)
    limits = [mhz / 1000 for path in _cpu_files(root, "cpuinfo_max_freq") if (mhz := _number(path)) is not None]
    return {
        "load": _load(),
        "governor": governor,
        "mhz": round(max(frequencies)) if frequencies else _mhz_of_cpuinfo(root),
        "max_mhz": round(max(limits)) if limits else None,
        **describe_heat(root),
    }


def describe_heat(root: Path = ROOT) -> dict[str, Any]:
    """Return how hot it is and what is done against it; asks a Raspberry Pi's firmware, which may take seconds.

    Returns:
        `temperatures` (°C by thermal zone); `throttled` (of a Raspberry Pi, `now` and `since_start`, each a list of
        reasons); `cooling` (what slows the processor down at this moment, as the kernel names it).
    """
    return {"temperatures": _temperatures(root), "throttled": _throttled(), "cooling": _cooling(root)}


def processor_temperature(temperatures: Mapping[str, float]) -> float | None:
    """Return the hottest of the processor's zones, of all zones where none is known as its own; °C, None of none."""
    own = [degrees for zone, degrees in temperatures.items() if PROCESSOR_ZONE.search(zone)]
    others = [degrees for zone, degrees in temperatures.items() if "pmic" not in zone.lower()]
    return max(own or others, default=None)


def resident_memory() -> float | None:
    """Return the memory of this process that lies in RAM now, MiB; None where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        if sys.platform != "win32":
            return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return None


def peak_memory() -> float | None:
    """Return the greatest resident memory of this process so far, MiB.

    Linux keeps it a program (VmHWM in /proc/self/status). Its `getrusage` goes on from the process that started this
    one, and so shows the parent's when that was larger; elsewhere it is what there is; Windows tells nothing (None).
    """
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak: float | None = None
    if sys.platform != "win32":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return peak


def available_memory(root: Path = ROOT) -> float | None:
    """Return how much memory a new program can have without anything being swapped out, MiB; None where it is not told.

    Source: MemAvailable in proc_meminfo(5).
    """
    stated = re.search(r"^MemAvailable:\s*([0-9]+) kB", _text(root / "proc/meminfo") or "", re.MULTILINE)
    return int(stated[1]) / 1024 if stated else None


def processor(root: Path = ROOT) -> str:
    """Return the processor's name, as `AMD EPYC`, or board and core: `Raspberry Pi 4 Model B Rev 1.4, Cortex-A72`."""
    lines = (_text(root / "proc/cpuinfo") or "").splitlines()
    fields = [(key.strip(), value.strip()) for key, colon, value in (line.partition(":") for line in lines) if colon]
    named = dict(reversed(fields))  # of several the first
    if named.get("model name"):
        return named["model name"]
    parts = {int(value, 16) for key, value in fields if key == "CPU part" and re.fullmatch("0x[0-9a-fA-F]+", value)}
    names = [ARM_CORES.get(part, f"core {part:#x}") for part in sorted(parts)]
    board = (_text(root / "proc/device-tree/model") or named.get("Model") or "").rstrip("\0")
    return ", ".join(part for part in (board, " and ".join(names)) if part) or platform.machine() or "unknown"


def cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def decode_throttled(said: str) -> dict[str, list[str]] | None:
    """Return what `vcgencmd get_throttled` means by `throttled=0x50005`; None for what is no such answer."""
    matched = re.fullmatch(r"throttled=0x([0-9a-fA-F]{1,8})", said.strip())
    if matched is None:
        return None
    bits = int(matched[1], 16)
    return {
        "now": [reason for bit, reason in THROTTLED.items() if bits >> bit & 1],
        "since_start": [reason for bit, reason in THROTTLED.items() if bits >> (bit + 16) & 1],
    }


def _throttled() -> dict[str, list[str]] | None:
    command = shutil.which("vcgencmd")
    if command is None:
        return None
    with suppress(OSError, subprocess.SubprocessError, UnicodeDecodeError):
        done = subprocess.run(
            [command, "get_throttled"], capture_output=True, text=True, check=False, timeout=VCGENCMD_SECONDS
        )
        return decode_throttled(done.stdout)
    return None


def _temperatures(root: Path) -> dict[str, float]:
    """Return °C by thermal zone; a zone that is asleep or absurd is left out."""
    found: dict[str, float] = {}
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        value = _number(zone / "temp")  # in thousandths
        if value is not None and -40_000 < value < 150_000:
            name = _text(zone / "type") or zone.name
            found[name if name not in found else f"{name} {zone.name.removeprefix('thermal_zone')}"] = value / 1000
    return found


def _cooling(root: Path) -> list[str]:
    """Return the cooling devices that hold the processor back now."""
    devices = sorted(root.glob("sys/class/thermal/cooling_device*"))
    named = [_text(device / "type") or "" for device in devices if (_number(device / "cur_state") or 0) > 0]
    return sorted({name for name in named if PROCESSOR_COOLING.search(name)})


def _cpu_files(root: Path, name: str) -> list[Path]:
    return sorted(root.glob(f"sys/devices/system/cpu/cpu[0-9]*/cpufreq/{name}"))


def _mhz_of_cpuinfo(root: Path) -> int | None:
    stated = re.findall(r"^cpu MHz\s*:\s*([0-9.]+)", _text(root / "proc/cpuinfo") or "", re.MULTILINE)
    return round(max(map(float, stated))) if stated else None


def _system(root: Path) -> str:
    named = re.search(r'^PRETTY_NAME="?([^"\n]+)', _text(root / "etc/os-release") or "", re.MULTILINE)
    return named[1] if named else platform.system()


def _memory_gib() -> float | None:
    if sys.platform != "win32":
        with suppress(ValueError, OSError):  # a name that this system does not know
            return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return None


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # 3 MB, which edge run does without

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _load() -> float | None:
    if sys.platform != "win32":
        with suppress(OSError):
            return round(os.getloadavg()[0], 2)
    return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> float | None:
    try:
        return float(_text(path) or "")
    except ValueError:
        return None
