"""Model files on processors that are not here: QEMU's user mode runs the kit's own runtime on them.

`haswell` runs this very Python without AVX-512 and VNNI. The Arm cores run Debian's Python in a folder that was
unpacked on this machine, with the kit's source and Arm wheels in it; nothing is installed there, so that it takes a
minute. As a program this file is the worker that such a processor runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).resolve().parent.parent

HASWELL, HERE = "haswell", "here"

ARM_PARTS = {"cortex-a72": "0xd08", "cortex-a76": "0xd0b"}
"""Part number of each core, as /proc/cpuinfo states it."""

ARM_FEATURES = {
    "cortex-a72": "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid",
    "cortex-a76": "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
}

PROCESSORS = (HASWELL, *ARM_PARTS)

PACKAGES = (
    "libexpat1", "libgomp1", "libpython3.11-stdlib", "libstdc++6", "python3", "python3-minimal", "zlib1g",
)  # fmt: skip
"""Of Debian 12, beside what every Debian has."""

WHEELS = ("numpy", "onnxruntime", "opencv-python-headless<5", "ai-edge-litert")

PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")

QEMU = {HASWELL: "qemu-x86_64", **dict.fromkeys(ARM_PARTS, "qemu-aarch64")}

VERSION = "2"
"""Of how the folder is made: another one is made anew."""


class Missing(Exception):
    """What the emulation needs is not here; the text says what."""


def answers(processor: str, model: Path, crops: np.ndarray) -> tuple[np.ndarray, str]:
    """Let a processor classify crops, one thread.

    Args:
        processor: of `PROCESSORS`.
        model: an ONNX or TFLite file of the model contract.
        crops: `(N, S, S, 3)` uint8 RGB.

    Returns:
        `(N, C)` float32 probabilities, and the runtime with its version.

    Raises:
        Missing: QEMU or the Arm system is not here and cannot be made.
        RuntimeError: the processor's run failed; the text is its last line.
    """
    import numpy as np

    with _entered(processor) as place:
        np.save(place.folder / "crops.npy", crops)
        shutil.copy2(model, place.folder / model.name)
        runtime = place.run("answers", f"{place.seen}/{model.name}")
        return np.load(place.folder / "answers.npy"), runtime


def events(processor: str, frames: np.ndarray, fps: float) -> list[dict[str, Any]]:
    """Let a processor run the frame loop of `edge run`, every frame published, on the shipped files.

    Args:
        processor: of `PROCESSORS`, or `HERE` for this one, without QEMU.
        frames: `(N, H, W, 3)` uint8 BGR.
        fps: frames a second.

    Returns:
        the events' JSON forms.

    Raises:
        Missing: as in `answers`.
        RuntimeError: as in `answers`.
    """
    import numpy as np

    if processor == HERE:
        return list(watch(frames, fps))
    with _entered(processor) as place:
        np.save(place.folder / "frames.npy", frames)
        return [json.loads(line) for line in place.run("events", str(fps)).splitlines()]


@dataclass(frozen=True)
class _Place:
    """A processor's folder, and the way to run this file there.

    Attributes:
        folder: as this system sees it.
        seen: as the processor sees it.
        command: its Python.
        environment: its variables.
    """

    folder: Path
    seen: Path
    command: list[str]
    environment: dict[str, str]

    def run(self, *arguments: str) -> str:
        """Run this file there; return what it printed."""
        done = subprocess.run(
            [*self.command, f"{self.seen}/worker.py", str(self.seen), *arguments],
            env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            named = self.environment["QEMU_CPU"]
            raise RuntimeError(f"{named}: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
        return done.stdout.strip()


@contextmanager
def _entered(processor: str) -> Iterator[_Place]:
    """Make a folder in which a processor finds the kit."""
    emulator = shutil.which(f"{QEMU[processor]}-static") or shutil.which(QEMU[processor])
    if emulator is None:
        raise Missing(f"{QEMU[processor]}-static is not here: install qemu-user-static")
    if processor == HASWELL and platform.machine() != "x86_64":
        raise Missing("Haswell runs this Python, which is for another processor")
    inside = Path("/") if processor == HASWELL else arm_system()
    (inside / "tmp").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=inside / "tmp") as name:
        folder = Path(name)
        shutil.copy2(__file__, folder / "worker.py")
        if processor == HASWELL:
            source, command, seen = str(ROOT), [emulator, sys.executable], folder
        else:
            shutil.copytree(
                ROOT / "edge", folder / "edge", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors")
            )
            shutil.copy2(emulator, folder / "qemu")
            _describe(inside, processor)
            seen = Path("/") / folder.relative_to(inside)
            become_root = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
            source, command = (
                f"{seen}:/wheels",
                [*become_root, "chroot", str(inside), f"{seen}/qemu", "/usr/bin/python3.11"],
            )
            _run([*command, "-c", ""])  # where nobody may change the root there is nothing to compare
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "QEMU_CPU": "Haswell" if processor == HASWELL else processor,
            "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        yield _Place(folder, seen, command, environment)


def arm_system() -> Path:
    """Return the folder of the Arm system; it is made when it is not there (100 MB of packages, 270 MB of wheels).

    Raises:
        Missing: it cannot be made here.
    """
    home = Path(os.environ.get("EMOTION_EDGE_HOME") or Path.home() / ".local" / "share" / "emotion-edge")
    wanted = hashlib.sha256("\0".join((VERSION, *PACKAGES, *WHEELS)).encode()).hexdigest()[:12]
    folder = home / "emulated" / f"arm64-{wanted}"
    if folder.is_dir():
        return folder
    if shutil.which("mmdebstrap") is None:
        raise Missing("mmdebstrap is not here: install it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        system = made / "system"
        _run(["mmdebstrap", "--quiet", "--variant=extract", "--architectures=arm64", f"--include={','.join(PACKAGES)}",
              "bookworm", str(system)])  # fmt: skip
        platforms = [f"--platform={each}_aarch64" for each in PLATFORMS]
        _run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target",
              str(system / "wheels"), "--only-binary=:all:", "--implementation=cp", "--python-version=3.11",
              *platforms, *WHEELS])  # fmt: skip
        system.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _describe(system: Path, core: str) -> None:
    """Write what the kernel would tell of its one core: without it the runtimes do not know what the core can do."""
    cpus, proc = system / "sys" / "devices" / "system" / "cpu", system / "proc"
    for folder in (cpus, proc):
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("possible", "present"):
        (cpus / name).write_text("0\n")
    (proc / "cpuinfo").write_text(
        f"processor\t: 0\nFeatures\t: {ARM_FEATURES[core]}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        f"CPU variant\t: 0x0\nCPU part\t: {ARM_PARTS[core]}\nCPU revision\t: 1\n"
    )


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no word"]
        raise Missing(f"the Arm system cannot be made or entered: {command[0]}: {said[-1]}")


def answer(folder: Path, model: Path) -> None:
    """Classify `crops.npy` of a folder into `answers.npy` there, and print the runtime."""
    import numpy as np

    from edge.model import load_model

    classifier = load_model(model, threads=1)
    crops = np.load(folder / "crops.npy")
    rows = [classifier.classify(crops[start : start + 8]) for start in range(0, len(crops), 8)]
    np.save(folder / "answers.npy", np.concatenate(rows))
    print(classifier.runtime)


def watch(frames: np.ndarray, fps: float) -> Iterator[dict[str, Any]]:
    """Run the frame loop; yield the events of frames `(N, H, W, 3)`."""
    from dataclasses import replace

    from edge.config import Config
    from edge.detect import load_detector
    from edge.events import EventMaker
    from edge.loop import Loop
    from edge.model import load_model
    from edge.values import Frame

    model, config = load_model(None), Config()
    config = replace(config, publish=replace(config.publish, when="every"))
    loop = Loop(load_detector("mtcnn"), model, EventMaker("emulated", "0" * 16, model.info.id), config)
    for index, image in enumerate(frames):
        for event in loop.step(Frame(image, index, index / fps, index / fps, "camera")).events:
            yield event.to_dict()


def main() -> None:
    """Be the worker: `FOLDER answers MODEL`, or `FOLDER events FPS`."""
    parser = argparse.ArgumentParser(description="The worker that an emulated processor runs; not for people.")
    parser.add_argument("folder", type=Path, help="holds crops.npy or frames.npy; answers.npy is written there")
    parser.add_argument("task", choices=["answers", "events"])
    parser.add_argument("argument", help="the model file, or frames a second")
    given = parser.parse_args()
    folder, task, argument = given.folder, given.task, given.argument
    if task == "answers":
        answer(folder, Path(argument))
        return
    import numpy as np

    for event in watch(np.load(folder / "frames.npy"), float(argument)):
        print(json.dumps(event))


if __name__ == "__main__":
    main()
