"""Proof: a V4L2 camera, taken away and given back, held by another program, silent and stuck, in a virtual machine.

Debian's kernel has `vivid`, a camera that its driver draws. The machine boots that kernel with this system's files,
read only, and runs `_vivid_guest.py`. Needs root and: apt-get install qemu-system-x86 busybox-static kmod.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COVERS = ["edge/sources/*.py", "scripts/proofs/_vivid_guest.py"]
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "vivid")
SECONDS = 900.0

INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read module; do insmod $module; done < /modules
insmod /vivid.ko n_devs=1 node_types=0x1 input_types=0
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=524288,cache=loose root /host
for place in proc sys dev; do mount --bind /$place /host/$place; done
mount -t tmpfs tmp /host/tmp
ip link set lo up
chroot /host /usr/bin/env -i PATH=/usr/bin:/bin HOME=/tmp PYTHONPATH={root} PYTHONDONTWRITEBYTECODE=1 {python} {guest}
poweroff -f
"""


def kernel(folder: Path) -> tuple[Path, Path, str]:
    """Fetch and unpack Debian's kernel; return its image, its files and its version."""
    said = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True, check=True)
    package = next(line.split()[-1] for line in said.stdout.splitlines() if "Depends:" in line)
    subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True, capture_output=True)
    (archive,) = folder.glob("*.deb")
    files = folder / "kernel"
    subprocess.run(["dpkg", "-x", str(archive), str(files)], check=True)
    version = package.removeprefix("linux-image-")
    subprocess.run(["/sbin/depmod", "-b", str(files), version], check=True)
    return files / "boot" / f"vmlinuz-{version}", files, version


def initrd(folder: Path, files: Path, version: str) -> Path:
    """Pack busybox, the modules in their order, and the start into an initial file system."""
    inside = folder / "initrd"
    for name in ("bin", "proc", "sys", "dev", "host"):
        (inside / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise SystemExit("prove: no busybox: apt-get install -y busybox-static")
    shutil.copy(busybox, inside / "bin" / "busybox")
    order: list[str] = []
    for module in MODULES:
        command = ["/sbin/modprobe", "-d", str(files), "-S", version, "-D", module]
        for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
            kind, path, *_ = line.split()
            name = "/" + Path(path).name
            if kind == "insmod" and name not in order:
                shutil.copy(path, inside / name[1:])
                order.append(name)
    order.remove("/vivid.ko")  # it is given arguments
    (inside / "modules").write_text("".join(f"{name}\n" for name in order))
    guest = Path(__file__).with_name("_vivid_guest.py")
    (inside / "init").write_text(INIT.format(root=ROOT, python=sys.executable, guest=guest))
    (inside / "init").chmod(0o755)
    packed = folder / "initrd.cpio"
    names = "\n".join(str(path.relative_to(inside)) for path in sorted(inside.rglob("*")))
    with packed.open("wb") as out:
        pack = [busybox, "cpio", "-o", "-H", "newc"]
        subprocess.run(pack, input=names.encode(), cwd=inside, stdout=out, stderr=subprocess.DEVNULL, check=True)
    return packed


def prove() -> dict[str, object]:
    """Boot the machine and return what the guest measured."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image, files, version = kernel(folder)
        command = [
            "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-smp", "2",
            "-nographic", "-no-reboot", "-nic", "none", "-kernel", str(image),
            "-initrd", str(initrd(folder, files, version)), "-append", "console=ttyS0 loglevel=4 panic=-1",
            "-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap",
        ]  # fmt: skip
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
            env={**os.environ, "TMPDIR": name}, errors="replace",
        )  # fmt: skip
    lines = [line.partition("FIGURES ")[2] for line in done.stdout.splitlines() if "FIGURES " in line]
    if not lines:
        raise AssertionError(f"the machine gave no figures:\n{done.stdout[-3000:]}\n{done.stderr[-1000:]}")
    figures: dict[str, object] = json.loads(lines[-1])
    if "error" in figures:
        raise AssertionError(f"{figures['error']}\n{done.stdout[-3000:]}")
    return {"kernel": version, **figures}
