"""Every script answers --help at once without extras, and says in one line what is missing; usage sets nothing up."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"

EXTRAS = (
    "torch", "torchvision", "timm", "facenet_pytorch", "safetensors", "scipy", "sklearn", "skimage", "matplotlib",
    "jinja2", "lime", "rich", "tomli_w", "onnx", "onnxscript", "PIL", "amqtt", "ai_edge_litert", "tflite_runtime",
    "litert_torch", "mediapipe", "prometheus_client", "jsonschema", "hypothesis", "pytest",
)  # fmt: skip
"""What `pip install .` alone does not bring."""

BLOCK = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""

MAINS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in SCRIPTS.rglob("*.py")
    if re.search(r"(?m)^def main\(", path.read_text(encoding="utf-8"))
)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which no extra's package can be imported."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "sitecustomize.py").write_text(BLOCK)
    path = os.pathsep.join([str(folder), str(ROOT), str(SCRIPTS)])
    return {**os.environ, "PYTHONPATH": path, "PYTHON": sys.executable}


def run(*command: str, env: dict[str, str], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env, cwd=cwd)


def test_the_packages_are_absent(bare: dict[str, str]) -> None:
    done = run(sys.executable, "-c", "import torch", env=bare)
    assert "No module named 'torch'" in done.stderr


def test_there_are_scripts() -> None:
    assert {"scripts/bench/runtime.py", "scripts/proofs/soak.py", "scripts/train_all.py"} <= set(MAINS)


@pytest.mark.parametrize("script", MAINS)
def test_help_needs_no_extra_and_does_nothing_else(script: str, bare: dict[str, str]) -> None:
    before = sorted((path, path.stat().st_mtime) for path in (ROOT / "docs").rglob("*"))
    done = run(sys.executable, script, "--help", env=bare)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")
    assert sorted((path, path.stat().st_mtime) for path in (ROOT / "docs").rglob("*")) == before


@pytest.mark.parametrize(
    ("script", "arguments", "extra"),
    [
        ("bench/alignment.py", ["x.zip"], "train"),
        ("bench/allocator.py", [], "train"),
        ("bench/mtcnn.py", ["data"], "train"),
        ("bench/pipeline.py", ["x.zip"], "train"),
        ("bench/quality.py", ["x.zip"], "train"),
        ("demo_play.py", [], "demo"),
        ("train_all.py", ["ablations", "x.zip"], "train"),
    ],
)
def test_a_missing_package_is_one_line_with_its_extra(
    script: str, arguments: list[str], extra: str, bare: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "clip.mp4").write_bytes(b"")
    done = run(sys.executable, str(SCRIPTS / script), *arguments, env=bare, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(
        rf'{Path(script).stem}: needs the package \w+, which is not installed: pip install "\.\[{extra}\]"\n',
        done.stderr,
    )


def test_what_a_person_can_mend_is_one_line(bare: dict[str, str]) -> None:
    done = run(sys.executable, "-m", "scripts.bench.smoothing", "missing.mp4", env=bare)
    assert done.returncode == 2
    assert done.stderr.startswith("smoothing: source missing.mp4: no such file")
    assert len(done.stderr.splitlines()) == 1


# The entry points, in a checkout that has no environment


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts alone, with what they read before they set anything up."""
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__", "data"))
    (tmp_path / "edge").mkdir()
    for name in ("__init__.py", "errors.py"):
        shutil.copy(ROOT / "edge" / name, tmp_path / "edge" / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def plain(checkout: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a script as on a machine that has Python alone."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = run("bash", *command, env={**env, "PYTHON": sys.executable}, cwd=checkout)
    assert not list(checkout.glob(".venv*")), "it has begun to set up an environment"
    return done


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--help"], 0), (["nonsense"], 2), (["soak", "more"], 2)])
def test_prove_names_its_proofs_at_once(checkout: Path, arguments: list[str], code: int) -> None:
    done = plain(checkout, "scripts/prove", *arguments)
    assert done.returncode == code, done.stderr
    said = done.stdout + done.stderr
    assert "usage: scripts/prove" in said
    if len(arguments) < 2:
        known = [p.stem for p in (SCRIPTS / "proofs").glob("*.py") if not p.stem.startswith("_")]
        assert len(known) > 3
        assert all(re.search(rf"\b{name}\b", said) for name in known)


def test_stale_proofs_are_told_without_the_packages_that_they_need(checkout: Path, bare: dict[str, str]) -> None:
    done = run("bash", "scripts/prove", "--stale", env=bare, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", ["scripts/train-all", "scripts/demo"])
def test_other_entry_points_help_at_once(checkout: Path, script: str) -> None:
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHON")}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    done = run("bash", script, "--help", env=env, cwd=checkout)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {script}")
    assert not list(checkout.glob(".venv*"))
